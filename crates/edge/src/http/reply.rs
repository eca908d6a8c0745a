//! Replies as Go's `net/http` and etcd word them.

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use bytes::Bytes;
use hyper::ext::ReasonPhrase;

/// A whole reply.
pub(crate) type Reply = Response<Bytes>;

/// Go's type of a body of plain text.
const TEXT: &str = "text/plain; charset=utf-8";
/// etcd's CORS headers while `--cors` allows every origin, which is the default; otherwise
/// [`super::access`] changes them at last.
pub(crate) const CORS: [(HeaderName, &str); 3] = [
    (header::ACCESS_CONTROL_ALLOW_METHODS, "POST, GET, OPTIONS, PUT, DELETE"),
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (header::ACCESS_CONTROL_ALLOW_HEADERS, "accept, content-type, authorization"),
];

/// A reply without body.
pub(crate) fn empty(status: StatusCode) -> Reply {
    let mut reply = Reply::default();
    *reply.status_mut() = status;
    reply
}

/// A reply with a body of a type.
pub(crate) fn with_type(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Reply {
    let mut reply = empty(status);
    set(reply.headers_mut(), header::CONTENT_TYPE, content_type);
    *reply.body_mut() = body.into();
    reply
}

/// A JSON reply.
pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    with_type(status, "application/json", body)
}

/// A plain text reply, as Go finds the type of a body that looks like text.
pub(crate) fn text(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    with_type(status, TEXT, body)
}

/// Go's `http.Error`: the text, a newline, and no guessing of the type.
pub(crate) fn error(status: StatusCode, body: &str) -> Reply {
    let mut reply = text(status, format!("{body}\n"));
    set(reply.headers_mut(), header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    reply
}

/// etcd's error body outside the keys API: `{"message":"..."}` without a newline.
pub(crate) fn message(status: StatusCode, message: &str) -> Reply {
    let mut body = String::new();
    let mut object = gojson::Object::open(&mut body);
    object.string("message", message);
    object.finish();
    json(status, body)
}

/// Go's answer for a path that nobody serves.
pub(crate) fn not_found() -> Reply {
    error(StatusCode::NOT_FOUND, "404 page not found")
}

/// The answer to a method that a path does not know.
pub(crate) fn method_not_allowed(allow: Option<&'static str>) -> Reply {
    let mut reply = error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    if let Some(allow) = allow {
        set(reply.headers_mut(), header::ALLOW, allow);
    }
    reply
}

/// What Go's server says to a request line that it cannot parse; no handler sees it, so it has no
/// CORS headers.
pub(crate) fn bad_request() -> Reply {
    text(StatusCode::BAD_REQUEST, "400 Bad Request")
}

/// What Go's server says to an HTTP/1.1 request without a host, in the status line too.
pub(crate) fn missing_host() -> Reply {
    let mut reply = text(StatusCode::BAD_REQUEST, "400 Bad Request: missing required Host header");
    let reason = ReasonPhrase::from_static(b"Bad Request: missing required Host header");
    reply.extensions_mut().insert(reason);
    closing(reply)
}

/// A reply after which the connection is closed.
pub(crate) fn closing(mut reply: Reply) -> Reply {
    set(reply.headers_mut(), header::CONNECTION, "close");
    reply
}

/// A redirect to the clean form of a path; only GET gets a body.
pub(crate) fn moved(method: &Method, location: &str) -> Reply {
    let mut reply = empty(StatusCode::MOVED_PERMANENTLY);
    if *method == Method::GET {
        let target = escape_html(location);
        *reply.body_mut() = format!("<a href=\"{target}\">Moved Permanently</a>.\n\n").into();
    }
    if *method == Method::GET || *method == Method::HEAD {
        set(reply.headers_mut(), header::CONTENT_TYPE, "text/html; charset=utf-8");
    }
    // Escaped paths and queries that were parsed from a request are valid header values.
    if let Ok(value) = HeaderValue::from_str(location) {
        reply.headers_mut().insert(header::LOCATION, value);
    }
    reply
}

/// Adds the CORS headers, which every reply carries.
pub(crate) fn add_cors(headers: &mut HeaderMap) {
    for (name, value) in CORS {
        set(headers, name, value);
    }
}

/// Adds what every reply carries; for HEAD the body goes and its length stays.
pub(crate) fn finish(method: &Method, mut reply: Reply) -> Reply {
    add_cors(reply.headers_mut());
    if *method == Method::HEAD {
        let body = std::mem::take(reply.body_mut());
        if !body.is_empty() {
            reply.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
    }
    reply
}

/// Sets a header to a value that is known to be valid.
pub(crate) fn set(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}

fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}
