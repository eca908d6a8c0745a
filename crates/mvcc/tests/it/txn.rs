//! Puts, deletes and transactions (api-v3.md 2.3 to 2.5).

use mvcc::{EventKind, OpReply, TxnReply};
use proto::etcdserverpb::compare::TargetUnion;
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{Compare, DeleteRangeRequest, PutRequest, RangeRequest, TxnRequest};
use types::{EtcdError, LeaseId, RevKey};

use crate::rows::{
    Fixture, bytes, delete, delete_op, op, put, put_op, range, range_op, show, show_all, success,
    txn_op,
};

#[test]
fn puts_count_revisions_and_versions() {
    let mut fixture = Fixture::default();
    assert_eq!(fixture.put("a", "1"), 2);
    assert_eq!(fixture.put("a", "2"), 3);
    assert_eq!(fixture.delete("a", "").reply.revision, 4);
    assert_eq!(fixture.put("a", "3"), 5);
    let replaced = fixture.put_request(&PutRequest { prev_kv: true, ..put("a", "4") }).unwrap();
    assert_eq!(replaced.reply.prev_kv.as_ref().map(show).as_deref(), Some("a=3 5/5/1"));
    assert_eq!(show(&replaced.events[0].kv), "a=4 5/6/2");
    assert_eq!(replaced.events[0].prev, replaced.reply.prev_kv);
    let first = fixture.put_request(&PutRequest { prev_kv: true, ..put("b", "") }).unwrap();
    assert_eq!((first.reply.prev_kv, first.events[0].prev.clone()), (None, None));
}

#[test]
fn a_put_keeps_what_it_is_told_to() {
    let mut fixture = Fixture::default();
    let keep =
        |value, lease, key| PutRequest { ignore_value: value, ignore_lease: lease, ..put(key, "") };
    for request in [keep(true, false, "a"), keep(false, true, "a")] {
        assert_eq!(fixture.put_request(&request).unwrap_err(), EtcdError::KeyNotFound);
    }
    let _ = fixture.put_request(&PutRequest { lease: 7, ..put("a", "1") }).unwrap();
    let kept = fixture.put_request(&keep(true, true, "a")).unwrap();
    assert_eq!(show(&kept.events[0].kv), "a=1 2/3/2 lease 7");
    assert_eq!(kept.attach, []);
    let moved = fixture.put_request(&PutRequest { lease: 8, ..keep(true, false, "a") }).unwrap();
    assert_eq!(show(&moved.events[0].kv), "a=1 2/4/3 lease 8");
    assert_eq!(moved.attach, [(bytes("a"), LeaseId(7), LeaseId(8))]);
    let loosened = fixture.put_request(&put("a", "2")).unwrap();
    assert_eq!(loosened.attach, [(bytes("a"), LeaseId(8), LeaseId(0))]);
    // A plain put asks for the lease first, one in a transaction for the key.
    let both = PutRequest { lease: 99, ..keep(true, false, "x") };
    assert_eq!(fixture.put_request(&both).unwrap_err(), EtcdError::LeaseNotFound);
    let in_txn = success(vec![op(Request::RequestPut(both))]);
    assert_eq!(fixture.txn(&in_txn).unwrap_err(), EtcdError::KeyNotFound);
    assert_eq!(fixture.store.current_revision(), 5);
}

