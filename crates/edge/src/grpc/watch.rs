//! The Watch service: one stream, many watchers.
//!
//! Owns:       the task of a stream, which watchers may be fragmented.
//! Uses:       `node::WatchStream`, which decides and queues; this puts words around it.
//! Never:      a queue of its own: while the client does not read, nothing is taken from the stream's
//!             queue, and no further requests are read once that is full.
//! Invariants: responses leave in the order of the queue.
//! Source:     api-v3.md 3.

use std::collections::{BTreeSet, VecDeque};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use mvcc::watch::{Refusal, WatchSpec};
use mvcc::{Event, EventKind};
use node::{Handle, WatchCharge, WatchItem, WatchStream};
use prost::Message as _;
use proto::StoredKeyValue;
use proto::etcdserverpb::watch_create_request::FilterType;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::watch_server::Watch;
use proto::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use proto::mvccpb;
use tokio::sync::mpsc;
use tonic::codegen::tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};
use types::{EtcdError, KeyRange, limits};

use super::status::{status, stream_status};
use super::{GrpcOptions, reply};

/// The ID in answers that are about no watcher.
const NO_WATCHER: i64 = -1;
/// Pieces of the queue on their way to the connection; more would only hide that nobody reads.
const HANDOVER: usize = 1;

/// Watch over one member.
pub(crate) struct WatchService {
    handle: Handle,
    progress_interval: Duration,
    fragment_bytes: usize,
}

impl WatchService {
    pub(crate) fn new(handle: Handle, options: &GrpcOptions) -> Self {
        let fragment = options.max_request_bytes.saturating_add(limits::GRPC_OVERHEAD_BYTES);
        Self {
            handle,
            progress_interval: options.watch_progress_notify_interval,
            fragment_bytes: usize::try_from(fragment).unwrap_or(usize::MAX),
        }
    }
}

#[tonic::async_trait]
impl Watch for WatchService {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (replies, received) = mpsc::channel(HANDOVER);
        let session = Session {
            handle: self.handle.clone(),
            stream: self.handle.watch_stream(),
            replies,
            created: VecDeque::new(),
            fragmented: BTreeSet::new(),
            fragment_bytes: self.fragment_bytes,
        };
        tokio::spawn(session.run(request.into_inner(), self.progress_interval));
        Ok(Response::new(Box::pin(Replies {
            received,
            responses: Vec::new().into_iter(),
            charge: None,
        })))
    }
}

/// Responses on their way, with what they hold in the stream's account.
type Outgoing = Result<(Vec<WatchResponse>, WatchCharge), Status>;

/// What the transport reads from. That it asks again says that what it got before has left.
struct Replies {
    received: mpsc::Receiver<Outgoing>,
    responses: std::vec::IntoIter<WatchResponse>,
    charge: Option<WatchCharge>,
}

impl Stream for Replies {
    type Item = Result<WatchResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(response) = self.responses.next() {
                return Poll::Ready(Some(Ok(response)));
            }
            self.charge = None;
            match ready!(self.received.poll_recv(context)) {
                Some(Ok((responses, charge))) => {
                    self.responses = responses.into_iter();
                    self.charge = Some(charge);
                }
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                None => return Poll::Ready(None),
            }
        }
    }
}

/// Why a stream ends.
enum End {
    /// The client is gone; nobody listens.
    Gone,
    /// With this status.
    Status(Status),
}

/// One stream at work.
struct Session {
    handle: Handle,
    stream: WatchStream,
    replies: mpsc::Sender<Outgoing>,
    /// Whether those watchers may be fragmented whose creation has not been answered yet, in order.
    created: VecDeque<bool>,
    /// Watchers whose responses may be split.
    fragmented: BTreeSet<i64>,
    fragment_bytes: usize,
}

impl Session {
    async fn run(mut self, mut requests: Streaming<WatchRequest>, progress_interval: Duration) {
        let replies = self.replies.clone();
        let ended = tokio::select! {
            end = self.serve(&mut requests, progress_interval) => end,
            () = replies.closed() => End::Gone,
        };
        if let End::Status(status) = ended {
            drop(replies.send(Err(status)).await);
        }
    }

