//! Tests of the store itself; the rules of each operation are covered by the transcript.

use super::*;

const BASE: i64 = 1_700_000_000_000_000_000;

fn until(seconds: i64) -> Lifetime {
    Lifetime { expiration: Some(BASE + seconds), refresh: false }
}

#[test]
fn equal_deadlines_expire_in_order_of_paths() {
    let mut store = Store::new();
    store.set("/1/d", true, "", until(5)).result.unwrap();
    for path in ["/1/z", "/1/d/k", "/1/c", "/1/d/l"] {
        store.set(path, false, "v", until(5)).result.unwrap();
    }
    store.set("/1/first", false, "v", until(4)).result.unwrap();
    store.set("/1/later", false, "v", until(6)).result.unwrap();

    assert!(store.expire(BASE + 3).events.is_empty());
    assert_eq!(store.next_deadline(), Some(BASE + 4));
    let applied = store.expire(BASE + 5);
    let keys: Vec<_> = applied.events.iter().map(|event| event.node.key.as_str()).collect();
    assert_eq!(keys, ["/1/first", "/1/c", "/1/d", "/1/z"]);
    assert_eq!(applied.removed[2], ["/1/d/l", "/1/d/k", "/1/d"]);
    assert_eq!(applied.changes.len(), 6);
    assert_eq!(store.index(), 11);
    assert_eq!(store.stats().expire_count, 4);
    assert!(store.has_deadlines());
    store.check_invariants();
}

#[test]
fn name_spaces_of_the_cluster_are_guarded_too() {
    let mut store = Store::new();
    for path in ["/", "/0", "/1", "/1/../0", "//"] {
        let error = store.set(path, false, "v", Lifetime::default()).result.unwrap_err();
        assert_eq!((error.code, error.cause.as_str()), (V2Code::RootReadOnly, "/"), "{path}");
    }
    store.set("/2/users", true, "", Lifetime::default()).result.unwrap();
    assert_eq!(store.delete("/2", false, true).result.unwrap().node.key, "/2");
}

#[test]
fn copies_are_independent_and_share_what_did_not_change() {
    let mut store = Store::new();
    for path in ["/1/a/x", "/1/b/x"] {
        store.set(path, false, "v", Lifetime::default()).result.unwrap();
    }
    let frozen = store.clone();
    store.set("/1/a/x", false, "w", Lifetime::default()).result.unwrap();
    let value = |store: &Store| store.get("/1/a/x", false, false).unwrap().node.value;
    assert_eq!(value(&frozen).as_deref(), Some("v"));
    assert_eq!(value(&store).as_deref(), Some("w"));
    let (one, other) = (frozen.root.find("/1/b").unwrap(), store.root.find("/1/b").unwrap());
    assert!(std::ptr::eq(one, other), "an untouched directory was copied");
}

#[test]
fn unknown_methods_and_long_paths_are_refused() {
    let mut store = Store::new();
    let request = V2Request { method: "PATCH".to_owned(), ..V2Request::default() };
    let error = store.apply(&request).result.unwrap_err();
    assert_eq!(
        (error.code, error.cause.as_str()),
        (V2Code::RaftInternal, "etcdserver: unknown method")
    );

    let long = format!("/1/{}", "x".repeat(path::BYTES_MAX));
    let error = store.set(&long, false, "v", Lifetime::default()).result.unwrap_err();
    assert_eq!(error.code, V2Code::InvalidForm);
    assert!(store.create_in_order(&long, false, "v", Lifetime::default()).result.is_err());
    assert_eq!(store, Store::new());
}

#[test]
fn files_lists_hidden_ones_too() {
    let mut store = Store::new();
    for path in ["/1/_h/k", "/1/a", "/0/x"] {
        store.set(path, false, path, Lifetime::default()).result.unwrap();
    }
    let pair = |path: &str| (path.to_owned(), path.to_owned());
    assert_eq!(store.files("/1"), [pair("/1/_h/k"), pair("/1/a")]);
    assert_eq!(store.files("/1/a"), [pair("/1/a")]);
    assert!(store.files("/1/none").is_empty());
}

#[test]
fn sync_answers_without_naming_anything() {
    let mut store = Store::new();
    let request = V2Request { method: "SYNC".to_owned(), time: i64::MAX, ..V2Request::default() };
    let applied = store.apply(&request);
    assert!(applied.events.is_empty() && applied.changes.is_empty());
    assert_eq!(applied.result.unwrap().index, 0);
}

#[test]
fn a_storm_goes_in_portions_and_each_node_once() {
    const NODES: i64 = 20_000;
    const MAX: usize = 64;
    let mut store = Store::new();
    for number in 0..NODES {
        // Out of order, and every fourth at the time of another one.
        let key = format!("/1/storm/{}", number * 7919 % NODES);
        store.set(&key, false, "v", until(number / 4 * 4)).result.unwrap();
    }
    assert_eq!(store.sync_time(BASE - 1, MAX), Some(BASE - 1), "nothing is due");
    let now = BASE + NODES;
    let mut keys = BTreeSet::new();
    let (mut portions, mut last) = (0, 0);
    while let Some(time) = store.sync_time(now, MAX) {
        let applied = store.expire(time);
        assert!((1..MAX + 4).contains(&applied.events.len()), "{}", applied.events.len());
        for event in applied.events {
            let expiration = event.prev_node.and_then(|node| node.expiration).unwrap();
            assert!(expiration >= last && expiration <= time, "{expiration} after {last}");
            last = expiration;
            assert!(keys.insert(event.node.key), "it expired twice");
        }
        portions += 1;
    }
    assert_eq!(keys.len(), usize::try_from(NODES).unwrap());
    assert!((300..330).contains(&portions), "{portions}");
    assert!(!store.has_deadlines());
    assert_eq!(store.sync_time(now, MAX), None);
    store.check_invariants();
}
