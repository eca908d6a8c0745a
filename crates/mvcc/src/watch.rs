//! Watching: who is told of which change, live and from history.
//!
//! ```text
//!              start is not published yet          a stream has no room, or revisions were skipped
//!   create ──┬──────────────────────────▶ synced ──────────────────────────────────────┐
//!            │                              ▲   next is behind what is published        ▼
//!            └──────────────────────────────┴─────────────────────────────────────── behind
//!              start is in the past                                                     │
//!                                                  history before its start is gone     ▼
//!                                                                                     ended
//! ```
//!
//! Owns:       the watchers of all streams of a member, what was published last, and the newest
//!             revisions in memory.
//! Uses:       `intervals` to find watchers by key, `chunk` for events out of history.
//! Never:      queues, threads, encodings; where events go is the [`Sink`]'s.
//! Invariants: a watcher gets every matching event from its start on, once, in order, all of one
//!             revision together; a synced watcher was given everything up to `published`;
//!             [`Watchers::check_invariants`].
//! Source:     api-v3.md 3; design.md 7; etcd `mvcc/watchable_store.go` for what clients can see.

mod contract;

mod chunk;
mod intervals;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use types::{KeyRange, limits};

use crate::txn::Event;
use intervals::{End, Intervals};

pub use chunk::Chunk;
pub use contract::{Created, Refusal, Sink, Start, WatchSpec, WatcherKey};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Synced,
    /// Waits for its turn, which comes by the round in which it was last served.
    Behind {
        served: u64,
    },
    /// Is behind and its stream has no room.
    Blocked,
    Ended,
}

#[derive(Clone, Debug)]
struct Watcher {
    spec: WatchSpec,
    /// First revision that has not been given; for a synced watcher a lower bound of it.
    next: i64,
    state: State,
    /// No event since the last look.
    is_quiet: bool,
}

#[derive(Clone, Debug, Default)]
struct Stream {
    next_id: i64,
    ids: BTreeSet<i64>,
    blocked: BTreeSet<i64>,
}

#[derive(Clone, Debug)]
struct Recent {
    revision: i64,
    bytes: usize,
    events: Arc<[Event]>,
}

/// All watchers of a member.
#[derive(Clone, Debug)]
pub struct Watchers {
    watchers: BTreeMap<WatcherKey, Watcher>,
    streams: BTreeMap<u64, Stream>,
    keys: BTreeMap<Bytes, BTreeSet<WatcherKey>>,
    intervals: Intervals,
    /// Watchers that are behind and not blocked, those first that were served the longest ago.
    turns: BTreeSet<(u64, WatcherKey)>,
    round: u64,
    recent: VecDeque<Recent>,
    recent_bytes: usize,
    published: i64,
}

impl Watchers {
    /// No watchers, of a store at this revision.
    #[must_use]
    pub fn new(published: i64) -> Self {
        Self {
            watchers: BTreeMap::new(),
            streams: BTreeMap::new(),
            keys: BTreeMap::new(),
            intervals: Intervals::default(),
            turns: BTreeSet::new(),
            round: 0,
            recent: VecDeque::new(),
            recent_bytes: 0,
            published,
        }
    }

    /// The revision up to which synced watchers have been given everything.
    #[must_use]
    pub fn published(&self) -> i64 {
        self.published
    }

