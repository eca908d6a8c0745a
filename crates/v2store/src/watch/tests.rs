//! Tables of api-v2.md 3.2 to 3.4; random ones are in `tests/watch_model.rs`.

use types::V2Code;

use super::*;
use crate::{Applied, Lifetime};

const BASE: i64 = 1_700_000_000_000_000_000;

/// A store and a hub that see the same changes, and what one watcher got.
#[derive(Default)]
struct Scene {
    store: Store,
    hub: Hub,
}

impl Scene {
    fn with(paths: &[&str]) -> Self {
        let mut scene = Self::default();
        for path in paths {
            scene.change(|store| store.set(path, false, "v", Lifetime::default()));
        }
        scene
    }

    fn watch(&mut self, key: &str, recursive: bool, stream: bool, since: u64) -> Registered {
        let watch = Watch { key: key.to_owned(), recursive, stream, since };
        self.hub.register(&self.store, &watch).unwrap()
    }

    fn change(&mut self, change: impl FnOnce(&mut Store) -> Applied) -> Vec<Delivery> {
        let applied = change(&mut self.store);
        applied.result.as_ref().unwrap();
        let told = applied.events.iter().zip(&applied.removed);
        told.flat_map(|(event, removed)| self.hub.notify(event, removed)).collect()
    }
}

fn live(registered: &Registered) -> WatcherId {
    match registered {
        Registered::Live(id) => *id,
        Registered::Past(event) => panic!("{event:?} was found in the history"),
    }
}

type Change = fn(&mut Store) -> Applied;

fn set(path: &'static str) -> impl Fn(&mut Store) -> Applied {
    move |store| store.set(path, false, "w", Lifetime::default())
}

type BoxedChange = Box<dyn Fn(&mut Store) -> Applied>;

#[test]
fn live_matching_goes_by_elements_and_existence() {
    let delete_wd: Change = |store| store.delete("/1/wd", false, true);
    let expire: Change = |store| {
        let _ = store.update("/1/wd", "", Lifetime { expiration: Some(BASE), refresh: true });
        store.expire(BASE)
    };
    // Watched path, recursive, change, times that a stream is told.
    let cases: [(&str, bool, BoxedChange, usize); 25] = [
        ("/1/k", false, Box::new(set("/1/k")), 1),
        ("/1/new", false, Box::new(set("/1/new")), 1),
        ("/1/k", false, Box::new(set("/1/k2")), 0),
        ("/1/k", true, Box::new(set("/1/k2")), 0),
        ("/1/wd", false, Box::new(set("/1/wd/a/b")), 0),
        ("/1/wd", true, Box::new(set("/1/wd/a/b")), 1),
        ("/1/wd/a/b", true, Box::new(set("/1/wd/x")), 0),
        ("/1", true, Box::new(set("/1/wd/a/b")), 1),
        ("/1", true, Box::new(set("/1/_h/x")), 0),
        ("/1", true, Box::new(set("/1/x/_h")), 0),
        ("/1/_h", true, Box::new(set("/1/_h/x")), 1),
        ("/1/_h/x", false, Box::new(set("/1/_h/x")), 1),
        ("/1/_h", true, Box::new(set("/1/_h/_x")), 0),
        ("/", true, Box::new(set("/1/k")), 1),
        ("/", true, Box::new(set("/1/_h")), 0),
        ("/", false, Box::new(set("/1/k")), 0),
        ("/1/wd", false, Box::new(delete_wd), 2),
        ("/1/wd", true, Box::new(delete_wd), 2),
        ("/1/wd/a/b", false, Box::new(delete_wd), 1),
        ("/1/wd/a", true, Box::new(delete_wd), 1),
        ("/1/wd/zzz", false, Box::new(delete_wd), 0),
        ("/1/wd/a/b/zzz", true, Box::new(delete_wd), 0),
        ("/1", true, Box::new(delete_wd), 1),
        ("/1/wd/a/b", false, Box::new(expire), 1),
        ("/1/wd", true, Box::new(expire), 2),
    ];
    for (number, (key, recursive, change, expected)) in cases.into_iter().enumerate() {
        let mut scene = Scene::with(&["/1/k", "/1/wd/a/b"]);
        let id = live(&scene.watch(key, recursive, true, 0));
        let told = scene.change(&change);
        assert_eq!(told.len(), expected, "case {number}: {key}");
        assert!(told.iter().all(|one| one.watcher == id && !one.is_last));
        assert_eq!(scene.hub.len(), 1);

        let mut scene = Scene::with(&["/1/k", "/1/wd/a/b"]);
        let id = live(&scene.watch(key, recursive, false, 0));
        let told = scene.change(&change);
        let once = Delivery { watcher: id, is_last: true };
        assert_eq!(told, vec![once; expected.min(1)], "one-shot, case {number}: {key}");
        assert_eq!(scene.hub.is_empty(), expected > 0, "case {number}");
        assert_eq!(scene.hub.by_path.is_empty(), expected > 0, "case {number}");
    }
}

