//! Read-only transactions: the same answers as from the interpreter that writes, in any steps.

use bytes::Bytes;
use mvcc::{CursorStep, TxnReply, is_read_only, is_serializable};
use proptest::prelude::*;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{Compare, RangeRequest, TxnRequest};
use types::{EtcdError, RevKey};

use crate::rows::{Fixture, delete_op, op, put_op, range, range_op, success, txn_op};

/// Runs in steps of `chunk` keys, with `between` between them.
fn run(
    fixture: &mut Fixture,
    request: &TxnRequest,
    chunk: usize,
    mut between: impl FnMut(&mut Fixture),
) -> Result<TxnReply, EtcdError> {
    let mut txn = fixture.store.read_txn(request);
    while txn.step(&fixture.store, chunk)? == CursorStep::More {
        between(fixture);
    }
    between(fixture);
    let mut branch = txn.decide(&fixture.rows).unwrap()?;
    while branch.step(&fixture.store, chunk)? == CursorStep::More {
        between(fixture);
    }
    between(fixture);
    branch.into_reply(&fixture.rows).unwrap()
}

fn fixture() -> Fixture {
    let mut fixture = Fixture::default();
    for key in ["a", "b", "c", "d", "e", "b", "d"] {
        fixture.put(key, "v");
    }
    let _ = fixture.delete("c", "");
    fixture
}

fn version_of(key: &str, end: &str, version: i64) -> Compare {
    Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Version.into(),
        key: Bytes::copy_from_slice(key.as_bytes()),
        range_end: Bytes::copy_from_slice(end.as_bytes()),
        target_union: Some(TargetUnion::Version(version)),
    }
}

#[test]
fn kinds_of_transactions() {
    let serializable =
        || op(Request::RequestRange(RangeRequest { serializable: true, ..range("a", "") }));
    for (ops, read_only, local) in [
        (vec![], true, true),
        (vec![serializable()], true, true),
        (vec![serializable(), range_op("a", "")], true, false),
        (vec![put_op("a", "")], false, false),
        (vec![delete_op("a", "")], false, false),
        (vec![txn_op(success(vec![serializable()]))], false, false),
    ] {
        let failure = TxnRequest { failure: ops.clone(), ..TxnRequest::default() };
        for request in [success(ops), failure] {
            assert_eq!((is_read_only(&request), is_serializable(&request)), (read_only, local));
        }
    }
}

#[test]
fn all_ranges_see_one_revision_whatever_happens_between_the_steps() {
    let mut fixture = fixture();
    let request = TxnRequest {
        compare: vec![version_of("a", "", 1), version_of("b", "", 2)],
        success: vec![range_op("a", "\0"), range_op("a", "\0"), range_op("d", "")],
        failure: vec![],
    };
    let expected = fixture.txn(&request).unwrap().reply;
    let mut round = 0;
    let reply = run(&mut fixture, &request, 1, |fixture| {
        round += 1;
        fixture.put(["a", "b", "e", "f"][round % 4], "other");
        let _ = fixture.delete("d", "");
        let now = fixture.store.current_revision();
        let _ = fixture.compact(now);
    });
    assert!(round > 8);
    assert_eq!(reply, Ok(expected));
}

#[test]
fn a_read_that_deletions_overtake_ends_in_an_error() {
    let mut fixture = fixture();
    let request = success(vec![range_op("a", "\0")]);
    let reply = run(&mut fixture, &request, 2, |fixture| {
        fixture.put("e", "other");
        let now = fixture.store.current_revision();
        fixture.compact(now).unwrap();
        let batch = fixture.rows.batch(RevKey::default(), now, 1);
        let ops = fixture.store.compact_step(&batch, now);
        fixture.rows.write(&ops);
    });
    assert_eq!(reply, Err(EtcdError::Compacted));
}

#[test]
fn revisions_are_checked_for_the_branch_taken_only() {
    let mut fixture = fixture();
    fixture.compact_fully(5);
    let at = |revision| op(Request::RequestRange(RangeRequest { revision, ..range("a", "") }));
    for (revision, error) in
        [(4, EtcdError::Compacted), (99, EtcdError::FutureRev), (-1, EtcdError::Compacted)]
    {
        let taken = success(vec![range_op("a", ""), at(revision)]);
        assert_eq!(run(&mut fixture, &taken, 9, |_| ()), Err(error));
        let other = TxnRequest { failure: vec![at(revision)], ..success(vec![at(5)]) };
        assert!(run(&mut fixture, &other, 9, |_| ()).is_ok());
    }
    let old = success(vec![at(7), at(5)]);
    assert_eq!(fixture.store.read_txn(&old).oldest_revision(), 5);
    assert_eq!(fixture.store.read_txn(&success(vec![])).oldest_revision(), 9);
}

fn compare() -> impl Strategy<Value = Compare> {
    let end = prop_oneof![Just(""), Just("\0"), Just("c")];
    ("[abcdx]", end, 0..4_i32, 0..5_i32, 0..4_i64).prop_map(
        |(key, end, result, target, operand)| {
            let union = match target {
                0 => TargetUnion::Version(operand),
                1 => TargetUnion::CreateRevision(operand),
                2 => TargetUnion::ModRevision(operand),
                3 => TargetUnion::Value(Bytes::from_static(b"v")),
                _ => TargetUnion::Lease(operand),
            };
            Compare { result, target, target_union: Some(union), ..version_of(&key, end, 0) }
        },
    )
}

fn ranges() -> impl Strategy<Value = Vec<RangeRequest>> {
    let one = ("[abcdx]", prop_oneof![Just(""), Just("\0")], -1..12_i64, 0..3_i64);
    let one = one.prop_map(|(key, end, revision, limit)| RangeRequest {
        revision,
        limit,
        ..range(&key, end)
    });
    proptest::collection::vec(one, 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn replies_equal_those_of_the_log(
        compare in proptest::collection::vec(compare(), 0..3),
        success in ranges(),
        failure in ranges(),
        compacted in -1..9_i64,
        chunk in 1..5_usize,
    ) {
        let mut fixture = fixture();
        if compacted >= 0 {
            fixture.compact_fully(compacted);
        }
        let ops = |ranges: Vec<RangeRequest>| {
            ranges.into_iter().map(|range| op(Request::RequestRange(range))).collect()
        };
        let request = TxnRequest { compare, success: ops(success), failure: ops(failure) };
        let expected = fixture.txn(&request).map(|outcome| outcome.reply);
        let reply = run(&mut fixture, &request, chunk, |fixture| {
            fixture.put("b", "later");
        });
        prop_assert_eq!(reply, expected);
    }
}
