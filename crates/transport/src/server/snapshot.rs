//! `POST /raft/snapshot`: a message and the database behind it.
//!
//! Owns:       the file being written, through the node's sink.
//! Uses:       `message_codec` for the message in front.
//! Never:      writes on a runtime thread; holds more than a piece of the database.
//! Invariants: the message is stepped only after the database is durable under its final name; a
//!             body that does not end properly leaves no such file.
//! Source:     peer-protocol.md 6.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use proto::raftpb::{DecodeError, Message, MessageType};
use types::NodeId;

use super::raft::{error_processing, incompatible, refused, remember_sender};
use super::reply::{self, Reply};
use super::requests::{closing, next_data, with_cluster_id};
use crate::api::{SnapshotSink, SnapshotWriter};
use crate::limits;
use crate::message_codec::{Decoder, StreamError};
use crate::transport::Transport;

/// Answers a snapshot.
pub(crate) async fn receive(transport: Transport, request: Request<Incoming>) -> Reply {
    if request.method() != Method::POST {
        return reply::wrong_method(Some("POST"));
    }
    let reply = match incompatible(&transport, request.headers()) {
        Some(refusal) => refusal,
        None => {
            remember_sender(&transport, request.headers());
            // In a task of its own: it goes on when the connection breaks, and tidies up.
            let store = store(transport.clone(), request.into_body());
            let stored = tokio::spawn(store).await;
            stored.unwrap_or_else(|_panicked| closing(error_processing("internal error")))
        }
    };
    with_cluster_id(&transport, reply)
}

#[derive(Debug, thiserror::Error)]
enum ReadError {
    /// Go's words for an empty body.
    #[error("EOF")]
    Empty,
    #[error("unexpected EOF")]
    CutShort,
    #[error("rafthttp: error limit exceeded")]
    TooLong,
    #[error("{0}")]
    Malformed(#[from] StreamError),
}

async fn store(transport: Transport, mut body: Incoming) -> Reply {
    let (message, rest) = match read_message(&mut body).await {
        Ok(read) => read,
        Err(error) => {
            let text = format!("failed to decode raft message ({error})");
            return closing(reply::error(StatusCode::BAD_REQUEST, &text));
        }
    };
    if message.message_type != MessageType::Snap {
        return closing(reply::error(StatusCode::BAD_REQUEST, "wrong raft message type"));
    }
    let shared = transport.shared();
    let counters = shared.counters.find(NodeId(message.from));
    let from = NodeId(message.from);
    let sink = shared.api.receive_snapshot();
    let transfer = counters.snapshots_in.begin();
    let place = shared.snapshots_in.try_acquire();
    let saved = match place {
        Ok(_place) => save(sink, &message, rest, &mut body).await,
        Err(_none) => Err(io::Error::other("too many snapshots are being received")),
    };
    match saved {
        Ok(length) => {
            counters.received_bytes.add(length);
            tracing::info!(from = %from, bytes = length, "received and saved a database snapshot");
        }
        Err(error) => {
            counters.snapshot_receive_failures.add(1);
            tracing::warn!(from = %from, %error, "database snapshot was not saved");
            let text = format!("failed to save KV snapshot ({error})");
            return closing(error_processing(&text));
        }
    }
    match shared.api.raft_message(message) {
        Ok(()) => {
            counters.snapshots_received.add(1);
            transfer.done();
            reply::empty(StatusCode::NO_CONTENT)
        }
        Err(error) => {
            counters.snapshot_receive_failures.add(1);
            let text = format!("failed to process raft message ({error})");
            refused(&error).unwrap_or_else(|| closing(error_processing(&text)))
        }
    }
}

/// Reads the message in front; what came behind it in the same piece belongs to the database.
async fn read_message(body: &mut Incoming) -> Result<(Message, BytesMut), ReadError> {
    let mut decoder = Decoder::new(limits::SNAPSHOT_MESSAGE_BYTES_MAX);
    loop {
        match decoder.next_message() {
            Ok(Some(message)) => return Ok((message, decoder.into_rest())),
            Ok(None) => {}
            Err(StreamError::TooLong { .. }) => return Err(ReadError::TooLong),
            Err(StreamError::Decode(DecodeError::Truncated { .. })) => {
                return Err(ReadError::CutShort);
            }
            Err(error) => return Err(error.into()),
        }
        match next_data(body).await {
            Ok(Some(data)) => decoder.push(&data),
            Ok(None) if decoder.is_empty() => return Err(ReadError::Empty),
            Ok(None) | Err(_) => return Err(ReadError::CutShort),
        }
    }
}

/// Streams the rest of the body into the sink; returns its length.
async fn save(
    sink: Arc<dyn SnapshotSink>,
    message: &Message,
    mut pending: BytesMut,
    body: &mut Incoming,
) -> io::Result<usize> {
    let message = Message { entries: Vec::new(), ..message.clone() };
    let mut writer = blocking(move || sink.begin(&message)).await?;
    let mut length = 0;
    loop {
        let ended = match next_data(body).await {
            Ok(Some(data)) => {
                pending.extend_from_slice(&data);
                false
            }
            Ok(None) => true,
            Err(_broken) => {
                let _aborted = blocking(move || {
                    writer.abort();
                    Ok(())
                })
                .await;
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        if ended || pending.len() >= limits::SNAPSHOT_CHUNK_BYTES {
            length += pending.len();
            writer = write(writer, pending.split().freeze()).await?;
        }
        if ended {
            blocking(move || writer.finish()).await?;
            return Ok(length);
        }
    }
}

async fn write(
    mut writer: Box<dyn SnapshotWriter>,
    piece: Bytes,
) -> io::Result<Box<dyn SnapshotWriter>> {
    blocking(move || match writer.write(&piece) {
        Ok(()) => Ok(writer),
        Err(error) => {
            writer.abort();
            Err(error)
        }
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
}