#[test]
fn deletes_make_one_tombstone_for_each_key() {
    let mut fixture = Fixture::default();
    fixture.put("a", "1");
    let _ = fixture.put_request(&PutRequest { lease: 7, ..put("b", "2") }).unwrap();
    fixture.put("c", "3");
    let request = DeleteRangeRequest { prev_kv: true, ..delete("a", "c") };
    let outcome = fixture.delete_request(&request);
    assert_eq!((outcome.reply.deleted, outcome.reply.revision), (2, 5));
    assert_eq!(show_all(&outcome.reply.prev_kvs), ["a=1 2/2/1", "b=2 3/3/1 lease 7"]);
    assert_eq!(outcome.attach, [(bytes("b"), LeaseId(7), LeaseId(0))]);
    let kinds: Vec<_> = outcome.events.iter().map(|event| (event.kind, show(&event.kv))).collect();
    let deleted = |text: &str| (EventKind::Delete, text.to_owned());
    assert_eq!(kinds, [deleted("a= 0/5/0"), deleted("b= 0/5/0")]);
    let keys: Vec<_> = outcome.ops.iter().map(|op| RevKey::parse(&op.key).unwrap()).collect();
    assert_eq!(keys, [(RevKey::new(5, 0), true), (RevKey::new(5, 1), true)]);
    assert_eq!(outcome.ops[1].value.as_deref(), Some(&b"\x0a\x01b"[..]));
    let nothing = fixture.delete("a", "c");
    assert_eq!((nothing.reply.deleted, nothing.reply.revision, nothing.ops.len()), (0, 5, 0));
}

#[test]
fn keys_of_a_lease_go_in_one_revision() {
    let mut fixture = Fixture::default();
    fixture.put("a", "1");
    fixture.put("b", "2");
    let outcome = fixture.delete_keys(&[bytes("a"), bytes("gone"), bytes("b")]);
    assert_eq!((outcome.reply.deleted, outcome.reply.revision), (2, 4));
    assert_eq!(fixture.delete_keys(&[bytes("a")]).reply.revision, 4);
}

fn compare(
    result: i32,
    target: i32,
    operand: Option<TargetUnion>,
    key: &str,
    end: &str,
) -> Compare {
    let (key, range_end) = (bytes(key), bytes(end));
    Compare { result, target, key, range_end, target_union: operand }
}

/// a=m with lease 7 (create 2, mod 3, version 2), b=m (create 4, mod 4, version 1).
fn compare_fixture() -> Fixture {
    let mut fixture = Fixture::default();
    fixture.put("a", "0");
    let _ = fixture.put_request(&PutRequest { lease: 7, ..put("a", "m") }).unwrap();
    fixture.put("b", "m");
    fixture
}

fn holds(compare: Compare) -> bool {
    let txn = TxnRequest { compare: vec![compare], ..TxnRequest::default() };
    let outcome = compare_fixture().txn(&txn).unwrap();
    assert_eq!((outcome.reply.revision, outcome.reply.responses.len()), (4, 0));
    outcome.reply.succeeded
}

#[test]
fn compares_of_numbers() {
    type Union = fn(i64) -> TargetUnion;
    let targets: [(i32, Union, i64); 4] = [
        (0, TargetUnion::Version, 2),
        (1, TargetUnion::CreateRevision, 2),
        (2, TargetUnion::ModRevision, 3),
        (4, TargetUnion::Lease, 7),
    ];
    // Rows: equal, greater, less, not equal; columns: pair below, at, above the operand.
    let expected =
        [[false, true, false], [false, false, true], [true, false, false], [true, false, true]];
    for (target, union, number) in targets {
        for (result, row) in (0..).zip(expected) {
            for (operand, held) in [number + 1, number, number - 1].into_iter().zip(row) {
                let case = compare(result, target, Some(union(operand)), "a", "");
                assert_eq!(holds(case.clone()), held, "{case:?}");
            }
        }
        // Absent keys count as zero, absent operands and operands of another kind too.
        assert!(holds(compare(0, target, Some(union(0)), "none", "")));
        assert!(holds(compare(0, target, None, "none", "")));
        assert!(holds(compare(1, target, None, "a", "")));
        let other = TargetUnion::Value(bytes("9"));
        assert!(holds(compare(1, target, Some(other), "a", "")));
    }
}

#[test]
fn compares_of_values() {
    let value = |text: &str| Some(TargetUnion::Value(bytes(text)));
    for (operand, results) in [
        ("n", [false, false, true, true]),
        ("m", [true, false, false, false]),
        ("", [false, true, false, true]),
    ] {
        for (result, held) in (0..).zip(results) {
            assert_eq!(holds(compare(result, 3, value(operand), "a", "")), held, "{operand}");
            assert!(!holds(compare(result, 3, value(operand), "none", "")), "absent key");
        }
    }
    assert!(holds(compare(1, 3, None, "a", "")));
    assert!(holds(compare(2, 3, value("ma"), "a", "")), "a prefix is less");
}

