//! Compaction and restore (api-v3.md 2.7, disk-formats.md 7).

use bytes::Bytes;
use mvcc::kv::KvView;
use mvcc::{Restorer, Run, Store};
use types::{EtcdError, LeaseId, RevKey};

use crate::rows::{Fixture, bytes, put, put_op, range, show_all, success};

/// a at 2, 3 and deleted at 4, again at 6; b at 5; c at 7 and deleted at 8.
fn fixture() -> Fixture {
    let mut fixture = Fixture::default();
    fixture.put("a", "1");
    fixture.put("a", "2");
    let _ = fixture.delete("a", "");
    fixture.put("b", "1");
    fixture.put("a", "3");
    fixture.put("c", "1");
    let _ = fixture.delete("c", "");
    fixture
}

fn mains(fixture: &Fixture) -> Vec<i64> {
    fixture.rows.key.keys().map(|revision| revision.main).collect()
}

#[test]
fn revisions_that_can_be_compacted() {
    let mut fixture = fixture();
    assert_eq!(fixture.compact(9), Err(EtcdError::FutureRev));
    assert_eq!(fixture.compact(-1), Err(EtcdError::Compacted));
    assert_eq!(fixture.compact(0), Ok(()));
    assert_eq!(fixture.compact(0), Err(EtcdError::Compacted));
    assert_eq!(fixture.compact(8), Ok(()));
    assert_eq!(fixture.compact(5), Err(EtcdError::Compacted));
    assert_eq!(fixture.store.compacted_revision(), 8);
}

#[test]
fn rows_that_are_kept() {
    for (at, rows) in [
        (1, vec![2, 3, 4, 5, 6, 7, 8]),
        (2, vec![2, 3, 4, 5, 6, 7, 8]),
        (3, vec![3, 4, 5, 6, 7, 8]),
        (4, vec![4, 5, 6, 7, 8]),
        (5, vec![5, 6, 7, 8]),
        (7, vec![5, 6, 7, 8]),
        (8, vec![5, 6, 8]),
    ] {
        let mut fixture = fixture();
        fixture.compact_fully(at);
        assert_eq!(mains(&fixture), rows, "compacted at {at}");
    }
}

#[test]
fn a_kept_tombstone_goes_with_the_next_compaction() {
    let mut fixture = fixture();
    fixture.compact_fully(8);
    assert_eq!(fixture.store.index_len(), 3);
    fixture.put("d", "1");
    fixture.compact_fully(9);
    assert_eq!(mains(&fixture), [5, 6, 9]);
    assert_eq!(fixture.store.index_len(), 3);
}

#[test]
fn marks_and_resumption() {
    let mut fixture = fixture();
    assert_eq!(fixture.store.pending_compaction(), None);
    fixture.compact(7).unwrap();
    assert_eq!((fixture.rows.scheduled, fixture.rows.finished), (Some(7), None));
    let batch = fixture.rows.batch(RevKey::default(), 7, 2);
    let ops = fixture.store.compact_step(&batch, 7);
    fixture.rows.write(&ops);
    assert_eq!(mains(&fixture), [4, 5, 6, 7, 8]);
    // A restart in between: reads before 7 stay refused, the rest of the rows goes.
    fixture.store = fixture.rows.restore().store;
    assert_eq!(fixture.store.pending_compaction(), Some(7));
    assert_eq!(fixture.compact(7), Err(EtcdError::Compacted));
    let batch = fixture.rows.batch(RevKey::default(), 7, 9);
    let ops = fixture.store.compact_step(&batch, 7);
    fixture.rows.write(&ops);
    let ops = fixture.store.compact_finish(7);
    fixture.rows.write(&ops);
    assert_eq!((fixture.rows.scheduled, fixture.rows.finished), (Some(7), Some(7)));
    assert_eq!(fixture.store.pending_compaction(), None);
    assert_eq!(mains(&fixture), [5, 6, 7, 8]);
}

#[test]
fn a_step_never_goes_beyond_the_compacted_revision() {
    let mut fixture = fixture();
    fixture.compact(3).unwrap();
    let batch = fixture.rows.batch(RevKey::default(), 8, 9);
    let deleted = fixture.store.compact_step(&batch, 8).len();
    assert_eq!(deleted, 1);
}

#[test]
fn compaction_keeps_answers_row_by_row() {
    let fixture = fixture();
    let keeps = |key: &str, main, at| {
        fixture.store.compaction_keeps(key.as_bytes(), RevKey::new(main, 0), at)
    };
    assert!(keeps("a", 3, 3) && !keeps("a", 2, 3) && keeps("a", 4, 3));
    assert!(keeps("a", 4, 4) && !keeps("a", 4, 5) && keeps("a", 6, 6));
    assert!(!keeps("unknown", 2, 2));
}

