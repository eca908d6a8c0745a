//! The sending end of a stream: the endless body of the answer to a peer's GET.
//!
//! Owns:       the queue of the stream attached last; the encoder of each connection.
//! Uses:       the codecs.
//! Never:      writes to the socket itself; hyper pulls frames and stops when the socket is full.
//! Invariants: at most one stream of a kind is attached; a replaced one writes no further message.
//! Source:     peer-protocol.md 4, 4.3.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use proto::raftpb::Message;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::activity::lock;
use crate::peer::{PeerCore, StreamKind};
use crate::{limits, message_codec, msgapp_codec};

/// Why a message was not queued.
#[derive(Debug)]
pub(crate) enum Refused {
    /// No stream is attached; here is the message back.
    Detached(Box<Message>),
    /// The queue is full; the message is gone.
    Full,
}

/// Place for the stream attached last.
#[derive(Debug, Default)]
pub(crate) struct StreamSlot(Mutex<Attached>);

#[derive(Debug, Default)]
struct Attached {
    /// Counts attachments, so that a connection knows whether it has been replaced.
    generation: u64,
    queue: Option<mpsc::Sender<Message>>,
}

impl StreamSlot {
    pub(crate) fn try_send(&self, message: Message) -> Result<(), Refused> {
        let attached = lock(&self.0);
        let Some(queue) = &attached.queue else { return Err(Refused::Detached(Box::new(message))) };
        queue.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_message) => Refused::Full,
            mpsc::error::TrySendError::Closed(message) => Refused::Detached(Box::new(message)),
        })
    }

    pub(crate) fn is_attached(&self) -> bool {
        lock(&self.0).queue.is_some()
    }

    /// Ends the attached stream, if any.
    pub(crate) fn close(&self) {
        let mut attached = lock(&self.0);
        attached.generation += 1;
        attached.queue = None;
    }

    fn attach(&self) -> (u64, mpsc::Receiver<Message>) {
        let (sender, receiver) = mpsc::channel(limits::STREAM_QUEUE_MAX);
        let mut attached = lock(&self.0);
        attached.generation += 1;
        attached.queue = Some(sender);
        (attached.generation, receiver)
    }

    fn is_current(&self, generation: u64) -> bool {
        lock(&self.0).generation == generation
    }

    /// Forgets the stream unless another has taken its place; tells whether it was the current one.
    fn detach(&self, generation: u64) -> bool {
        let mut attached = lock(&self.0);
        let current = attached.generation == generation;
        if current {
            attached.queue = None;
        }
        current
    }
}

#[derive(Debug)]
enum Encoder {
    Append(msgapp_codec::Encoder),
    Message,
}

impl Encoder {
    fn encode(&mut self, message: &Message, out: &mut Vec<u8>) {
        match self {
            Self::Append(encoder) => encoder.encode(message, out),
            Self::Message => message_codec::encode(message, out),
        }
    }

    fn encode_heartbeat(&self, out: &mut Vec<u8>) {
        match self {
            Self::Append(encoder) => encoder.encode_heartbeat(out),
            Self::Message => message_codec::encode_heartbeat(out),
        }
    }
}

/// The body that carries one attached stream.
pub(crate) struct StreamBody {
    core: Arc<PeerCore>,
    kind: StreamKind,
    generation: u64,
    queue: mpsc::Receiver<Message>,
    encoder: Encoder,
    heartbeat: Interval,
}

impl StreamBody {
    /// Attaches a stream, in place of an older one.
    pub(crate) fn attach(core: &Arc<PeerCore>, kind: StreamKind) -> Self {
        let (generation, queue) = core.slot(kind).attach();
        let encoder = match kind {
            StreamKind::Append => Encoder::Append(msgapp_codec::Encoder::default()),
            StreamKind::Message => Encoder::Message,
        };
        let first = Instant::now() + limits::LINK_HEARTBEAT_INTERVAL;
        let mut heartbeat = interval_at(first, limits::LINK_HEARTBEAT_INTERVAL);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tracing::info!(peer = %core.id, stream = kind.path(), "attached stream of peer");
        Self { core: Arc::clone(core), kind, generation, queue, encoder, heartbeat }
    }

    /// Takes what is queued, up to the size of a batch; `None` at the end of the stream.
    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        let mut out = Vec::new();
        let mut count = 0;
        while count < limits::STREAM_BATCH_MESSAGES_MAX && out.len() < limits::STREAM_BATCH_BYTES {
            match self.queue.poll_recv(cx) {
                Poll::Ready(Some(message)) => {
                    self.encoder.encode(&message, &mut out);
                    count += 1;
                }
                Poll::Ready(None) if count == 0 => return Poll::Ready(None),
                Poll::Pending if count == 0 => return Poll::Pending,
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        self.core.counters.sent_messages.add(count);
        Poll::Ready(Some(out))
    }

    fn frame(&self, out: Vec<u8>) -> Option<Result<Frame<Bytes>, io::Error>> {
        self.core.counters.sent_bytes.add(out.len());
        Some(Ok(Frame::data(out.into())))
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        if !this.core.slot(this.kind).is_current(this.generation) {
            return Poll::Ready(None);
        }
        match this.poll_batch(cx) {
            Poll::Ready(Some(out)) => return Poll::Ready(this.frame(out)),
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => {}
        }
        if this.heartbeat.poll_tick(cx).is_pending() {
            return Poll::Pending;
        }
        let mut out = Vec::new();
        this.encoder.encode_heartbeat(&mut out);
        Poll::Ready(this.frame(out))
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        let broken = self.core.slot(self.kind).detach(self.generation);
        self.queue.close();
        let mut undelivered = 0;
        while self.queue.try_recv().is_ok() {
            undelivered += 1;
        }
        self.core.counters.send_failures.add(undelivered);
        // What was in the socket's buffer may be lost too, so raft must probe again in any case.
        if broken || undelivered > 0 {
            self.core.shared.api.unreachable(self.core.id);
        }
        tracing::info!(
            peer = %self.core.id, stream = self.kind.path(), broken, undelivered, "detached stream"
        );
    }
}
