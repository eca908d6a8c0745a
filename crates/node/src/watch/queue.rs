//! What waits for one stream to be sent.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mvcc::Event;
use mvcc::watch::{Refusal, Sink, WatcherKey};
use tokio::sync::Notify;
use types::limits;

/// What an item takes besides the events in it, bytes.
const ITEM_BYTES: usize = 128;

/// One response of a stream, without its encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchItem {
    /// A watcher was made.
    Created {
        /// Its ID.
        id: i64,
        /// Current revision.
        revision: i64,
    },
    /// A watcher was not made.
    Refused {
        /// Why.
        refusal: Refusal,
        /// Current revision.
        revision: i64,
    },
    /// A watcher was removed, as asked for.
    Canceled {
        /// Its ID.
        id: i64,
        /// Current revision.
        revision: i64,
    },
    /// A watcher ended, because revisions that it needs are gone.
    Compacted {
        /// Its ID.
        id: i64,
        /// The oldest revision that is left.
        compact_revision: i64,
    },
    /// Events, in order, of whole revisions.
    Events {
        /// ID of the watcher.
        id: i64,
        /// Whether the pairs before the events are wanted.
        prev_kv: bool,
        /// Revision for the header.
        revision: i64,
        /// The events.
        events: Vec<Event>,
    },
    /// Everything up to `revision` has been sent.
    Progress {
        /// ID of the watcher; `None` for all of the stream.
        id: Option<i64>,
        /// That revision.
        revision: i64,
    },
}

impl WatchItem {
    fn bytes(&self) -> usize {
        let events = match self {
            Self::Events { events, .. } => events.iter().map(event_bytes).sum(),
            _ => 0,
        };
        ITEM_BYTES + events
    }
}

#[derive(Default)]
struct Items {
    items: VecDeque<WatchItem>,
    /// Bytes queued, and taken but not sent yet.
    bytes: usize,
    /// Events were refused, whoever had them has to be told about room.
    refused: bool,
}

/// The queue of a stream.
pub(super) struct Queue {
    items: Mutex<Items>,
    /// There is an item, or room for watchers that were refused.
    changed: Notify,
    queued_bytes: Arc<AtomicUsize>,
}

/// Keeps what a taken item holds in the account of its stream until it is dropped: when the transport
/// has asked for what comes behind it.
#[must_use = "the stream counts as read as soon as this is gone"]
pub struct WatchCharge {
    queue: Arc<Queue>,
    bytes: usize,
}

impl Drop for WatchCharge {
    fn drop(&mut self) {
        self.queue.queued_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        let mut items = self.queue.lock();
        items.bytes -= self.bytes;
        if items.refused {
            self.queue.changed.notify_one();
        }
    }
}

/// What comes out of a queue.
pub(super) enum Taken {
    Item(WatchItem, WatchCharge),
    /// Watchers that were refused should be given another chance.
    Room,
}

impl Queue {
    pub(super) fn new(queued_bytes: Arc<AtomicUsize>) -> Self {
        Self { items: Mutex::default(), changed: Notify::new(), queued_bytes }
    }

    /// Queues an answer to a request. Not refused: requests are only read while there is room.
    pub(super) fn push(&self, item: WatchItem) {
        self.add(&mut self.lock(), item);
        self.changed.notify_one();
    }

    /// Queues events if there is room. A stream that holds nothing takes whatever comes.
    fn offer(&self, item: WatchItem) -> bool {
        let mut items = self.lock();
        let queued = self.queued_bytes.load(Ordering::Relaxed);
        let is_full = items.is_full() || queued > limits::WATCH_QUEUED_BYTES;
        if is_full && items.bytes > 0 {
            items.refused = true;
            return false;
        }
        self.add(&mut items, item);
        drop(items);
        self.changed.notify_one();
        true
    }

    fn add(&self, items: &mut Items, item: WatchItem) {
        let bytes = item.bytes();
        items.bytes += bytes;
        self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        items.items.push_back(item);
    }

    /// What comes next. Safe to be dropped and called again.
    pub(super) async fn next(self: &Arc<Self>) -> Taken {
        loop {
            if let Some(taken) = self.take() {
                return taken;
            }
            self.changed.notified().await;
        }
    }

    pub(super) fn has_room(&self) -> bool {
        !self.lock().is_full()
    }

    fn take(self: &Arc<Self>) -> Option<Taken> {
        let mut items = self.lock();
        let has_room = items.items.len() <= limits::WATCH_STREAM_RESPONSES / 2
            && items.bytes <= limits::WATCH_STREAM_BYTES / 2;
        let queued = self.queued_bytes.load(Ordering::Relaxed);
        let is_idle = items.bytes == 0;
        if items.refused && (is_idle || (has_room && queued <= limits::WATCH_QUEUED_BYTES)) {
            items.refused = false;
            return Some(Taken::Room);
        }
        let item = items.items.pop_front()?;
        let charge = WatchCharge { queue: Arc::clone(self), bytes: item.bytes() };
        Some(Taken::Item(item, charge))
    }

