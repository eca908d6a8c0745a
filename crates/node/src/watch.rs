//! The watch hub: from apply's events to the queues of the clients' streams.
//!
//! ```text
//!   apply ──▶ waiting revisions ──▶ thread `watch` ──────┐      under the lock of the table
//!                                                        ├──▶ queue of a stream ──▶ edge
//!   history ──────────────────▶ thread `watch-catch-up` ─┘
//! ```
//!
//! Owns:       the table of watchers, the queues of all streams, what waits to be published.
//! Uses:       `mvcc::watch` for every decision; `Shared` to read history.
//! Never:      makes apply wait: when too much waits, it is dropped and read from history instead.
//! Invariants: locks are taken in this order: table, bell, queue; none while history is read.
//! Source:     design.md 7.

mod bell;
mod history;
mod queue;
mod stream;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use mvcc::Event;
use mvcc::watch::Watchers;
use types::limits;

use crate::shared::{Shared, StopReason};
use bell::Bells;
use queue::{Queue, Queues};

pub use queue::{WatchCharge, WatchItem};
pub use stream::WatchStream;

/// Revisions published under one hold of the table's lock.
const PUBLISH_CHUNK: usize = 64;

/// Numbers for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchFigures {
    /// Open streams.
    pub streams: usize,
    /// Watchers on them.
    pub watchers: usize,
    /// Watchers that are behind.
    pub slow_watchers: usize,
    /// Events given to watchers since the start.
    pub events_sent: u64,
}

struct Table {
    watchers: Watchers,
    queues: BTreeMap<u64, Arc<Queue>>,
    stopped: bool,
}

/// What waits between apply and the thread `watch`.
#[derive(Default)]
struct Waiting {
    /// Everything up to this revision is only in history.
    skip_to: Option<i64>,
    revisions: VecDeque<(i64, Vec<Event>)>,
    bytes: usize,
    stopped: bool,
}

/// The hub.
pub(crate) struct WatchHub {
    table: Mutex<Table>,
    catch_up_bell: Condvar,
    waiting: Mutex<Waiting>,
    waiting_bell: Condvar,
    published: tokio::sync::watch::Sender<i64>,
    streams: AtomicUsize,
    next_stream: AtomicU64,
    queued_bytes: Arc<AtomicUsize>,
    events_sent: AtomicU64,
    bells: Bells,
}

impl WatchHub {
    pub(crate) fn new(revision: i64) -> Self {
        let table =
            Table { watchers: Watchers::new(revision), queues: BTreeMap::new(), stopped: false };
        Self {
            table: Mutex::new(table),
            catch_up_bell: Condvar::new(),
            waiting: Mutex::default(),
            waiting_bell: Condvar::new(),
            published: tokio::sync::watch::Sender::new(revision),
            streams: AtomicUsize::new(0),
            next_stream: AtomicU64::new(0),
            queued_bytes: Arc::default(),
            events_sent: AtomicU64::new(0),
            bells: Bells::default(),
        }
    }

    /// Takes the events of a revision, in order of revisions. Without streams nobody is woken: the
    /// next one begins with what was skipped.
    pub(crate) fn publish(&self, revision: i64, events: Vec<Event>) {
        let mut waiting = self.lock_waiting();
        if self.streams.load(Ordering::Acquire) == 0 {
            waiting.skip(revision);
            return;
        }
        waiting.push(revision, events);
        drop(waiting);
        self.waiting_bell.notify_one();
    }

    /// A snapshot took the store to this revision.
    pub(crate) fn skip_to(&self, revision: i64) {
        self.lock_waiting().skip(revision);
        self.waiting_bell.notify_one();
    }

    pub(crate) fn stop(&self) {
        self.lock_waiting().stopped = true;
        self.lock_table().stopped = true;
        self.waiting_bell.notify_all();
        self.catch_up_bell.notify_all();
    }

    pub(crate) fn figures(&self) -> WatchFigures {
        let table = self.lock_table();
        WatchFigures {
            streams: table.queues.len(),
            watchers: table.watchers.len(),
            slow_watchers: table.watchers.behind(),
            events_sent: self.events_sent.load(Ordering::Relaxed),
        }
    }

