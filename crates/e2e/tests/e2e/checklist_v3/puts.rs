//! Items 34-45: options of put, and DeleteRange.

use proto::etcdserverpb::{DeleteRangeRequest, PutRequest};
use tonic::Code;

use super::case::{Case, refused};
use super::requests::{NO_LEASE, delete, delete_between, put};

super::items! {
    both {
        shared: item_034_a_new_key_has_no_former_pair,
            item_035_the_former_pair_is_whole,
            item_036_ignore_value_keeps_the_value,
            item_037_ignore_value_needs_the_key,
            item_038_ignore_value_takes_no_value,
            item_039_ignore_lease_keeps_the_lease,
            item_040_an_unknown_lease_is_refused,
            item_041_a_put_without_lease_detaches,
            item_042_a_put_with_another_lease_moves,
            item_043_a_deleted_key_begins_anew,
            item_044_deleted_pairs_come_in_order,
            item_045_deleting_nothing_changes_nothing;
    }
    ours {}
}

fn item_034_a_new_key_has_no_former_pair(case: &mut Case) {
    let request = PutRequest { prev_kv: true, ..put(case.key("a"), "1") };
    let answer = case.put(&request).expect("put");
    assert_eq!((answer.prev_kv.as_ref(), case.steps(&answer.header)), (None, 1));
}

fn item_035_the_former_pair_is_whole(case: &mut Case) {
    let lease = case.grant(1000, 0).expect("grant").id;
    case.write("a", "1");
    let leased = PutRequest { lease, ..put(case.key("a"), "2") };
    let answer = case.put(&leased).expect("put");
    assert_eq!(answer.prev_kv, None, "not asked for");
    let request = PutRequest { prev_kv: true, ..put(case.key("a"), "3") };
    let former = case.put(&request).expect("put").prev_kv.expect("a former pair");
    assert_eq!(case.show(&former), format!("a=2 @1 @2 v2 lease {lease}"));
}

fn item_036_ignore_value_keeps_the_value(case: &mut Case) {
    case.write("a", "1");
    let request = PutRequest { ignore_value: true, ..put(case.key("a"), "") };
    let _ = case.put(&request).expect("put");
    assert_eq!(case.all(), ["a=1 @1 @2 v2"]);
}

fn item_037_ignore_value_needs_the_key(case: &mut Case) {
    const ABSENT: &str = "etcdserver: key not found";
    let value = PutRequest { ignore_value: true, ..put(case.key("a"), "") };
    refused(case.put(&value), Code::InvalidArgument, ABSENT);
    let lease = PutRequest { ignore_lease: true, ..put(case.key("a"), "1") };
    refused(case.put(&lease), Code::InvalidArgument, ABSENT);
    case.write("a", "1");
    case.remove("a");
    refused(case.put(&value), Code::InvalidArgument, ABSENT);
}

fn item_038_ignore_value_takes_no_value(case: &mut Case) {
    case.write("a", "1");
    let request = PutRequest { ignore_value: true, ..put(case.key("a"), "2") };
    refused(case.put(&request), Code::InvalidArgument, "etcdserver: value is provided");
}

fn item_039_ignore_lease_keeps_the_lease(case: &mut Case) {
    let lease = case.grant(1000, 0).expect("grant").id;
    let leased = PutRequest { lease, ..put(case.key("a"), "1") };
    let _ = case.put(&leased).expect("put");
    let kept = PutRequest { ignore_lease: true, ..put(case.key("a"), "2") };
    let _ = case.put(&kept).expect("put");
    assert_eq!(case.all(), [format!("a=2 @1 @2 v2 lease {lease}")]);
    let both = PutRequest { lease, ..kept };
    refused(case.put(&both), Code::InvalidArgument, "etcdserver: lease is provided");
}

fn item_040_an_unknown_lease_is_refused(case: &mut Case) {
    let request = PutRequest { lease: 4242, ..put(case.key("a"), "1") };
    refused(case.put(&request), Code::NotFound, NO_LEASE);
    assert!(case.all().is_empty());
}

fn item_041_a_put_without_lease_detaches(case: &mut Case) {
    let lease = case.grant(1000, 0).expect("grant").id;
    let leased = PutRequest { lease, ..put(case.key("a"), "1") };
    let _ = case.put(&leased).expect("put");
    case.write("a", "2");
    assert_eq!(case.all(), ["a=2 @1 @2 v2"]);
    let _ = case.revoke(lease).expect("revoke");
    assert_eq!(case.all(), ["a=2 @1 @2 v2"]);
}

fn item_042_a_put_with_another_lease_moves(case: &mut Case) {
    let [first, second] = [(); 2].map(|()| case.grant(1000, 0).expect("grant").id);
    for lease in [first, second] {
        let leased = PutRequest { lease, ..put(case.key("a"), "1") };
        let _ = case.put(&leased).expect("put");
    }
    let keys = |lease| case.time_to_live(lease, true).expect("time to live").keys;
    assert_eq!((keys(first), keys(second)), (Vec::new(), vec![case.key("a")]));
    let _ = case.revoke(first).expect("revoke");
    assert_eq!(case.all(), [format!("a=1 @1 @2 v2 lease {second}")]);
    let _ = case.revoke(second).expect("revoke");
    assert!(case.all().is_empty());
}

fn item_043_a_deleted_key_begins_anew(case: &mut Case) {
    case.write_all(&[("a", "1"), ("a", "2")]);
    case.remove("a");
    case.write("a", "3");
    assert_eq!(case.all(), ["a=3 @4 @4 v1"]);
}

fn item_044_deleted_pairs_come_in_order(case: &mut Case) {
    case.write_all(&[("c", "1"), ("a", "2"), ("b", "3"), ("d", "4")]);
    let request =
        DeleteRangeRequest { prev_kv: true, ..delete_between(case.key("a"), case.key("d")) };
    let answer = case.delete(&request).expect("delete");
    let shown = case.show_all(&answer.prev_kvs);
    assert_eq!(shown, ["a=2 @2 @2 v1", "b=3 @3 @3 v1", "c=1 @1 @1 v1"]);
    assert_eq!((answer.deleted, case.steps(&answer.header)), (3, 5));
    let answer = case.delete(&delete(case.key("d"))).expect("delete");
    assert!(answer.deleted == 1 && answer.prev_kvs.is_empty(), "{answer:?}");
}

fn item_045_deleting_nothing_changes_nothing(case: &mut Case) {
    case.write("a", "1");
    for request in [
        delete(case.key("b")),
        delete_between(case.key("b"), case.key("a")),
        delete_between(case.key("b"), case.key("c")),
    ] {
        let answer = case.delete(&request).expect("delete");
        assert_eq!((answer.deleted, case.steps(&answer.header)), (0, 1));
    }
}
