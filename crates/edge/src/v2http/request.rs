//! A keys request, read from its parameters in etcd's order of checks (api-v2.md 1.4).

use std::num::ParseIntError;

use ::http::Method;
use proto::v2_request::V2Request;
use types::{V2Code, V2Error};
use v2store::path;

use super::form::Form;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// A valid keys request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeysRequest {
    /// As it goes into the log, without ID.
    pub(super) request: V2Request,
    /// Whether a successful write is answered with its action alone.
    pub(super) no_value_on_success: bool,
}

/// Checks the parameters of a request for a key (the path behind `/v2/keys`) that arrived at
/// `now_unix_ns`.
///
/// # Errors
/// The first check that fails; its index is 0.
pub(super) fn parse(
    method: &Method,
    key: &str,
    form: &Form,
    now_unix_ns: i64,
) -> Result<KeysRequest, V2Error> {
    let prev_index = index(form, "prevIndex")?;
    let since = index(form, "waitIndex")?;
    let recursive = flag(form, "recursive")?;
    let sorted = flag(form, "sorted")?;
    let wait = flag(form, "wait")?;
    let dir = flag(form, "dir")?;
    let quorum = flag(form, "quorum")?;
    let stream = flag(form, "stream")?;
    if wait && *method != Method::GET {
        let cause = "\"wait\" can only be used with GET requests";
        return Err(invalid(V2Code::InvalidField, cause));
    }
    let prev_value = form.value("prevValue").unwrap_or_default();
    if form.value("prevValue") == Some("") {
        return Err(invalid(V2Code::PrevValueRequired, "\"prevValue\" cannot be empty"));
    }
    let no_value_on_success = flag(form, "noValueOnSuccess")?;
    let ttl = ttl(form)?;
    let prev_exist = tri_state(form, "prevExist")?;
    let refresh = tri_state(form, "refresh")?;
    let value = form.value("value").unwrap_or_default();
    check_refresh(refresh, value, ttl)?;
    let request = V2Request {
        method: method.as_str().to_owned(),
        path: path::clean(&format!("{}{key}", path::KEYS)),
        val: value.to_owned(),
        dir,
        prev_value: prev_value.to_owned(),
        prev_index,
        prev_exist,
        expiration: ttl.map_or(0, |ttl| expiration(now_unix_ns, ttl)),
        wait,
        since,
        recursive,
        sorted,
        quorum,
        stream,
        refresh,
        ..V2Request::default()
    };
    Ok(KeysRequest { request, no_value_on_success })
}

fn check_refresh(refresh: Option<bool>, value: &str, ttl: Option<u64>) -> Result<(), V2Error> {
    if refresh != Some(true) {
        return Ok(());
    }
    if !value.is_empty() {
        return Err(invalid(V2Code::RefreshValue, "A value was provided on a refresh"));
    }
    if ttl.is_none() {
        return Err(invalid(V2Code::RefreshTtlRequired, "No TTL value set"));
    }
    Ok(())
}

fn index(form: &Form, name: &str) -> Result<u64, V2Error> {
    form.value(name).map_or(Ok(0), |text| {
        decimal(text).map_err(|_| invalid_value(V2Code::IndexNotNumber, name))
    })
}

fn ttl(form: &Form) -> Result<Option<u64>, V2Error> {
    let given = form.value("ttl").filter(|text| !text.is_empty());
    let parsed = given.map(decimal).transpose();
    parsed.map_err(|_| invalid_value(V2Code::TtlNotNumber, "ttl"))
}

/// When a TTL of so many seconds is over. Seconds beyond what 64 bits of nanoseconds hold wrap
/// around, as in Go: the store takes what comes out before the year 2000 for no expiration
/// (api-v2.md 1.12).
fn expiration(now_unix_ns: i64, ttl: u64) -> i64 {
    now_unix_ns.wrapping_add(ttl.cast_signed().wrapping_mul(NANOS_PER_SECOND))
}

/// A parameter that is false when absent.
fn flag(form: &Form, name: &str) -> Result<bool, V2Error> {
    form.value(name).map_or(Ok(false), |text| {
        boolean(text).ok_or_else(|| invalid_value(V2Code::InvalidField, name))
    })
}

/// A parameter whose absence says something; etcd leaves the quotes out here.
fn tri_state(form: &Form, name: &str) -> Result<Option<bool>, V2Error> {
    let Some(text) = form.value(name) else { return Ok(None) };
    let cause = || invalid(V2Code::InvalidField, format!("invalid value for {name}"));
    boolean(text).map(Some).ok_or_else(cause)
}

/// Go's `strconv.ParseUint`: unlike Rust's it takes no plus sign.
fn decimal(text: &str) -> Result<u64, ParseIntError> {
    text.strip_prefix('+').map_or(text, |_| "").parse()
}

/// Go's `strconv.ParseBool`.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn invalid_value(code: V2Code, name: &str) -> V2Error {
    invalid(code, format!("invalid value for \"{name}\""))
}

fn invalid(code: V2Code, cause: impl Into<String>) -> V2Error {
    V2Error::new(code, cause, 0)
}

#[cfg(test)]
mod tests;
