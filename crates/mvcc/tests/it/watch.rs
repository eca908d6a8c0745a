//! Watchers against a list of everything that happened.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use mvcc::kv::{KvView, Pair};
use mvcc::watch::{Chunk, Created, Refusal, Sink, Start, WatchSpec, WatcherKey, Watchers};
use mvcc::{Event, EventKind};
use proptest::prelude::*;
use types::KeyRange;

use crate::rows::{Fixture, put};

const PIECE_BYTES: usize = 1 << 20;

/// What a watcher was told, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Events { header: i64, events: Vec<(EventKind, Bytes, i64, Option<Pair>)> },
    Compacted(i64),
    Progress(i64),
}

/// Keeps what it takes; of each stream only as much as there is room.
#[derive(Debug, Default)]
struct Book {
    told: BTreeMap<WatcherKey, Vec<Told>>,
    room: BTreeMap<u64, usize>,
}

impl Sink for Book {
    fn events(
        &mut self,
        watcher: WatcherKey,
        prev_kv: bool,
        header_revision: i64,
        events: &[&Event],
    ) -> bool {
        let room = self.room.entry(watcher.stream).or_insert(usize::MAX);
        if *room == 0 {
            return false;
        }
        *room = room.saturating_sub(1);
        let view = |event: &&Event| {
            let pair = KvView::parse(&event.kv).unwrap();
            let prev = event.previous().filter(|_| prev_kv).cloned();
            (event.kind, event.key.clone(), pair.mod_revision, prev)
        };
        let events = events.iter().map(view).collect();
        let told = self.told.entry(watcher).or_default();
        told.push(Told::Events { header: header_revision, events });
        true
    }

    fn compacted(&mut self, watcher: WatcherKey, compact_revision: i64) {
        self.told.entry(watcher).or_default().push(Told::Compacted(compact_revision));
    }

    fn progress(&mut self, watcher: WatcherKey, revision: i64) {
        self.told.entry(watcher).or_default().push(Told::Progress(revision));
    }
}

impl Book {
    /// Key and revision of all events of a watcher.
    fn seen(&self, watcher: WatcherKey) -> Vec<(Bytes, i64)> {
        let events = self.told.get(&watcher).into_iter().flatten().filter_map(|told| match told {
            Told::Events { events, .. } => Some(events),
            Told::Compacted(_) | Told::Progress(_) => None,
        });
        events.flatten().map(|(_, key, revision, _)| (key.clone(), *revision)).collect()
    }
}

/// A store with watchers on it.
struct Site {
    fixture: Fixture,
    watchers: Watchers,
    book: Book,
    log: Vec<(i64, Vec<Event>)>,
}

impl Site {
    fn new() -> Self {
        Self {
            fixture: Fixture::default(),
            watchers: Watchers::new(1),
            book: Book::default(),
            log: Vec::new(),
        }
    }

    fn take(&mut self, events: Vec<Event>) {
        if !events.is_empty() {
            self.log.push((self.fixture.store.current_revision(), events));
        }
    }

    fn put(&mut self, key: &str, value: &str) {
        let events = self.fixture.put_request(&put(key, value)).unwrap().events;
        self.take(events);
    }

    fn delete(&mut self, key: &str, end: &str) {
        let events = self.fixture.delete(key, end).events;
        self.take(events);
    }

    /// Publishes what is not published yet.
    fn publish(&mut self) {
        let published = self.watchers.published();
        for (revision, events) in self.log.iter().filter(|(revision, _)| *revision > published) {
            self.watchers.publish(*revision, Arc::from(events.clone()), &mut self.book);
            self.watchers.check_invariants();
        }
    }

    fn start(&self, revision: i64) -> Start {
        Start {
            revision,
            current: self.fixture.store.current_revision(),
            compacted: self.fixture.store.compacted_revision(),
        }
    }

    fn create(&mut self, stream: u64, spec: WatchSpec, revision: i64) -> WatcherKey {
        let start = self.start(revision);
        let Created { id, compacted } = self.watchers.create(stream, 0, spec, start).unwrap();
        assert_eq!(compacted, None);
        self.watchers.check_invariants();
        WatcherKey { stream, id }
    }