    /// Work of the thread `watch`: tells synced watchers what apply brings.
    pub(crate) fn run_publisher(&self) {
        while let Some(Waiting { skip_to, revisions, .. }) = self.take_waiting() {
            if let Some(revision) = skip_to {
                self.lock_table().watchers.skip_to(revision);
            }
            let mut revisions = revisions.into_iter().peekable();
            while revisions.peek().is_some() {
                let table = &mut *self.lock_table();
                let mut sink = self.sink(&table.queues);
                for (revision, events) in revisions.by_ref().take(PUBLISH_CHUNK) {
                    table.watchers.publish(revision, Arc::from(events), &mut sink);
                    if sink.deliveries >= limits::WATCH_PUBLISH_DELIVERIES {
                        break;
                    }
                }
            }
            let table = self.lock_table();
            self.published.send_replace(table.watchers.published());
            if table.watchers.wanted_history().is_some() {
                self.catch_up_bell.notify_one();
            }
        }
    }

    /// Work of the thread `watch-catch-up`: serves watchers that are behind, a piece at a time.
    pub(crate) fn run_catch_up(&self, shared: &Shared) {
        loop {
            // Publishing comes between two pieces.
            std::thread::yield_now();
            let compacted = shared.read().machine.store().compacted_revision();
            let mut table = self.lock_table();
            if table.stopped {
                return;
            }
            let Table { watchers, queues, .. } = &mut *table;
            let bytes_max = self.piece_bytes();
            if watchers.catch_up_recent(compacted, bytes_max, &mut self.sink(queues)) {
                continue;
            }
            let Some((from, to)) = watchers.wanted_history() else {
                drop(self.catch_up_bell.wait(table));
                continue;
            };
            let with_previous = watchers.wants_previous();
            drop(table);
            match history::read_chunk(shared, (from, to), bytes_max, with_previous) {
                Ok(chunk) => {
                    let Table { watchers, queues, .. } = &mut *self.lock_table();
                    watchers.catch_up(chunk, &mut self.sink(queues));
                }
                Err(fault) => {
                    shared.stop_for(StopReason::Fault(format!("read database: {fault}")));
                    return;
                }
            }
        }
    }

    fn sink<'a>(&'a self, queues: &'a BTreeMap<u64, Arc<Queue>>) -> Queues<'a> {
        Queues::new(queues, &self.events_sent)
    }

    /// How long a response to a watcher that is behind may be. A stream that is never read holds one
    /// however full the others are, so they get short then.
    fn piece_bytes(&self) -> usize {
        if self.queued_bytes.load(Ordering::Relaxed) > limits::WATCH_QUEUED_BYTES / 2 {
            limits::WATCH_CATCH_UP_SHORT_BYTES
        } else {
            limits::WATCH_CATCH_UP_BYTES
        }
    }

    /// Waits for something to publish and takes all of it; `None` at the end.
    fn take_waiting(&self) -> Option<Waiting> {
        let mut waiting = self.lock_waiting();
        loop {
            if waiting.stopped {
                return None;
            }
            if waiting.skip_to.is_some() || !waiting.revisions.is_empty() {
                return Some(std::mem::take(&mut *waiting));
            }
            waiting = self.waiting_bell.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock_table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn push(&mut self, revision: i64, events: Vec<Event>) {
        let bytes: usize = events.iter().map(queue::event_bytes).sum();
        let is_full = self.revisions.len() >= limits::WATCH_PUBLISH_REVISIONS
            || self.bytes + bytes > limits::WATCH_PUBLISH_BYTES;
        if is_full && !self.revisions.is_empty() {
            self.skip(revision);
            return;
        }
        self.bytes += bytes;
        self.revisions.push_back((revision, events));
    }

    fn skip(&mut self, revision: i64) {
        self.revisions.clear();
        self.bytes = 0;
        self.skip_to = Some(revision);
    }
}
