//! Tests of the window and of its scan; matching is also covered by the transcript.

use super::*;
use crate::{Lifetime, Store};

fn store_with(events: u64) -> Store {
    let mut store = Store::new();
    for number in 1..=events {
        let path = format!("/1/k{}", number % 10);
        store.set(&path, false, "v", Lifetime::default()).result.unwrap();
    }
    store
}

#[test]
fn window_holds_the_last_thousand() {
    let store = store_with(1234);
    let history = store.history();
    assert_eq!((history.start_index(), history.last_index()), (235, 1234));
    assert_eq!(history.events().len(), CAPACITY);
    assert_eq!(history.ring(), (234, 234));

    assert_eq!(history.scan("/1/k5", false, 235, 1234).unwrap().unwrap().index, 235);
    assert_eq!(history.scan("/1/k4", false, 235, 1234).unwrap().unwrap().index, 244);
    let error = history.scan("/1/k5", false, 234, 1234).unwrap_err();
    assert_eq!(error.code, V2Code::EventIndexCleared);
    assert_eq!(error.cause, "the requested history has been cleared [235/234]");
    assert_eq!(error.index, 1234);
    assert_eq!(history.scan("/1/k5", false, 1235, 1234).unwrap(), None);
    assert_eq!(history.scan("/1/none", false, 300, 1234).unwrap(), None);
}

#[test]
fn ring_that_wrapped_survives_json() {
    let store = store_with(1234);
    let json = store.to_json();
    let read = Store::from_json(&json).unwrap();
    assert_eq!(read.history(), store.history());
    assert_eq!(read.to_json(), json);
}

#[test]
fn fresh_store_has_forgotten_nothing() {
    let store = Store::new();
    assert_eq!((store.history().start_index(), store.history().last_index()), (0, 0));
    assert_eq!(store.history().scan("/1/a", false, 1, 0).unwrap(), None);
}

#[test]
fn store_from_rows_admits_that_the_past_is_gone() {
    let store = store_with(20);
    let mut read = Store::from_rows(store.rows(), 20).unwrap();
    assert!(read.history().scan("/1/k1", false, 20, 20).is_err());
    assert_eq!(read.history().scan("/1/k1", false, 21, 20).unwrap(), None);
    read.set("/1/k1", false, "w", Lifetime::default()).result.unwrap();
    assert_eq!(read.history().scan("/1/k1", false, 21, 21).unwrap().unwrap().index, 21);
    assert!(read.history().scan("/1/k1", false, 20, 21).is_err());
}

#[test]
fn refreshes_take_a_slot_but_are_not_seen() {
    let mut store = Store::new();
    let lasting = Lifetime { expiration: Some(i64::MAX), refresh: false };
    store.set("/1/a", false, "v", lasting).result.unwrap();
    let refresh = store.set("/1/a", false, "", Lifetime { refresh: true, ..lasting });
    assert!(refresh.events[0].refresh);
    assert_eq!(refresh.result.unwrap().node.value.as_deref(), Some("v"));
    assert_eq!(store.history().events().len(), 2);
    assert_eq!(store.history().scan("/1/a", false, 2, 2).unwrap(), None);
}
