//! Ranges (api-v3.md 2.2).

use mvcc::{CursorStep, RangeReply, Store};
use proto::etcdserverpb::{PutRequest, RangeRequest};
use types::EtcdError;

use crate::rows::{Fixture, Rows, put, range, show_all};

const NONE: i32 = 0;
const ASCEND: i32 = 1;
const DESCEND: i32 = 2;

/// a=1 at 2, b=1 at 3, c=9 at 4 with lease 7, a=5 at 5, b deleted at 6, d=0 at 7.
fn fixture() -> Fixture {
    let mut fixture = Fixture::default();
    fixture.put("a", "1");
    fixture.put("b", "1");
    let _ = fixture.put_request(&PutRequest { lease: 7, ..put("c", "9") }).unwrap();
    fixture.put("a", "5");
    let _ = fixture.delete("b", "");
    fixture.put("d", "0");
    fixture
}

fn check(request: &RangeRequest, pairs: &[&str], more: bool, count: i64) {
    let reply = fixture().range(request).unwrap();
    assert_eq!(show_all(&reply.kvs), pairs, "{request:?}");
    assert_eq!((reply.more, reply.count, reply.revision), (more, count, 7), "{request:?}");
}

#[test]
fn intervals() {
    let (a, c, d) = ("a=5 2/5/2", "c=9 4/4/1 lease 7", "d=0 7/7/1");
    check(&range("a", ""), &[a], false, 1);
    check(&range("b", ""), &[], false, 0);
    check(&range("aa", ""), &[], false, 0);
    check(&range("a", "c"), &[a], false, 1);
    check(&range("a", "c\0"), &[a, c], false, 2);
    check(&range("b", "\0"), &[c, d], false, 2);
    check(&range("\0", "\0"), &[a, c, d], false, 3);
    check(&range("c", "c"), &[], false, 0);
    check(&range("d", "a"), &[], false, 0);
}

#[test]
fn revisions() {
    let at = |revision| RangeRequest { revision, ..range("a", "\0") };
    check(&at(1), &[], false, 0);
    check(&at(3), &["a=1 2/2/1", "b=1 3/3/1"], false, 2);
    check(&at(5), &["a=5 2/5/2", "b=1 3/3/1", "c=9 4/4/1 lease 7"], false, 3);
    check(&at(6), &["a=5 2/5/2", "c=9 4/4/1 lease 7"], false, 2);
    check(&at(-1), &["a=5 2/5/2", "c=9 4/4/1 lease 7", "d=0 7/7/1"], false, 3);
    assert_eq!(fixture().range(&at(8)), Err(EtcdError::FutureRev));
    let mut compacted = fixture();
    compacted.compact_fully(4);
    assert_eq!(compacted.range(&at(3)), Err(EtcdError::Compacted));
    assert_eq!(compacted.range(&at(4)).unwrap().count, 3);
    assert_eq!(compacted.range(&at(-1)).unwrap().count, 3);
}

#[test]
fn limits_and_counts() {
    let limited = |limit| RangeRequest { limit, ..range("a", "\0") };
    check(&limited(1), &["a=5 2/5/2"], true, 3);
    check(&limited(2), &["a=5 2/5/2", "c=9 4/4/1 lease 7"], true, 3);
    check(&limited(3), &["a=5 2/5/2", "c=9 4/4/1 lease 7", "d=0 7/7/1"], false, 3);
    check(&limited(-1), &["a=5 2/5/2", "c=9 4/4/1 lease 7", "d=0 7/7/1"], false, 3);
    let count =
        RangeRequest { count_only: true, keys_only: true, min_mod_revision: 9, ..limited(1) };
    check(&count, &[], false, 3);
}

/// As real servers do, 3.4.23 and 3.5.1 alike.
#[test]
fn a_limit_without_an_order_takes_the_first_keys_and_sorts_those() {
    let by_version =
        |sort_order, limit| RangeRequest { limit, sort_order, sort_target: 1, ..range("a", "\0") };
    let (a, c, d) = ("a=5 2/5/2", "c=9 4/4/1 lease 7", "d=0 7/7/1");
    check(&by_version(0, 1), &[c], true, 3);
    check(&by_version(1, 1), &[c], true, 3);
    check(&by_version(2, 1), &[a], true, 3);
    check(&by_version(0, 2), &[c, d], true, 3);
    let by_value = |sort_order| RangeRequest { sort_target: 4, ..by_version(sort_order, 1) };
    check(&by_value(0), &[a], true, 3);
    check(&by_value(1), &[d], true, 3);
    let filtered = RangeRequest { min_mod_revision: 1, ..by_value(0) };
    check(&filtered, &[d], true, 3);
}