    /// One step of catching up; `false` when there is nobody to serve.
    fn catch_up(&mut self) -> bool {
        let compacted = self.fixture.store.compacted_revision();
        if self.watchers.catch_up_recent(compacted, PIECE_BYTES, &mut self.book) {
            self.watchers.check_invariants();
            return true;
        }
        let Some((from, to)) = self.watchers.wanted_history() else { return false };
        let store = &self.fixture.store;
        let rows = &self.fixture.rows;
        let mut chunk =
            Chunk::read(rows, from, to, store.compacted_revision(), PIECE_BYTES).unwrap();
        if self.watchers.wants_previous() {
            chunk.look_up(store);
            chunk.fetch(rows).unwrap();
        }
        self.watchers.catch_up(chunk, &mut self.book);
        self.watchers.check_invariants();
        true
    }

    fn catch_up_all(&mut self) {
        while self.catch_up() {}
    }
}

fn all() -> WatchSpec {
    spec(KeyRange::From(Bytes::from("\0")))
}

fn one(key: &'static str) -> WatchSpec {
    spec(KeyRange::One(Bytes::from(key)))
}

fn spec(range: KeyRange) -> WatchSpec {
    WatchSpec { range, no_put: false, no_delete: false, prev_kv: false, progress_notify: false }
}

