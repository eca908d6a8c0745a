//! Items 1-12 and 27-31: keys, intervals, revisions.

use bytes::Bytes;
use e2e::v3::Failure;
use proto::etcdserverpb::{RangeRequest, StatusRequest, StatusResponse};
use tonic::Code;

use super::case::{Case, refused, revision};
use super::requests::{COMPACTED, FUTURE, NO_KEY, between, delete, get, put};

super::items! {
    both {
        shared: item_001_range_needs_a_key,
            item_002_put_needs_a_key,
            item_003_delete_range_needs_a_key,
            item_006_requests_without_effect_leave_the_revision,
            item_007_an_absent_key_is_no_error,
            item_008_without_an_end_one_key_is_selected,
            item_009_an_end_of_0_selects_all_from_the_key_on,
            item_011_an_end_before_the_key_selects_nothing,
            item_012_the_prefix_of_ff_ends_at_the_next_letter,
            item_027_a_negative_revision_is_the_latest,
            item_028_a_revision_of_the_future_is_refused,
            item_029_a_compacted_revision_is_refused,
            item_030_the_compact_revision_is_readable,
            item_031_the_past_is_read_under_the_present_revision;
        alone: item_004_a_fresh_store_has_revision_1,
            item_005_the_first_put_has_revision_2,
            item_010_0_to_0_selects_every_key;
    }
    ours {}
}

fn item_001_range_needs_a_key(case: &mut Case) {
    refused(case.range(&RangeRequest::default()), Code::InvalidArgument, NO_KEY);
    let end = between(Bytes::new(), case.key("z"));
    refused(case.range(&end), Code::InvalidArgument, NO_KEY);
}

fn item_002_put_needs_a_key(case: &mut Case) {
    refused(case.put(&put(Bytes::new(), "x")), Code::InvalidArgument, NO_KEY);
}

fn item_003_delete_range_needs_a_key(case: &mut Case) {
    refused(case.delete(&delete(Bytes::new())), Code::InvalidArgument, NO_KEY);
}

fn item_004_a_fresh_store_has_revision_1(case: &mut Case) {
    assert_eq!(revision(&case.range(&get(case.key("a"))).expect("range").header), 1);
    let status: Result<StatusResponse, Failure> =
        case.client.unary("/etcdserverpb.Maintenance/Status", &StatusRequest {});
    assert_eq!(revision(&status.expect("status").header), 1);
}

fn item_005_the_first_put_has_revision_2(case: &mut Case) {
    assert_eq!(revision(&case.put(&put(case.key("a"), "1")).expect("put").header), 2);
    assert_eq!(case.all(), ["a=1 @1 @1 v1"]);
}

fn item_006_requests_without_effect_leave_the_revision(case: &mut Case) {
    let gone = case.delete(&delete(case.key("a"))).expect("delete");
    assert_eq!((gone.deleted, case.steps(&gone.header)), (0, 0));
    let empty = case.txn(&super::requests::all_of(Vec::new())).expect("txn");
    assert_eq!(case.steps(&empty.header), 0);
    let mut leased = put(case.key("a"), "1");
    leased.lease = 987_654;
    refused(case.put(&leased), Code::NotFound, super::requests::NO_LEASE);
    assert_eq!(case.steps(&case.range(&get(case.key("a"))).expect("range").header), 0);
}

fn item_007_an_absent_key_is_no_error(case: &mut Case) {
    let found = case.range(&get(case.key("a"))).expect("range");
    assert!(found.kvs.is_empty() && found.count == 0 && !found.more, "{found:?}");
}

fn item_008_without_an_end_one_key_is_selected(case: &mut Case) {
    case.write_all(&[("a", "1"), ("aa", "2"), ("b", "3")]);
    let found = case.range(&get(case.key("a"))).expect("range");
    assert_eq!((case.show_all(&found.kvs), found.count), (vec!["a=1 @1 @1 v1".to_owned()], 1));
}

