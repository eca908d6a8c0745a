//! What grpc-go's transport settles before a method sees a call: content type, HTTP method, time-out,
//! encoding.
//!
//! Source:     grpc-go 1.82 `internal/transport/http2_server.go`, `http_util.go`.

use std::time::Duration;

use ::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use tonic::Status;
use tonic::body::Body;
use types::grpc_text;

/// The content type of gRPC, to which a subtype may be added.
const CONTENT_TYPE: &str = "application/grpc";
/// Hours above which a time-out does not fit into Go's durations, and counts as the longest.
const HOURS_MAX: u64 = i64::MAX as u64 / 3_600_000_000_000;

/// How the messages of a request are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    None,
    Gzip,
}

/// A call whose headers are in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Preamble {
    /// Content type of the answer, if it is not the plain one.
    pub(crate) content_type: Option<HeaderValue>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) encoding: Encoding,
}

/// A call that is answered by headers alone.
#[derive(Debug)]
pub(crate) struct Refusal {
    http: StatusCode,
    status: Status,
}

impl Refusal {
    fn new(http: StatusCode, status: Status) -> Self {
        Self { http, status }
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let mut response: Response<Body> = self.status.into_http();
        *response.status_mut() = self.http;
        response
    }
}

/// Reads the headers of a call, in grpc-go's order.
pub(crate) fn read(method: &Method, headers: &HeaderMap) -> Result<Preamble, Refusal> {
    let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let content_type = String::from_utf8_lossy(content_type.unwrap_or_default());
    let Some(subtype) = subtype(&content_type) else {
        let status = Status::invalid_argument(grpc_text::bad_content_type(&content_type));
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, status));
    };
    let timeout = match headers.get("grpc-timeout") {
        None => None,
        Some(value) => match timeout(&String::from_utf8_lossy(value.as_bytes())) {
            Ok(timeout) => Some(timeout),
            Err(reason) => {
                let status = Status::internal(grpc_text::bad_timeout(reason));
                return Err(Refusal::new(StatusCode::BAD_REQUEST, status));
            }
        },
    };
    if method != Method::POST {
        let status = Status::internal(grpc_text::not_post(method.as_str()));
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, status));
    }
    if timeout == Some(Duration::ZERO) {
        let status = Status::deadline_exceeded(grpc_text::DEADLINE_EXCEEDED);
        return Err(Refusal::new(StatusCode::OK, status));
    }
    let encoding = match headers.get("grpc-encoding").map(HeaderValue::as_bytes) {
        None | Some(b"" | b"identity") => Encoding::None,
        Some(b"gzip") => Encoding::Gzip,
        Some(other) => {
            let text = grpc_text::no_decompressor(&String::from_utf8_lossy(other));
            return Err(Refusal::new(StatusCode::OK, Status::unimplemented(text)));
        }
    };
    Ok(Preamble { content_type: answer_type(subtype), timeout, encoding })
}

/// What stands behind `application/grpc`; `None` when that is no content type of gRPC.
fn subtype(content_type: &str) -> Option<&str> {
    let rest = content_type.strip_prefix(CONTENT_TYPE)?;
    if rest.is_empty() { Some("") } else { rest.strip_prefix(['+', ';']) }
}

fn answer_type(subtype: &str) -> Option<HeaderValue> {
    let named = Some(subtype).filter(|subtype| !subtype.is_empty())?;
    HeaderValue::from_str(&format!("{CONTENT_TYPE}+{named}")).ok()
}

/// A time-out as gRPC writes it: up to eight digits and a unit.
fn timeout(text: &str) -> Result<Duration, String> {
    if text.len() < 2 {
        return Err(format!("transport: timeout string is too short: {text:?}"));
    }
    if text.len() > 9 {
        return Err(format!("transport: timeout string is too long: {text:?}"));
    }
    let unit: fn(u64) -> Duration = match text.as_bytes()[text.len() - 1] {
        b'H' => |hours| match hours > HOURS_MAX {
            true => Duration::from_nanos(i64::MAX as u64),
            false => Duration::from_secs(hours * 3600),
        },
        b'M' => |minutes| Duration::from_secs(minutes * 60),
        b'S' => Duration::from_secs,
        b'm' => Duration::from_millis,
        b'u' => Duration::from_micros,
        b'n' => Duration::from_nanos,
        _ => return Err(format!("transport: timeout unit is not recognized: {text:?}")),
    };
    let digits = &text[..text.len() - 1];
    let number = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    match number.and_then(|digits| digits.parse().ok()) {
        Some(number) => Ok(unit(number)),
        None => Err(format!("strconv.ParseUint: parsing {digits:?}: invalid syntax")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(headers: &[(&'static str, &str)]) -> Result<Preamble, (u16, i32, String)> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_str(value).unwrap());
        }
        read(&Method::POST, &map).map_err(|refusal| {
            let code = i32::from(refusal.status.code());
            (refusal.http.as_u16(), code, refusal.status.message().to_owned())
        })
    }

    #[test]
    fn content_types() {
        for (given, answered) in [
            ("application/grpc", None),
            ("application/grpc+proto", Some("application/grpc+proto")),
            ("application/grpc;x=y", Some("application/grpc+x=y")),
        ] {
            let preamble = call(&[("content-type", given)]).unwrap();
            assert_eq!(preamble.content_type, answered.map(HeaderValue::from_static), "{given}");
        }
        for bad in ["application/grpc-web", "application/grpcfoo", "text/plain"] {
            let text = format!("invalid gRPC request content-type \"{bad}\"");
            assert_eq!(call(&[("content-type", bad)]), Err((415, 3, text)));
        }
    }

    #[test]
    fn timeouts() {
        for (text, nanos) in [
            ("1n", 1),
            ("20u", 20_000),
            ("300m", 300_000_000),
            ("4S", 4_000_000_000),
            ("5M", 300_000_000_000),
            ("99999999H", i64::MAX.cast_unsigned()),
        ] {
            assert_eq!(timeout(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
        for bad in ["", "5", "S", "123456789S", "1x", "-1S", "+1S", "1.5S", "é"] {
            assert!(timeout(bad).is_err(), "{bad}");
        }
        let bad = call(&[("content-type", CONTENT_TYPE), ("grpc-timeout", "x")]).unwrap_err();
        assert_eq!((bad.0, bad.1), (400, 13));
        assert_eq!(bad.2, "malformed grpc-timeout: transport: timeout string is too short: \"x\"");
        let past = call(&[("content-type", CONTENT_TYPE), ("grpc-timeout", "0m")]).unwrap_err();
        assert_eq!(past, (200, 4, "context deadline exceeded".to_owned()));
    }

    #[test]
    fn encodings() {
        let encoding = |name| {
            call(&[("content-type", CONTENT_TYPE), ("grpc-encoding", name)])
                .map(|preamble| preamble.encoding)
        };
        assert_eq!(encoding("identity"), Ok(Encoding::None));
        assert_eq!(encoding("gzip"), Ok(Encoding::Gzip));
        let text = "grpc: Decompressor is not installed for grpc-encoding \"snappy\"".to_owned();
        assert_eq!(encoding("snappy"), Err((200, 12, text)));
    }
}
