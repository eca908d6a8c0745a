//! Tests of what the transcript does not reach.

use types::V2Code;

use super::*;
use crate::{Lifetime, Store};

#[test]
fn error_bodies() {
    let cases = [
        (
            V2Error::new(V2Code::KeyNotFound, "/1/nope", 5),
            r#"{"errorCode":100,"message":"Key not found","cause":"/nope","index":5}"#,
        ),
        (
            V2Error::new(V2Code::NotFile, "/1", 53),
            r#"{"errorCode":102,"message":"Not a file","index":53}"#,
        ),
        (
            V2Error::new(V2Code::IndexNotNumber, "invalid value for \"prevIndex\"", 0),
            r#"{"errorCode":203,"message":"The given index in POST form is not a number","cause":"invalid value for \"prevIndex\"","index":0}"#,
        ),
    ];
    for (error, body) in cases {
        assert_eq!(error_body(&error), format!("{body}\n"));
    }
}

#[test]
fn ttl_is_that_of_the_answer_unless_the_event_fixed_it() {
    let second = 1_000_000_000;
    let base = 1_000_000_000 * second;
    let lasting = Lifetime { expiration: Some(base + 10 * second), refresh: false };
    let mut store = Store::new();
    let event = store.set("/1/a", false, "v", lasting).result.unwrap();
    assert!(event_body(&event, base).contains(r#""ttl":10,"#));
    assert!(event_body(&event, base + second).contains(r#""ttl":9,"#));
    assert!(!event_body(&event, base + 10 * second).contains("ttl"));
    assert!(event_body(&event, base + 12 * second).contains(r#""ttl":-2,"#));

    store.observe_time(base);
    let event = store.set("/1/a", false, "v", lasting).result.unwrap();
    assert!(event_body(&event, base + 5 * second).contains(r#""ttl":10,"#));
    let read = store.get("/1/a", false, false).unwrap();
    assert!(event_body(&read, base + 5 * second).contains(r#""ttl":5,"#));
}

#[test]
fn action_body_is_bare() {
    let mut store = Store::new();
    let event = store.set("/1/a", false, "v", Lifetime::default()).result.unwrap();
    assert_eq!(action_body(&event), "{\"action\":\"set\"}\n");
}