    async fn serve(&mut self, requests: &mut Streaming<WatchRequest>, interval: Duration) -> End {
        let handle = self.handle.clone();
        let closing = handle.streams_closing();
        tokio::pin!(closing);
        let mut ticks = tokio::time::interval(with_jitter(interval));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks.reset();
        let mut is_open = true;
        loop {
            tokio::select! {
                (items, charge) = self.stream.next() => {
                    let sent = tokio::select! {
                        sent = self.reply(items, charge) => sent,
                        // A client that does not read must not hold up the end.
                        () = &mut closing => return End::Status(status(EtcdError::Stopped)),
                    };
                    if sent.is_err() {
                        return End::Gone;
                    }
                }
                request = requests.message(), if is_open && self.stream.has_room() => match request {
                    Ok(Some(request)) => self.request(request).await,
                    // The client has nothing more to ask, and goes on listening.
                    Ok(None) => is_open = false,
                    Err(error) => return End::Status(stream_status(error)),
                },
                _ = ticks.tick() => self.stream.notify_progress(),
                () = &mut closing => return End::Status(status(EtcdError::Stopped)),
            }
        }
    }

    async fn request(&mut self, request: WatchRequest) {
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => self.create(create),
            Some(RequestUnion::CancelRequest(cancel)) => {
                self.stream.cancel(cancel.watch_id);
            }
            Some(RequestUnion::ProgressRequest(_)) => self.stream.request_progress().await,
            None => {}
        }
    }

    fn create(&mut self, request: WatchCreateRequest) {
        let key = if request.key.is_empty() { Bytes::from_static(&[0]) } else { request.key };
        let filters = |kind: FilterType| request.filters.contains(&kind.into());
        let spec = WatchSpec {
            no_put: filters(FilterType::Noput),
            no_delete: filters(FilterType::Nodelete),
            range: KeyRange::from_request(key, request.range_end),
            prev_kv: request.prev_kv,
            progress_notify: request.progress_notify,
        };
        self.created.push_back(request.fragment);
        self.stream.create(request.watch_id, spec, request.start_revision);
    }

    /// Sends what items say; an error when nobody listens any more. All of them are handed over
    /// together, so that they can leave in one write.
    async fn reply(&mut self, items: Vec<WatchItem>, charge: WatchCharge) -> Result<(), ()> {
        let mut responses = Vec::with_capacity(items.len());
        for item in items {
            let response = self.response(item);
            self.note_fragment(&response);
            let may_split =
                self.fragmented.contains(&response.watch_id) && response.events.len() > 1;
            if may_split && response.encoded_len() >= self.fragment_bytes {
                responses.extend(fragments(response, self.fragment_bytes));
            } else {
                responses.push(response);
            }
        }
        self.replies.send(Ok((responses, charge))).await.map_err(drop)
    }

    /// Keeps in mind whose responses may be split, from the answer to the creation of a watcher to
    /// that of its end.
    fn note_fragment(&mut self, response: &WatchResponse) {
        if response.created && self.created.pop_front() == Some(true) && !response.canceled {
            self.fragmented.insert(response.watch_id);
        } else if response.canceled {
            self.fragmented.remove(&response.watch_id);
        }
    }

    fn response(&self, item: WatchItem) -> WatchResponse {
        let with = |revision: i64, watch_id: i64| WatchResponse {
            header: Some(reply::header(&self.handle, revision, self.handle.term())),
            watch_id,
            ..WatchResponse::default()
        };
        match item {
            WatchItem::Created { id, revision } => {
                WatchResponse { created: true, ..with(revision, id) }
            }
            WatchItem::Refused { refusal, revision } => WatchResponse {
                created: true,
                canceled: true,
                cancel_reason: refusal_text(refusal).to_owned(),
                ..with(revision, NO_WATCHER)
            },
            WatchItem::Canceled { id, revision } => {
                WatchResponse { canceled: true, ..with(revision, id) }
            }
            WatchItem::Compacted { id, compact_revision } => {
                WatchResponse { canceled: true, compact_revision, ..with(0, id) }
            }
            WatchItem::Events { id, prev_kv, revision, events } => WatchResponse {
                events: events.into_iter().map(|event| message(event, prev_kv)).collect(),
                ..with(revision, id)
            },
            WatchItem::Progress { id, revision } => with(revision, id.unwrap_or(NO_WATCHER)),
        }
    }
}

