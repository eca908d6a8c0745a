use std::sync::Mutex;

use v2store::{Applied, Lifetime};

use super::*;

/// A registry with its store, and the connections that have ended.
struct Scene {
    store: Store,
    watchers: V2Watchers,
    left: Arc<Mutex<Vec<WatcherId>>>,
    closing: watch::Sender<bool>,
}

impl Scene {
    fn new() -> Self {
        let left: Arc<Mutex<Vec<WatcherId>>> = Arc::default();
        let leaving = Arc::clone(&left);
        let leave = Arc::new(move |id| leaving.lock().unwrap().push(id));
        let closing = watch::Sender::new(false);
        let watchers = V2Watchers::new(leave, closing.subscribe());
        Self { store: Store::new(), watchers, left, closing }
    }

    fn watch(&mut self, key: &str, stream: bool, since: u64) -> V2Watch {
        let watch = Watch { key: key.to_owned(), stream, since, ..Watch::default() };
        self.watchers.register(&self.store, &watch).unwrap()
    }

    fn set(&mut self, key: &str) {
        let Applied { events, removed, .. } = self.store.set(key, false, "v", Lifetime::default());
        self.watchers.notify(events.into_iter().zip(&removed));
    }
}

async fn index_of(events: &mut V2Events) -> u64 {
    match events.next().await {
        V2Next::Event(notice) => notice.event().node.modified_index,
        other => panic!("{other:?} instead of an event"),
    }
}

#[tokio::test]
async fn one_event_and_the_end_or_many() {
    let mut scene = Scene::new();
    let mut once = scene.watch("/1/k", false, 0);
    let mut stream = scene.watch("/1/k", true, 2);
    scene.set("/1/k");
    scene.set("/1/k");
    assert_eq!(once.index, 0);
    assert_eq!(index_of(&mut once.events).await, 1);
    assert!(matches!(once.events.next().await, V2Next::End));
    assert_eq!(index_of(&mut stream.events).await, 2);
    scene.set("/1/k");
    assert_eq!(index_of(&mut stream.events).await, 3);
    assert_eq!(scene.watchers.len(), 1);
}

#[tokio::test]
async fn a_body_is_made_once_for_all() {
    let mut scene = Scene::new();
    let mut watches = [scene.watch("/1/k", false, 0), scene.watch("/1/k", false, 0)];
    scene.set("/1/k");
    let mut bodies = Vec::new();
    for watch in &mut watches {
        let V2Next::Event(notice) = watch.events.next().await else { panic!("no event") };
        bodies.push(notice.body());
    }
    assert_eq!(bodies[0].as_ptr(), bodies[1].as_ptr());
    assert!(bodies[0].starts_with(b"{\"action\":\"set\",\"node\":{\"key\":\"/k\","));
}

#[tokio::test]
async fn a_slow_stream_gets_what_it_had_room_for_and_is_cut() {
    let mut scene = Scene::new();
    let mut slow = scene.watch("/1/k", true, 0);
    for _ in 0..=limits::V2_WATCHER_EVENTS_MAX {
        scene.set("/1/k");
    }
    assert!(scene.watchers.is_empty());
    for index in 1..=limits::V2_WATCHER_EVENTS_MAX {
        assert_eq!(index_of(&mut slow.events).await, index as u64);
    }
    assert!(matches!(slow.events.next().await, V2Next::Cut));
    assert!(matches!(slow.events.next().await, V2Next::End));
}

#[tokio::test]
async fn a_stream_from_the_past_gets_one_event_and_waits_for_the_end_of_the_server() {
    let mut scene = Scene::new();
    scene.set("/1/k");
    let mut past = scene.watch("/1/k", true, 1);
    scene.set("/1/k");
    assert_eq!((past.index, index_of(&mut past.events).await), (1, 1));
    assert!(scene.watchers.is_empty());
    scene.closing.send_replace(true);
    assert!(matches!(past.events.next().await, V2Next::Cut));
}

#[tokio::test]
async fn a_connection_that_ends_takes_its_watcher_out() {
    let mut scene = Scene::new();
    let watch = scene.watch("/1/k", false, 0);
    drop(watch);
    let left = scene.left.lock().unwrap().clone();
    assert_eq!(left.len(), 1);
    scene.watchers.leave(left[0]);
    assert!(scene.watchers.is_empty() && scene.watchers.senders.is_empty());
}

#[tokio::test]
async fn a_watcher_that_has_its_event_is_not_taken_out_again() {
    let mut scene = Scene::new();
    let mut watch = scene.watch("/1/k", false, 0);
    scene.set("/1/k");
    assert_eq!(index_of(&mut watch.events).await, 1);
    drop(watch);
    assert_eq!(*scene.left.lock().unwrap(), []);
}

#[tokio::test]
async fn events_of_one_moment_find_room_with_a_stream_that_was_not_behind() {
    let mut scene = Scene::new();
    let mut healthy = scene.watch("/1/k", true, 0).events;
    let mut behind = scene.watch("/1/k", true, 0).events;
    for _ in 0..limits::V2_WATCHER_EVENTS_MAX {
        scene.set("/1/k");
    }
    for index in 1..=limits::V2_WATCHER_EVENTS_MAX {
        assert_eq!(index_of(&mut healthy).await, index as u64);
    }
    let mut burst = Vec::new();
    for _ in 0..limits::V2_WATCHER_BURST_MAX {
        let Applied { events, .. } = scene.store.set("/1/k", false, "v", Lifetime::default());
        burst.extend(events.into_iter().map(|event| (event, Vec::new())));
    }
    scene.watchers.notify(burst);
    assert_eq!(scene.watchers.len(), 1, "who was behind is cut");
    let before = limits::V2_WATCHER_EVENTS_MAX;
    for index in before + 1..=before + limits::V2_WATCHER_BURST_MAX {
        assert_eq!(index_of(&mut healthy).await, index as u64);
    }
    for index in 1..=before {
        assert_eq!(index_of(&mut behind).await, index as u64);
    }
    assert!(matches!(behind.next().await, V2Next::Cut));
}

#[tokio::test]
async fn a_snapshot_tells_what_it_passed_over_or_cuts() {
    for (changes, is_told) in [(1000, true), (1001, false)] {
        let mut scene = Scene::new();
        let mut watch = scene.watch("/1/k", false, 0);
        let mut stream = scene.watch("/1/k", true, 0);
        let mut later = scene.watch("/1/k", false, 5000);
        let earlier = scene.store.clone();
        for _ in 0..changes {
            let _ = scene.store.set("/1/k", false, "v", Lifetime::default());
        }
        scene.watchers.jumped(&earlier, &scene.store.clone());
        if is_told {
            assert_eq!(index_of(&mut watch.events).await, 1);
            for index in 1..=changes {
                assert_eq!(index_of(&mut stream.events).await, index);
            }
        } else {
            assert!(matches!(watch.events.next().await, V2Next::Cut));
            assert!(matches!(stream.events.next().await, V2Next::Cut));
        }
        let waiting = 1 + usize::from(is_told);
        assert_eq!(scene.watchers.len(), waiting, "they wait for what is still to come");
        scene.closing.send_replace(true);
        assert!(matches!(later.events.next().await, V2Next::Cut));
    }
}

#[test]
fn places_are_counted() {
    let count = Arc::new(AtomicUsize::new(limits::V2_WATCHERS_MAX - 1));
    let last = Slot::take(&count).unwrap();
    assert_eq!(Slot::take(&count).err(), Some(EtcdError::RequestTooManyRequests));
    drop(last);
    assert!(Slot::take(&count).is_ok());
}
