//! Items 57-66: comparisons and effects of transactions.

use bytes::Bytes;
use proto::etcdserverpb::compare::{CompareResult, TargetUnion};
use proto::etcdserverpb::response_op::Response;
use proto::etcdserverpb::{Compare, PutRequest, RangeRequest, ResponseHeader};
use tonic::Code;

use super::case::{Case, refused};
use super::requests::{
    FUTURE, NO_LEASE, Part, all_of, between, compare, delete, get, has_value, has_version, put,
    range_of, when,
};

super::items! {
    both {
        shared: item_057_an_absent_key_has_version_0,
            item_058_an_absent_key_has_no_value_to_differ,
            item_059_a_key_without_lease_has_lease_0,
            item_060_a_range_compares_if_all_keys_do,
            item_061_nested_comparisons_see_the_state_before,
            item_062_a_range_sees_the_puts_before_it,
            item_063_all_changes_share_a_revision,
            item_064_inner_headers,
            item_066_an_unknown_lease_counts_in_the_chosen_branch;
    }
    ours {
        shared: item_065_a_future_revision_fails_the_whole_txn;
    }
}

/// Whether a transaction with this condition takes its first branch.
#[track_caller]
fn holds(case: &Case, condition: Compare) -> bool {
    case.txn(&when(condition, Vec::new(), Vec::new())).expect("txn").succeeded
}

fn item_057_an_absent_key_has_version_0(case: &mut Case) {
    use CompareResult::{Equal, Greater, Less, NotEqual};
    use TargetUnion::{CreateRevision, Lease, ModRevision, Version};
    for target in [Version(0), CreateRevision(0), ModRevision(0), Lease(0)] {
        for (result, expected) in
            [(Equal, true), (NotEqual, false), (Less, false), (Greater, false)]
        {
            let condition = compare(case.key("a"), result, target.clone());
            assert_eq!(holds(case, condition), expected, "{target:?} {result:?}");
        }
    }
    case.write_all(&[("a", "1"), ("a", "2")]);
    let rows = [
        (Version(2), Equal, true),
        (Version(1), Greater, true),
        (CreateRevision(case.at(1)), Equal, true),
        (ModRevision(case.at(2)), Equal, true),
        (ModRevision(case.at(2)), Less, false),
        (ModRevision(case.at(3)), Less, true),
        (Version(2), NotEqual, false),
    ];
    for (target, result, expected) in rows {
        let condition = compare(case.key("a"), result, target.clone());
        assert_eq!(holds(case, condition), expected, "{target:?} {result:?}");
    }
}

fn item_058_an_absent_key_has_no_value_to_differ(case: &mut Case) {
    use CompareResult::{Equal, Greater, Less, NotEqual};
    let value = |text: &'static str| TargetUnion::Value(Bytes::from_static(text.as_bytes()));
    for result in [Equal, NotEqual, Less, Greater] {
        assert!(!holds(case, compare(case.key("a"), result, value("x"))), "{result:?}");
    }
    case.write("a", "m");
    let rows =
        [(Equal, "m", true), (NotEqual, "x", true), (Greater, "l", true), (Less, "m", false)];
    for (result, text, expected) in rows {
        assert_eq!(holds(case, compare(case.key("a"), result, value(text))), expected, "{text}");
    }
}

fn item_059_a_key_without_lease_has_lease_0(case: &mut Case) {
    case.write("a", "1");
    let is_leased = |id| compare(case.key("a"), CompareResult::Equal, TargetUnion::Lease(id));
    assert!(holds(case, is_leased(0)) && !holds(case, is_leased(1)));
    let lease = case.grant(1000, 0).expect("grant").id;
    let _ = case.put(&PutRequest { lease, ..put(case.key("a"), "1") }).expect("put");
    assert!(!holds(case, is_leased(0)) && holds(case, is_leased(lease)));
}

fn item_060_a_range_compares_if_all_keys_do(case: &mut Case) {
    case.write_all(&[("a", "x"), ("b", "x"), ("c", "y")]);
    let to = |end: &str| Compare { range_end: case.key(end), ..has_value(case.key("a"), "x") };
    assert!(holds(case, to("c")));
    assert!(!holds(case, to("d")));
    // A range without keys is one absent key.
    let empty =
        |version| Compare { range_end: case.key("n"), ..has_version(case.key("m"), version) };
    assert!(holds(case, empty(0)) && !holds(case, empty(1)));
    let no_value = Compare { range_end: case.key("n"), ..has_value(case.key("m"), "") };
    assert!(!holds(case, no_value));
}