fn message(event: Event, prev_kv: bool) -> mvccpb::Event {
    let kind = match event.kind {
        EventKind::Put => mvccpb::event::EventType::Put,
        EventKind::Delete => mvccpb::event::EventType::Delete,
    };
    let previous = event.previous().filter(|_| prev_kv).cloned();
    mvccpb::Event {
        r#type: kind.into(),
        kv: Some(StoredKeyValue(event.kv)),
        prev_kv: previous.map(StoredKeyValue),
    }
}

fn refusal_text(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::EmptyRange => types::error::WATCH_EMPTY_RANGE,
        Refusal::DuplicateId => types::error::WATCH_DUPLICATE_ID,
        Refusal::NegativeStart => EtcdError::Compacted.text(),
        Refusal::TooMany => EtcdError::RequestTooManyRequests.text(),
    }
}

/// Parts of a response that stay below a size as long as they have more than one event; all but the
/// last say that more follow.
fn fragments(response: WatchResponse, bytes_max: usize) -> Vec<WatchResponse> {
    let WatchResponse { events, .. } = response;
    let head = WatchResponse { fragment: true, events: Vec::new(), ..response };
    let head_bytes = head.encoded_len();
    let mut parts: Vec<WatchResponse> = Vec::new();
    let mut bytes = 0;
    for event in events {
        // Tag and length of the event come on top: ten bytes at most.
        let event_bytes = event.encoded_len() + 10;
        match parts.last_mut() {
            Some(part) if bytes + event_bytes < bytes_max => {
                part.events.push(event);
                bytes += event_bytes;
            }
            _ => {
                parts.push(WatchResponse { events: vec![event], ..head.clone() });
                bytes = head_bytes + event_bytes;
            }
        }
    }
    if let Some(last) = parts.last_mut() {
        last.fragment = false;
    }
    parts
}

/// Streams that were opened together should not all be told of their progress together: up to a
/// tenth is added.
fn with_jitter(interval: Duration) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    interval + interval / 10 * (now.subsec_micros() % 1000) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(bytes: usize) -> mvccpb::Event {
        let kv = Some(StoredKeyValue(vec![b'x'; bytes].into()));
        mvccpb::Event { kv, ..mvccpb::Event::default() }
    }

    #[test]
    fn parts_stay_below_the_size_and_all_but_the_last_say_that_more_follow() {
        let table: &[(&[usize], &[usize])] = &[
            (&[600, 600, 600, 600, 600], &[3, 2]),
            (&[5000, 1, 1], &[1, 2]),
            (&[1, 5000, 1], &[1, 1, 1]),
            (&[100, 100], &[2]),
        ];
        for (sizes, expected) in table {
            let events: Vec<_> = sizes.iter().map(|bytes| event(*bytes)).collect();
            let whole = WatchResponse { watch_id: 7, events: events.clone(), ..Default::default() };
            let parts = fragments(whole, 2000);
            let counts: Vec<usize> = parts.iter().map(|part| part.events.len()).collect();
            assert_eq!(counts, *expected, "{sizes:?}");
            let flags: Vec<bool> = parts.iter().map(|part| part.fragment).collect();
            assert_eq!(flags.iter().filter(|fragment| !**fragment).count(), 1);
            assert!(!flags[flags.len() - 1]);
            assert!(parts.iter().all(|part| part.events.len() == 1 || part.encoded_len() < 2000));
            let joined: Vec<_> = parts.into_iter().flat_map(|part| part.events).collect();
            assert_eq!(joined, events);
        }
    }

    #[test]
    fn jitter_adds_a_tenth_at_most() {
        let interval = Duration::from_secs(600);
        let jittered = with_jitter(interval);
        assert!(jittered >= interval && jittered <= interval + interval / 10);
    }
}