fn item_009_an_end_of_0_selects_all_from_the_key_on(case: &mut Case) {
    case.write_all(&[("a", "1"), ("b", "2"), ("c", "3")]);
    let request = between(case.key("b"), Bytes::from_static(b"\0"));
    let found = case.range(&request).expect("range");
    let shown = case.show_all(&found.kvs);
    assert_eq!(shown[..2], ["b=2 @2 @2 v1", "c=3 @3 @3 v1"], "{shown:?}");
    assert!(shown.iter().all(|pair| !pair.starts_with("a=")), "{shown:?}");
}

fn item_010_0_to_0_selects_every_key(case: &mut Case) {
    let zero = Bytes::from_static(b"\0");
    for key in [zero.clone(), Bytes::from_static(b"\xff\xff"), Bytes::from_static(b"m")] {
        let _ = case.put(&put(key, "x")).expect("put");
    }
    let found = case.range(&between(zero.clone(), zero)).expect("range");
    assert_eq!((found.kvs.len(), found.count), (3, 3));
}

fn item_011_an_end_before_the_key_selects_nothing(case: &mut Case) {
    case.write_all(&[("a", "1"), ("b", "2")]);
    for end in ["b", "a"] {
        let found = case.range(&between(case.key("b"), case.key(end))).expect("range");
        assert!(found.kvs.is_empty() && found.count == 0 && !found.more, "{found:?}");
    }
}

fn item_012_the_prefix_of_ff_ends_at_the_next_letter(case: &mut Case) {
    let with = |last: &[u8]| Bytes::from([case.key("a").as_ref(), last].concat());
    for key in [with(b""), with(b"\xfe"), with(b"\xff"), with(b"\xffz"), case.key("b")] {
        let _ = case.put(&put(key, "x")).expect("put");
    }
    let found = case.range(&between(with(b"\xff"), case.key("b"))).expect("range");
    assert_eq!((found.kvs.len(), found.count), (2, 2));
}

fn item_027_a_negative_revision_is_the_latest(case: &mut Case) {
    case.write_all(&[("a", "1"), ("a", "2")]);
    let request = RangeRequest { revision: -5, ..get(case.key("a")) };
    let found = case.range(&request).expect("range");
    assert_eq!(case.show_all(&found.kvs), ["a=2 @1 @2 v2"]);
}

fn item_028_a_revision_of_the_future_is_refused(case: &mut Case) {
    case.write("a", "1");
    let at = |steps| RangeRequest { revision: case.at(steps), ..get(case.key("a")) };
    refused(case.range(&at(2)), Code::OutOfRange, FUTURE);
    assert!(case.range(&at(1)).is_ok());
}

fn item_029_a_compacted_revision_is_refused(case: &mut Case) {
    case.write_all(&[("a", "1"), ("a", "2"), ("a", "3")]);
    let _ = case.compact(2, false).expect("compact");
    let at = |steps| RangeRequest { revision: case.at(steps), ..get(case.key("a")) };
    refused(case.range(&at(1)), Code::OutOfRange, COMPACTED);
}

fn item_030_the_compact_revision_is_readable(case: &mut Case) {
    case.write_all(&[("a", "1"), ("a", "2"), ("a", "3")]);
    let _ = case.compact(2, false).expect("compact");
    let request = RangeRequest { revision: case.at(2), ..get(case.key("a")) };
    let found = case.range(&request).expect("range");
    assert_eq!(case.show_all(&found.kvs), ["a=2 @1 @2 v2"]);
}

fn item_031_the_past_is_read_under_the_present_revision(case: &mut Case) {
    case.write_all(&[("a", "1"), ("a", "2"), ("b", "3")]);
    let request = RangeRequest { revision: case.at(1), ..between(case.key("a"), case.key("z")) };
    let found = case.range(&request).expect("range");
    assert_eq!(case.show_all(&found.kvs), ["a=1 @1 @1 v1"]);
    assert_eq!((case.steps(&found.header), found.count), (3, 1));
}
