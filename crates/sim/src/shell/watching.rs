//! The watch hub: what apply brings is published, and watchers catch up, each in steps.
//!
//! Owns:       the table of watchers, the queues of all streams, what waits to be published.
//! Uses:       `mvcc::watch` for every decision, as the hub of `node` does.
//! Never:      makes apply wait.
//! Invariants: both queues are bounded, and much shorter than in the product, so that they overflow.
//! Source:     `node::watch`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use mvcc::kv::{KvView, Pair};
use mvcc::watch::{Chunk, Created, Sink, Start, WatchSpec, WatcherKey, Watchers};
use mvcc::{Event, EventKind};
use node::OverlayHistory;
use rand::Rng;
use rand::rngs::StdRng;

use super::{Shell, Stop};
use crate::config::Plant;

/// Responses that wait for one stream.
const STREAM_RESPONSES: usize = 6;
/// Revisions that wait to be published; more are dropped and read from history.
const PUBLISH_REVISIONS: usize = 8;

/// Lengths of a piece of history: one that is often reached, one that never is.
const PIECE_BYTES: [usize; 2] = [200, 1 << 20];

/// A change as a watcher is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WatchedEvent {
    pub(crate) revision: i64,
    pub(crate) key: Bytes,
    /// `None` for a delete.
    pub(crate) value: Option<String>,
    pub(crate) previous: Option<String>,
}

/// A response of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WatchItem {
    Created { id: i64, revision: i64 },
    Compacted { id: i64, compact_revision: i64 },
    Events { id: i64, events: Vec<WatchedEvent> },
    Progress { id: Option<i64>, revision: i64 },
}

/// The hub of one life.
pub(super) struct Hub {
    watchers: Watchers,
    queues: BTreeMap<u64, Queue>,
    last_stream: u64,
    skip_to: Option<i64>,
    waiting: VecDeque<(i64, Vec<Event>)>,
    /// A piece of history on its way to the watchers, and how far it has come.
    chunk: Option<(Chunk, Stage)>,
    /// Streams that wait until this revision is published to be told how far they are.
    progress: Vec<(u64, i64)>,
}

/// What happens to a piece of history next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    LookUp,
    Fetch,
    Serve,
}

#[derive(Default)]
struct Queue {
    items: VecDeque<WatchItem>,
    refused: bool,
}

/// The queues as the watchers' sink.
struct Queues<'a>(&'a mut BTreeMap<u64, Queue>);

impl Hub {
    pub(super) fn new(revision: i64) -> Self {
        Self {
            watchers: Watchers::new(revision),
            queues: BTreeMap::new(),
            last_stream: 0,
            skip_to: None,
            waiting: VecDeque::new(),
            chunk: None,
            progress: Vec::new(),
        }
    }

    /// Takes the events of a revision from apply.
    pub(super) fn publish(&mut self, revision: i64, events: Vec<Event>) {
        let overflows = self.waiting.len() >= PUBLISH_REVISIONS;
        if self.queues.is_empty() || overflows {
            self.skip(revision);
        } else {
            self.waiting.push_back((revision, events));
        }
    }

    /// Everything up to a revision is only in history.
    pub(super) fn skip(&mut self, revision: i64) {
        self.waiting.clear();
        self.skip_to = Some(revision);
    }

    fn has_to_publish(&self) -> bool {
        self.skip_to.is_some() || !self.waiting.is_empty() || !self.progress.is_empty()
    }

    fn has_to_catch_up(&self) -> bool {
        self.chunk.is_some() || self.watchers.wanted_history().is_some()
    }

    /// Publishes at most `count` revisions.
    fn publish_step(&mut self, count: usize) {
        if let Some(revision) = self.skip_to.take() {
            self.watchers.skip_to(revision);
        }
        for _ in 0..count {
            let Some((revision, events)) = self.waiting.pop_front() else { break };
            self.watchers.publish(revision, Arc::from(events), &mut Queues(&mut self.queues));
        }
    }

    /// Tells how far they are those streams that asked for it and are there.
    fn tell_progress(&mut self, planted: Option<i64>) {
        let Self { watchers, queues, progress, .. } = self;
        let published = watchers.published();
        progress.retain(|(stream, target)| {
            let is_due = published >= *target;
            if is_due && let Some(queue) = queues.get_mut(stream) {
                let revision = planted.or_else(|| watchers.progress_of(*stream));
                let item = revision.map(|revision| WatchItem::Progress { id: None, revision });
                queue.items.extend(item);
            }
            !is_due
        });
    }
}

impl Shell {
    pub(crate) fn watch_has_work(&self) -> bool {
        self.hub.has_to_publish() || self.hub.has_to_catch_up()
    }

    /// One step of either thread of the hub.
    pub(crate) fn watch_step(&mut self, rng: &mut StdRng) -> Result<(), Stop> {
        let publishes =
            self.hub.has_to_publish() && (!self.hub.has_to_catch_up() || rng.random_bool(0.5));
        if publishes {
            self.hub.publish_step(rng.random_range(1..=3));
            let is_planted = self.limits.plant == Some(Plant::EarlyProgress);
            let current = self.machine.store().current_revision();
            self.hub.tell_progress(is_planted.then_some(current));
        } else {
            let bytes_max = PIECE_BYTES[usize::from(rng.random_bool(0.5))];
            self.catch_up_step(bytes_max)?;
        }
        self.hub.watchers.check_invariants();
        Ok(())
    }