#[test]
fn refreshes_are_never_told() {
    let mut scene = Scene::with(&["/1/k"]);
    live(&scene.watch("/1", true, true, 0));
    let lifetime = Lifetime { expiration: Some(BASE), refresh: true };
    assert!(scene.change(|store| store.set("/1/k", false, "", lifetime)).is_empty());
    let index = scene.store.index();
    live(&scene.watch("/1/k", false, false, index));
}

#[test]
fn an_index_to_come_is_waited_for() {
    let mut scene = Scene::with(&["/1/k"]);
    live(&scene.watch("/1/k", false, false, 4));
    assert!(scene.change(set("/1/k")).is_empty());
    assert!(scene.change(set("/1/k")).is_empty());
    assert_eq!(scene.change(set("/1/k")).len(), 1);
    assert_eq!(scene.store.index(), 4);
}

#[test]
fn the_history_is_matched_by_its_own_rules() {
    let mut scene = Scene::with(&["/1/foo1/a", "/1/_hh", "/1/foo12"]);
    let found = |scene: &mut Scene, key: &str, recursive, since| match scene
        .watch(key, recursive, true, since)
    {
        Registered::Past(event) => Some(event.node.modified_index),
        Registered::Live(_) => None,
    };
    scene.change(|store| store.delete("/1/foo1", false, true));
    let cases = [
        ("/1/foo1/a", false, 1, Some(1)),
        ("/1", true, 2, Some(2)),
        ("/1/foo12", false, 4, Some(4)),
        ("/1/foo1/zzz", false, 1, Some(4)),
        ("/1/foo", true, 1, None),
        ("/1/foo", false, 1, None),
        ("/1/foo1", false, 4, Some(4)),
        ("/1/foo1", false, 5, None),
        ("/", true, 3, Some(3)),
    ];
    for (key, recursive, since, expected) in cases {
        assert_eq!(found(&mut scene, key, recursive, since), expected, "{key} {since}");
    }
    // Nothing is registered for what the history answered.
    assert_eq!(scene.hub.len(), 3);
}

#[test]
fn a_forgotten_index_is_refused_with_what_is_left() {
    let mut scene = Scene::default();
    for _ in 0..1121 {
        scene.change(set("/1/k"));
    }
    let mut ask = |since| {
        let watch = Watch { key: "/1/k".to_owned(), since, ..Watch::default() };
        scene.hub.register(&scene.store, &watch)
    };
    let error = ask(5).unwrap_err();
    assert_eq!((error.code, error.index), (V2Code::EventIndexCleared, 1121));
    assert_eq!(error.cause, "the requested history has been cleared [122/5]");
    assert!(ask(121).is_err());
    assert!(matches!(ask(122), Ok(Registered::Past(event)) if event.node.modified_index == 122));
    assert!(scene.hub.is_empty());
}

#[test]
fn watchers_leave_without_a_trace() {
    let mut scene = Scene::with(&["/1/k"]);
    let ids: Vec<_> = (0..3).map(|_| live(&scene.watch("/1/k/", false, true, 0))).collect();
    scene.hub.remove(ids[1]);
    scene.hub.remove(ids[1]);
    let told: Vec<_> = scene.change(set("/1/k")).iter().map(|one| one.watcher).collect();
    assert_eq!(told, [ids[0], ids[2]]);
    scene.hub.remove(ids[0]);
    scene.hub.remove(ids[2]);
    assert!(scene.hub.is_empty() && scene.hub.by_path.is_empty());
    assert!(scene.change(set("/1/k")).is_empty());
}