#[test]
fn compares_of_ranges_hold_for_every_key() {
    let version = |number| Some(TargetUnion::Version(number));
    assert!(holds(compare(1, 0, version(0), "a", "c")));
    assert!(!holds(compare(1, 0, version(1), "a", "\0")));
    assert!(holds(compare(0, 3, Some(TargetUnion::Value(bytes("m"))), "a", "\0")));
    assert!(holds(compare(0, 0, version(0), "c", "\0")), "an empty range is an absent key");
    assert!(holds(compare(0, 0, version(0), "b", "a")));
}

#[test]
fn unknown_results_hold_and_unknown_targets_are_equal() {
    assert!(holds(compare(9, 0, Some(TargetUnion::Version(50)), "a", "")));
    assert!(holds(compare(0, 9, Some(TargetUnion::Version(50)), "a", "")));
    assert!(!holds(compare(3, 9, Some(TargetUnion::Version(50)), "a", "")));
}

#[test]
fn reads_see_earlier_writes_and_their_revision() {
    let mut fixture = compare_fixture();
    let old = RangeRequest { revision: 3, ..range("a", "") };
    let outcome = fixture
        .txn(&success(vec![
            range_op("a", ""),
            delete_op("none", ""),
            put_op("a", "n"),
            range_op("a", ""),
            op(Request::RequestRange(old)),
            delete_op("none", ""),
            txn_op(success(vec![delete_op("b", "")])),
            range_op("a", "\0"),
        ]))
        .unwrap();
    let reply = outcome.reply;
    assert_eq!((reply.succeeded, reply.revision), (true, 5));
    let shown: Vec<String> = reply.responses.iter().map(show_reply).collect();
    assert_eq!(
        shown,
        [
            "range 4 [a=m 2/3/2 lease 7]",
            "delete 4 0",
            "put 5",
            "range 5 [a=n 2/5/3]",
            "range 5 [a=m 2/3/2 lease 7]",
            "delete 5 0",
            "txn 0 true [delete 5 1]",
            "range 5 [a=n 2/5/3]",
        ]
    );
    let revisions: Vec<_> = outcome.ops.iter().map(|op| RevKey::parse(&op.key).unwrap()).collect();
    assert_eq!(revisions, [(RevKey::new(5, 0), false), (RevKey::new(5, 1), true)]);
}

/// The index is ahead of the revision that is read.
#[test]
fn a_range_behind_writes_reads_and_counts_the_revision_it_names() {
    let mut fixture = Fixture::default();
    fixture.put("a", "1");
    fixture.put("b", "1");
    let range_at = |revision, count_only| {
        let range = RangeRequest { revision, count_only, limit: 9, ..range("a", "z") };
        op(Request::RequestRange(range))
    };
    let ops = vec![
        delete_op("a", ""),
        put_op("c", "2"),
        range_at(3, true),
        range_at(3, false),
        range_at(0, true),
        range_at(0, false),
    ];
    let replies = fixture.txn(&success(ops)).unwrap().reply.responses;
    let counts: Vec<(i64, usize)> = replies
        .iter()
        .filter_map(|reply| match reply {
            OpReply::Range(reply) => Some((reply.count, reply.kvs.len())),
            _ => None,
        })
        .collect();
    assert_eq!(counts, [(2, 0), (2, 2), (2, 0), (2, 2)]);
    assert_eq!(show_reply(&replies[3]), "range 4 [a=1 2/2/1, b=1 3/3/1]");
    assert_eq!(show_reply(&replies[5]), "range 4 [b=1 3/3/1, c=2 4/4/1]");
}

fn show_reply(reply: &OpReply) -> String {
    match reply {
        OpReply::Range(reply) => {
            format!("range {} {}", reply.revision, list(&show_all(&reply.kvs)))
        }
        OpReply::Put(reply) => format!("put {}", reply.revision),
        OpReply::DeleteRange(reply) => format!("delete {} {}", reply.revision, reply.deleted),
        OpReply::Txn(TxnReply { succeeded, responses, revision }) => {
            let inner: Vec<String> = responses.iter().map(show_reply).collect();
            format!("txn {revision} {succeeded} {}", list(&inner))
        }
    }
}

