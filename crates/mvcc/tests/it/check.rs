//! Static checks (api-v3.md 2.2, 2.3 and 2.6).

use bytes::Bytes;
use mvcc::{check_delete, check_put, check_range, check_txn};
use proto::etcdserverpb::{Compare, PutRequest, RangeRequest, RequestOp, TxnRequest};
use types::EtcdError::{
    self, DuplicateKey, EmptyKey, InvalidSortOption, KeyNotFound, LeaseProvided, TooManyOps,
    ValueProvided,
};

use crate::rows::{delete, delete_op, put, put_op, range, range_op, success, txn_op};

#[test]
fn single_requests() {
    let sort =
        |order, target| RangeRequest { sort_order: order, sort_target: target, ..range("k", "") };
    assert_eq!(check_range(&range("", "z")), Err(EmptyKey));
    assert_eq!(check_range(&sort(2, 4)), Ok(()));
    assert_eq!(check_range(&sort(3, 0)), Err(InvalidSortOption));
    assert_eq!(check_range(&sort(0, -1)), Err(InvalidSortOption));
    assert_eq!(check_delete(&delete("", "")), Err(EmptyKey));
    assert_eq!(check_delete(&delete("k", "")), Ok(()));
    let keep_value = |value| PutRequest { ignore_value: true, ..put("k", value) };
    let keep_lease = |lease| PutRequest { ignore_lease: true, lease, ..put("k", "v") };
    assert_eq!(check_put(&put("", "v")), Err(EmptyKey));
    assert_eq!(check_put(&keep_value("v")), Err(ValueProvided));
    assert_eq!(check_put(&keep_value("")), Ok(()));
    assert_eq!(check_put(&keep_lease(1)), Err(LeaseProvided));
    assert_eq!(check_put(&keep_lease(0)), Ok(()));
}

#[test]
fn operations_of_a_txn_are_checked_in_order() {
    let compare = |key: &'static str| Compare { key: Bytes::from(key), ..Compare::default() };
    let txn = |compares: &[&'static str], then: &[RequestOp], other: &[RequestOp]| TxnRequest {
        compare: compares.iter().map(|key| compare(key)).collect(),
        success: then.to_vec(),
        failure: other.to_vec(),
    };
    let bad_sort = |mut op: RequestOp| {
        if let Some(proto::etcdserverpb::request_op::Request::RequestRange(range)) = &mut op.request
        {
            range.sort_order = 9;
        }
        op
    };
    let empty = RequestOp { request: None };
    let unsorted = bad_sort(range_op("k", ""));
    let rows = [
        (txn(&["a"], &[put_op("k", "v")], &[range_op("k", "")]), Ok(())),
        (txn(&["a", ""], std::slice::from_ref(&empty), &[]), Err(EmptyKey)),
        (txn(&[], &[empty.clone(), put_op("", "")], &[]), Err(KeyNotFound)),
        (txn(&[], &[put_op("", ""), empty.clone()], &[]), Err(EmptyKey)),
        (txn(&[], &[], std::slice::from_ref(&unsorted)), Err(InvalidSortOption)),
        (txn(&[], &[put_op("", "")], &[unsorted]), Err(EmptyKey)),
        (txn(&[], &[put_op("k", ""), put_op("k", ""), empty.clone()], &[]), Err(KeyNotFound)),
        (txn(&[], &[txn_op(txn(&[""], &[], &[]))], &[]), Err(EmptyKey)),
        (txn(&[], &[], &[txn_op(success(vec![empty]))]), Err(KeyNotFound)),
    ];
    for (txn, expected) in rows {
        assert_eq!(check_txn(&txn, 128), expected, "{txn:?}");
    }
}

#[test]
fn operations_are_limited_over_the_levels() {
    let ranges = |len| vec![range_op("k", ""); len];
    let nested = |outer: usize, inner| {
        let mut ops = ranges(outer - 1);
        ops.push(txn_op(success(ranges(inner))));
        success(ops)
    };
    assert_eq!(check_txn(&success(ranges(128)), 128), Ok(()));
    assert_eq!(check_txn(&success(ranges(129)), 128), Err(TooManyOps));
    let failure = TxnRequest { failure: ranges(129), ..TxnRequest::default() };
    assert_eq!(check_txn(&failure, 128), Err(TooManyOps));
    let compare = vec![Compare { key: Bytes::from("k"), ..Compare::default() }; 129];
    assert_eq!(check_txn(&TxnRequest { compare, ..failure }, 128), Err(TooManyOps));
    assert_eq!(check_txn(&nested(127, 1), 128), Ok(()));
    assert_eq!(check_txn(&nested(127, 3), 128), Err(TooManyOps));
    assert_eq!(check_txn(&nested(128, 0), 128), Ok(()));
    assert_eq!(check_txn(&nested(128, 1), 128), Err(TooManyOps));
}

