//! Sending a snapshot: the message and then the database, as one chunked `POST /raft/snapshot`.
//!
//! Owns:       the exchange; the database is read piece by piece on blocking threads.
//! Uses:       `dial`.
//! Never:      ends the body properly unless the whole database is in it: there is neither length
//!             nor checksum, so a proper end is the only sign of completeness.
//! Invariants: each snapshot is reported exactly once, also when the peer is removed meanwhile.
//! Source:     peer-protocol.md 6.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use proto::raftpb::Message;
use tokio::sync::mpsc;

use crate::api::SnapshotBody;
use crate::client::with_causes;
use crate::dial::{DialError, PeerUrl, read_up_to};
use crate::peer::PeerCore;
use crate::{headers, limits, message_codec};

/// Reports the outcome when it goes out of scope, so that an aborted task reports too.
struct Report {
    core: Arc<PeerCore>,
    ok: bool,
}

impl Drop for Report {
    fn drop(&mut self) {
        let counters = &self.core.counters;
        let counter =
            if self.ok { &counters.snapshots_sent } else { &counters.snapshot_send_failures };
        counter.add(1);
        if !self.ok {
            self.core.shared.api.unreachable(self.core.id);
        }
        self.core.shared.api.snapshot_sent(self.core.id, self.ok);
    }
}

#[derive(Debug, thiserror::Error)]
enum SnapshotError {
    #[error("too many snapshots are being sent")]
    TooMany,
    #[error("peer has no usable URL")]
    NoUrl,
    #[error("peer says that this member has been removed")]
    Removed,
    #[error("peer answered {status}: {text}")]
    Refused { status: StatusCode, text: String },
    #[error("send snapshot")]
    Exchange(#[from] DialError),
}

/// Makes the future that sends one snapshot. The report is made even if it is never polled.
pub(crate) fn send(
    core: Arc<PeerCore>,
    message: Message,
    body: Box<dyn SnapshotBody>,
) -> impl Future<Output = ()> + Send + 'static {
    let report = Report { core, ok: false };
    async move {
        // The whole of it, not only the fields named below, belongs to the future.
        let mut report = report;
        let core = &report.core;
        match transfer(core, &message, body).await {
            Ok(()) => {
                core.activity.activate(core.id);
                report.ok = true;
            }
            Err(error) => {
                let error_text = with_causes(&error);
                tracing::warn!(peer = %core.id, error = error_text, "snapshot was not delivered");
                if matches!(error, SnapshotError::Removed) {
                    core.shared.api.removed_from_cluster();
                }
            }
        }
    }
}

async fn transfer(
    core: &PeerCore,
    message: &Message,
    body: Box<dyn SnapshotBody>,
) -> Result<(), SnapshotError> {
    let permit = core.shared.snapshots_out.try_acquire();
    let _permit = permit.map_err(|_none| SnapshotError::TooMany)?;
    let url = core.picker.pick().ok_or(SnapshotError::NoUrl)?;
    let transfer = core.counters.snapshots_out.begin();
    let sent = post(core, &url, message, body).await;
    match &sent {
        Ok(()) => transfer.done(),
        Err(error) => core.failed(&url, &with_causes(error)),
    }
    sent
}

async fn post(
    core: &PeerCore,
    url: &PeerUrl,
    message: &Message,
    body: Box<dyn SnapshotBody>,
) -> Result<(), SnapshotError> {
    let mut connection = core.dial(url, limits::SNAPSHOT_STALL_TIMEOUT).await?;
    let (pieces, queue) = mpsc::channel(limits::SNAPSHOT_CHUNKS_QUEUED);
    let mut head = Vec::new();
    message_codec::encode(message, &mut head);
    let reader = feed(head.into(), body, pieces);
    let sent_body = PiecesBody { queue, ended: false };
    let mut request = Request::new(sent_body.boxed_unsync());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static("/raft/snapshot");
    *request.headers_mut() = headers::request_headers(&core.shared.options);
    let octets = HeaderValue::from_static("application/octet-stream");
    request.headers_mut().insert(header::CONTENT_TYPE, octets);

    let exchange = async {
        // The time for the answer counts from when the last piece is on its way.
        let answer = connection.send(request);
        tokio::pin!(answer);
        tokio::select! {
            response = &mut answer => return response,
            sent = reader => core.counters.sent_bytes.add(sent),
        }
        let timeout = limits::SNAPSHOT_ANSWER_TIMEOUT;
        tokio::time::timeout(timeout, answer)
            .await
            .map_err(|_elapsed| DialError::Timeout(timeout))?
    };
    let response = exchange.await?;
    let status = response.status();
    let text = read_up_to(response.into_body(), limits::ERROR_BODY_BYTES_MAX).await;
    match status {
        StatusCode::NO_CONTENT => Ok(()),
        StatusCode::FORBIDDEN => Err(SnapshotError::Removed),
        _ => {
            let text = text.unwrap_or_default();
            let text = String::from_utf8_lossy(&text).trim_end().to_owned();
            Err(SnapshotError::Refused { status, text })
        }
    }
}

/// What goes from the reader of the database to the body.
enum Piece {
    Data(Bytes),
    /// Everything has been sent.
    End,
    Failed(io::Error),
}

/// Feeds head and database into the queue; returns how many bytes there were.
async fn feed(head: Bytes, body: Box<dyn SnapshotBody>, pieces: mpsc::Sender<Piece>) -> usize {
    let mut sent = head.len();
    let mut source = Source { body, offset: 0 };
    let mut next = Piece::Data(head);
    loop {
        let last = !matches!(next, Piece::Data(_));
        // A closed queue means that the exchange is over; its result says why.
        if pieces.send(next).await.is_err() || last {
            return sent;
        }
        let read = tokio::task::spawn_blocking(move || {
            let piece = source.read();
            (source, piece)
        });
        match read.await {
            Ok((returned, piece)) => {
                source = returned;
                next = piece;
            }
            Err(panicked) => {
                let _closed = pieces.send(Piece::Failed(io::Error::other(panicked))).await;
                return sent;
            }
        }
        if let Piece::Data(data) = &next {
            sent += data.len();
        }
    }
}

struct Source {
    body: Box<dyn SnapshotBody>,
    offset: u64,
}

impl Source {
    fn read(&mut self) -> Piece {
        let left = self.body.len().saturating_sub(self.offset);
        if left == 0 {
            return Piece::End;
        }
        let size = usize::try_from(left).unwrap_or(usize::MAX).min(limits::SNAPSHOT_CHUNK_BYTES);
        let mut data = vec![0; size];
        match self.body.read_at(self.offset, &mut data) {
            Ok(0) => Piece::Failed(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                data.truncate(read);
                self.offset += data.len() as u64;
                Piece::Data(data.into())
            }
            Err(error) => Piece::Failed(error),
        }
    }
}

struct PiecesBody {
    queue: mpsc::Receiver<Piece>,
    ended: bool,
}

impl Body for PiecesBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.queue.poll_recv(cx).map(|piece| match piece {
            Some(Piece::Data(data)) => Some(Ok(Frame::data(data))),
            Some(Piece::End) => {
                self.ended = true;
                None
            }
            Some(Piece::Failed(error)) => Some(Err(error)),
            None => Some(Err(io::ErrorKind::UnexpectedEof.into())),
        })
    }
}
