//! The receiving end of a stream: dials the peer again and again and reads its messages.
//!
//! Owns:       one task per peer and kind of stream.
//! Uses:       the codecs, `dial`, `inbound`.
//! Never:      sends a raft message.
//! Invariants: two dials are at least [`limits::REDIAL_INTERVAL`] apart; a stream silent for
//!             [`limits::IO_TIMEOUT`] is given up.
//! Source:     peer-protocol.md 4.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use proto::raftpb::Message;
use tokio::time::{Instant, sleep_until};

use crate::client::with_causes;
use crate::dial::{Connection, DialError, PeerUrl, full, read_up_to};
use crate::headers::{self, MajorMinor};
use crate::message_codec::StreamError;
use crate::peer::{PeerCore, StreamKind};
use crate::{inbound, limits, message_codec, msgapp_codec};

/// How a stream ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("peer has no usable URL")]
    NoUrl,
    #[error("peer says that this member has been removed")]
    Removed,
    #[error("peer refused the stream: {status} {text}")]
    Refused { status: StatusCode, text: String },
    #[error("peer is of a version without this stream")]
    Unsupported,
    #[error("dial stream")]
    Dial(#[from] DialError),
    #[error("stream was silent for {0:?}")]
    Silent(Duration),
    #[error("connection of stream broke")]
    Broken(#[source] hyper::Error),
    #[error("stream ended inside a message")]
    CutShort,
    #[error("stream cannot be read on")]
    Malformed(#[from] StreamError),
    /// The peer ended it, as it does when it is replaced or stops.
    #[error("stream ended")]
    Closed,
}

impl Ended {
    /// Whether the machine of the peer answered that nobody listens there.
    fn is_refusal(&self) -> bool {
        matches!(self, Self::Dial(DialError::Connect(error))
            if error.kind() == io::ErrorKind::ConnectionRefused)
    }

    /// Whether the stream was open until then, and did not just fall silent.
    fn follows_open_stream(&self) -> bool {
        matches!(self, Self::Closed | Self::CutShort | Self::Broken(_))
    }
}

/// Keeps a stream of the peer open for as long as the task lives.
pub(crate) async fn run(core: Arc<PeerCore>, kind: StreamKind) {
    let mut warned = String::new();
    let mut lost_at: Option<Instant> = None;
    loop {
        let started = Instant::now();
        let ended = match core.picker.pick() {
            Some(url) => session(&core, kind, &url).await,
            None => Ended::NoUrl,
        };
        if ended.follows_open_stream() {
            lost_at = Some(Instant::now());
        } else if ended.is_refusal()
            && lost_at.take().is_some_and(|lost_at| lost_at.elapsed() < limits::GONE_WITHIN)
        {
            core.shared.api.gone(core.id);
        }
        let mut interval = limits::REDIAL_INTERVAL;
        if matches!(ended, Ended::Removed) {
            core.shared.api.removed_from_cluster();
            interval = limits::REDIAL_INTERVAL_REMOVED;
        }
        // Ten dials a second would fill a log: only a new reason is worth a line.
        let reason = with_causes(&ended);
        if matches!(ended, Ended::Closed) {
            warned.clear();
        } else if reason != warned {
            tracing::warn!(peer = %core.id, stream = kind.path(), reason, "stream is down");
            warned = reason;
        }
        sleep_until(started + interval).await;
    }
}

/// One dial and everything read after it.
async fn session(core: &PeerCore, kind: StreamKind, url: &PeerUrl) -> Ended {
    let (connection, response) = match dial(core, kind, url).await {
        Ok(opened) => opened,
        Err(ended) => {
            core.failed(url, &with_causes(&ended));
            return ended;
        }
    };
    core.activity.activate(core.id);
    let ended = read(core, kind, response.into_body()).await;
    drop(connection);
    if !matches!(ended, Ended::Closed) {
        core.counters.receive_failures.add(1);
        core.activity.deactivate(core.id, &core.counters, &with_causes(&ended));
    }
    ended
}

async fn dial(
    core: &PeerCore,
    kind: StreamKind,
    url: &PeerUrl,
) -> Result<(Connection, Response<Incoming>), Ended> {
    let options = &core.shared.options;
    let mut connection = core.dial(url, limits::IO_TIMEOUT).await?;
    let mut request = Request::new(full(""));
    let path = format!("/raft/stream/{}/{}", kind.path(), options.local_id);
    *request.uri_mut() = path.parse().unwrap_or_default();
    *request.headers_mut() = headers::request_headers(options);
    request.headers_mut().insert(headers::RAFT_TO, headers::value(&core.id.to_string()));
    let response = connection.send_within(request, limits::IO_TIMEOUT).await?;

    let status = response.status();
    let version = headers::peer_version(response.headers());
    let local = MajorMinor::parse(&options.version);
    let supported = match (version, local) {
        (Some(version), Some(local)) => version.supports_streams(local),
        _ => false,
    };
    match status {
        StatusCode::GONE => Err(Ended::Removed),
        StatusCode::OK if supported => Ok((connection, response)),
        StatusCode::OK => Err(Ended::Unsupported),
        _ => {
            let text = read_up_to(response.into_body(), limits::ERROR_BODY_BYTES_MAX).await;
            let text = text.unwrap_or_default();
            let text = String::from_utf8_lossy(&text).trim_end().to_owned();
            Err(Ended::Refused { status, text })
        }
    }
}

enum Decoder {
    Append(msgapp_codec::Decoder),
    Message(message_codec::Decoder),
}

impl Decoder {
    fn new(core: &PeerCore, kind: StreamKind) -> Self {
        let limit = limits::MESSAGE_BYTES_MAX;
        match kind {
            StreamKind::Append => {
                let local = core.shared.options.local_id;
                Self::Append(msgapp_codec::Decoder::new(local, core.id, limit))
            }
            StreamKind::Message => Self::Message(message_codec::Decoder::new(limit)),
        }
    }

    fn push(&mut self, piece: &[u8]) {
        match self {
            Self::Append(decoder) => decoder.push(piece),
            Self::Message(decoder) => decoder.push(piece),
        }
    }

    /// The next message that is not a link heartbeat.
    fn next_message(&mut self) -> Result<Option<Message>, StreamError> {
        loop {
            let message = match self {
                Self::Append(decoder) => return decoder.next_message(),
                Self::Message(decoder) => decoder.next_message()?,
            };
            match message {
                Some(message) if message_codec::is_link_heartbeat(&message) => {}
                other => return Ok(other),
            }
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Append(decoder) => decoder.is_empty(),
            Self::Message(decoder) => decoder.is_empty(),
        }
    }
}

async fn read(core: &PeerCore, kind: StreamKind, mut body: Incoming) -> Ended {
    let mut decoder = Decoder::new(core, kind);
    loop {
        let frame = match tokio::time::timeout(limits::IO_TIMEOUT, body.frame()).await {
            Err(_elapsed) => return Ended::Silent(limits::IO_TIMEOUT),
            Ok(None) if decoder.is_empty() => return Ended::Closed,
            Ok(None) => return Ended::CutShort,
            Ok(Some(Err(error))) => return Ended::Broken(error),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        core.counters.received_bytes.add(data.len());
        decoder.push(&data);
        loop {
            match decoder.next_message() {
                Ok(Some(message)) => {
                    inbound::from_stream(&*core.shared.api, &core.counters, message);
                }
                Ok(None) => break,
                Err(error) => return error.into(),
            }
        }
    }
}
