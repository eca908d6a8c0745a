//! A blocking gRPC client for any method, typed or as bytes, and for requests that are broken.
//!
//! Owns:       one connection per [`Client`], and the thread that serves it.
//! Uses:       tonic's channel; messages of `proto`.
//! Never:      retries; knowledge of single methods.
//! Invariants: every wait has a deadline; what a stream receives is handed out in order and buffered
//!             for a few messages only, so that a reader that stops reading holds its server back.
//! Source:     api-v3.md 1.1.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use http_body_util::{BodyExt, Full};
use prost::Message;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tower::ServiceExt;

/// How long a reply may take: longer than a server waits for the outcome of a request.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Messages of a stream that were received and not read.
const STREAM_MESSAGES_MAX: usize = 4;

/// A refusal: what the server said, or the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// gRPC code.
    pub code: Code,
    /// Text for people, which clients match on.
    pub message: String,
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self { code: status.code(), message: status.message().to_owned() }
    }
}

/// A connection to one member, made when it is first used.
#[derive(Clone, Debug)]
pub struct Client {
    runtime: Arc<Runtime>,
    channel: Channel,
}

impl Client {
    /// For the client address of a member.
    ///
    /// # Panics
    /// When no thread can be had.
    #[must_use]
    pub fn new(server: SocketAddr) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("start a thread for the connection");
        let endpoint = Endpoint::from_shared(format!("http://{server}")).expect("a URL");
        let guard = runtime.enter();
        let channel = endpoint.connect_timeout(PATIENCE).connect_lazy();
        drop(guard);
        Self { runtime: Arc::new(runtime), channel }
    }

    /// One request and its reply, as `unary("/etcdserverpb.KV/Put", &PutRequest { .. })`.
    ///
    /// # Errors
    /// What the server answered, or `DeadlineExceeded` after [`PATIENCE`].
    ///
    /// # Panics
    /// When the reply is no such message.
    pub fn unary<A: Message + Default>(
        &self,
        path: &str,
        request: &impl Message,
    ) -> Result<A, Failure> {
        let reply = self.unary_bytes(path, &[], request.encode_to_vec().into())?;
        Ok(A::decode(reply).unwrap_or_else(|error| panic!("reply of {path}: {error}")))
    }

    /// One request and its reply as encoded messages, with request metadata.
    ///
    /// # Errors
    /// As [`Client::unary`].
    pub fn unary_bytes(
        &self,
        path: &str,
        metadata: &[(&str, &str)],
        request: Bytes,
    ) -> Result<Bytes, Failure> {
        let request = with_metadata(tonic::Request::new(request), metadata);
        let (mut grpc, path) = (self.grpc(), method(path));
        let reply = async {
            grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
            grpc.unary(request, path, Raw).await.map(tonic::Response::into_inner)
        };
        self.within(PATIENCE, reply).unwrap_or_else(|| Err(late())).map_err(Failure::from)
    }

    /// Opens a stream in both directions; the server sees it at once.
    #[must_use]
    pub fn stream(&self, path: &str, metadata: &[(&str, &str)]) -> Stream {
        let (requests, outgoing) = mpsc::unbounded_channel();
        let (received, replies) = mpsc::channel(STREAM_MESSAGES_MAX);
        let outgoing = tonic::Request::new(UnboundedReceiverStream::new(outgoing));
        let (mut grpc, path) = (self.grpc(), method(path));
        let outgoing = with_metadata(outgoing, metadata);
        self.runtime.spawn(async move {
            let outcome = async {
                grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
                let mut replies = grpc.streaming(outgoing, path, Raw).await?.into_inner();
                while let Some(message) = replies.message().await? {
                    if received.send(Received::Message(message)).await.is_err() {
                        break;
                    }
                }
                Ok::<(), Status>(())
            };
            // Nobody reads a stream that was dropped.
            let outcome = tokio::select! {
                outcome = outcome => outcome,
                () = received.closed() => return,
            };
            let _ = received.send(Received::End(outcome.map_err(Failure::from))).await;
        });
        Stream { client: self.clone(), requests: Some(requests), replies }
    }

    /// Sends any bytes as the body of a call, well framed or not.
    ///
    /// # Errors
    /// When the connection fails, or there is no answer within [`PATIENCE`].
    ///
    /// # Panics
    /// When a header is no header.
    pub fn raw(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<RawReply, Failure> {
        let mut request = http::Request::post(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(tonic::body::Body::new(Full::new(body))).expect("a request");
        let channel = self.channel.clone();
        let reply = async {
            let reply = channel.oneshot(request).await.map_err(|error| error.to_string())?;
            let (head, body) = reply.into_parts();
            let body = body.collect().await.map_err(|error| error.to_string())?;
            let trailers: http::HeaderMap = body.trailers().cloned().unwrap_or_default();
            let (head, status) = (head.headers, head.status.as_u16());
            Ok::<_, String>(RawReply { status, headers: head, body: body.to_bytes(), trailers })
        };
        let failed = |message: String| Failure { code: Code::Unavailable, message };
        self.within(PATIENCE, reply).unwrap_or_else(|| Err("no answer".to_owned())).map_err(failed)
    }

    fn grpc(&self) -> Grpc<Channel> {
        Grpc::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    fn within<T>(&self, patience: Duration, work: impl Future<Output = T>) -> Option<T> {
        self.runtime.block_on(async { tokio::time::timeout(patience, work).await.ok() })
    }
}

/// An answer without interpretation.
#[derive(Clone, Debug)]
pub struct RawReply {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: http::HeaderMap,
    /// Body, with the frames of gRPC.
    pub body: Bytes,
    /// Trailers.
    pub trailers: http::HeaderMap,
}

impl RawReply {
    /// A trailer, or the header of this name when the answer consists of headers alone.
    #[must_use]
    pub fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.get(name).or_else(|| self.headers.get(name))?.to_str().ok()
    }
}

/// What a stream gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// An encoded message.
    Message(Bytes),
    /// Its end. Nothing follows.
    End(Result<(), Failure>),
    /// Nothing within the deadline.
    Silence,
}