#[test]
fn filters_count_before_the_limit_and_not_in_the_count() {
    let all = || range("a", "\0");
    check(&RangeRequest { min_mod_revision: 5, ..all() }, &["a=5 2/5/2", "d=0 7/7/1"], false, 3);
    check(&RangeRequest { max_mod_revision: 4, ..all() }, &["c=9 4/4/1 lease 7"], false, 3);
    check(&RangeRequest { min_create_revision: 7, ..all() }, &["d=0 7/7/1"], false, 3);
    check(&RangeRequest { max_create_revision: 2, ..all() }, &["a=5 2/5/2"], false, 3);
    let limited = RangeRequest { limit: 1, min_mod_revision: 7, ..all() };
    check(&limited, &["d=0 7/7/1"], false, 3);
    check(&RangeRequest { limit: 1, min_mod_revision: 5, ..all() }, &["a=5 2/5/2"], true, 3);
}

#[test]
fn keys_only_comes_from_the_index_unless_sorted_by_value() {
    let keys = |sort_target| RangeRequest { keys_only: true, sort_target, ..range("a", "\0") };
    check(&keys(0), &["a= 2/5/2", "c= 4/4/1", "d= 7/7/1"], false, 3);
    check(&keys(4), &["d= 7/7/1", "a= 2/5/2", "c= 4/4/1 lease 7"], false, 3);
    check(&RangeRequest { revision: 3, ..keys(0) }, &["a= 2/2/1", "b= 3/3/1"], false, 2);
}

#[test]
fn orders() {
    let sorted =
        |sort_order, sort_target| RangeRequest { sort_order, sort_target, ..range("a", "\0") };
    let check_order = |order, target, keys: &str| {
        let reply = fixture().range(&sorted(order, target)).unwrap();
        let got: String = show_all(&reply.kvs).iter().map(|pair| &pair[..1]).collect();
        assert_eq!(got, keys, "{order} {target}");
    };
    for order in [NONE, ASCEND] {
        check_order(order, 0, "acd");
        check_order(order, 1, "cda");
        check_order(order, 2, "acd");
        check_order(order, 3, "cad");
        check_order(order, 4, "dac");
    }
    check_order(DESCEND, 0, "dca");
    check_order(DESCEND, 1, "acd");
    check_order(DESCEND, 2, "dca");
    check_order(DESCEND, 3, "dac");
    check_order(DESCEND, 4, "cad");
    let last = RangeRequest { limit: 1, ..sorted(DESCEND, 0) };
    check(&last, &["d=0 7/7/1"], true, 3);
    // Values of old revisions are fetched before they are compared.
    let old = RangeRequest { revision: 4, ..sorted(DESCEND, 4) };
    check(&old, &["c=9 4/4/1 lease 7", "a=1 2/2/1", "b=1 3/3/1"], false, 3);
}

#[test]
fn a_cursor_reads_one_revision_while_the_store_goes_on() {
    let mut fixture = fixture();
    let expected = fixture.range(&range("a", "\0")).unwrap();
    let mut cursor = fixture.store.cursor(&range("a", "\0")).unwrap();
    assert_eq!(cursor.step(&fixture.store, 1), Ok(CursorStep::More));
    let _ = fixture.delete("a", "\0");
    fixture.put("aa", "new");
    fixture.put("d", "new");
    while cursor.step(&fixture.store, 1) == Ok(CursorStep::More) {}
    assert_eq!(cursor.into_reply(&fixture.rows), Ok(Ok(expected)));
}