    fn lock(&self) -> MutexGuard<'_, Items> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let bytes = self.lock().bytes;
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Items {
    fn is_full(&self) -> bool {
        self.items.len() >= limits::WATCH_STREAM_RESPONSES
            || self.bytes >= limits::WATCH_STREAM_BYTES
    }
}

/// The queues as the watchers' sink.
pub(super) struct Queues<'a> {
    pub(super) queues: &'a BTreeMap<u64, Arc<Queue>>,
    pub(super) events_sent: &'a AtomicU64,
    /// Responses queued since the lock was taken.
    pub(super) deliveries: u64,
}

impl Sink for Queues<'_> {
    fn events(
        &mut self,
        watcher: WatcherKey,
        prev_kv: bool,
        header_revision: i64,
        events: &[&Event],
    ) -> bool {
        // A stream that is gone takes everything: its watchers go next.
        let Some(queue) = self.queues.get(&watcher.stream) else { return true };
        let taken = queue.offer(WatchItem::Events {
            id: watcher.id,
            prev_kv,
            revision: header_revision,
            events: events.iter().map(|event| (*event).clone()).collect(),
        });
        self.deliveries += 1;
        if taken {
            self.events_sent.fetch_add(events.len() as u64, Ordering::Relaxed);
        }
        taken
    }

    fn compacted(&mut self, watcher: WatcherKey, compact_revision: i64) {
        if let Some(queue) = self.queues.get(&watcher.stream) {
            queue.push(WatchItem::Compacted { id: watcher.id, compact_revision });
        }
    }

    fn progress(&mut self, watcher: WatcherKey, revision: i64) {
        if let Some(queue) = self.queues.get(&watcher.stream) {
            queue.push(WatchItem::Progress { id: Some(watcher.id), revision });
        }
    }
}

pub(super) fn event_bytes(event: &Event) -> usize {
    event.key.len() + event.kv.len() + event.prev.as_ref().map_or(0, |prev| prev.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use mvcc::EventKind;

    fn offer(queue: &Queue, bytes: usize) -> bool {
        let kv = vec![b'x'; bytes].into();
        let event = Event { kind: EventKind::Put, key: Bytes::from("k"), kv, prev: None };
        queue.offer(WatchItem::Events { id: 0, prev_kv: false, revision: 2, events: vec![event] })
    }

    fn drain(queue: &Arc<Queue>) -> (usize, Option<usize>) {
        let (mut items, mut room_at) = (0, None);
        while let Some(taken) = queue.take() {
            match taken {
                Taken::Item(..) => items += 1,
                Taken::Room => assert_eq!(room_at.replace(items), None, "told twice"),
            }
        }
        (items, room_at)
    }

    #[test]
    fn a_full_queue_refuses_events_until_half_of_it_is_gone() {
        let total = Arc::new(AtomicUsize::new(0));
        let queue = Arc::new(Queue::new(Arc::clone(&total)));
        for _ in 0..limits::WATCH_STREAM_RESPONSES {
            assert!(offer(&queue, 1));
        }
        assert!(!offer(&queue, 1) && !queue.has_room());
        // An answer to a request is never lost.
        queue.push(WatchItem::Canceled { id: 0, revision: 1 });
        let items = limits::WATCH_STREAM_RESPONSES + 1;
        assert_eq!(drain(&queue), (items, Some(items / 2 + 1)));
        assert_eq!(total.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_was_taken_counts_until_it_is_sent() {
        let total = Arc::new(AtomicUsize::new(0));
        let queue = Arc::new(Queue::new(Arc::clone(&total)));
        assert!(offer(&queue, 2 * limits::WATCH_STREAM_BYTES), "it holds nothing");
        let Some(Taken::Item(_, charge)) = queue.take() else { panic!() };
        assert!(!offer(&queue, 1) && !queue.has_room());
        assert!(queue.take().is_none(), "no room as long as the item is on its way");
        drop(charge);
        assert!(matches!(queue.take(), Some(Taken::Room)));
        assert!(offer(&queue, 1));
        drop(queue);
        assert_eq!(total.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn all_queues_together_are_bounded() {
        let total = Arc::new(AtomicUsize::new(limits::WATCH_QUEUED_BYTES));
        let queue = Arc::new(Queue::new(Arc::clone(&total)));
        assert!(offer(&queue, 1), "each stream may hold one");
        assert!(!offer(&queue, 1));
        let Some(Taken::Item(_, charge)) = queue.take() else { panic!() };
        assert!(!offer(&queue, 1), "it holds one, on its way");
        drop(charge);
        assert!(matches!(queue.take(), Some(Taken::Room)));
    }
}