fn item_061_nested_comparisons_see_the_state_before(case: &mut Case) {
    let nested = when(
        has_version(case.key("a"), 1),
        vec![put(case.key("seen"), "after").op()],
        vec![put(case.key("seen"), "before").op()],
    );
    let _ = case.txn(&all_of(vec![put(case.key("a"), "1").op(), nested.op()])).expect("txn");
    assert_eq!(case.all(), ["a=1 @1 @1 v1", "seen=before @1 @1 v1"]);
}

fn item_062_a_range_sees_the_puts_before_it(case: &mut Case) {
    case.write("a", "old");
    let answer = case.txn(&all_of(vec![
        get(case.key("a")).op(),
        put(case.key("a"), "new").op(),
        get(case.key("a")).op(),
        delete(case.key("a")).op(),
        get(case.key("a")).op(),
    ]));
    // A key may be put and deleted in one transaction in no order.
    refused(answer, Code::InvalidArgument, super::requests::DUPLICATE);
    let answer = case.txn(&all_of(vec![
        get(case.key("a")).op(),
        put(case.key("a"), "new").op(),
        get(case.key("a")).op(),
    ]));
    let answer = answer.expect("txn");
    let shown = |part| case.show_all(&range_of(&answer, part).kvs);
    assert_eq!(
        (shown(0), shown(2)),
        (vec!["a=old @1 @1 v1".into()], vec!["a=new @1 @2 v2".into()])
    );
}

fn item_063_all_changes_share_a_revision(case: &mut Case) {
    case.write("c", "0");
    let nested = all_of(vec![put(case.key("d"), "1").op()]);
    let ops = vec![
        put(case.key("a"), "1").op(),
        put(case.key("b"), "1").op(),
        delete(case.key("c")).op(),
        nested.op(),
    ];
    let answer = case.txn(&all_of(ops)).expect("txn");
    assert_eq!(case.steps(&answer.header), 2);
    assert_eq!(case.all(), ["a=1 @2 @2 v1", "b=1 @2 @2 v1", "d=1 @2 @2 v1"]);
}

fn item_064_inner_headers(case: &mut Case) {
    let answer = case.txn(&all_of(vec![
        get(case.key("a")).op(),
        put(case.key("a"), "1").op(),
        get(case.key("a")).op(),
        delete(case.key("b")).op(),
        all_of(vec![put(case.key("c"), "1").op()]).op(),
    ]));
    let answer = answer.expect("txn");
    let only =
        |steps| Some(ResponseHeader { revision: case.at(steps), ..ResponseHeader::default() });
    let mut headers = Vec::new();
    for part in &answer.responses {
        headers.push(match part.response.as_ref().expect("a part") {
            Response::ResponseRange(range) => range.header,
            Response::ResponsePut(put) => put.header,
            Response::ResponseDeleteRange(gone) => gone.header,
            Response::ResponseTxn(txn) => txn.header,
        });
    }
    let expected = vec![only(0), only(1), only(1), only(1), Some(ResponseHeader::default())];
    assert_eq!(headers, expected);
    let outer = answer.header.expect("a header");
    assert!(outer.cluster_id != 0 && outer.member_id != 0 && outer.raft_term != 0, "{outer:?}");
    assert_eq!(outer.revision, case.at(1));
}

fn item_065_a_future_revision_fails_the_whole_txn(case: &mut Case) {
    case.write("a", "1");
    let future = RangeRequest { revision: case.at(2), ..get(case.key("a")) };
    let request = all_of(vec![put(case.key("b"), "1").op(), future.op()]);
    refused(case.txn(&request), Code::OutOfRange, FUTURE);
    assert_eq!(case.all(), ["a=1 @1 @1 v1"]);
    let past = RangeRequest { revision: case.at(1), ..between(case.key("a"), case.key("z")) };
    let answer = case.txn(&all_of(vec![put(case.key("b"), "1").op(), past.op()])).expect("txn");
    assert_eq!(case.show_all(&range_of(&answer, 1).kvs), ["a=1 @1 @1 v1"]);
}

fn item_066_an_unknown_lease_counts_in_the_chosen_branch(case: &mut Case) {
    let leased = PutRequest { lease: 4242, ..put(case.key("b"), "1") };
    let chosen = all_of(vec![put(case.key("a"), "1").op(), leased.clone().op()]);
    refused(case.txn(&chosen), Code::NotFound, NO_LEASE);
    assert!(case.all().is_empty());
    let other =
        when(has_version(case.key("a"), 0), vec![put(case.key("a"), "1").op()], vec![leased.op()]);
    assert!(case.txn(&other).expect("txn").succeeded);
    assert_eq!(case.all(), ["a=1 @1 @1 v1"]);
}