/// One list of operations and what etcd says to it.
fn check_list(ops: Vec<RequestOp>, expected: Result<(), EtcdError>) {
    assert_eq!(check_txn(&success(ops.clone()), 128), expected, "{ops:?}");
    let failure = TxnRequest { failure: ops, ..TxnRequest::default() };
    assert_eq!(check_txn(&failure, 128), expected);
}

#[test]
fn a_key_changes_once_in_a_list() {
    let duplicate = Err(DuplicateKey);
    check_list(vec![put_op("k", "1"), put_op("k", "2")], duplicate);
    check_list(vec![put_op("k", "1"), put_op("l", "2")], Ok(()));
    check_list(vec![put_op("k", "1"), delete_op("k", "")], duplicate);
    check_list(vec![delete_op("k", ""), put_op("k", "1")], duplicate);
    check_list(vec![delete_op("a", "k"), put_op("k", "1")], Ok(()));
    check_list(vec![delete_op("a", "k\0"), put_op("k", "1")], duplicate);
    check_list(vec![delete_op("c", "e"), delete_op("a", "c"), put_op("c", "1")], duplicate);
    check_list(vec![delete_op("a", "c"), delete_op("e", "g"), put_op("d", "1")], Ok(()));
    check_list(
        vec![delete_op("c", "d"), delete_op("a", "z"), delete_op("f", "g"), put_op("x", "")],
        duplicate,
    );
    check_list(vec![delete_op("a", "z"), delete_op("b", ""), delete_op("a", "z")], Ok(()));
    check_list(vec![range_op("k", ""), put_op("k", "1"), range_op("k", "")], Ok(()));
    let both = TxnRequest {
        success: vec![put_op("k", "1")],
        failure: vec![put_op("k", "2")],
        ..TxnRequest::default()
    };
    assert_eq!(check_txn(&both, 128), Ok(()));
}

/// Seen on 3.4.23: the end of "from key" is taken literally, so the range is the wrong way round.
#[test]
fn an_open_end_is_not_seen() {
    check_list(vec![put_op("b", "1"), delete_op("a", "\0")], Ok(()));
    check_list(vec![delete_op("b", "\0"), put_op("b", "1")], Ok(()));
    check_list(vec![put_op("z", "1"), delete_op("z", "b")], Ok(()));
}

#[test]
fn a_key_changes_once_over_the_levels() {
    let nested = |ops| txn_op(success(ops));
    let branches =
        |then, other| txn_op(TxnRequest { success: then, failure: other, ..TxnRequest::default() });
    let duplicate = Err(DuplicateKey);
    check_list(vec![nested(vec![put_op("k", "")]), put_op("k", "")], duplicate);
    check_list(vec![put_op("k", ""), nested(vec![delete_op("a", "z")])], duplicate);
    check_list(vec![nested(vec![put_op("k", "")]), delete_op("k", "")], duplicate);
    check_list(vec![nested(vec![nested(vec![put_op("k", "")])]), put_op("k", "")], duplicate);
    check_list(vec![branches(vec![put_op("k", "")], vec![put_op("k", "")])], Ok(()));
    check_list(vec![branches(vec![put_op("k", "")], vec![delete_op("k", "")])], Ok(()));
    let put_in_both = branches(vec![put_op("k", "")], vec![put_op("k", "")]);
    check_list(vec![put_in_both.clone(), put_in_both], duplicate);
    let one_each =
        [branches(vec![put_op("k", "")], vec![]), branches(vec![], vec![put_op("k", "")])];
    check_list(one_each.to_vec(), duplicate);
    // The order of siblings matters (api-v3.md 2.6).
    let (puts, deletes) = (nested(vec![put_op("k", "")]), nested(vec![delete_op("k", "")]));
    check_list(vec![puts.clone(), deletes.clone()], Ok(()));
    check_list(vec![deletes, puts], duplicate);
}