    /// Number of watchers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.watchers.len()
    }

    /// Whether there is no watcher.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.watchers.is_empty()
    }

    /// Number of watchers that are behind.
    #[must_use]
    pub fn behind(&self) -> usize {
        let blocked: usize = self.streams.values().map(|stream| stream.blocked.len()).sum();
        self.turns.len() + blocked
    }

    /// Adds a watcher; `wanted` is its ID, 0 for the next free one of the stream.
    ///
    /// # Errors
    /// As [`Refusal`] says; nothing has changed.
    pub fn create(
        &mut self,
        stream: u64,
        wanted: i64,
        spec: WatchSpec,
        start: Start,
    ) -> Result<Created, Refusal> {
        if start.revision < 0 {
            return Err(Refusal::NegativeStart);
        }
        if let KeyRange::Interval(first, end) = &spec.range
            && end <= first
        {
            return Err(Refusal::EmptyRange);
        }
        let of_stream = self.streams.entry(stream).or_default();
        if wanted != 0 && of_stream.ids.contains(&wanted) {
            return Err(Refusal::DuplicateId);
        }
        if self.watchers.len() >= limits::WATCHERS_MAX {
            return Err(Refusal::TooMany);
        }
        let id = of_stream.take_id(wanted);
        let key = WatcherKey { stream, id };
        let next = if start.revision == 0 { start.current + 1 } else { start.revision };
        let is_gone = next < start.compacted;
        let state = if is_gone { State::Ended } else { State::Behind { served: self.round } };
        self.watchers.insert(key, Watcher { spec, next, state, is_quiet: true });
        if !is_gone {
            self.settle(key);
        }
        Ok(Created { id, compacted: is_gone.then_some(start.compacted) })
    }

    /// Removes a watcher; `false` when the stream has none of that ID.
    pub fn cancel(&mut self, key: WatcherKey) -> bool {
        self.detach(key);
        if self.watchers.remove(&key).is_none() {
            return false;
        }
        if let Some(stream) = self.streams.get_mut(&key.stream) {
            stream.ids.remove(&key.id);
        }
        true
    }

    /// Removes a stream with all its watchers.
    pub fn remove_stream(&mut self, stream: u64) {
        let ids = self.streams.get(&stream).map(|stream| stream.ids.clone()).unwrap_or_default();
        for id in ids {
            self.cancel(WatcherKey { stream, id });
        }
        self.streams.remove(&stream);
    }

    /// Tells synced watchers what happened at a revision. Revisions must come in order; one that was
    /// published before is passed over.
    pub fn publish(&mut self, revision: i64, events: Arc<[Event]>, sink: &mut dyn Sink) {
        if revision <= self.published {
            return;
        }
        let mut told = self.matches(&events);
        told.sort_unstable();
        for group in told.chunk_by(|(one, _), (other, _)| one == other) {
            self.tell(group, revision, &events, sink);
        }
        self.published = revision;
        self.remember(revision, events);
    }

    /// Moves on to a revision without telling what happened up to it: the events are only in
    /// history, because a snapshot brought them or too many were waiting.
    pub fn skip_to(&mut self, revision: i64) {
        if revision <= self.published {
            return;
        }
        let first = self.published + 1;
        self.published = revision;
        self.recent.clear();
        self.recent_bytes = 0;
        let synced = |(_, watcher): &(&WatcherKey, &Watcher)| watcher.state == State::Synced;
        let keys: Vec<WatcherKey> =
            self.watchers.iter().filter(synced).map(|(key, _)| *key).collect();
        for key in keys {
            self.detach(key);
            if let Some(watcher) = self.watchers.get_mut(&key) {
                watcher.next = watcher.next.max(first);
            }
            self.settle(key);
        }
    }

    /// The revisions that the watcher whose turn it is needs from history, the first and the last
    /// one; `None` when nobody needs any. [`Watchers::catch_up_recent`] goes first.
    #[must_use]
    pub fn wanted_history(&self) -> Option<(i64, i64)> {
        let (_, key) = self.turns.first()?;
        Some((self.watchers.get(key)?.next, self.published))
    }

    /// Whether any watcher whose turn is near wants the pairs before the events. One that comes later
    /// is not served from a piece without them.
    #[must_use]
    pub fn wants_previous(&self) -> bool {
        let wants = |(_, key): &(u64, WatcherKey)| {
            self.watchers.get(key).is_some_and(|watcher| watcher.spec.prev_kv)
        };
        self.turns.iter().take(limits::WATCH_CATCH_UP_WATCHERS).any(wants)
    }

    /// Serves watchers that are behind from the newest revisions in memory, as far as one response
    /// goes; `false` when the one whose turn it is needs older ones, or there is none. `compacted` is
    /// the compacted revision of the store: a pair from below it is not shown any more. A piece ends
    /// with the revision that takes it over `bytes_max`.
    pub fn catch_up_recent(
        &mut self,
        compacted: i64,
        bytes_max: usize,
        sink: &mut dyn Sink,
    ) -> bool {
        let Some((from, _)) = self.wanted_history() else { return false };
        if self.recent.front().is_none_or(|oldest| oldest.revision > from) {
            return false;
        }
        let first = self.recent.partition_point(|recent| recent.revision < from);
        let mut size = PieceSize::new(bytes_max);
        let mut revisions: Vec<(i64, Arc<[Event]>)> = Vec::new();
        for recent in self.recent.range(first..) {
            if size.is_full() {
                break;
            }
            size.add(recent.events.len(), recent.bytes);
            let events = Arc::clone(&recent.events);
            let is_visible = recent.revision > compacted;
            let events = if is_visible { events } else { without_previous(&events) };
            revisions.push((recent.revision, events));
        }
        let is_all = first + revisions.len() == self.recent.len();
        let last = revisions.last().map_or(self.published, |(revision, _)| *revision);
        let through = if is_all { self.published } else { last };
        self.serve(&Piece { from, through, revisions: &revisions, has_previous: true }, sink);
        true
    }

    /// Serves watchers that are behind from a piece of history.
    pub fn catch_up(&mut self, chunk: Chunk, sink: &mut dyn Sink) {
        let is_gone = |key: &WatcherKey| {
            self.watchers.get(key).is_some_and(|watcher| watcher.next < chunk.compacted)
        };
        let gone: Vec<WatcherKey> =
            self.turns.iter().map(|(_, key)| *key).filter(|key| is_gone(key)).collect();
        for key in gone {
            self.detach(key);
            if let Some(watcher) = self.watchers.get_mut(&key) {
                watcher.state = State::Ended;
            }
            sink.compacted(key, chunk.compacted);
        }
        let piece = Piece {
            from: chunk.from,
            through: chunk.through.min(self.published),
            revisions: &chunk.revisions,
            has_previous: chunk.has_previous,
        };
        self.serve(&piece, sink);
    }

    /// The stream has room again.
    pub fn unblock(&mut self, stream: u64) {
        let Some(of_stream) = self.streams.get_mut(&stream) else { return };
        for id in std::mem::take(&mut of_stream.blocked) {
            self.settle(WatcherKey { stream, id });
        }
    }

    /// The revision up to which every watcher of a stream has been given everything; `None` while
    /// one is behind or waits for a revision to come, and for a stream without watchers.
    #[must_use]
    pub fn progress_of(&self, stream: u64) -> Option<i64> {
        let ids = &self.streams.get(&stream)?.ids;
        let is_current = |id: &i64| {
            let watcher = self.watchers.get(&WatcherKey { stream, id: *id });
            watcher.is_some_and(|watcher| self.is_current(watcher))
        };
        (!ids.is_empty() && ids.iter().all(is_current)).then_some(self.published)
    }

    /// Tells those watchers of a stream that asked for it, and have had no event since the last
    /// call, how far they are.
    pub fn notify_progress(&mut self, stream: u64, sink: &mut dyn Sink) {
        let range = WatcherKey { stream, id: i64::MIN }..=WatcherKey { stream, id: i64::MAX };
        let published = self.published;
        for (key, watcher) in self.watchers.range_mut(range) {
            if !watcher.spec.progress_notify {
                continue;
            }
            let is_current = watcher.state == State::Synced && watcher.next <= published + 1;
            if watcher.is_quiet && is_current {
                sink.progress(*key, published);
            }
            watcher.is_quiet = true;
        }
    }

    fn is_current(&self, watcher: &Watcher) -> bool {
        watcher.state == State::Synced && watcher.next <= self.published + 1
    }

    fn matches(&self, events: &[Event]) -> Vec<(WatcherKey, usize)> {
        let mut found = Vec::new();
        for (position, event) in events.iter().enumerate() {
            if let Some(watchers) = self.keys.get(&event.key) {
                found.extend(watchers.iter().map(|key| (*key, position)));
            }
            self.intervals.stab(&event.key, &mut |key| found.push((key, position)));
        }
        found
    }

    /// Tells one watcher about the events at these positions.
    fn tell(
        &mut self,
        group: &[(WatcherKey, usize)],
        revision: i64,
        events: &[Event],
        sink: &mut dyn Sink,
    ) {
        let Some((key, _)) = group.first().copied() else { return };
        let Some(watcher) = self.watchers.get_mut(&key) else { return };
        if revision < watcher.next {
            return;
        }
        let at = |(_, position): &(WatcherKey, usize)| &events[*position];
        let wanted: Vec<&Event> =
            group.iter().map(at).filter(|event| watcher.spec.wants(event)).collect();
        if wanted.is_empty() {
            return;
        }
        if sink.events(key, watcher.spec.prev_kv, revision, &wanted) {
            watcher.is_quiet = false;
        } else {
            // The revision counts as published as soon as `publish` returns.
            watcher.next = revision;
            self.block(key);
        }
    }

    /// Gives the events of a piece to the watchers whose turn it is, until so many events were looked
    /// at that others should have the table.
    fn serve<E: AsRef<[Event]>>(&mut self, piece: &Piece<'_, E>, sink: &mut dyn Sink) {
        self.round += 1;
        let mut looked_at = 0;
        let turns = self.turns.iter().take(limits::WATCH_CATCH_UP_WATCHERS);
        let keys: Vec<WatcherKey> = turns.map(|(_, key)| *key).collect();
        for key in keys {
            let Some(watcher) = self.watchers.get_mut(&key) else { continue };
            let spec = &watcher.spec;
            if !piece.holds(watcher.next) || (spec.prev_kv && !piece.has_previous) {
                continue;
            }
            let wanted: Vec<&Event> = piece
                .events_from(watcher.next)
                .inspect(|_| looked_at += 1)
                .filter(|event| spec.wants(event) && spec.range.contains(&event.key))
                .collect();
            let has_events = !wanted.is_empty();
            if has_events && !sink.events(key, spec.prev_kv, self.published, &wanted) {
                self.block(key);
                continue;
            }
            watcher.is_quiet &= !has_events;
            watcher.next = piece.through + 1;
            self.detach(key);
            self.settle(key);
            if looked_at >= limits::WATCH_CATCH_UP_EVENTS {
                return;
            }
        }
    }

    /// Puts a watcher that is in no index where its next revision says.
    fn settle(&mut self, key: WatcherKey) {
        let Some(watcher) = self.watchers.get_mut(&key) else { return };
        if watcher.next > self.published {
            watcher.state = State::Synced;
            let range = watcher.spec.range.clone();
            self.index(key, &range);
        } else {
            watcher.state = State::Behind { served: self.round };
            self.turns.insert((self.round, key));
        }
    }

    /// Takes a watcher that is behind out of its turn until its stream has room.
    fn block(&mut self, key: WatcherKey) {
        self.detach(key);
        if let Some(watcher) = self.watchers.get_mut(&key) {
            watcher.state = State::Blocked;
            self.streams.entry(key.stream).or_default().blocked.insert(key.id);
        }
    }

    fn index(&mut self, key: WatcherKey, range: &KeyRange) {
        match range {
            KeyRange::One(one) => {
                self.keys.entry(one.clone()).or_default().insert(key);
            }
            KeyRange::Interval(start, end) => {
                self.intervals.insert(start, &End::Before(end.clone()), key);
            }
            KeyRange::From(start) => self.intervals.insert(start, &End::Never, key),
        }
    }

    /// Takes a watcher out of whatever index it is in.
    fn detach(&mut self, key: WatcherKey) {
        let Some(watcher) = self.watchers.get(&key) else { return };
        match (watcher.state, &watcher.spec.range) {
            (State::Synced, KeyRange::One(one)) => {
                if let Some(watchers) = self.keys.get_mut(one) {
                    watchers.remove(&key);
                    if watchers.is_empty() {
                        self.keys.remove(one);
                    }
                }
            }
            (State::Synced, KeyRange::Interval(start, end)) => {
                self.intervals.remove(start, &End::Before(end.clone()), key);
            }
            (State::Synced, KeyRange::From(start)) => {
                self.intervals.remove(start, &End::Never, key);
            }
            (State::Behind { served }, _) => {
                self.turns.remove(&(served, key));
            }
            (State::Blocked, _) => {
                if let Some(stream) = self.streams.get_mut(&key.stream) {
                    stream.blocked.remove(&key.id);
                }
            }
            (State::Ended, _) => {}
        }
    }

    fn remember(&mut self, revision: i64, events: Arc<[Event]>) {
        let bytes = events.iter().map(event_bytes).sum();
        self.recent_bytes += bytes;
        self.recent.push_back(Recent { revision, bytes, events });
        while self.recent.len() > limits::WATCH_RECENT_REVISIONS
            || self.recent_bytes > limits::WATCH_RECENT_BYTES
        {
            let Some(oldest) = self.recent.pop_front() else { break };
            self.recent_bytes -= oldest.bytes;
        }
    }

    /// Asserts what always holds between calls.
    ///
    /// # Panics
    /// When it does not hold.
    pub fn check_invariants(&self) {
        self.intervals.check_invariants();
        let mut turns = BTreeSet::new();
        for (key, watcher) in &self.watchers {
            let of_stream = self.streams.get(&key.stream);
            assert!(of_stream.is_some_and(|stream| stream.ids.contains(&key.id)), "{key:?}");
            match watcher.state {
                State::Behind { served } => {
                    assert!(watcher.next <= self.published, "{key:?} waits for nothing");
                    turns.insert((served, *key));
                }
                State::Blocked => {
                    assert!(watcher.next <= self.published, "{key:?} is not behind");
                    assert!(of_stream.is_some_and(|stream| stream.blocked.contains(&key.id)));
                }
                State::Synced | State::Ended => {}
            }
            if let KeyRange::One(one) = &watcher.spec.range {
                let indexed = self.keys.get(one).is_some_and(|keys| keys.contains(key));
                assert_eq!(indexed, watcher.state == State::Synced, "index of {key:?}");
            }
        }
        assert_eq!(self.turns, turns, "turns do not mirror the watchers");
        let ids: usize = self.streams.values().map(|stream| stream.ids.len()).sum();
        assert_eq!(ids, self.watchers.len(), "streams do not mirror the watchers");
        let last = self.recent.back().map(|recent| recent.revision);
        assert!(last.is_none_or(|last| last == self.published), "recent revisions end at {last:?}");
    }
}