fn pairs(expected: &[(&'static str, i64)]) -> Vec<(Bytes, i64)> {
    expected.iter().map(|(key, revision)| (Bytes::from(*key), *revision)).collect()
}

#[test]
fn a_watcher_from_now_sees_what_follows() {
    let mut site = Site::new();
    site.put("a", "1");
    let watcher = site.create(1, all(), 0);
    site.put("a", "2");
    site.delete("a", "");
    site.publish();
    assert_eq!(site.book.seen(watcher), pairs(&[("a", 3), ("a", 4)]));
    assert_eq!(
        site.book.told[&watcher][1],
        Told::Events { header: 4, events: vec![(EventKind::Delete, Bytes::from("a"), 4, None)] }
    );
}

#[test]
fn a_watcher_from_the_past_goes_through_history_and_then_live() {
    for is_recent in [true, false] {
        let mut site = Site::new();
        site.put("a", "1");
        site.put("b", "1");
        site.put("a", "2");
        site.publish();
        if !is_recent {
            site.watchers = Watchers::new(site.watchers.published());
        }
        let watcher = site.create(1, one("a"), 2);
        assert_eq!(site.watchers.progress_of(1), None);
        site.put("a", "3");
        site.catch_up_all();
        assert_eq!(site.book.seen(watcher), pairs(&[("a", 2), ("a", 4)]));
        assert_eq!(site.watchers.progress_of(1), Some(4));
        site.publish();
        assert_eq!(site.book.seen(watcher), pairs(&[("a", 2), ("a", 4), ("a", 5)]));
    }
}

#[test]
fn a_watcher_from_the_future_sees_nothing_earlier() {
    let mut site = Site::new();
    let watcher = site.create(1, all(), 4);
    for value in ["1", "2", "3", "4"] {
        site.put("a", value);
        site.publish();
        assert_eq!(site.watchers.progress_of(1).is_some(), site.watchers.published() >= 3);
    }
    assert_eq!(site.book.seen(watcher), pairs(&[("a", 4), ("a", 5)]));
}

#[test]
fn a_registration_between_apply_and_publishing_is_neither_early_nor_late() {
    let mut site = Site::new();
    site.put("a", "1");
    let now = site.create(1, all(), 0);
    let past = site.create(1, all(), 2);
    site.publish();
    site.put("a", "2");
    site.publish();
    assert_eq!(site.book.seen(now), pairs(&[("a", 3)]));
    assert_eq!(site.book.seen(past), pairs(&[("a", 2), ("a", 3)]));
}

#[test]
fn compacted_starts_end() {
    let mut site = Site::new();
    for value in ["1", "2", "3", "4"] {
        site.put("a", value);
    }
    site.publish();
    site.watchers = Watchers::new(5);
    let late = site.create(1, all(), 3);
    let at = site.create(1, all(), 4);
    site.fixture.compact(4).unwrap();
    let start = site.start(3);
    let created = site.watchers.create(1, 0, all(), start);
    assert_eq!(created, Ok(Created { id: 2, compacted: Some(4) }));
    site.catch_up_all();
    assert_eq!(site.book.told[&late], [Told::Compacted(4)]);
    assert_eq!(site.book.seen(at), pairs(&[("a", 4), ("a", 5)]));
    // It keeps its ID, and the stream from telling progress, until it is cancelled.
    assert_eq!(site.watchers.progress_of(1), None);
    assert!(site.watchers.cancel(late) && site.watchers.cancel(WatcherKey { stream: 1, id: 2 }));
    assert_eq!(site.watchers.progress_of(1), Some(5));
}

#[test]
fn ids_are_given_out_in_order_and_not_again() {
    let mut site = Site::new();
    let start = site.start(0);
    let id = |site: &mut Site, wanted| site.watchers.create(1, wanted, all(), start);
    let created = |id| Ok(Created { id, compacted: None });
    assert_eq!(id(&mut site, 0), created(0));
    assert_eq!(id(&mut site, 2), created(2));
    assert_eq!(id(&mut site, -7), created(-7));
    assert_eq!(id(&mut site, 2), Err(Refusal::DuplicateId));
    assert_eq!(id(&mut site, 0), created(1));
    assert_eq!(id(&mut site, 0), created(3));
    assert!(site.watchers.cancel(WatcherKey { stream: 1, id: 3 }));
    assert!(!site.watchers.cancel(WatcherKey { stream: 1, id: 3 }));
    assert_eq!(id(&mut site, 0), created(4));
    assert_eq!(id(&mut site, 3), created(3));
    let empty = spec(KeyRange::Interval(Bytes::from("b"), Bytes::from("b")));
    assert_eq!(site.watchers.create(1, 0, empty, start), Err(Refusal::EmptyRange));
    let negative = site.start(-1);
    assert_eq!(site.watchers.create(1, 0, all(), negative), Err(Refusal::NegativeStart));
    site.watchers.remove_stream(1);
    assert!(site.watchers.is_empty());
    assert_eq!(id(&mut site, 0), created(0));
}

#[test]
fn filters_drop_and_previous_pairs_come_live_and_from_history() {
    for is_live in [true, false] {
        let mut site = Site::new();
        let quiet = WatchSpec { no_put: true, no_delete: true, ..all() };
        let deletes = WatchSpec { no_put: true, prev_kv: true, ..all() };
        let puts = WatchSpec { no_delete: true, prev_kv: true, ..all() };
        let specs = [quiet, deletes, puts];
        let mut keys = Vec::new();
        if is_live {
            keys = specs.clone().map(|spec| site.create(1, spec, 0)).to_vec();
        }
        site.put("a", "1");
        site.put("a", "2");
        site.delete("a", "");
        site.put("a", "3");
        site.publish();
        if !is_live {
            site.watchers = Watchers::new(site.watchers.published());
            keys = specs.map(|spec| site.create(1, spec, 1)).to_vec();
            site.catch_up_all();
        }
        let told = |key: usize| {
            let told = site.book.told.get(&keys[key]).cloned().unwrap_or_default();
            let events = told.into_iter().flat_map(|told| match told {
                Told::Events { events, .. } => events,
                Told::Compacted(_) | Told::Progress(_) => Vec::new(),
            });
            let view = |(_, _, revision, prev): (EventKind, Bytes, i64, Option<Pair>)| {
                let value = |pair: Pair| KvView::parse(&pair).unwrap().value.to_vec();
                (revision, prev.map(value))
            };
            events.map(view).collect::<Vec<_>>()
        };
        assert_eq!(told(0), []);
        assert_eq!(told(1), [(4, Some(b"2".to_vec()))]);
        assert_eq!(told(2), [(2, None), (3, Some(b"1".to_vec())), (5, None)]);
    }
}

#[test]
fn a_previous_pair_from_below_the_compacted_revision_is_not_shown() {
    for is_recent in [true, false] {
        let mut site = Site::new();
        for value in ["1", "2", "3"] {
            site.put("a", value);
        }
        site.publish();
        site.fixture.compact_fully(3);
        if !is_recent {
            site.watchers = Watchers::new(site.watchers.published());
        }
        let watcher = site.create(1, WatchSpec { prev_kv: true, ..all() }, 3);
        site.catch_up_all();
        let [Told::Events { events, .. }] = site.book.told[&watcher].as_slice() else { panic!() };
        let previous: Vec<_> =
            events.iter().map(|(.., revision, prev)| (*revision, prev.is_some())).collect();
        assert_eq!(previous, [(3, false), (4, true)]);
    }
}

#[test]
fn a_watcher_that_wants_pairs_is_not_served_from_a_piece_without_them() {
    let mut site = Site::new();
    site.put("a", "1");
    site.put("a", "2");
    site.publish();
    site.watchers = Watchers::new(site.watchers.published());
    let plain = site.create(1, all(), 2);
    assert!(!site.watchers.wants_previous());
    let chunk = Chunk::read(&site.fixture.rows, 2, 3, -1, PIECE_BYTES).unwrap();
    // While the piece was read a watcher came that wants more than it has.
    let late = site.create(2, WatchSpec { prev_kv: true, ..all() }, 3);
    site.watchers.catch_up(chunk, &mut site.book);
    site.watchers.check_invariants();
    assert_eq!(site.book.seen(plain), pairs(&[("a", 2), ("a", 3)]));
    assert_eq!(site.book.seen(late), []);
    site.catch_up_all();
    let [Told::Events { events, .. }] = site.book.told[&late].as_slice() else { panic!() };
    assert!(events[0].3.is_some());
}

#[test]
fn pieces_end_with_the_revision_that_fills_them() {
    for is_recent in [true, false] {
        let mut site = Site::new();
        for _ in 0..3 {
            site.put("a", "0123456789");
        }
        site.publish();
        if !is_recent {
            site.watchers = Watchers::new(site.watchers.published());
        }
        let watcher = site.create(1, all(), 2);
        for revision in 2..=4 {
            if is_recent {
                assert!(site.watchers.catch_up_recent(-1, 10, &mut site.book));
            } else {
                let (from, to) = site.watchers.wanted_history().unwrap();
                let chunk = Chunk::read(&site.fixture.rows, from, to, -1, 10).unwrap();
                site.watchers.catch_up(chunk, &mut site.book);
            }
            assert_eq!(site.book.seen(watcher).last().unwrap().1, revision);
        }
    }
}

#[test]
fn progress_is_told_to_quiet_watchers_only() {
    let mut site = Site::new();
    let spec = WatchSpec { progress_notify: true, ..one("a") };
    let watcher = site.create(1, spec.clone(), 0);
    let other = site.create(2, spec, 0);
    site.put("b", "1");
    site.publish();
    site.watchers.notify_progress(1, &mut site.book);
    assert_eq!(site.book.told[&watcher], [Told::Progress(2)]);
    site.put("a", "1");
    site.publish();
    site.watchers.notify_progress(1, &mut site.book);
    site.watchers.notify_progress(1, &mut site.book);
    assert_eq!(site.book.told[&watcher].len(), 3);
    assert_eq!(site.book.told[&watcher][2], Told::Progress(3));
    assert_eq!(site.book.told[&other].len(), 1);
    assert_eq!(site.watchers.progress_of(3), None);
}

#[test]
fn a_stream_without_room_costs_only_itself_and_loses_nothing() {
    let mut site = Site::new();
    let slow = site.create(1, all(), 0);
    let fast = site.create(2, all(), 0);
    site.book.room.insert(1, 1);
    for value in ["1", "2", "3"] {
        site.put("a", value);
        site.publish();
    }
    assert_eq!(site.book.seen(fast).len(), 3);
    assert_eq!(site.book.seen(slow), pairs(&[("a", 2)]));
    assert_eq!(site.watchers.behind(), 1);
    assert!(!site.catch_up(), "a blocked watcher has no turn");
    site.book.room.insert(1, 1);
    site.watchers.unblock(1);
    site.catch_up_all();
    assert_eq!(site.book.seen(slow), pairs(&[("a", 2), ("a", 3), ("a", 4)]));
    assert_eq!(site.watchers.behind(), 0);
}

#[test]
fn skipped_revisions_come_from_history() {
    let mut site = Site::new();
    let watcher = site.create(1, all(), 0);
    let future = site.create(1, all(), 9);
    site.put("a", "1");
    site.put("a", "2");
    site.watchers.skip_to(3);
    site.watchers.check_invariants();
    assert_eq!(site.watchers.progress_of(1), None);
    site.put("a", "3");
    site.publish();
    site.catch_up_all();
    assert_eq!(site.book.seen(watcher), pairs(&[("a", 2), ("a", 3), ("a", 4)]));
    assert_eq!(site.book.seen(future), []);
}

#[test]
fn one_response_goes_through_a_thousand_revisions_and_never_splits_one() {
    let mut site = Site::new();
    for number in 0..1500 {
        site.put(if number % 2 == 0 { "a" } else { "b" }, "x");
    }
    site.delete("a", "z");
    site.publish();
    site.watchers = Watchers::new(site.watchers.published());
    let watcher = site.create(1, all(), 1);
    site.catch_up_all();
    let told = &site.book.told[&watcher];
    let sizes: Vec<usize> = told
        .iter()
        .map(|told| match told {
            Told::Events { events, .. } => events.len(),
            Told::Compacted(_) | Told::Progress(_) => 0,
        })
        .collect();
    assert_eq!(sizes, [1000, 502]);
}

/// One step of the property below.
#[derive(Clone, Debug)]
enum Step {
    Put(u8),
    Delete(u8, u8),
    Publish,
    Skip,
    Compact(u8),
    Create { stream: u64, range: (u8, u8), back: i64 },
    Cancel(usize),
    Room(u64, usize),
    CatchUp,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_u8..6).prop_map(Step::Put),
        2 => (0_u8..6, 0_u8..6).prop_map(|(one, other)| Step::Delete(one, other)),
        4 => Just(Step::Publish),
        1 => Just(Step::Skip),
        1 => (0_u8..8).prop_map(Step::Compact),
        3 => (0_u64..3, (0_u8..6, 0_u8..7), -3_i64..8)
            .prop_map(|(stream, range, back)| Step::Create { stream, range, back }),
        1 => (0_usize..8).prop_map(Step::Cancel),
        2 => (0_u64..3, 0_usize..4).prop_map(|(stream, room)| Step::Room(stream, room)),
        3 => Just(Step::CatchUp),
    ]
}

