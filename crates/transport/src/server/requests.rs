//! The table of paths, the small handlers, and reading of request bodies.
//!
//! Source: peer-protocol.md 2.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::reply::{self, Reply};
use super::{raft, snapshot};
use crate::api::PeerRequest;
use crate::dial::full;
use crate::headers;
use crate::limits;
use crate::transport::Transport;

const JSON: &str = "application/json";

/// Answers one request.
pub(crate) async fn answer(transport: Transport, request: Request<Incoming>) -> Reply {
    let path = request.uri().path();
    match path {
        "/raft" => raft::pipeline(&transport, request).await,
        "/raft/probing" => probing(request.method()),
        "/raft/snapshot" => snapshot::receive(transport, request).await,
        "/members" => members(&transport, request.method()),
        "/version" => version(&transport, request.method()),
        "/members/hashkv" | "/downgrade/enabled" => {
            extra(&transport, request, &Method::GET, Some("GET")).await
        }
        "/leases" | "/leases/internal" => extra(&transport, request, &Method::POST, None).await,
        _ if path.starts_with("/raft/stream/") => raft::stream(&transport, &request),
        _ if path.starts_with("/members/promote/") => {
            extra(&transport, request, &Method::POST, Some("POST")).await
        }
        _ => reply::not_found(),
    }
}

fn probing(_method: &Method) -> Reply {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let body = format!("{{\"OK\":true,\"Now\":\"{}\"}}\n", rfc3339(now));
    reply::bytes(StatusCode::OK, "text/plain; charset=utf-8", Bytes::from(body))
}

fn members(transport: &Transport, method: &Method) -> Reply {
    if method != Method::GET {
        return reply::wrong_method(Some("GET"));
    }
    let body = Bytes::from(transport.shared().api.members_json());
    with_cluster_id(transport, reply::bytes(StatusCode::OK, JSON, body))
}

fn version(transport: &Transport, method: &Method) -> Reply {
    if method != Method::GET {
        return reply::wrong_method(Some("GET"));
    }
    let body = Bytes::from(transport.shared().api.version_json());
    reply::bytes(StatusCode::OK, JSON, body)
}

/// Sets the cluster ID, which most answers carry.
pub(crate) fn with_cluster_id(transport: &Transport, mut reply: Reply) -> Reply {
    let value = headers::value(&transport.shared().options.cluster_id.to_string());
    reply.headers_mut().insert(headers::CLUSTER_ID, value);
    reply
}

/// A request that the node answers.
async fn extra(
    transport: &Transport,
    request: Request<Incoming>,
    method: &Method,
    allow: Option<&'static str>,
) -> Reply {
    if request.method() != method {
        return reply::wrong_method(allow);
    }
    let (parts, body) = request.into_parts();
    let cluster_id = transport.shared().options.cluster_id.to_string();
    let claimed = headers::text(&parts.headers, &headers::CLUSTER_ID);
    let checked = parts.uri.path() == "/members/hashkv";
    if checked && !claimed.is_empty() && claimed != cluster_id {
        let reply = reply::error(StatusCode::PRECONDITION_FAILED, headers::CLUSTER_ID_MISMATCH);
        return with_cluster_id(transport, reply);
    }
    let body = match read_body(body, limits::EXTRA_BODY_BYTES_MAX).await {
        Ok(body) => body,
        Err(BodyError::TooLarge) => {
            return reply::error(StatusCode::PAYLOAD_TOO_LARGE, "request body too large");
        }
        Err(BodyError::Broken) => {
            return reply::error(StatusCode::BAD_REQUEST, "error reading body");
        }
    };
    match transport.shared().api.extra(PeerRequest { parts, body }).await {
        None => reply::not_found(),
        Some(answer) => {
            let mut reply = Response::new(full(answer.body));
            *reply.status_mut() = answer.status;
            *reply.headers_mut() = answer.headers;
            let value = headers::value(&cluster_id);
            reply.headers_mut().entry(headers::CLUSTER_ID).or_insert(value);
            reply
        }
    }
}

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    TooLarge,
    /// The connection broke or stood still.
    Broken,
}

/// Reads a whole body. Memory grows with what arrives, not with what is announced.
pub(crate) async fn read_body(mut body: Incoming, limit: usize) -> Result<Bytes, BodyError> {
    let read = async {
        let mut read = Vec::new();
        while let Some(data) = next_data(&mut body).await? {
            if read.len() + data.len() > limit {
                return Err(BodyError::TooLarge);
            }
            read.extend_from_slice(&data);
        }
        Ok(Bytes::from(read))
    };
    let timeout = limits::REQUEST_READ_TIMEOUT;
    tokio::time::timeout(timeout, read).await.unwrap_or(Err(BodyError::Broken))
}

/// The next piece of a body; `None` at its proper end.
pub(crate) async fn next_data(body: &mut Incoming) -> Result<Option<Bytes>, BodyError> {
    loop {
        let frame = tokio::time::timeout(limits::IO_TIMEOUT, body.frame()).await;
        match frame.map_err(|_elapsed| BodyError::Broken)? {
            None => return Ok(None),
            Some(Err(_broken)) => return Err(BodyError::Broken),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// Marks the connection to be closed after this answer.
pub(crate) fn closing(mut reply: Reply) -> Reply {
    let close = HeaderValue::from_static("close");
    reply.headers_mut().insert(http::header::CONNECTION, close);
    reply
}

/// A point in time as Go's `RFC3339Nano` prints it in UTC: nanoseconds without zeros at the end.
fn rfc3339(since_epoch: Duration) -> String {
    let (days, second) = (since_epoch.as_secs() / 86_400, since_epoch.as_secs() % 86_400);
    let (year, month, day) = civil_date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let fraction = match since_epoch.subsec_nanos() {
        0 => String::new(),
        nanos => format!(".{nanos:09}").trim_end_matches('0').to_owned(),
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// Year, month and day of a number of days since 1970-01-01.
fn civil_date(mut days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| {
        u64::from(year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + leap(year) {
        days -= 365 + leap(year);
        year += 1;
    }
    let lengths = [31, 28 + leap(year), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_go_prints_them() {
        for (seconds, nanos, text) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (951_782_400, 5_000_000, "2000-02-29T00:00:00.005Z"),
            (1_735_689_599, 123_456_789, "2024-12-31T23:59:59.123456789Z"),
            (4_107_542_400, 0, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(Duration::new(seconds, nanos)), text);
        }
    }
}
