//! One HTTP/2 connection, gRPC on it.
//!
//! Invariants: small frames are copied together and leave in one write; flow control never holds a
//!             reply up.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use h2::client::{Builder, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::message;

/// Flow-control windows in bytes: above any reply, so that the server never waits for credit.
const STREAM_WINDOW: u32 = 16 << 20;
const CONNECTION_WINDOW: u32 = 64 << 20;

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The server said so, or its answer is wrong: the connection goes on.
    Answer(String),
    /// The connection is of no use any more.
    Connection(String),
}

impl Failure {
    /// For the report.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Answer(text) | Self::Connection(text) => text,
        }
    }
}

impl From<h2::Error> for Failure {
    fn from(error: h2::Error) -> Self {
        Self::Connection(format!("http2: {error}"))
    }
}

/// A connection; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Channel {
    send: SendRequest<Bytes>,
    authority: String,
}

/// The head of the requests of one method.
#[derive(Clone, Debug)]
pub(super) struct Head {
    uri: Uri,
    headers: HeaderMap,
}

impl Channel {
    /// Connects, and lets the connection run on this thread's runtime.
    ///
    /// # Errors
    /// When there is no server, or it does not speak HTTP/2.
    pub(super) async fn connect(endpoint: &str) -> anyhow::Result<Self> {
        let stream = connect(endpoint).await?;
        let mut builder = Builder::new();
        builder
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(1 << 20)
            .enable_push(false);
        let (send, connection) = builder
            .handshake(Unvectored(stream))
            .await
            .with_context(|| format!("speak HTTP/2 to {endpoint}"))?;
        // Its end is seen by the requests on it.
        tokio::task::spawn_local(async move { drop(connection.await) });
        Ok(Self { send, authority: endpoint.to_owned() })
    }

    /// For requests of this method, as `/etcdserverpb.KV/Put`.
    ///
    /// # Errors
    /// When the address of the server is none.
    pub(super) fn head(&self, method: &str) -> anyhow::Result<Head> {
        let uri = format!("http://{}{method}", self.authority).parse()?;
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        headers.insert("te", HeaderValue::from_static("trailers"));
        Ok(Head { uri, headers })
    }

    /// Sends one framed message and returns the one that answers it, without its frame.
    ///
    /// # Errors
    /// When the server does not answer with a message and status 0.
    pub(super) async fn unary(&mut self, head: &Head, frame: Bytes) -> Result<Bytes, Failure> {
        let (mut reply, mut stream) = self.begin(head).await?;
        stream.send_data(frame, true)?;
        reply.whole().await
    }

    /// Opens a stream in both directions.
    ///
    /// # Errors
    /// When the connection is lost.
    pub(super) async fn begin(
        &mut self,
        head: &Head,
    ) -> Result<(Reply, SendStream<Bytes>), Failure> {
        poll_fn(|context| self.send.poll_ready(context)).await?;
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = head.uri.clone();
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = head.headers.clone();
        let (response, stream) = self.send.send_request(request, false)?;
        let state = State::Waiting(response);
        Ok((Reply { state, buffer: BytesMut::new() }, stream))
    }
}

/// Connects without Nagle's delay.
///
/// # Errors
/// When there is no server.
pub(super) async fn connect(endpoint: &str) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(endpoint).await;
    let stream = stream.with_context(|| format!("connect to {endpoint}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The answer to a request.
#[derive(Debug)]
pub(super) struct Reply {
    state: State,
    buffer: BytesMut,
}

#[derive(Debug)]
enum State {
    Waiting(h2::client::ResponseFuture),
    Reading(RecvStream),
    Ended,
}

impl Reply {
    /// The only message.
    async fn whole(&mut self) -> Result<Bytes, Failure> {
        let message = self.message().await?;
        let message = message.ok_or_else(|| Failure::Answer("no message".to_owned()))?;
        match self.message().await? {
            None => Ok(message),
            Some(_) => Err(Failure::Answer("several messages".to_owned())),
        }
    }

    /// The next message; nothing after the last when the server says that all went well.
    ///
    /// # Errors
    /// When it does not.
    pub(super) async fn message(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            if let Some(message) =
                message::take_message(&mut self.buffer).map_err(Failure::Answer)?
            {
                return Ok(Some(message));
            }
            match &mut self.state {
                State::Waiting(response) => {
                    let response = response.await?;
                    if response.headers().contains_key("grpc-status") || response.status() != 200 {
                        let (head, _) = response.into_parts();
                        self.state = State::Ended;
                        status(Some(&head.headers), head.status)?;
                        return Ok(None);
                    }
                    self.state = State::Reading(response.into_body());
                }
                State::Reading(body) => match body.data().await {
                    Some(data) => {
                        let data = data?;
                        body.flow_control().release_capacity(data.len())?;
                        self.buffer.extend_from_slice(&data);
                    }
                    None => {
                        let trailers = body.trailers().await?;
                        self.state = State::Ended;
                        if !self.buffer.is_empty() {
                            return Err(Failure::Answer("part of a message".to_owned()));
                        }
                        status(trailers.as_ref(), http::StatusCode::OK)?;
                    }
                },
                State::Ended => return Ok(None),
            }
        }
    }
}

fn status(headers: Option<&HeaderMap>, http: http::StatusCode) -> Result<(), Failure> {
    let text = |name: &str| {
        let value = headers.and_then(|headers| headers.get(name));
        value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    match text("grpc-status").as_deref() {
        Some("0") => Ok(()),
        Some(code) => {
            let message = text("grpc-message").unwrap_or_default();
            Err(Failure::Answer(format!("grpc status {code}: {message}")))
        }
        None => Err(Failure::Answer(format!("no grpc status, HTTP {http}"))),
    }
}

/// A socket that lets `h2` gather small frames into one buffer instead of many slices.
struct Unvectored(TcpStream);

impl AsyncRead for Unvectored {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Unvectored {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        false
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
