//! One server under v3 operations: calls, watch streams, lease streams.
//!
//! Owns:       a connection, the watch streams of the run, and a watcher of everything, by which it
//!             knows what each other watcher is going to get.
//! Invariants: an operation is over when its reply is there and every watcher has what it brought
//!             about; so what is compared does not depend on time. Nothing waits without a deadline.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use e2e::v3::{Client, Failure, Received, Stream};
use prost::Message as _;
use proto::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, PutRequest, WatchCreateRequest, WatchRequest,
    watch_request::RequestUnion,
};

use super::reply::{Reply, readable};
use super::run::Side;
use super::schema::Schema;
use super::v3_ties;
use super::v3_watch::{self, Oracle, Streams};

pub(super) const KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";
pub(super) const WATCH: &str = "/etcdserverpb.Watch/Watch";
pub(super) const GRANT: &str = "/etcdserverpb.Lease/LeaseGrant";
pub(super) const PUT: &str = "/etcdserverpb.KV/Put";
/// Flag and length before each message.
const FRAME_HEADER_BYTES: usize = 5;
/// How long something that must come may take: the end of a lease of the shortest time included.
pub(super) const PATIENCE: Duration = Duration::from_secs(12);

/// What is done to a server.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    /// One request with its encoded message.
    Call { path: &'static str, request: Bytes },
    /// A body that is no proper call.
    Raw { path: &'static str, body: Bytes, content_type: &'static str },
    /// Requests on one new stream of keep-alives, which is then half-closed.
    KeepAlive { ids: Vec<i64> },
    /// A request on a watch stream, which is opened by its first.
    Watch { stream: u32, request: WatchRequest },
    /// Bytes that are no request, on a watch stream of their own.
    WatchBroken { bytes: Bytes },
    /// A watcher on a stream of its own, until it is cancelled.
    WatchRefused { create: WatchCreateRequest },
    /// Our direction of a stream ends; what it watches goes on.
    HalfClose { stream: u32 },
    /// A stream ends.
    Close { stream: u32 },
    /// A lease of a short time with one key, until it has run out.
    Expiry { id: i64, ttl: i64, key: Bytes },
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schema = Schema::get();
        match self {
            Self::Call { path, request } => formatter.write_str(&schema.line(path, request)),
            Self::Raw { path, body, content_type } => {
                write!(formatter, "Raw {path} {content_type} {}", readable(body))
            }
            Self::KeepAlive { ids } => write!(formatter, "LeaseKeepAlive{ids:?}"),
            Self::Watch { stream, request } => {
                write!(
                    formatter,
                    "stream {stream} {}",
                    schema.line(WATCH, &request.encode_to_vec())
                )
            }
            Self::WatchBroken { bytes } => write!(formatter, "Watch broken {}", readable(bytes)),
            Self::WatchRefused { create } => {
                let union = Some(RequestUnion::CreateRequest(create.clone()));
                let message = WatchRequest { request_union: union }.encode_to_vec();
                write!(formatter, "refused {}", schema.line(WATCH, &message))
            }
            Self::HalfClose { stream } => write!(formatter, "stream {stream} half-close"),
            Self::Close { stream } => write!(formatter, "stream {stream} close"),
            Self::Expiry { id, ttl, key } => {
                write!(formatter, "Expiry of lease {id}, TTL {ttl}, key {}", readable(key))
            }
        }
    }
}

/// One server.
pub(super) struct Server {
    client: Client,
    oracle: Oracle,
    streams: Streams,
}

impl Server {
    pub(super) fn new(address: SocketAddr) -> Self {
        let client = Client::new(address);
        let oracle = Oracle::new(&client);
        Self { client, oracle, streams: Streams::default() }
    }

    fn call(&mut self, path: &str, request: &Bytes) -> Reply {
        let outcome = self.client.unary_bytes(path, &[], request.clone());
        let outcome = outcome.map(|reply| v3_ties::settle(path, request, reply));
        outcome_of(path, request, outcome)
    }

    fn raw(&self, path: &str, content_type: &str, body: &Bytes) -> Reply {
        let mut reply = Reply::default();
        let headers = [("content-type", content_type), ("te", "trailers")];
        match self.client.raw(path, &headers, body.clone()) {
            Err(failure) => reply.set("failure", failure.message),
            Ok(raw) => {
                reply.set("status", raw.status.to_string());
                match (raw.body.split_at_checked(FRAME_HEADER_BYTES), Schema::get().method(path)) {
                    (Some((_, message)), Some((_, name))) => {
                        reply.merge("body.", Schema::get().take_apart(name, message));
                    }
                    _ => reply.set("body", readable(&raw.body)),
                }
                for name in ["grpc-status", "grpc-message"] {
                    let value = raw.trailer(name).unwrap_or_default();
                    if !value.is_empty() {
                        reply.set(name, unescaped(value));
                    }
                }
            }
        }
        reply
    }