    /// Between two of these anything may be applied, flushed, compacted or installed.
    fn catch_up_step(&mut self, bytes_max: usize) -> Result<(), Stop> {
        let history = OverlayHistory { overlay: &self.overlay, view: &self.view };
        let store = self.machine.store();
        let fault = |fault: mvcc::HistoryFault| Stop::Apply(fault.into());
        let Hub { watchers, queues, chunk, .. } = &mut self.hub;
        let Some((mut piece, stage)) = chunk.take() else {
            let compacted = store.compacted_revision();
            if watchers.catch_up_recent(compacted, bytes_max, &mut Queues(queues)) {
                return Ok(());
            }
            let Some((from, to)) = watchers.wanted_history() else { return Ok(()) };
            let with_previous = watchers.wants_previous();
            let piece = if self.limits.plant == Some(Plant::LostEvent) {
                // What has not been flushed yet is forgotten.
                let empty = backend::Overlay::new();
                let view_only = OverlayHistory { overlay: &empty, view: &self.view };
                Chunk::read(&view_only, from, to, compacted, bytes_max)
            } else {
                Chunk::read(&history, from, to, compacted, bytes_max)
            };
            let stage = if with_previous { Stage::LookUp } else { Stage::Serve };
            *chunk = Some((piece.map_err(fault)?, stage));
            return Ok(());
        };
        match stage {
            Stage::LookUp => {
                piece.look_up(store);
                *chunk = Some((piece, Stage::Fetch));
            }
            Stage::Fetch => {
                piece.fetch(&history).map_err(fault)?;
                *chunk = Some((piece, Stage::Serve));
            }
            Stage::Serve => watchers.catch_up(piece, &mut Queues(queues)),
        }
        Ok(())
    }

    /// A client connects.
    pub(crate) fn watch_open(&mut self) -> u64 {
        self.hub.last_stream += 1;
        self.hub.queues.insert(self.hub.last_stream, Queue::default());
        self.hub.last_stream
    }

    /// It has gone.
    pub(crate) fn watch_close(&mut self, stream: u64) {
        self.hub.watchers.remove_stream(stream);
        self.hub.queues.remove(&stream);
        self.hub.progress.retain(|(other, _)| *other != stream);
    }

    /// Makes a watcher and queues the answer.
    pub(crate) fn watch_create(
        &mut self,
        stream: u64,
        spec: WatchSpec,
        revision: i64,
    ) -> Option<i64> {
        let store = self.machine.store();
        let compacted = store.compacted_revision();
        let start = Start { revision, current: store.current_revision(), compacted };
        let made = self.hub.watchers.create(stream, 0, spec, start);
        let Created { id, compacted } = made.ok()?;
        let queue = self.hub.queues.get_mut(&stream)?;
        queue.items.push_back(WatchItem::Created { id, revision: start.current });
        if let Some(compact_revision) = compacted {
            queue.items.push_back(WatchItem::Compacted { id, compact_revision });
        }
        Some(id)
    }

    pub(crate) fn watch_cancel(&mut self, stream: u64, id: i64) {
        self.hub.watchers.cancel(WatcherKey { stream, id });
    }

    /// A client asks how far its stream is.
    pub(crate) fn watch_request_progress(&mut self, stream: u64) {
        let is_asked = self.hub.progress.iter().any(|(other, _)| *other == stream);
        if !is_asked {
            self.hub.progress.push((stream, self.machine.store().current_revision()));
        }
    }

    /// The interval of progress notifications has passed.
    pub(crate) fn watch_notify_progress(&mut self, stream: u64) {
        let Hub { watchers, queues, .. } = &mut self.hub;
        watchers.notify_progress(stream, &mut Queues(queues));
    }

    /// The client reads a response.
    pub(crate) fn watch_next(&mut self, stream: u64) -> Option<WatchItem> {
        let queue = self.hub.queues.get_mut(&stream)?;
        let item = queue.items.pop_front()?;
        if queue.refused && queue.items.len() <= STREAM_RESPONSES / 2 {
            queue.refused = false;
            self.hub.watchers.unblock(stream);
        }
        Some(item)
    }
}

impl Sink for Queues<'_> {
    fn events(&mut self, watcher: WatcherKey, prev_kv: bool, _: i64, events: &[&Event]) -> bool {
        let Some(queue) = self.0.get_mut(&watcher.stream) else { return true };
        if queue.items.len() >= STREAM_RESPONSES {
            queue.refused = true;
            return false;
        }
        let events = events.iter().map(|event| watched(event, prev_kv)).collect();
        queue.items.push_back(WatchItem::Events { id: watcher.id, events });
        true
    }

    fn compacted(&mut self, watcher: WatcherKey, compact_revision: i64) {
        if let Some(queue) = self.0.get_mut(&watcher.stream) {
            queue.items.push_back(WatchItem::Compacted { id: watcher.id, compact_revision });
        }
    }

    fn progress(&mut self, watcher: WatcherKey, revision: i64) {
        if let Some(queue) = self.0.get_mut(&watcher.stream) {
            queue.items.push_back(WatchItem::Progress { id: Some(watcher.id), revision });
        }
    }
}

fn watched(event: &Event, prev_kv: bool) -> WatchedEvent {
    let value = |pair: &Pair| {
        let view = KvView::parse(pair).ok()?;
        Some(String::from_utf8_lossy(view.value).into_owned())
    };
    WatchedEvent {
        revision: KvView::parse(&event.kv).map_or(0, |view| view.mod_revision),
        key: event.key.clone(),
        value: if event.kind == EventKind::Put { value(&event.kv) } else { None },
        previous: event.previous().filter(|_| prev_kv).and_then(value),
    }
}
