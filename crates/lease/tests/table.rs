//! The table of leases (api-v3.md 4.1 and 4.2, peer-protocol.md 15.10).

use std::collections::BTreeMap;

use bytes::Bytes;
use lease::{TTL_MAX_SECONDS, Table};
use proptest::prelude::*;
use types::{EtcdError, LeaseId};

const TTL_MIN_SECONDS: i64 = 2;

fn key(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

#[test]
fn grants() {
    let mut table = Table::new();
    for (id, ttl, expected) in [
        (1, 10, Ok(10)),
        (1, 10, Err(EtcdError::LeaseExist)),
        (-5, 0, Ok(2)),
        (3, -7, Ok(2)),
        (4, TTL_MAX_SECONDS, Ok(TTL_MAX_SECONDS)),
        (5, TTL_MAX_SECONDS + 1, Err(EtcdError::LeaseTTLTooLarge)),
        (1, TTL_MAX_SECONDS + 1, Err(EtcdError::LeaseTTLTooLarge)),
        (0, TTL_MAX_SECONDS + 1, Err(EtcdError::LeaseNotFound)),
    ] {
        assert_eq!(table.grant(LeaseId(id), ttl, TTL_MIN_SECONDS), expected, "{id} {ttl}");
    }
    assert_eq!(table.ids().collect::<Vec<_>>(), [-5, 1, 3, 4].map(LeaseId));
    assert_eq!(table.get(LeaseId(-5)).map(|lease| lease.ttl_seconds), Some(2));
}

#[test]
fn revoking_returns_the_keys_in_order() {
    let mut table = Table::new();
    table.restore(LeaseId(7), 60, 0);
    for name in ["b", "a", "c", "a"] {
        assert!(table.attach(LeaseId(7), key(name)));
    }
    assert!(table.detach(LeaseId(7), b"c"));
    assert_eq!(table.keys(LeaseId(7)), [key("a"), key("b")]);
    assert_eq!(table.revoke(LeaseId(7)), Ok(vec![key("a"), key("b")]));
    assert_eq!(table.revoke(LeaseId(7)), Err(EtcdError::LeaseNotFound));
    assert_eq!(table.revoke(LeaseId(0)), Err(EtcdError::LeaseNotFound));
    assert_eq!(table, Table::new());
}

#[test]
fn leases_that_are_gone_are_left_out() {
    let mut table = Table::new();
    table.restore(LeaseId(8), 60, 0);
    table.reattach(&[(key("a"), LeaseId(7), LeaseId(8)), (key("b"), LeaseId(0), LeaseId(9))]);
    assert_eq!(table.keys(LeaseId(8)), [key("a")]);
    assert!(!table.exists(LeaseId(9)));
    assert!(!table.attach(LeaseId(9), key("b")) && !table.detach(LeaseId(9), b"b"));
}

#[test]
fn checkpoints() {
    let mut table = Table::new();
    table.restore(LeaseId(7), 600, 0);
    assert!(table.checkpoint(LeaseId(7), 400));
    assert!(!table.checkpoint(LeaseId(8), 400));
    let remaining: Vec<_> =
        table.iter().map(|(id, lease)| (id, lease.remaining_ttl_seconds)).collect();
    assert_eq!(remaining, [(LeaseId(7), 400)]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is attached, moved, detached and revoked, a key hangs where it was hung last.
    #[test]
    fn a_key_hangs_on_its_last_lease(steps in proptest::collection::vec((0..6_i64, 0..4_u8, 0..9_u8), 0..60)) {
        let mut table = Table::new();
        let mut model: BTreeMap<Bytes, LeaseId> = BTreeMap::new();
        for id in 1..6 {
            table.restore(LeaseId(id), 60, 0);
        }
        for (id, name, what) in steps {
            let (id, key) = (LeaseId(id), Bytes::from(vec![name]));
            if what == 0 {
                let keys = table.revoke(id).unwrap_or_default();
                let expected: Vec<_> =
                    model.iter().filter(|(_, lease)| **lease == id).map(|(key, _)| key.clone()).collect();
                prop_assert_eq!(keys, expected);
                model.retain(|_, lease| *lease != id);
            } else if id == LeaseId(0) || table.exists(id) {
                let old = model.remove(&key).unwrap_or_default();
                if id != LeaseId(0) {
                    model.insert(key.clone(), id);
                }
                table.reattach(&[(key, old, id)]);
            }
            table.check_invariants();
            for id in 1..6 {
                let attached = model.values().filter(|lease| **lease == LeaseId(id)).count();
                prop_assert_eq!(table.keys(LeaseId(id)).len(), attached);
            }
        }
    }
}
