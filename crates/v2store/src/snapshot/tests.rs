//! Tests of odd and of broken snapshots; round trips are in `tests/`.

use super::*;
use crate::Lifetime;

const LEAF: &str =
    r#""CreatedIndex":0,"ModifiedIndex":0,"ExpireTime":"0001-01-01T00:00:00Z","Value":"#;

fn with_root(children: &str) -> String {
    format!(r#"{{"Root":{{"Path":"/",{LEAF}"","Children":{children}}},"CurrentIndex":7}}"#)
}

#[test]
fn little_is_required() {
    let store = Store::from_json(with_root("{}").as_bytes()).unwrap();
    store.check_invariants();
    assert_eq!(store.index(), 7);
    assert_eq!(store.history().start_index(), 8);
    assert!(store.get("/1", false, false).is_ok());

    let hub = r#""CurrentIndex":7,"WatcherHub":{"EventHistory":{"Queue":{"Events":[],"Size":0,"Front":0,"Back":0,"Capacity":1000},"StartIndex":0,"LastIndex":0}},"Stats":{},"CurrentVersion":2"#;
    let text = with_root("{}").replace(r#""CurrentIndex":7"#, hub);
    assert_eq!(Store::from_json(text.as_bytes()).unwrap(), store);
}

#[test]
fn events_always_have_a_thousand_slots() {
    let text = String::from_utf8(Store::new().to_json()).unwrap();
    assert_eq!(text.matches("null").count(), CAPACITY);
    assert!(text.contains(
        r#"null],"Size":0,"Front":0,"Back":0,"Capacity":1000},"StartIndex":0,"LastIndex":0}}"#
    ));
    assert!(text.ends_with(r#""watchers":0},"CurrentVersion":2}"#));
}

#[test]
fn broken_snapshots_are_refused() {
    let leaf = |head: &str| with_root(&format!(r#"{{"1":{{{head},"Children":{{}}}}}}"#));
    let cases = [
        String::new(),
        "null".to_owned(),
        "{}".to_owned(),
        with_root("null"),
        with_root("{}") + "x",
        with_root("{}").replace(":7", ":18446744073709551615"),
        with_root(&format!(r#"{{"1":{{{LEAF}"file","Children":null}}}}"#)),
        with_root(&format!(r#"{{"a/b":{{{LEAF}"","Children":null}}}}"#)),
        with_root(&format!(r#"{{"..":{{{LEAF}"","Children":null}}}}"#)),
        leaf(&format!(r#"{LEAF}"""#).replace("0001-01-01", "0001-01-02")),
        leaf(&format!(r#"{LEAF}"""#).replace(r#"ModifiedIndex":0"#, r#"ModifiedIndex":8"#)),
        leaf(&format!(r#"{LEAF}"""#).replace(r#"CreatedIndex":0"#, r#"CreatedIndex":1"#)),
    ];
    for text in cases {
        assert!(Store::from_json(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn history_that_contradicts_itself_is_refused() {
    let mut store = Store::new();
    for path in ["/1/a", "/1/b"] {
        store.set(path, false, "v", Lifetime::default()).result.unwrap();
    }
    let text = String::from_utf8(store.to_json()).unwrap();
    for (from, to) in [
        (r#""Size":2"#, r#""Size":3"#),
        (r#"{"action":"set""#, r#"{"action":"sit""#),
        (r#""CurrentIndex":2"#, r#""CurrentIndex":1"#),
        (r#""key":"/1/a","value":"v","modifiedIndex":1"#, r#""key":"/1/a","modifiedIndex":9"#),
    ] {
        let changed = text.replace(from, to);
        assert_ne!(changed, text);
        assert!(Store::from_json(changed.as_bytes()).is_err(), "{to}");
    }
}

#[test]
fn deepest_tree_survives_on_a_small_stack() {
    let path = "/1".to_owned() + &"/a".repeat(path::DEPTH_MAX - 1);
    // Half of what Rust gives a thread by default.
    let small = std::thread::Builder::new().stack_size(1024 * 1024);
    let work = move || {
        let mut store = Store::new();
        store.set(&path, false, "v", Lifetime::default()).result.unwrap();
        let read = Store::from_json(&store.to_json()).unwrap();
        assert_eq!(read, store);
        let listing = read.get("/1", true, true).unwrap();
        assert!(json::event_body(&listing, 0).len() > path.len());
        let refused = Store::new().set(&(path + "/a"), false, "v", Lifetime::default());
        assert_eq!(refused.result.unwrap_err().code, types::V2Code::InvalidForm);
    };
    small.spawn(work).unwrap().join().unwrap();
}

#[test]
fn bottomless_json_is_refused_before_it_is_parsed() {
    let bomb = format!("{}{}", r#"{"Root":"#, "[".repeat(1_000_000));
    assert!(matches!(Store::from_json(bomb.as_bytes()), Err(SnapshotError::TooDeep)));
}

#[test]
fn times_with_an_offset_are_understood() {
    let lasting = Lifetime { expiration: Some(1_795_327_200_000_000_000), refresh: false };
    let mut store = Store::new();
    store.set("/1/a", false, "v", lasting).result.unwrap();
    let text = String::from_utf8(store.to_json()).unwrap();
    let local = text.replace("2026-11-22T06:00:00Z", "2026-11-22T07:30:00+01:30");
    assert_ne!(local, text);
    assert_eq!(Store::from_json(local.as_bytes()).unwrap(), store);
}
