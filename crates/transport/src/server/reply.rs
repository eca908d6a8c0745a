//! Answers in the shape of Go's HTTP library.

use std::io;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;

use crate::dial::full;

pub(crate) type Reply = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// An empty body.
pub(crate) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(full(Bytes::new()));
    *reply.status_mut() = status;
    reply
}

/// Bytes of a content type.
pub(crate) fn bytes(status: StatusCode, content_type: &'static str, body: Bytes) -> Reply {
    let mut reply = Response::new(full(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// An error as Go's `http.Error` writes it: plain text with a final newline.
pub(crate) fn error(status: StatusCode, text: &str) -> Reply {
    let body = Bytes::from(format!("{text}\n"));
    let mut reply = bytes(status, "text/plain; charset=utf-8", body);
    let nosniff = HeaderValue::from_static("nosniff");
    reply.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    reply
}

/// An error that etcd writes as JSON.
pub(crate) fn json_error(status: StatusCode, text: &str) -> Reply {
    let body = serde_json::json!({ "message": text }).to_string();
    bytes(status, "application/json", Bytes::from(body))
}

pub(crate) fn not_found() -> Reply {
    error(StatusCode::NOT_FOUND, "404 page not found")
}

/// 405; `allow` names the method where etcd does.
pub(crate) fn wrong_method(allow: Option<&'static str>) -> Reply {
    let mut reply = error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    if let Some(allow) = allow {
        reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    }
    reply
}