#[test]
fn a_cursor_ends_when_its_revision_is_compacted() {
    let mut fixture = fixture();
    let old = RangeRequest { revision: 5, ..range("a", "\0") };
    let mut stepped = fixture.store.cursor(&old).unwrap();
    let mut collected = fixture.store.cursor(&old).unwrap();
    assert_eq!(stepped.step(&fixture.store, 1), Ok(CursorStep::More));
    assert_eq!(collected.step(&fixture.store, 9), Ok(CursorStep::Done));
    fixture.compact_fully(7);
    assert_eq!(stepped.step(&fixture.store, 1), Err(EtcdError::Compacted));
    assert_eq!(collected.into_reply(&fixture.rows), Ok(Err(EtcdError::Compacted)));
    let at_compacted = RangeRequest { revision: 7, ..range("a", "\0") };
    assert!(fixture.store.cursor(&at_compacted).is_ok());
}

#[test]
fn a_missing_row_is_a_fault_and_no_result() {
    let mut fixture = fixture();
    fixture.rows.key.clear();
    let old = RangeRequest { revision: 3, ..range("a", "") };
    assert!(fixture.store.range(&old, &fixture.rows).is_err());
    let latest: RangeReply = fixture.range(&range("a", "")).unwrap();
    assert_eq!(show_all(&latest.kvs), ["a=5 2/5/2"]);
}

/// Pieces of a range as `pairs/bytes` are wanted, and how many steps that took.
fn pieces(store: &Store, request: &RangeRequest, wanted: (usize, usize)) -> (Vec<usize>, usize) {
    let mut cursor = store.cursor(request).unwrap();
    let (mut sizes, mut steps) = (Vec::new(), 0);
    loop {
        let mut step = CursorStep::More;
        while step == CursorStep::More && cursor.pending() < wanted.0 {
            step = cursor.step_piece(store, wanted.0, 1000).unwrap();
            steps += 1;
        }
        sizes.push(cursor.drain(wanted.1, &Rows::default()).unwrap().unwrap().len());
        if step == CursorStep::Done && cursor.pending() == 0 {
            assert_eq!(cursor.summary().count, 2500);
            return (sizes, steps);
        }
    }
}

#[test]
fn pieces_are_bounded_and_what_is_only_counted_is_not_visited() {
    let mut fixture = Fixture::default();
    for key in 0..2500 {
        let pair = PutRequest { value: vec![b'v'; 100].into(), ..put(&format!("{key:04}"), "") };
        let _ = fixture.put_request(&pair).unwrap();
    }
    let all = range("\0", "\0");
    let count_only = RangeRequest { count_only: true, ..all.clone() };
    assert_eq!(pieces(&fixture.store, &count_only, (10, 1000)), (vec![0], 1));
    let limited = RangeRequest { limit: 9, ..all.clone() };
    assert_eq!(pieces(&fixture.store, &limited, (10, usize::MAX)), (vec![9], 1));
    assert_eq!(pieces(&fixture.store, &limited, (10, 500)), (vec![5, 4], 2));
    assert_eq!(pieces(&fixture.store, &limited, (10, 0)).0, [1; 9]);
    assert_eq!(pieces(&fixture.store, &all, (2000, usize::MAX)), (vec![2000, 500], 3));
    // The index counts what is live now: at an older revision the keys are visited.
    let revision = fixture.store.current_revision();
    let _ = fixture.delete("1007", "");
    let _ = fixture.put("9999", "");
    let count_before = RangeRequest { revision, ..count_only };
    assert_eq!(pieces(&fixture.store, &count_before, (10, 1000)), (vec![0], 3));
    let limited_before = RangeRequest { revision, ..limited };
    assert_eq!(pieces(&fixture.store, &limited_before, (10, usize::MAX)), (vec![9], 4));
}

#[test]
fn counts_leave_deleted_keys_out_and_filters_out_of_account() {
    let mut fixture = Fixture::default();
    for key in 0..300 {
        let _ = fixture.put(Box::leak(format!("{key:03}").into_boxed_str()), "");
    }
    let _ = fixture.delete("100", "150");
    for (key, end, count) in [
        ("000", "\0", 250),
        ("090", "160", 20),
        ("100", "150", 0),
        ("160", "090", 0),
        ("007", "", 1),
    ] {
        for request in [
            RangeRequest { count_only: true, ..range(key, end) },
            RangeRequest { limit: 3, ..range(key, end) },
            RangeRequest { limit: 3, max_mod_revision: 5, ..range(key, end) },
            RangeRequest { limit: 3, sort_order: 2, sort_target: 2, ..range(key, end) },
            range(key, end),
        ] {
            assert_eq!(fixture.range(&request).unwrap().count, count, "{request:?}");
        }
    }
}
