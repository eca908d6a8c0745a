//! What waits for one stream to be sent.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mvcc::Event;
use mvcc::watch::{Refusal, Sink, WatcherKey};
use tokio::sync::Notify;
use types::limits;

use super::bell::{self, Bell};

/// What an item takes besides the events in it, bytes.
const ITEM_BYTES: usize = 128;
/// Bytes of items that are taken together, to be sent in one write. As much is on its way without
/// being counted; more would only hide that nobody reads.
const TAKEN_BYTES: usize = 32 * 1024;

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
    /// The reader is going to be told that there are items.
    is_rung: bool,
}

/// The queue of a stream.
pub(super) struct Queue {
    items: Mutex<Items>,
    /// There is an item, or room for watchers that were refused.
    changed: Notify,
    queued_bytes: Arc<AtomicUsize>,
    bell: Arc<Bell>,
}

/// Keeps what taken items hold in the account of their stream until it is dropped: when the transport
/// has asked for what comes behind them.
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
    Items(Vec<WatchItem>, WatchCharge),
    /// Watchers that were refused should be given another chance.
    Room,
}

impl Queue {
    /// The queue of a stream that is served by the runtime of `bell`.
    pub(super) fn new(queued_bytes: Arc<AtomicUsize>, bell: Arc<Bell>) -> Self {
        Self { items: Mutex::default(), changed: Notify::new(), queued_bytes, bell }
    }

    pub(super) fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    /// Wakes whoever waits for items.
    pub(super) fn tell_reader(&self) {
        self.lock().is_rung = false;
        self.changed.notify_one();
    }

    /// Queues an answer to a request. Not refused: requests are only read while there is room.
    pub(super) fn push(&self, item: WatchItem) {
        self.add(&mut self.lock(), item);
        self.changed.notify_one();
    }

    /// Queues events if there is room. A stream that holds nothing takes whatever comes.
    fn offer(&self, item: WatchItem) -> Offered {
        let mut items = self.lock();
        let queued = self.queued_bytes.load(Ordering::Relaxed);
        let is_full = items.is_full() || queued > limits::WATCH_QUEUED_BYTES;
        if is_full && items.bytes > 0 {
            items.refused = true;
            return Offered::Refused;
        }
        self.add(&mut items, item);
        if std::mem::replace(&mut items.is_rung, true) { Offered::Taken } else { Offered::Tell }
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
        let mut bytes = items.items.front()?.bytes();
        let mut taken: Vec<WatchItem> = items.items.pop_front().into_iter().collect();
        while let Some(more) = items.items.front().map(WatchItem::bytes)
            && bytes + more <= TAKEN_BYTES
        {
            bytes += more;
            taken.extend(items.items.pop_front());
        }
        Some(Taken::Items(taken, WatchCharge { queue: Arc::clone(self), bytes }))
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

/// What became of events that were offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offered {
    Refused,
    /// Queued, and the reader knows or is going to be told.
    Taken,
    /// Queued, and the reader has to be told.
    Tell,
}

/// The queues as the watchers' sink. Their readers are told when it is dropped.
pub(super) struct Queues<'a> {
    queues: &'a BTreeMap<u64, Arc<Queue>>,
    events_sent: &'a AtomicU64,
    told: Vec<Arc<Queue>>,
    /// Responses queued since the lock was taken.
    pub(super) deliveries: u64,
}

impl<'a> Queues<'a> {
    pub(super) fn new(queues: &'a BTreeMap<u64, Arc<Queue>>, events_sent: &'a AtomicU64) -> Self {
        Self { queues, events_sent, told: Vec::new(), deliveries: 0 }
    }
}