/// Everything that happened from one revision through another.
struct Piece<'a, E> {
    from: i64,
    through: i64,
    revisions: &'a [(i64, E)],
    /// Whether the events know the pairs before them.
    has_previous: bool,
}

impl<E: AsRef<[Event]>> Piece<'_, E> {
    fn holds(&self, revision: i64) -> bool {
        (self.from..=self.through).contains(&revision)
    }

    fn events_from(&self, revision: i64) -> impl Iterator<Item = &Event> {
        let first = self.revisions.partition_point(|(at, _)| *at < revision);
        self.revisions[first..].iter().flat_map(|(_, events)| events.as_ref())
    }
}

/// How much a piece holds. It is full when one more revision is too many.
struct PieceSize {
    revisions: usize,
    events: usize,
    bytes: usize,
    bytes_max: usize,
}

impl PieceSize {
    fn new(bytes_max: usize) -> Self {
        Self { revisions: 0, events: 0, bytes: 0, bytes_max }
    }

    /// Adds one revision.
    fn add(&mut self, events: usize, bytes: usize) {
        self.revisions += 1;
        self.events += events;
        self.bytes += bytes;
    }

    fn is_full(&self) -> bool {
        self.revisions >= limits::WATCH_CATCH_UP_REVISIONS
            || self.events >= limits::WATCH_CATCH_UP_REVISIONS
            || self.bytes >= self.bytes_max
    }
}

impl Stream {
    fn take_id(&mut self, wanted: i64) -> i64 {
        let id = if wanted == 0 {
            while self.ids.contains(&self.next_id) {
                self.next_id = self.next_id.wrapping_add(1);
            }
            let id = self.next_id;
            self.next_id = self.next_id.wrapping_add(1);
            id
        } else {
            wanted
        };
        self.ids.insert(id);
        id
    }
}

/// Copies of events that do not know what was there before.
fn without_previous(events: &[Event]) -> Arc<[Event]> {
    events.iter().map(|event| Event { prev: None, ..event.clone() }).collect()
}

fn event_bytes(event: &Event) -> usize {
    event.key.len() + event.kv.len() + event.prev.as_ref().map_or(0, |prev| prev.len())
}
