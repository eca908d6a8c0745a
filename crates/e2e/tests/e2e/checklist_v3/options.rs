//! Items 13-26: limits, counts, sorting, filters.

use proto::etcdserverpb::RangeRequest;
use proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use tonic::Code;

use super::case::{Case, refused};
use super::requests::{between, get, put};

super::items! {
    both {
        shared: item_013_a_limit_says_that_there_is_more,
            item_014_a_negative_limit_is_none,
            item_015_a_limit_that_fits_leaves_no_more,
            item_016_count_only_has_no_pairs,
            item_017_keys_only_has_no_values,
            item_019_keys_only_sorts_by_value,
            item_020_a_target_without_order_ascends,
            item_021_descending_by_mod_begins_with_the_newest,
            item_022_min_mod_revision_does_not_change_the_count,
            item_023_max_create_revision_does_not_change_the_count,
            item_024_filters_come_before_the_limit;
    }
    // 3.5.1 keeps the lease, takes any order, and crashes on an unknown target.
    ours {
        shared: item_018_keys_only_has_no_lease,
            item_025_an_unknown_order_is_refused,
            item_026_an_unknown_target_is_refused;
    }
}

const INVALID_SORT: &str = "etcdserver: invalid sort option";

/// Pairs `b=1`, `c=3`, `a=2`, then `c=3` again: versions, creation and change in different orders.
fn written(case: &Case) -> RangeRequest {
    case.write_all(&[("b", "1"), ("c", "3"), ("a", "2"), ("c", "3")]);
    between(case.key("a"), case.key("z"))
}

const A: &str = "a=2 @3 @3 v1";
const B: &str = "b=1 @1 @1 v1";
const C: &str = "c=3 @2 @4 v2";

/// What a request finds: pairs, `more` and `count`.
#[track_caller]
fn check(case: &Case, request: &RangeRequest, pairs: &[&str], more: bool, count: i64) {
    let found = case.range(request).expect("range");
    let shown = case.show_all(&found.kvs);
    assert_eq!(
        (&shown[..], found.more, found.count),
        (&own(pairs)[..], more, count),
        "{request:?}"
    );
}

fn own(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn item_013_a_limit_says_that_there_is_more(case: &mut Case) {
    let all = written(case);
    check(case, &RangeRequest { limit: 1, ..all.clone() }, &[A], true, 3);
    check(case, &RangeRequest { limit: 2, ..all }, &[A, B], true, 3);
}

fn item_014_a_negative_limit_is_none(case: &mut Case) {
    let all = written(case);
    check(case, &RangeRequest { limit: -1, ..all }, &[A, B, C], false, 3);
}

fn item_015_a_limit_that_fits_leaves_no_more(case: &mut Case) {
    let all = written(case);
    check(case, &RangeRequest { limit: 3, ..all.clone() }, &[A, B, C], false, 3);
    check(case, &RangeRequest { limit: 4, ..all }, &[A, B, C], false, 3);
}

fn item_016_count_only_has_no_pairs(case: &mut Case) {
    let all = RangeRequest { count_only: true, ..written(case) };
    check(case, &all, &[], false, 3);
    check(case, &RangeRequest { limit: 1, ..all.clone() }, &[], false, 3);
    check(case, &RangeRequest { revision: case.at(2), ..all }, &[], false, 2);
}

fn item_017_keys_only_has_no_values(case: &mut Case) {
    let all = RangeRequest { keys_only: true, ..written(case) };
    check(case, &all, &["a= @3 @3 v1", "b= @1 @1 v1", "c= @2 @4 v2"], false, 3);
}

fn item_018_keys_only_has_no_lease(case: &mut Case) {
    let lease = case.grant(1000, 0).expect("grant").id;
    let mut leased = put(case.key("a"), "1");
    leased.lease = lease;
    let _ = case.put(&leased).expect("put");
    let one = get(case.key("a"));
    check(case, &one, &[&format!("a=1 @1 @1 v1 lease {lease}")], false, 1);
    let keys = RangeRequest { keys_only: true, ..one };
    check(case, &keys, &["a= @1 @1 v1"], false, 1);
    let by_value = RangeRequest { sort_target: SortTarget::Value.into(), ..keys };
    check(case, &by_value, &[&format!("a= @1 @1 v1 lease {lease}")], false, 1);
}

fn item_019_keys_only_sorts_by_value(case: &mut Case) {
    let all = RangeRequest {
        keys_only: true,
        sort_target: SortTarget::Value.into(),
        sort_order: SortOrder::Descend.into(),
        ..written(case)
    };
    check(case, &all, &["c= @2 @4 v2", "a= @3 @3 v1", "b= @1 @1 v1"], false, 3);
}

fn item_020_a_target_without_order_ascends(case: &mut Case) {
    let all = written(case);
    case.write("a", "2");
    case.write("a", "2");
    let by = |target: SortTarget| RangeRequest { sort_target: target.into(), ..all.clone() };
    let newest = "a=2 @3 @6 v3";
    check(case, &by(SortTarget::Version), &[B, C, newest], false, 3);
    check(case, &by(SortTarget::Create), &[B, C, newest], false, 3);
    check(case, &by(SortTarget::Mod), &[B, C, newest], false, 3);
    check(case, &by(SortTarget::Value), &[B, newest, C], false, 3);
    check(case, &by(SortTarget::Key), &[newest, B, C], false, 3);
}

fn item_021_descending_by_mod_begins_with_the_newest(case: &mut Case) {
    let all = RangeRequest {
        sort_target: SortTarget::Mod.into(),
        sort_order: SortOrder::Descend.into(),
        limit: 1,
        ..written(case)
    };
    check(case, &all, &[C], true, 3);
    let by_key = RangeRequest { sort_target: SortTarget::Key.into(), limit: 2, ..all };
    check(case, &by_key, &[C, B], true, 3);
}

fn item_022_min_mod_revision_does_not_change_the_count(case: &mut Case) {
    let all = RangeRequest { min_mod_revision: case.at(3), ..written(case) };
    check(case, &all, &[A, C], false, 3);
    let window = RangeRequest { max_mod_revision: case.at(3), ..all };
    check(case, &window, &[A], false, 3);
}

fn item_023_max_create_revision_does_not_change_the_count(case: &mut Case) {
    let all = RangeRequest { max_create_revision: case.at(2), ..written(case) };
    check(case, &all, &[B, C], false, 3);
    let window = RangeRequest { min_create_revision: case.at(2), ..all };
    check(case, &window, &[C], false, 3);
}

fn item_024_filters_come_before_the_limit(case: &mut Case) {
    let all = RangeRequest { min_mod_revision: case.at(3), limit: 1, ..written(case) };
    check(case, &all, &[A], true, 3);
    check(case, &RangeRequest { limit: 2, ..all }, &[A, C], false, 3);
}

fn item_025_an_unknown_order_is_refused(case: &mut Case) {
    for sort_order in [3, -1, 77] {
        let request = RangeRequest { sort_order, ..written(case) };
        refused(case.range(&request), Code::InvalidArgument, INVALID_SORT);
    }
}

fn item_026_an_unknown_target_is_refused(case: &mut Case) {
    for sort_target in [5, -1, 77] {
        let request = RangeRequest { sort_target, sort_order: 1, ..written(case) };
        refused(case.range(&request), Code::InvalidArgument, INVALID_SORT);
    }
}
