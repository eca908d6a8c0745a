//! One server under v2 requests, and watches with what is written while they wait.
//!
//! Invariants: a watch is registered before the writes it is to see, which the headers of its answer
//!             show; its end is brought about by a write that it must see. Nothing waits without a
//!             deadline.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use e2e::http::{self, Response};

use super::reply::{Reply, readable};
use super::run::Side;
use super::v2_reply;

/// How long something that must come may take.
const PATIENCE: Duration = Duration::from_secs(6);
/// How long a stream that has to be silent is listened to.
const SILENCE: Duration = Duration::from_millis(20);
/// Value that ends the reading of a stream.
pub(super) const LAST_VALUE: &str = "the last";

/// One request as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: &'static str,
    /// Path and query, escaped.
    pub(super) target: String,
    pub(super) content_type: Option<&'static str>,
    pub(super) body: String,
}

impl Request {
    /// With a form, or with nothing when that is empty.
    pub(super) fn new(method: &'static str, target: impl Into<String>, form: &str) -> Self {
        let content_type = (!form.is_empty()).then_some("application/x-www-form-urlencoded");
        Self { method, target: target.into(), content_type, body: form.to_owned() }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, target, content_type, body } = self;
        write!(formatter, "{method} {target}")?;
        if !body.is_empty() {
            let body = readable(body.as_bytes());
            write!(formatter, " ({}) {body}", content_type.unwrap_or("no type"))?;
        }
        Ok(())
    }
}

/// What is done to a server.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    Plain(Request),
    Watch(WatchCase),
}

/// A watch between writes.
#[derive(Clone, Debug)]
pub(super) struct WatchCase {
    pub(super) before: Vec<Request>,
    pub(super) watch: Request,
    pub(super) after: Vec<Request>,
    /// Expirations after which a stream is read no further; else it is read to [`LAST_VALUE`].
    pub(super) expirations: Option<usize>,
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(request) => request.fmt(formatter),
            Self::Watch(WatchCase { before, watch, after, .. }) => {
                write!(formatter, "watch {watch}")?;
                for request in before {
                    write!(formatter, "\n    before it {request}")?;
                }
                for request in after {
                    write!(formatter, "\n    after it {request}")?;
                }
                Ok(())
            }
        }
    }
}

/// One server.
pub(super) struct Server {
    address: SocketAddr,
}

impl Server {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    fn plain(&self, request: &Request) -> Reply {
        let content_type = request.content_type.map(|value| ("Content-Type", value));
        let headers: Vec<(&str, &str)> = content_type.into_iter().collect();
        let Request { method, target, body, .. } = request;
        match http::request(self.address, method, target, &headers, body) {
            Ok(response) => v2_reply::take_apart(request, &response),
            Err(error) => failure(error.kind()),
        }
    }

    fn watch(&self, case: &WatchCase) -> Reply {
        let mut reply = Reply::default();
        for (number, request) in case.before.iter().enumerate() {
            reply.merge(&format!("before[{number}]."), self.plain(request));
        }
        let mut watch = match Watch::open(self.address, &case.watch) {
            Ok(watch) => watch,
            Err(error) => {
                reply.merge("watch.", failure(error.kind()));
                return reply;
            }
        };
        reply.merge("watch.", v2_reply::take_apart(&case.watch, &watch.head));
        for (number, request) in case.after.iter().enumerate() {
            reply.merge(&format!("after[{number}]."), self.plain(request));
        }
        watch.read(case, &mut reply);
        reply
    }
}

impl Side for Server {
    type Operation = Operation;

    fn run(&mut self, operation: &Operation) -> Reply {
        match operation {
            Operation::Plain(request) => self.plain(request),
            Operation::Watch(case) => self.watch(case),
        }
    }
}

fn failure(kind: std::io::ErrorKind) -> Reply {
    let mut reply = Reply::default();
    reply.set("failure", format!("{kind:?}"));
    reply
}

/// An answer that comes piece by piece.
struct Watch {
    connection: BufReader<TcpStream>,
    head: Response,
    is_chunked: bool,
    index: i64,
}

impl Watch {
    /// Sends the request and reads the headers, which come when the watch is registered.
    fn open(address: SocketAddr, request: &Request) -> std::io::Result<Self> {
        let mut stream = http::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let Request { method, target, .. } = request;
        let head =
            format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        let mut connection = BufReader::new(stream);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if connection.read_until(b'\n', &mut head)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        // Of a refusal the body is complete.
        let is_chunked = String::from_utf8_lossy(&head)
            .to_ascii_lowercase()
            .contains("transfer-encoding: chunked");
        let head = if is_chunked {
            // The parser wants an end of the body.
            head.extend_from_slice(b"0\r\n\r\n");
            http::read_response(&mut head.as_slice())?
        } else {
            http::read_response(&mut head.as_slice().chain(&mut connection))?
        };
        let index = head.header("X-Etcd-Index").and_then(|value| value.parse().ok()).unwrap_or(0);
        Ok(Self { connection, head, is_chunked, index })
    }

    /// Reads events until the one that is the last by its kind.
    fn read(&mut self, case: &WatchCase, reply: &mut Reply) {
        let is_stream = case.watch.target.contains("stream=true");
        let mut expirations = 0;
        for number in 0.. {
            let line = if self.is_chunked { self.event() } else { Err("end".to_owned()) };
            let line = match line {
                Ok(line) => line,
                Err(end) => return reply.set("end", end),
            };
            let event = v2_reply::event(&line);
            let is_last = event.get("body.node.value").is_some_and(|value| value == LAST_VALUE);
            expirations += usize::from(event.get("body.action") == Some("expire"));
            let is_from_history = event.number("body.node.modifiedIndex") <= self.index;
            reply.merge(&format!("event[{number}]."), event);
            if is_stream && is_from_history {
                return reply.set("end", self.listen());
            }
            if is_stream && (is_last || case.expirations == Some(expirations)) {
                return reply.set("end", "as expected");
            }
        }
    }

    /// One chunk, which is one event.
    fn event(&mut self) -> Result<String, String> {
        let text = |error: std::io::Error| format!("{:?}", error.kind());
        let mut size = String::new();
        self.connection.read_line(&mut size).map_err(text)?;
        let size = usize::from_str_radix(size.trim(), 16).map_err(|_| format!("chunk {size:?}"))?;
        let mut chunk = vec![0; size + 2];
        self.connection.read_exact(&mut chunk).map_err(text)?;
        if size == 0 {
            return Err("end of the body".to_owned());
        }
        chunk.truncate(size);
        String::from_utf8(chunk).map_err(|_| "not UTF-8".to_owned())
    }

    /// A stream that gave an event of the past gives nothing more (api-v2.md 3.3).
    fn listen(&mut self) -> String {
        let short = self.connection.get_ref().set_read_timeout(Some(SILENCE));
        let more = short.map_err(|error| error.to_string()).and_then(|()| self.event());
        more.unwrap_or_else(|_| "silence".to_owned())
    }
}
