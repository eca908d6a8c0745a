//! Finding who is told of an event.

use std::hint::black_box;
use std::sync::Arc;

use mvcc::kv::Pair;
use mvcc::watch::{Sink, Start, WatchSpec, WatcherKey, Watchers};
use mvcc::{Event, EventKind};
use types::KeyRange;

use crate::case::Run;
use crate::input;

/// Watchers of one key.
pub(super) const WATCHERS: u64 = 1_000;
/// Watchers of ranges that do not overlap.
const RANGES: u64 = 10_000;
/// Watchers on one stream.
const PER_STREAM: u64 = 100;

/// Takes everything.
#[derive(Default)]
struct Taken {
    events: u64,
}

impl Sink for Taken {
    fn events(&mut self, watcher: WatcherKey, _: bool, revision: i64, events: &[&Event]) -> bool {
        // What the queue of a stream does with them.
        let events: Vec<Event> = events.iter().map(|event| (*event).clone()).collect();
        self.events += 1;
        black_box((watcher, revision, events));
        true
    }

    fn compacted(&mut self, watcher: WatcherKey, _: i64) {
        panic!("{watcher:?} lost its history");
    }

    fn progress(&mut self, _: WatcherKey, _: i64) {}
}

/// Each event goes to all.
pub(super) fn one_key() -> Run {
    publishing(WATCHERS, WATCHERS, |_| KeyRange::One(input::key(0)))
}

/// Each event goes to one of many.
pub(super) fn ranges() -> Run {
    publishing(RANGES, 1, |number| {
        KeyRange::Interval(input::key(10 * number), input::key(10 * number + 10))
    })
}

fn publishing(watchers: u64, told: u64, range: impl Fn(u64) -> KeyRange) -> Run {
    let mut hub = Watchers::new(1);
    let start = Start { revision: 0, current: 1, compacted: -1 };
    for number in 0..watchers {
        let spec = WatchSpec {
            range: range(number),
            no_put: false,
            no_delete: false,
            prev_kv: false,
            progress_notify: false,
        };
        hub.create(number / PER_STREAM, 0, spec, start).expect("a watcher can be made");
    }
    let mut revision = 1;
    let kv = Pair::from(&input::row(2, 0).value.unwrap_or_default()[..]);
    Box::new(move || {
        revision += 1;
        let events: Arc<[Event]> = Arc::new([event(&kv)]);
        let mut taken = Taken::default();
        hub.publish(revision, events, &mut taken);
        assert_eq!(taken.events, told);
    })
}

fn event(kv: &Pair) -> Event {
    Event { kind: EventKind::Put, key: input::key(0), kv: kv.clone(), prev: None }
}
