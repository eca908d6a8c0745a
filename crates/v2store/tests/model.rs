//! Random requests: the rows mirror the tree, every encoding brings the same store back, failures
//! change nothing, copies stay what they were.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use proto::v2_request::V2Request;
use v2store::{RowChange, Store};

/// 2000-01-01 and a little: creation takes earlier times for none.
const BASE: i64 = 946_684_800_000_000_000;

fn paths() -> impl Strategy<Value = String> {
    let name = prop_oneof![Just("a"), Just("b"), Just("a-b"), Just("_h"), Just("<ü>")];
    let space = prop_oneof![8 => Just("/1"), 1 => Just("/0"), 1 => Just("/2")];
    (space, prop::collection::vec(name, 0..4))
        .prop_map(|(space, names)| format!("{space}/{}", names.join("/")))
}

fn requests() -> impl Strategy<Value = V2Request> {
    let method = prop_oneof![
        8 => Just("PUT"), 2 => Just("POST"), 3 => Just("DELETE"), 1 => Just("QGET"), 1 => Just("SYNC"),
    ];
    let value = prop_oneof![Just(""), Just("x"), Just("y"), Just("\"<\u{0}>\u{2028}")];
    let prev_value = prop_oneof![6 => Just(""), 1 => Just("x"), 1 => Just("y")];
    let expiration = prop_oneof![4 => Just(0), 3 => BASE - 2..BASE + 40, 1 => Just(-5_i64)];
    let flag = || prop_oneof![3 => Just(None), 1 => Just(Some(false)), 1 => Just(Some(true))];
    let numbers = (prop_oneof![6 => Just(0_u64), 1 => 1..40_u64], expiration, BASE..BASE + 40);
    let flags = (any::<bool>(), any::<bool>(), flag(), flag());
    (method, paths(), value, prev_value, numbers, flags).prop_map(
        |(method, path, value, prev_value, (prev_index, expiration, time), flags)| V2Request {
            method: method.to_owned(),
            path,
            val: value.to_owned(),
            prev_value: prev_value.to_owned(),
            prev_index,
            expiration,
            time,
            dir: flags.0,
            recursive: flags.1,
            prev_exist: flags.2,
            refresh: flags.3,
            ..V2Request::default()
        },
    )
}

fn mirror(rows: &mut BTreeMap<String, Bytes>, changes: Vec<RowChange>) {
    for RowChange { path, row } in changes {
        match row {
            Some(row) => rows.insert(path, row),
            None => Some(rows.remove(&path).expect("only rows that exist are deleted")),
        };
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn rows_and_json_bring_the_same_store_back(requests in prop::collection::vec(requests(), 1..80)) {
        let mut store = Store::new();
        let mut rows: BTreeMap<String, Bytes> = store.rows().into_iter().collect();
        for request in &requests {
            let before = store.clone();
            let json_before = before.rows();
            let applied = store.apply(request);
            store.check_invariants();
            prop_assert_eq!(store.index(), before.index() + applied.events.len() as u64);
            prop_assert_eq!(applied.removed.len(), applied.events.len());
            if applied.events.is_empty() {
                prop_assert!(applied.changes.is_empty());
                prop_assert_eq!(&store, &before);
            }
            prop_assert_eq!(before.rows(), json_before, "a copy changed with the original");
            mirror(&mut rows, applied.changes);
        }
        prop_assert_eq!(&rows.iter().map(|(k, v)| (k.clone(), v.clone())).collect::<BTreeMap<_, _>>(),
            &store.rows().into_iter().collect::<BTreeMap<_, _>>());

        let from_rows = Store::from_rows(&rows, store.index()).unwrap();
        from_rows.check_invariants();
        prop_assert_eq!(&from_rows, &store);

        let json = store.to_json();
        let from_json = Store::from_json(&json).unwrap();
        from_json.check_invariants();
        prop_assert_eq!(&from_json, &store);
        prop_assert_eq!(from_json.stats(), store.stats());
        prop_assert_eq!(from_json.history().start_index(), store.history().start_index());
        prop_assert_eq!(from_json.history().last_index(), store.history().last_index());
        prop_assert_eq!(from_json.to_json(), json);
    }

    #[test]
    fn equal_requests_give_equal_stores(requests in prop::collection::vec(requests(), 1..40)) {
        let (mut one, mut other) = (Store::new(), Store::new());
        for (position, request) in requests.iter().enumerate() {
            prop_assert_eq!(one.apply(request), other.apply(request));
            // One member restarts from its rows in between.
            if position % 7 == 3 {
                other = Store::from_rows(other.rows().into_iter().collect::<BTreeMap<_, _>>(), other.index()).unwrap();
            }
        }
        prop_assert_eq!(&one, &other);
    }

    #[test]
    fn damaged_rows_and_json_never_panic(
        requests in prop::collection::vec(requests(), 1..20),
        position in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut store = Store::new();
        for request in &requests {
            let _ = store.apply(request);
        }
        let mut json = store.to_json();
        let at = position.index(json.len());
        json[at] = byte;
        if let Ok(read) = Store::from_json(&json) {
            read.check_invariants();
        }
        json.truncate(at);
        prop_assert!(Store::from_json(&json).is_err());

        let mut rows: Vec<_> = store.rows().into_iter().map(|(k, v)| (k.into_bytes(), v.to_vec())).collect();
        rows.sort();
        let row = position.index(rows.len());
        let (key, value) = &mut rows[row];
        let damaged = if byte % 2 == 0 { key } else { value };
        let at = position.index(damaged.len());
        damaged[at] = byte;
        if let Ok(read) = Store::from_rows(rows, store.index()) {
            read.check_invariants();
        }
    }
}