    fn keep_alive(&self, ids: &[i64]) -> Reply {
        let mut stream = self.client.stream(KEEP_ALIVE, &[]);
        for id in ids {
            stream.send(&LeaseKeepAliveRequest { id: *id });
        }
        stream.half_close();
        let mut reply = Reply::default();
        for number in 0.. {
            match stream.receive(PATIENCE) {
                Received::Message(bytes) => {
                    let one = Schema::get().take_apart("LeaseKeepAliveResponse", &bytes);
                    reply.merge(&format!("answer[{number}]."), one);
                }
                other => {
                    reply.set("end", end_of(&other));
                    return reply;
                }
            }
        }
        reply
    }

    fn watch_broken(&self, bytes: &Bytes) -> Reply {
        let mut stream = self.client.stream(WATCH, &[]);
        stream.send_bytes(bytes.clone());
        let mut reply = Reply::default();
        reply.set("end", end_of(&stream.receive(PATIENCE)));
        reply
    }

    /// Watches the key, hangs it on a new lease, and waits for its end by the lease's.
    fn expiry(&mut self, id: i64, ttl: i64, key: &Bytes) -> Reply {
        let mut reply = Reply::default();
        let create = WatchCreateRequest { key: key.clone(), prev_kv: true, ..Default::default() };
        let mut stream = self.client.stream(WATCH, &[]);
        stream.send(&WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) });
        let grant = LeaseGrantRequest { ttl, id }.encode_to_vec().into();
        let put = PutRequest { key: key.clone(), lease: id, ..Default::default() };
        let created = stream.receive(PATIENCE);
        reply.merge("grant.", self.call(GRANT, &grant));
        reply.merge("put.", self.call(PUT, &put.encode_to_vec().into()));
        for (name, received) in ["created", "put event", "expire event"].iter().zip([
            created,
            stream.receive(PATIENCE),
            stream.receive(PATIENCE),
        ]) {
            match received {
                Received::Message(bytes) => {
                    let response = Schema::get().take_apart("WatchResponse", &bytes);
                    self.oracle.saw_revision(response.number("header.revision"));
                    reply.merge(&format!("{name}."), response);
                }
                other => reply.set(*name, end_of(&other)),
            }
        }
        reply
    }
}

impl Side for Server {
    type Operation = Operation;

    fn run(&mut self, operation: &Operation) -> Reply {
        let mut reply = match operation {
            Operation::Call { path, request } => self.call(path, request),
            Operation::Raw { path, body, content_type } => self.raw(path, content_type, body),
            Operation::KeepAlive { ids } => self.keep_alive(ids),
            Operation::Watch { stream, request } => {
                self.streams.request(&self.client, &self.oracle, *stream, request)
            }
            Operation::WatchBroken { bytes } => self.watch_broken(bytes),
            Operation::WatchRefused { create } => v3_watch::refused(&self.client, create),
            Operation::HalfClose { stream } => self.streams.half_close(*stream),
            Operation::Close { stream } => self.streams.close(*stream),
            Operation::Expiry { id, ttl, key } => self.expiry(*id, *ttl, key),
        };
        if let Operation::Call { path, request } = operation {
            self.oracle.saw(path, request, &reply);
        }
        self.oracle.catch_up(&mut reply);
        self.streams.settle(&self.oracle, &mut reply);
        reply
    }
}

/// The fields of a reply, or of a refusal.
fn outcome_of(path: &str, request: &Bytes, outcome: Result<Bytes, Failure>) -> Reply {
    let schema = Schema::get();
    let mut reply = match outcome {
        Ok(bytes) => {
            let message = schema.method(path).map_or("", |(_, reply)| reply);
            schema.take_apart(message, &bytes)
        }
        Err(failure) => {
            let mut reply = Reply::default();
            reply.set("message", failure.message);
            reply.set("code", format!("{:?}", failure.code));
            return reply;
        }
    };
    reply.set("code", "Ok");
    let is_picked =
        path == GRANT && LeaseGrantRequest::decode(request.clone()).is_ok_and(|r| r.id == 0);
    if is_picked && reply.number("id") > 0 {
        reply.set("id", "(picked)");
    }
    reply
}

/// Which bytes of a text are escaped is the sender's choice.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.split_at_checked(2).map(|(hex, rest)| (u8::from_str_radix(hex, 16), rest)) {
            Some((Ok(byte), rest)) => {
                bytes.push(byte);
                bytes.extend_from_slice(rest.as_bytes());
            }
            _ => bytes.extend_from_slice(format!("%{part}").as_bytes()),
        }
    }
    readable(&bytes)
}

/// How a stream ended, or that it did not.
pub(super) fn end_of(received: &Received) -> String {
    match received {
        Received::Message(bytes) => format!("a message: {}", readable(bytes)),
        Received::End(Ok(())) => "Ok".to_owned(),
        Received::End(Err(failure)) => format!("{:?}: {}", failure.code, failure.message),
        Received::Silence => "silence".to_owned(),
    }
}

/// Watch streams by number, for iteration in order.
pub(super) type ByNumber<T> = BTreeMap<u32, T>;

/// An open watch stream of a client.
pub(super) fn open(client: &Client) -> Stream {
    client.stream(WATCH, &[])
}
