//! A small blocking HTTP/1.1 client: one request per connection.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a connection, a read or a write may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A reply with its body as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Header lines in order, names as sent.
    pub headers: Vec<(String, String)>,
    /// Body, chunks joined.
    pub body: String,
}

impl Response {
    /// The first header of this name, whatever its case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// `GET path`.
///
/// # Errors
/// As [`request`].
pub fn get(server: SocketAddr, path: &str) -> io::Result<Response> {
    request(server, "GET", path, &[], "")
}

/// `GET path` that gives up when the server is silent for `patience`.
///
/// # Errors
/// As [`request`].
pub fn get_within(server: SocketAddr, path: &str, patience: Duration) -> io::Result<Response> {
    let mut stream = connect(server)?;
    stream.set_read_timeout(Some(patience))?;
    let head = format!("GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    read_response(&mut stream)
}

/// Sends a form (`key=value&...`, already escaped) with `method`, as v2 clients do.
///
/// # Errors
/// As [`request`].
pub fn form(server: SocketAddr, method: &str, path: &str, body: &str) -> io::Result<Response> {
    request(server, method, path, &[("Content-Type", "application/x-www-form-urlencoded")], body)
}

/// Sends one request on a connection of its own and reads the whole reply.
///
/// # Errors
/// When the connection fails, stalls, or what comes is no HTTP/1.1 reply.
pub fn request(
    server: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> io::Result<Response> {
    let mut stream = connect(server)?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() || method != "GET" {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    head.push_str(body);
    stream.write_all(head.as_bytes())?;
    read_response(&mut stream)
}

/// A connection with time-outs set.
///
/// # Errors
/// When it cannot be made.
pub fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// Reads to the end of the connection and takes the reply apart.
///
/// # Errors
/// When the connection fails or what came is no HTTP/1.1 reply.
pub fn read_response(stream: &mut impl Read) -> io::Result<Response> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    parse(&bytes).ok_or_else(|| {
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        io::Error::new(io::ErrorKind::InvalidData, format!("not an HTTP/1.1 reply: {shown:?}"))
    })
}

/// Takes a head apart, which may be followed by anything; the body stays empty.
#[must_use]
pub fn parse_head(bytes: &[u8]) -> Option<Response> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(bytes.get(..end)?).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    Some(Response { status, headers, body: String::new() })
}

fn parse(bytes: &[u8]) -> Option<Response> {
    let mut response = parse_head(bytes)?;
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let body = bytes.get(end + 4..)?;
    let is_chunked = response.header("Transfer-Encoding") == Some("chunked");
    let body = if is_chunked { unchunk(body)? } else { body.to_vec() };
    response.body = String::from_utf8_lossy(&body).into_owned();
    Some(response)
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(rest.get(..line)?).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        rest = rest.get(line + 2..)?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_taken_apart() {
        let plain = b"HTTP/1.1 404 Not Found\r\nX-Etcd-Index: 7\r\nContent-Length: 2\r\n\r\nno";
        let reply = parse(plain).expect("a reply");
        assert_eq!((reply.status, reply.body.as_str()), (404, "no"));
        assert_eq!(reply.header("x-etcd-index"), Some("7"));
        let chunked =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n";
        assert_eq!(parse(chunked).expect("a reply").body, "abc0123456789");
        for broken in [&b"HTTP/1.1 200 OK\r\n"[..], b"\r\n\r\n", b"SSH-2.0\r\n\r\n"] {
            assert_eq!(parse(broken), None);
        }
    }
}
