//! Items 46-56: what a transaction is refused for.

use bytes::Bytes;
use proto::etcdserverpb::{RequestOp, TxnRequest};
use tonic::Code;

use super::case::{Case, refused};
use super::requests::{
    DUPLICATE, NO_KEY, Part, TOO_MANY_OPS, all_of, delete, delete_between, get, has_version, put,
    when,
};

super::items! {
    both {
        shared: item_046_an_empty_txn_succeeds,
            item_047_128_operations_are_the_limit,
            item_048_nested_operations_share_the_budget,
            item_049_two_puts_of_one_key_are_refused,
            item_050_a_put_in_a_deleted_range_is_refused,
            item_051_overlapping_deletes_are_fine,
            item_052_both_branches_may_write_a_key,
            item_053_both_branches_of_a_nested_txn_may_write_a_key,
            item_054_nested_and_outer_put_of_a_key_are_refused,
            item_055_an_operation_without_content_is_refused,
            item_056_a_comparison_needs_a_key;
    }
    ours {}
}

fn puts(case: &Case, count: usize) -> Vec<RequestOp> {
    (0..count).map(|number| put(case.key(&format!("k{number}")), "1").op()).collect()
}

#[track_caller]
fn is_duplicate(case: &Case, request: &TxnRequest) {
    refused(case.txn(request), Code::InvalidArgument, DUPLICATE);
}

fn item_046_an_empty_txn_succeeds(case: &mut Case) {
    let answer = case.txn(&TxnRequest::default()).expect("txn");
    assert!(answer.succeeded && answer.responses.is_empty(), "{answer:?}");
    assert_eq!(case.steps(&answer.header), 0);
}

fn item_047_128_operations_are_the_limit(case: &mut Case) {
    let answer = case.txn(&all_of(puts(case, 128))).expect("txn");
    assert_eq!((answer.responses.len(), case.steps(&answer.header)), (128, 1));
    let message = TOO_MANY_OPS;
    refused(case.txn(&all_of(puts(case, 129))), Code::InvalidArgument, message);
    let failure = TxnRequest { failure: puts(case, 129), ..TxnRequest::default() };
    refused(case.txn(&failure), Code::InvalidArgument, message);
    let compare = vec![has_version(case.key("k"), 0); 129];
    let compares = TxnRequest { compare, ..TxnRequest::default() };
    refused(case.txn(&compares), Code::InvalidArgument, message);
}

fn item_048_nested_operations_share_the_budget(case: &mut Case) {
    let with_nested = |outer: usize, inner: usize| {
        let nested = (0..inner).map(|n| put(case.key(&format!("n{n}")), "1").op()).collect();
        let mut ops = puts(case, outer);
        ops.push(all_of(nested).op());
        all_of(ops)
    };
    refused(case.txn(&with_nested(126, 3)), Code::InvalidArgument, TOO_MANY_OPS);
    refused(case.txn(&with_nested(127, 1)), Code::InvalidArgument, TOO_MANY_OPS);
    let answer = case.txn(&with_nested(125, 2)).expect("txn");
    assert_eq!(answer.responses.len(), 126);
}

fn item_049_two_puts_of_one_key_are_refused(case: &mut Case) {
    let twice = vec![put(case.key("a"), "1").op(), put(case.key("a"), "2").op()];
    is_duplicate(case, &all_of(twice.clone()));
    is_duplicate(case, &TxnRequest { failure: twice, ..TxnRequest::default() });
    assert!(case.all().is_empty());
}

fn item_050_a_put_in_a_deleted_range_is_refused(case: &mut Case) {
    let put = put(case.key("b"), "1").op();
    let covering = delete_between(case.key("a"), case.key("c")).op();
    is_duplicate(case, &all_of(vec![put.clone(), covering.clone()]));
    is_duplicate(case, &all_of(vec![covering, put.clone()]));
    is_duplicate(case, &all_of(vec![delete(case.key("b")).op(), put.clone()]));
    let beside = delete_between(case.key("a"), case.key("b")).op();
    assert!(case.txn(&all_of(vec![beside, put])).is_ok());
}

fn item_051_overlapping_deletes_are_fine(case: &mut Case) {
    case.write_all(&[("a", "1"), ("b", "2")]);
    let answer = case.txn(&all_of(vec![
        delete_between(case.key("a"), case.key("c")).op(),
        delete(case.key("b")).op(),
    ]));
    assert_eq!(case.steps(&answer.expect("txn").header), 3);
    assert!(case.all().is_empty());
}

fn item_052_both_branches_may_write_a_key(case: &mut Case) {
    let request = when(
        has_version(case.key("a"), 0),
        vec![put(case.key("a"), "then").op()],
        vec![put(case.key("a"), "else").op()],
    );
    assert!(case.txn(&request).expect("txn").succeeded);
    assert!(!case.txn(&request).expect("txn").succeeded);
    assert_eq!(case.all(), ["a=else @1 @2 v2"]);
}

fn item_053_both_branches_of_a_nested_txn_may_write_a_key(case: &mut Case) {
    let nested = when(
        has_version(case.key("a"), 1),
        vec![put(case.key("a"), "then").op()],
        vec![put(case.key("a"), "else").op()],
    );
    assert!(case.txn(&all_of(vec![nested.op()])).is_ok());
    assert_eq!(case.all(), ["a=else @1 @1 v1"]);
}

fn item_054_nested_and_outer_put_of_a_key_are_refused(case: &mut Case) {
    let nested = all_of(vec![put(case.key("a"), "1").op()]);
    is_duplicate(case, &all_of(vec![nested.clone().op(), put(case.key("a"), "2").op()]));
    is_duplicate(case, &all_of(vec![put(case.key("a"), "2").op(), nested.clone().op()]));
    is_duplicate(case, &all_of(vec![nested.clone().op(), nested.op()]));
}

fn item_055_an_operation_without_content_is_refused(case: &mut Case) {
    let request = all_of(vec![put(case.key("a"), "1").op(), RequestOp::default()]);
    refused(case.txn(&request), Code::InvalidArgument, "etcdserver: key not found");
    assert!(case.all().is_empty());
}

fn item_056_a_comparison_needs_a_key(case: &mut Case) {
    let request = when(has_version(Bytes::new(), 0), Vec::new(), Vec::new());
    refused(case.txn(&request), Code::InvalidArgument, NO_KEY);
    let ranges = all_of(vec![get(Bytes::new()).op()]);
    refused(case.txn(&ranges), Code::InvalidArgument, NO_KEY);
    let nested = all_of(vec![all_of(vec![put(Bytes::new(), "1").op()]).op()]);
    refused(case.txn(&nested), Code::InvalidArgument, NO_KEY);
}
