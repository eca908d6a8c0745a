//! The parameters of a keys request, from its query and its form body.

use std::collections::BTreeMap;

use ::http::request::Parts;
use ::http::{Method, header};
use bytes::Bytes;
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use types::limits::V2_FORM_MAX_BYTES;

use crate::http::{form, media_type};

/// Every parameter that has a meaning; others are dropped while they are read, so that a body of
/// millions of them costs nothing.
const NAMES: [&str; 14] = [
    "value",
    "dir",
    "ttl",
    "refresh",
    "prevExist",
    "prevValue",
    "prevIndex",
    "recursive",
    "sorted",
    "quorum",
    "wait",
    "waitIndex",
    "stream",
    "noValueOnSuccess",
];

/// The first value of each known parameter; those of the body come before those of the query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Form(BTreeMap<&'static str, String>);

impl Form {
    /// The first value, if the parameter is there at all.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Reads a request as Go's `ParseForm` does.
    ///
    /// # Errors
    /// Go's text for a form that cannot be parsed; the body's fault comes before the query's.
    pub(super) async fn read<B>(parts: &Parts, body: B) -> Result<Self, String>
    where
        B: Body<Data = Bytes> + Unpin + Send,
    {
        let has_form = parts.method == Method::PUT || parts.method == Method::POST;
        let body = if has_form { read_body(parts, body).await? } else { Bytes::new() };
        Self::parse(&body, parts.uri.query().unwrap_or_default())
    }

    /// Reads form body and query.
    ///
    /// # Errors
    /// As [`Form::read`].
    pub(super) fn parse(body: &[u8], query: &str) -> Result<Self, String> {
        let mut form = Self::default();
        form::each(body, |name, value| form.take(&name, value))?;
        form::each(query.as_bytes(), |name, value| form.take(&name, value))?;
        Ok(form)
    }

    fn take(&mut self, name: &str, value: String) {
        if let Some(known) = NAMES.into_iter().find(|known| *known == name) {
            self.0.entry(known).or_insert(value);
        }
    }
}

async fn read_body<B>(parts: &Parts, body: B) -> Result<Bytes, String>
where
    B: Body<Data = Bytes> + Unpin + Send,
{
    let content_type = parts.headers.get(header::CONTENT_TYPE);
    if !media_type::is_form(content_type.map_or(b"", |value| value.as_bytes()))? {
        return Ok(Bytes::new());
    }
    // The boxed error would need `B::Error: Into<Box<dyn Error>>`; only its kind is of interest.
    let body = body.map_err(|_| std::io::Error::from(std::io::ErrorKind::UnexpectedEof));
    match Limited::new(body, V2_FORM_MAX_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err("http: POST too large".to_owned()),
        Err(_) => Err("unexpected EOF".to_owned()),
    }
}
