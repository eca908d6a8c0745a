//! Random changes and watchers: the hub tells each watcher what a plain reading of etcd's hub would.

use proptest::prelude::*;
use v2store::{Applied, Event, Hub, Lifetime, Registered, Store, Watch, WatcherId};

const BASE: i64 = 1_700_000_000_000_000_000;

/// etcd's hub as it reads: one list of watchers, looked through for every path.
#[derive(Default)]
struct Model {
    watchers: Vec<Watcher>,
}

#[derive(Clone)]
struct Watcher {
    number: u64,
    key: String,
    recursive: bool,
    stream: bool,
    since: u64,
}

impl Model {
    fn notify(&mut self, event: &Event, removed: &[String], told: &mut Vec<(u64, u64)>) {
        if event.refresh {
            return;
        }
        for path in removed {
            self.notify_watchers(event, path, true, told);
        }
        let mut current = String::new();
        for segment in event.node.key.split('/') {
            if !current.ends_with('/') {
                current.push('/');
            }
            current.push_str(segment);
            self.notify_watchers(event, &current, false, told);
        }
    }

    fn notify_watchers(
        &mut self,
        event: &Event,
        path: &str,
        deleted: bool,
        told: &mut Vec<(u64, u64)>,
    ) {
        let mut kept = Vec::new();
        for watcher in self.watchers.drain(..) {
            let original = event.node.key == path;
            let is_here = watcher.key == path && (original || !is_hidden(path, &event.node.key));
            let interested = watcher.recursive || original || deleted;
            let notified = is_here && interested && event.node.modified_index >= watcher.since;
            if notified {
                told.push((watcher.number, event.node.modified_index));
            }
            if !notified || watcher.stream {
                kept.push(watcher);
            }
        }
        self.watchers = kept;
    }
}

fn is_hidden(watched: &str, key: &str) -> bool {
    if watched.len() > key.len() {
        return false;
    }
    format!("/{}", &key[watched.len()..]).replace("//", "/").contains("/_")
}

/// etcd's scan of its history, from the events themselves.
fn scan(events: &[Event], watch: &Watch, since: u64) -> Option<u64> {
    let below = if watch.key == "/" { "/".to_owned() } else { format!("{}/", watch.key) };
    let newest = events.iter().skip(events.len().saturating_sub(1000));
    let hit =
        newest.filter(|event| event.node.modified_index >= since && !event.refresh).find(|event| {
            let key = &event.node.key;
            let removes = ["delete", "expire"].contains(&event.action.name())
                && event.prev_node.as_ref().is_some_and(|node| node.dir);
            *key == watch.key
                || (watch.recursive && key.starts_with(&below))
                || (removes && watch.key.starts_with(key.as_str()))
        });
    hit.map(|event| event.node.modified_index)
}

#[derive(Clone, Debug)]
enum Step {
    Set(String, bool, Option<i64>, bool),
    Delete(String, bool),
    CompareAndDelete(String),
    Expire(i64),
    Watch(Watch, u64),
    Drop(usize),
}

fn paths() -> impl Strategy<Value = String> {
    let name = prop_oneof![Just("a"), Just("b"), Just("ab"), Just("_h")];
    prop::collection::vec(name, 0..4).prop_map(|names| format!("/1/{}", names.join("/")))
}

fn steps() -> impl Strategy<Value = Step> {
    let expiration = prop_oneof![3 => Just(None), 1 => (0..40_i64).prop_map(Some)];
    let watch = (paths(), any::<bool>(), any::<bool>(), any::<bool>(), 0..12_u64).prop_map(
        |(key, recursive, stream, is_root, back)| {
            let key = if is_root { "/".to_owned() } else { key };
            Step::Watch(Watch { key, recursive, stream, since: 0 }, back)
        },
    );
    prop_oneof![
        6 => (paths(), any::<bool>(), expiration, any::<bool>())
            .prop_map(|(path, dir, expiration, refresh)| Step::Set(path, dir, expiration, refresh)),
        2 => (paths(), any::<bool>()).prop_map(|(path, recursive)| Step::Delete(path, recursive)),
        1 => paths().prop_map(Step::CompareAndDelete),
        1 => (0..40_i64).prop_map(Step::Expire),
        6 => watch,
        1 => any::<prop::sample::Index>().prop_map(|index| Step::Drop(index.index(64))),
    ]
}

/// Store, hub and model side by side.
#[derive(Default)]
struct Bench {
    store: Store,
    hub: Hub,
    model: Model,
    events: Vec<Event>,
    told: Vec<(u64, u64)>,
    expected: Vec<(u64, u64)>,
}

impl Bench {
    fn step(&mut self, step: Step) {
        match step {
            Step::Set(path, dir, expiration, refresh) => {
                let expiration = expiration.map(|seconds| BASE + seconds);
                let applied = self.store.set(&path, dir, "v", Lifetime { expiration, refresh });
                self.absorb(applied);
            }
            Step::Delete(path, recursive) => {
                let applied = self.store.delete(&path, true, recursive);
                self.absorb(applied);
            }
            Step::CompareAndDelete(path) => {
                let applied = self.store.compare_and_delete(&path, "v", 0);
                self.absorb(applied);
            }
            Step::Expire(seconds) => {
                let applied = self.store.expire(BASE + seconds);
                self.absorb(applied);
            }
            Step::Watch(watch, back) => self.watch(watch, back),
            Step::Drop(number) => {
                if number < self.model.watchers.len() {
                    let watcher = self.model.watchers.remove(number);
                    self.hub.remove(WatcherId(watcher.number));
                }
            }
        }
        assert_eq!(self.hub.len(), self.model.watchers.len());
    }

    fn watch(&mut self, watch: Watch, back: u64) {
        let key = v2store::path::clean(&watch.key);
        // 0 is whatever comes next; the others reach from the past into the future.
        let since =
            if back == 0 { 0 } else { (self.store.index() + 4).saturating_sub(back).max(1) };
        let watch = Watch { since, key, ..watch };
        let from = if since == 0 { self.store.index() + 1 } else { since };
        let registered = self.hub.register(&self.store, &watch).expect("nothing is forgotten");
        match (registered, scan(&self.events, &watch, from)) {
            (Registered::Past(event), Some(index)) => assert_eq!(event.node.modified_index, index),
            (Registered::Live(WatcherId(number)), None) => {
                let Watch { key, recursive, stream, .. } = watch;
                self.model.watchers.push(Watcher { number, key, recursive, stream, since: from });
            }
            (registered, found) => panic!("{registered:?} where etcd finds {found:?}"),
        }
    }

    fn absorb(&mut self, applied: Applied) {
        for (event, removed) in applied.events.iter().zip(&applied.removed) {
            for delivery in self.hub.notify(event, removed) {
                self.told.push((delivery.watcher.0, event.node.modified_index));
            }
            self.model.notify(event, removed, &mut self.expected);
        }
        self.events.extend(applied.events);
        self.told.sort_unstable();
        self.expected.sort_unstable();
        assert_eq!(self.told, self.expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_hub_tells_what_etcd_would(steps in prop::collection::vec(steps(), 1..120)) {
        let mut bench = Bench::default();
        for step in steps {
            bench.step(step);
        }
    }
}
