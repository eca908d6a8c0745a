//! Calls as bytes over HTTP/2, for what no generated client would send.

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;

use crate::member::Member;

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) http: u16,
    pub(crate) headers: HeaderMap,
    /// `grpc-status`, in headers or trailers.
    pub(crate) code: i32,
    pub(crate) message: String,
    pub(crate) body: Bytes,
}

impl Answer {
    /// HTTP status, code and text.
    pub(crate) fn told(&self) -> (u16, i32, &str) {
        (self.http, self.code, &self.message)
    }
}

/// A message in its frame.
pub(crate) fn frame(message: &impl Message) -> Vec<u8> {
    framed(0, &message.encode_to_vec())
}

pub(crate) fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let mut bytes = vec![flag];
    bytes.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(message);
    bytes
}

/// POSTs a body with gRPC's content type and the headers given, which may replace it.
pub(crate) async fn call(
    member: &Member,
    path: &str,
    headers: &[(&str, &[u8])],
    body: &[u8],
) -> Answer {
    request(member, "POST", path, headers, body).await
}

pub(crate) async fn request(
    member: &Member,
    method: &str,
    path: &str,
    headers: &[(&str, &[u8])],
    body: &[u8],
) -> Answer {
    let stream = TokioIo::new(member.connect());
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    let driver = tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(format!("http://member{path}"));
    if !headers.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/grpc");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
    let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let find = |name: &str| parts.headers.get(name).or_else(|| trailers.get(name)).cloned();
    let code = find("grpc-status").map_or(-1, |code| code.to_str().unwrap().parse().unwrap());
    let message = find("grpc-message").map_or(String::new(), |text| decode(text.as_bytes()));
    driver.abort();
    Answer {
        http: parts.status.as_u16(),
        headers: parts.headers.clone(),
        code,
        message,
        body: collected.to_bytes(),
    }
}

/// Takes the percent signs out of a message.
fn decode(text: &[u8]) -> String {
    let mut out = Vec::new();
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (b'%', [high, low, tail @ ..]) => {
                let hex = String::from_utf8(vec![*high, *low]).unwrap();
                out.push(u8::from_str_radix(&hex, 16).unwrap());
                rest = tail;
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(out).unwrap()
}