/// A stream in both directions. Dropping it cancels it.
#[derive(Debug)]
pub struct Stream {
    client: Client,
    requests: Option<mpsc::UnboundedSender<Bytes>>,
    replies: mpsc::Receiver<Received>,
}

impl Stream {
    /// Sends a message.
    pub fn send(&self, message: &impl Message) {
        self.send_bytes(message.encode_to_vec().into());
    }

    /// Sends a message that is encoded.
    pub fn send_bytes(&self, message: Bytes) {
        if let Some(requests) = &self.requests {
            // After its end nobody takes it, and the reader gets to know the end.
            let _ = requests.send(message);
        }
    }

    /// Ends our direction.
    pub fn half_close(&mut self) {
        self.requests = None;
    }

    /// The next thing received within `patience`.
    pub fn receive(&mut self, patience: Duration) -> Received {
        let Self { client, replies, .. } = self;
        match client.within(patience, replies.recv()) {
            Some(received) => received.unwrap_or(Received::End(Ok(()))),
            None => Received::Silence,
        }
    }

    /// The next message within [`PATIENCE`].
    ///
    /// # Panics
    /// When there is none, or it is another message.
    #[expect(clippy::should_implement_trait, reason = "an iterator would be of one type and end")]
    #[track_caller]
    pub fn next<A: Message + Default>(&mut self) -> A {
        match self.receive(PATIENCE) {
            Received::Message(bytes) => A::decode(bytes).expect("a message of this type"),
            other => panic!("a message was expected, not {other:?}"),
        }
    }
}

fn method(path: &str) -> PathAndQuery {
    path.parse().unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn late() -> Status {
    Status::deadline_exceeded(format!("no answer within {PATIENCE:?}"))
}

fn with_metadata<T>(
    mut request: tonic::Request<T>,
    metadata: &[(&str, &str)],
) -> tonic::Request<T> {
    for (name, value) in metadata {
        let key: tonic::metadata::AsciiMetadataKey = name.parse().expect("a name of metadata");
        request.metadata_mut().insert(key, value.parse().expect("a value of metadata"));
    }
    request
}

/// Messages that stay encoded.
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