#[test]
fn restored_revision_is_the_largest_known() {
    let row = |main| {
        let pair = KvView {
            key: b"k",
            create_revision: main,
            mod_revision: main,
            version: 1,
            ..KvView::default()
        };
        (RevKey::new(main, 0), false, pair.encode())
    };
    for (rows, finished, scheduled, current, compacted) in [
        (vec![], None, None, 1, -1),
        (vec![row(4)], None, None, 4, -1),
        (vec![row(4)], Some(3), Some(3), 4, 3),
        (vec![row(4)], Some(3), Some(9), 9, 9),
        (vec![], Some(5), Some(5), 5, 5),
        (vec![row(4)], Some(6), None, 6, 6),
    ] {
        let store = Store::restore(rows, finished, scheduled).unwrap().store;
        store.check_invariants();
        assert_eq!((store.current_revision(), store.compacted_revision()), (current, compacted));
    }
}

/// `etcdutl snapshot restore --bump-revision --mark-compacted` writes a row without content.
#[test]
fn a_bumped_revision_is_restored() {
    let mut fixture = fixture();
    fixture.rows.key.insert(RevKey::new(1_000_008, 0), (false, Bytes::new()));
    fixture.rows.scheduled = Some(1_000_008);
    fixture.store = fixture.rows.restore().store;
    fixture.store.check_invariants();
    assert_eq!(fixture.store.current_revision(), 1_000_008);
    assert_eq!(fixture.range(&range("\0", "\0")).unwrap().count, 2);
    assert_eq!(fixture.put("a", "4"), 1_000_009);
    let batch = fixture.rows.batch(RevKey::default(), 1_000_008, 99);
    let ops = fixture.store.compact_step(&batch, 1_000_008);
    fixture.rows.write(&ops);
    assert_eq!(mains(&fixture), [5, 6, 1_000_008, 1_000_009]);
}

#[test]
fn history_that_begins_in_the_middle_is_restored() {
    let mut fixture = fixture();
    fixture.compact(8).unwrap();
    let batch = fixture.rows.batch(RevKey::default(), 8, 1);
    let ops = fixture.store.compact_step(&batch, 8);
    fixture.rows.write(&ops);
    let restored = fixture.rows.restore().store;
    assert_eq!(restored, fixture.store);
    // The first row of `a` now says create revision 2 and version 2.
    let pairs = fixture.range(&range("a", "c")).unwrap().kvs;
    assert_eq!(show_all(&pairs), ["a=3 6/6/1", "b=1 5/5/1"]);
}

#[test]
fn attachments_follow_from_the_latest_pairs() {
    let mut fixture = fixture();
    let leased = |key, lease| proto::etcdserverpb::PutRequest { lease, ..put(key, "") };
    for (key, lease) in [("x", 7), ("y", 7), ("x", 8), ("z", -1)] {
        let _ = fixture.put_request(&leased(key, lease)).unwrap();
    }
    let _ = fixture.txn(&success(vec![put_op("y", "loose")])).unwrap();
    let attachments = fixture.rows.restore().attachments;
    assert_eq!(attachments, [(LeaseId(8), bytes("x")), (LeaseId(-1), bytes("z"))]);
}

#[test]
fn bad_rows_are_faults() {
    let pair = KvView { key: b"k", ..KvView::default() }.encode();
    let push = |rows: &[(RevKey, Bytes)]| {
        let mut run = Run::default();
        rows.iter().try_for_each(|(at, pair)| run.push(*at, false, pair))
    };
    let at = |main, sub| (RevKey::new(main, sub), pair.clone());
    assert!(push(&[at(2, 0), at(2, 1), at(3, 0)]).is_ok());
    for rows in [
        vec![at(3, 0), at(2, 0)],
        vec![at(2, 0), at(2, 0)],
        vec![at(i64::MAX, 0)],
        vec![at(-1, 0)],
        vec![at(2, i64::MAX)],
        vec![(RevKey::new(2, 0), Bytes::from_static(b"\x0a\x05k"))],
    ] {
        assert!(push(&rows).is_err(), "{rows:?}");
    }
    assert!(Restorer::new(None, Some(i64::MAX)).finish().is_err());
    assert!(Restorer::new(Some(-2), Some(-7)).finish().is_err());
}

/// etcd goes on with a warning where a tombstone has nothing to delete, and so do we.
#[test]
fn a_tombstone_of_nothing_is_ignored_and_compacted() {
    let tombstone = KvView { key: b"k", ..KvView::default() }.encode();
    let mut fixture = Fixture::default();
    for main in [2, 3] {
        fixture.rows.key.insert(RevKey::new(main, 0), (true, tombstone.clone()));
    }
    fixture.store = fixture.rows.restore().store;
    fixture.store.check_invariants();
    fixture.put("x", "");
    fixture.compact_fully(4);
    assert_eq!(mains(&fixture), [4]);
}