impl Drop for Queues<'_> {
    fn drop(&mut self) {
        bell::ring(std::mem::take(&mut self.told));
    }
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
        let offered = queue.offer(WatchItem::Events {
            id: watcher.id,
            prev_kv,
            revision: header_revision,
            events: events.iter().map(|event| (*event).clone()).collect(),
        });
        self.deliveries += 1;
        if offered == Offered::Tell {
            self.told.push(Arc::clone(queue));
        }
        let taken = offered != Offered::Refused;
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

    fn queue(total: &Arc<AtomicUsize>) -> Arc<Queue> {
        Arc::new(Queue::new(Arc::clone(total), Arc::default()))
    }

    fn offer(queue: &Queue, bytes: usize) -> bool {
        let kv = vec![b'x'; bytes].into();
        let event = Event { kind: EventKind::Put, key: Bytes::from("k"), kv, prev: None };
        let item = WatchItem::Events { id: 0, prev_kv: false, revision: 2, events: vec![event] };
        queue.offer(item) != Offered::Refused
    }

    fn drain(queue: &Arc<Queue>) -> (usize, Option<usize>) {
        let (mut items, mut room_at) = (0, None);
        while let Some(taken) = queue.take() {
            match taken {
                Taken::Items(taken, _) => items += taken.len(),
                Taken::Room => assert_eq!(room_at.replace(items), None, "told twice"),
            }
        }
        (items, room_at)
    }

    #[test]
    fn a_full_queue_refuses_events_until_half_of_it_is_gone() {
        let total = Arc::new(AtomicUsize::new(0));
        let queue = queue(&total);
        for _ in 0..limits::WATCH_STREAM_RESPONSES {
            assert!(offer(&queue, 1));
        }
        assert!(!offer(&queue, 1) && !queue.has_room());
        // An answer to a request is never lost.
        queue.push(WatchItem::Canceled { id: 0, revision: 1 });
        let items = limits::WATCH_STREAM_RESPONSES + 1;
        let (drained, room_at) = drain(&queue);
        assert_eq!(drained, items);
        // Between two pieces.
        let piece = TAKEN_BYTES / ITEM_BYTES;
        let half = items / 2 + 1..items / 2 + 1 + piece;
        assert!(room_at.is_some_and(|at| half.contains(&at)), "{room_at:?}");
        assert_eq!(total.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_was_taken_counts_until_it_is_sent() {
        let total = Arc::new(AtomicUsize::new(0));
        let queue = queue(&total);
        assert!(offer(&queue, 2 * limits::WATCH_STREAM_BYTES), "it holds nothing");
        let Some(Taken::Items(_, charge)) = queue.take() else { panic!() };
        assert!(!offer(&queue, 1) && !queue.has_room());
        assert!(queue.take().is_none(), "no room as long as the item is on its way");
        drop(charge);
        assert!(matches!(queue.take(), Some(Taken::Room)));
        assert!(offer(&queue, 1));
        drop(queue);
        assert_eq!(total.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn items_are_taken_in_pieces_and_a_large_one_alone() {
        let total = Arc::new(AtomicUsize::new(0));
        let queue = queue(&total);
        let sizes = [1, 1, TAKEN_BYTES, TAKEN_BYTES / 2, 1, TAKEN_BYTES / 2];
        assert!(sizes.iter().all(|bytes| offer(&queue, *bytes)));
        let mut pieces = Vec::new();
        while let Some(Taken::Items(items, _)) = queue.take() {
            pieces.push(items.len());
        }
        assert_eq!(pieces, [2, 1, 2, 1]);
        assert_eq!(total.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_reader_is_told_when_the_sink_is_gone() {
        let bells = bell::Bells::default();
        let total = Arc::default();
        let queue = Arc::new(Queue::new(total, bells.of_current_runtime()));
        let queues = BTreeMap::from([(7, Arc::clone(&queue))]);
        let events_sent = AtomicU64::new(0);
        let event = Event {
            kind: EventKind::Put,
            key: Bytes::from("k"),
            kv: vec![b'x'].into(),
            prev: None,
        };
        for round in 1..4 {
            let mut sink = Queues::new(&queues, &events_sent);
            for id in 0..3 {
                assert!(sink.events(WatcherKey { stream: 7, id }, false, 2, &[&event]));
            }
            let reader = tokio::spawn({
                let queue = Arc::clone(&queue);
                async move { queue.changed.notified().await }
            });
            tokio::task::yield_now().await;
            assert!(!reader.is_finished());
            drop(sink);
            reader.await.unwrap();
            let Some(Taken::Items(items, _)) = queue.take() else { panic!() };
            assert_eq!((items.len(), events_sent.load(Ordering::Relaxed)), (3, 3 * round));
        }
    }

    #[test]
    fn all_queues_together_are_bounded() {
        let total = Arc::new(AtomicUsize::new(limits::WATCH_QUEUED_BYTES));
        let queue = queue(&total);
        assert!(offer(&queue, 1), "each stream may hold one");
        assert!(!offer(&queue, 1));
        let Some(Taken::Items(_, charge)) = queue.take() else { panic!() };
        assert!(!offer(&queue, 1), "it holds one, on its way");
        drop(charge);
        assert!(matches!(queue.take(), Some(Taken::Room)));
    }
}