fn list(items: &[String]) -> String {
    format!("[{}]", items.join(", "))
}

#[test]
fn nested_compares_see_the_state_before() {
    let mut fixture = Fixture::default();
    let exists = compare(1, 0, Some(TargetUnion::Version(0)), "a", "");
    let nested = TxnRequest {
        compare: vec![exists],
        success: vec![put_op("seen", "")],
        failure: vec![put_op("unseen", "")],
    };
    let outcome = fixture.txn(&success(vec![put_op("a", "1"), txn_op(nested)])).unwrap();
    assert_eq!(show_reply(&outcome.reply.responses[1]), "txn 0 false [put 2]");
    assert_eq!(outcome.events[1].key, "unseen");
}

#[test]
fn a_txn_without_changes_takes_no_revision() {
    let mut fixture = compare_fixture();
    for ops in [vec![], vec![range_op("a", "")], vec![delete_op("none", "")]] {
        let outcome = fixture.txn(&success(ops)).unwrap();
        assert_eq!((outcome.reply.revision, outcome.ops.len()), (4, 0));
    }
}

#[test]
fn errors_of_the_path_taken_come_before_any_effect() {
    let mut fixture = compare_fixture();
    let at = |revision| op(Request::RequestRange(RangeRequest { revision, ..range("a", "") }));
    let leased = |lease| op(Request::RequestPut(PutRequest { lease, ..put("x", "") }));
    let fails = |fixture: &mut Fixture, ops| fixture.txn(&success(ops)).unwrap_err();
    let write = || put_op("y", "1");
    assert_eq!(fails(&mut fixture, vec![write(), at(5)]), EtcdError::FutureRev);
    assert_eq!(fails(&mut fixture, vec![write(), leased(99)]), EtcdError::LeaseNotFound);
    // All puts are checked before all ranges, and nested ones in their place.
    assert_eq!(fails(&mut fixture, vec![at(5), leased(99)]), EtcdError::LeaseNotFound);
    let nested = txn_op(success(vec![at(9)]));
    assert_eq!(fails(&mut fixture, vec![write(), nested]), EtcdError::FutureRev);
    let branch = TxnRequest { failure: vec![at(9), leased(99)], ..success(vec![write()]) };
    assert_eq!(fixture.txn(&branch).unwrap().reply.revision, 5);
    fixture.compact_fully(4);
    assert_eq!(fails(&mut fixture, vec![write(), at(3)]), EtcdError::Compacted);
    assert_eq!(fails(&mut fixture, vec![write(), at(-1)]), EtcdError::Compacted);
    assert!(fixture.txn(&success(vec![at(4)])).is_ok());
}

/// Only "delete from key" gets past the static checks (see `check.rs`): Go panics on this one.
#[test]
fn an_error_after_writes_takes_them_back() {
    let mut fixture = compare_fixture();
    let keep = PutRequest { ignore_value: true, ..put("b", "") };
    let ops = vec![
        put_op("new", "1"),
        delete_op("a", "\0"),
        put_op("a", "again"),
        op(Request::RequestPut(keep)),
    ];
    assert_eq!(fixture.txn(&success(ops)).unwrap_err(), EtcdError::KeyNotFound);
    assert_eq!(fixture.store, fixture.rows.restore().store);
}

#[test]
fn a_fault_of_history_takes_writes_back_too() {
    let mut fixture = compare_fixture();
    fixture.rows.key.clear();
    let before = fixture.store.clone();
    let old = op(Request::RequestRange(RangeRequest { revision: 2, ..range("a", "") }));
    let txn = success(vec![put_op("a", "1"), put_op("z", "1"), old]);
    assert!(fixture.store.txn(&txn, &|_| true, &fixture.rows).is_err());
    assert_eq!(fixture.store, before);
}