fn name(number: u8) -> String {
    format!("k{number}")
}

proptest! {
    /// Whatever happens in whatever order: each watcher has seen exactly the events from its start
    /// on, in order, or the beginning of them and then that the rest is compacted.
    #[test]
    fn every_event_comes_once_and_in_order(steps in proptest::collection::vec(step(), 1..80)) {
        let mut site = Site::new();
        let mut created: Vec<(WatcherKey, KeyRange, i64)> = Vec::new();
        for step in steps {
            match step {
                Step::Put(key) => site.put(&name(key), "v"),
                Step::Delete(one, other) => site.delete(&name(one), &name(other)),
                Step::Publish => site.publish(),
                Step::Skip => site.watchers.skip_to(site.fixture.store.current_revision()),
                Step::Compact(back) => {
                    let at = site.fixture.store.current_revision() - i64::from(back);
                    if at > site.fixture.store.compacted_revision() {
                        site.fixture.compact_fully(at);
                    }
                }
                Step::Create { stream, range: (one, other), back } => {
                    let (key, end) = (name(one), if other == 6 { "\0".into() } else { name(other) });
                    let range = KeyRange::from_request(key.into(), Bytes::from(end));
                    let current = site.fixture.store.current_revision();
                    let start = site.start((current - back).max(0));
                    if let Ok(Created { id, compacted: None }) =
                        site.watchers.create(stream, 0, spec(range.clone()), start)
                    {
                        let from = if start.revision == 0 { current + 1 } else { start.revision };
                        created.push((WatcherKey { stream, id }, range, from));
                    }
                }
                Step::Cancel(number) => {
                    if let Some((key, ..)) = created.get(number).cloned() {
                        created.remove(number);
                        site.watchers.cancel(key);
                    }
                }
                Step::Room(stream, room) => {
                    site.book.room.insert(stream, room);
                    site.watchers.unblock(stream);
                }
                Step::CatchUp => drop(site.catch_up()),
            }
            site.watchers.check_invariants();
        }
        site.book.room.clear();
        for stream in 0..3 {
            site.watchers.unblock(stream);
        }
        site.publish();
        site.catch_up_all();
        for (key, range, from) in created {
            let expected: Vec<(Bytes, i64)> = site
                .log
                .iter()
                .filter(|(revision, _)| *revision >= from)
                .flat_map(|(revision, events)| {
                    let matching = events.iter().filter(|event| range.contains(&event.key));
                    matching.map(|event| (event.key.clone(), *revision)).collect::<Vec<_>>()
                })
                .collect();
            let seen = site.book.seen(key);
            let last = site.book.told.get(&key).and_then(|told| told.last()).cloned();
            if let Some(Told::Compacted(_)) = last {
                prop_assert!(expected.starts_with(&seen), "{key:?}: {seen:?} of {expected:?}");
            } else {
                prop_assert_eq!(seen, expected, "{:?}", key);
            }
        }
    }
}
