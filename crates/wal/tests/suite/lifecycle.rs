//! A log from creation over many segments to purge, and what stops it.

use proptest::prelude::*;
use wal::{Options, Wal, WalError, WalSnapshot};

use crate::support::*;

#[test]
fn missing_and_empty_directories_hold_no_log() {
    let sim = fresh(1);
    assert!(!Wal::exists(&*sim.disk(), dir()).unwrap());
    sim.disk().create_dir_all(dir()).unwrap();
    assert!(!Wal::exists(&*sim.disk(), dir()).unwrap());
    drop(create(&sim, SMALL));
    assert!(Wal::exists(&*sim.disk(), dir()).unwrap());
}

#[test]
fn creation_refuses_what_is_not_empty() {
    let sim = fresh(1);
    drop(create(&sim, SMALL));
    let again = Wal::create(sim.disk(), dir(), METADATA, SMALL);
    assert!(matches!(error_of(again), WalError::AlreadyExists { .. }));

    let sim = fresh(1);
    put_file(&sim.disk(), &dir().join("notes.txt"), b"mine");
    let error = error_of(Wal::create(sim.disk(), dir(), METADATA, SMALL));
    assert!(matches!(error, WalError::DirNotEmpty { ref name, .. } if name == "notes.txt"));

    let sim = fresh(1);
    put_file(&sim.disk(), &dir().join("1.tmp"), b"left over");
    put_file(&sim.disk(), std::path::Path::new("/member/wal.tmp/x"), b"left over");
    drop(create(&sim, SMALL));
    assert_eq!(list(&*sim.disk()), ["0000000000000000-0000000000000000.wal"]);
    assert_eq!(sim.disk().list(std::path::Path::new("/member")).unwrap(), ["wal"]);
}

#[test]
fn one_flush_is_one_write_and_one_sync() {
    let sim = fresh(1);
    let mut wal = create(&sim, Options { segment_bytes: 1 << 20, no_sync: false });
    let before = sim.write_count();
    for index in 1..=100 {
        wal.append(&[entry(1, index, "value")], Some(&state(1, 1, index - 1))).unwrap();
    }
    assert_eq!(sim.write_count(), before);
    wal.flush(true).unwrap();
    assert_eq!(sim.write_count(), before + 2);
    wal.flush(true).unwrap();
    assert_eq!(sim.write_count(), before + 2);
    wal.append(&[], Some(&state(1, 1, 100))).unwrap();
    wal.flush(false).unwrap();
    assert_eq!(sim.write_count(), before + 3);
    wal.flush(true).unwrap();
    assert_eq!(sim.write_count(), before + 4);
}

/// A log of entries 1..=`count`, a few hundred bytes each, flushed one by one.
fn filled(sim: &simdisk::SimDisk, count: u64) -> Wal {
    let mut wal = create(sim, SMALL);
    for index in 1..=count {
        wal.append(&[entry(1, index, vec![7; 300])], Some(&state(1, 1, index))).unwrap();
        wal.flush(true).unwrap();
    }
    wal
}

#[test]
fn full_segments_are_cut_and_read_back() {
    let sim = fresh(1);
    drop(filled(&sim, 30));
    let names = list(&*sim.disk());
    assert_eq!(names.len(), 6, "{names:?}");
    assert_eq!(names[1], "0000000000000001-0000000000000007.wal");
    for name in &names[..5] {
        let bytes = content(&sim, &dir().join(name));
        assert!((2048..2600).contains(&bytes.len()), "{}", bytes.len());
        let last = *frames(&bytes).last().unwrap();
        assert_eq!(bytes.len(), last + 24, "a closed segment ends with its last record");
    }
    assert_eq!(content(&sim, &dir().join(&names[5])).len(), 2048);
    let (_, replay) = open(&sim, SMALL).unwrap();
    assert_eq!(replay.entries.len(), 30);
    assert_eq!(replay.hard_state, state(1, 1, 30));
}

#[test]
fn stale_next_segments_are_removed() {
    let sim = fresh(1);
    drop(filled(&sim, 3));
    put_file(&sim.disk(), &dir().join("0.tmp"), &[9; 3000]);
    put_file(&sim.disk(), &dir().join("1.tmp"), &[9; 3000]);
    drop(open(&sim, SMALL).unwrap());
    assert_eq!(list(&*sim.disk()).len(), 1);
}

#[test]
fn later_entries_replace_earlier_ones() {
    let sim = fresh(1);
    let mut wal = filled(&sim, 10);
    wal.append(&[entry(2, 4, "new"), entry(2, 5, "new")], Some(&state(2, 0, 3))).unwrap();
    wal.flush(true).unwrap();
    drop(wal);
    let (_, replay) = open(&sim, SMALL).unwrap();
    let terms: Vec<_> = replay.entries.iter().map(|entry| entry.term).collect();
    assert_eq!(terms, [1, 1, 1, 2, 2]);
}

#[test]
fn opening_at_a_snapshot_skips_what_is_before() {
    let sim = fresh(1);
    let mut wal = filled(&sim, 12);
    wal.save_snapshot(&snapshot(8, 1)).unwrap();
    wal.append(&[entry(1, 13, "x")], Some(&state(1, 1, 13))).unwrap();
    wal.flush(true).unwrap();
    drop(wal);
    let valid = Wal::valid_snapshots(&*sim.disk(), dir()).unwrap();
    assert_eq!(valid, [WalSnapshot::default(), snapshot(8, 1)]);
    let start = WalSnapshot { conf_state: None, ..snapshot(8, 1) };
    let (_wal, replay) = Wal::open(sim.disk(), dir(), start, SMALL).unwrap();
    assert_eq!(replay.snapshot, snapshot(8, 1));
    assert_eq!(replay.entries.first().map(|entry| entry.index), Some(9));
    assert_eq!(replay.entries.len(), 5);
}

#[test]
fn wrong_starts_are_refused() {
    let sim = fresh(1);
    let mut wal = filled(&sim, 12);
    wal.save_snapshot(&snapshot(8, 1)).unwrap();
    drop(wal);
    let open_at =
        |index, term| error_of(Wal::open(sim.disk(), dir(), snapshot(index, term), SMALL));
    assert!(matches!(open_at(7, 1), WalError::SnapshotNotFound { index: 7, .. }));
    let error = open_at(8, 2);
    assert!(matches!(error, WalError::SnapshotMismatch { expected: 2, found: 1, .. }), "{error}");
}

#[test]
fn snapshots_beyond_the_commit_are_not_valid() {
    let sim = fresh(1);
    let mut wal = create(&sim, SMALL);
    wal.append(&[entry(1, 1, "a"), entry(1, 2, "b")], Some(&state(1, 1, 1))).unwrap();
    wal.save_snapshot(&snapshot(2, 1)).unwrap();
    assert_eq!(Wal::valid_snapshots(&*sim.disk(), dir()).unwrap(), [WalSnapshot::default()]);
    wal.append(&[], Some(&state(1, 1, 2))).unwrap();
    wal.flush(false).unwrap();
    assert_eq!(Wal::valid_snapshots(&*sim.disk(), dir()).unwrap().len(), 2);
}

#[test]
fn snapshot_record_needs_a_configuration() {
    let sim = fresh(1);
    let mut wal = create(&sim, SMALL);
    let error = error_of(wal.save_snapshot(&WalSnapshot { index: 1, term: 1, conf_state: None }));
    assert!(matches!(error, WalError::SnapshotWithoutConfState { index: 1 }));
    wal.flush(true).unwrap();
}

#[test]
fn segment_after_a_received_snapshot_is_named_after_it() {
    let sim = fresh(1);
    let mut wal = filled(&sim, 2);
    wal.save_snapshot(&snapshot(500, 3)).unwrap();
    wal.append(&[entry(3, 501, vec![1; 2000])], Some(&state(3, 0, 500))).unwrap();
    wal.flush(true).unwrap();
    drop(wal);
    assert_eq!(list(&*sim.disk())[1], "0000000000000001-00000000000001f6.wal");
    let (_, replay) = Wal::open(sim.disk(), dir(), snapshot(500, 3), SMALL).unwrap();
    assert_eq!(replay.entries.len(), 1);
}

#[test]
fn two_owners_are_refused() {
    let sim = fresh(1);
    let wal = filled(&sim, 3);
    assert!(matches!(error_of(open(&sim, SMALL)), WalError::Locked { .. }));
    assert_eq!(Wal::valid_snapshots(&*sim.disk(), dir()).unwrap().len(), 1);
    drop(wal);
    drop(open(&sim, SMALL).unwrap());
}

#[test]
fn purge_takes_what_was_released() {
    let sim = fresh(1);
    let mut wal = filled(&sim, 30);
    let disk = sim.disk();
    assert_eq!(wal::purge(&*disk, dir(), 2).unwrap(), Vec::<String>::new());
    // Segments start at 0, 7, 13, 19, 25, 31: the one that starts below 20 stays.
    wal.release_to(20).unwrap();
    let removed = wal::purge(&*disk, dir(), 2).unwrap();
    assert_eq!(removed.len(), 3, "{removed:?}");
    assert_eq!(list(&*disk)[0], "0000000000000003-0000000000000013.wal");
    wal.release_to(1000).unwrap();
    assert_eq!(wal::purge(&*disk, dir(), 0).unwrap().len(), 2);
    assert_eq!(list(&*disk).len(), 1);
    wal.append(&[entry(1, 31, "x")], None).unwrap();
    wal.flush(true).unwrap();
    drop(wal);
    let error = error_of(open(&sim, SMALL));
    assert!(matches!(error, WalError::SegmentNotFound { index: 0, .. }), "{error}");
}

#[test]
fn missing_segment_is_named() {
    let sim = fresh(1);
    drop(filled(&sim, 30));
    sim.disk().remove_file(&segment(2, 13)).unwrap();
    let error = error_of(open(&sim, SMALL));
    assert!(matches!(error, WalError::SequenceGap { after: 1, found: 3, .. }), "{error}");
    assert!(Wal::valid_snapshots(&*sim.disk(), dir()).is_err());
}

#[test]
fn full_disk_names_the_file_and_fails_the_log() {
    let sim = fresh(1);
    let mut wal = create(&sim, SMALL);
    sim.set_space_limit(3000);
    wal.append(&[entry(1, 1, vec![1; 2000])], None).unwrap();
    let error = error_of(wal.flush(true));
    assert!(error.to_string().starts_with("preallocate wal segment /member/wal/0.tmp"), "{error}");
    assert!(matches!(error, WalError::NoSpace { .. }));
    assert!(matches!(error_of(wal.flush(true)), WalError::Failed { .. }));
    assert!(matches!(error_of(wal.append(&[], None)), WalError::Failed { .. }));
    assert!(matches!(error_of(wal.release_to(1)), WalError::Failed { .. }));
    assert!(matches!(error_of(wal.save_snapshot(&snapshot(1, 1))), WalError::Failed { .. }));
    drop(wal);
    sim.set_space_limit(u64::MAX);
    // The entry itself was durable before the cut failed.
    assert_eq!(open(&sim, SMALL).unwrap().1.entries.len(), 1);
}

#[test]
fn full_disk_at_creation_leaves_no_log() {
    let sim = fresh(1);
    sim.set_space_limit(1000);
    let error = error_of(Wal::create(sim.disk(), dir(), METADATA, SMALL));
    assert!(matches!(error, WalError::NoSpace { .. }), "{error}");
    assert!(!Wal::exists(&*sim.disk(), dir()).unwrap());
    sim.set_space_limit(u64::MAX);
    drop(create(&sim, SMALL));
}

#[test]
fn failed_sync_is_never_retried() {
    let sim = fresh(1);
    let mut wal = create(&sim, SMALL);
    wal.append(&[entry(1, 1, "x")], None).unwrap();
    sim.fail_sync(true);
    let error = error_of(wal.flush(true));
    assert!(error.to_string().starts_with("sync wal segment /member/wal/0000"), "{error}");
    sim.fail_sync(false);
    let before = sim.write_count();
    assert!(matches!(error_of(wal.flush(true)), WalError::Failed { .. }));
    assert_eq!(sim.write_count(), before);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the sizes and the grouping, what was appended is read back.
    #[test]
    fn appended_is_read_back(
        sizes in prop::collection::vec((0_usize..700, any::<bool>()), 1..40),
        segment_bytes in 100_u64..3000,
    ) {
        let options = Options { segment_bytes, no_sync: false };
        let sim = fresh(1);
        let mut wal = create(&sim, options);
        let mut entries = Vec::new();
        for (index, (size, flush)) in (1..).zip(sizes) {
            entries.push(entry(1, index, vec![0x5a; size]));
            wal.append(&entries[entries.len() - 1..], None).unwrap();
            if flush {
                wal.flush(index % 2 == 0).unwrap();
            }
        }
        wal.flush(true).unwrap();
        drop(wal);
        let (_, replay) = open(&sim, options).unwrap();
        prop_assert_eq!(replay.entries, entries);
        prop_assert!(!replay.repaired);
    }
}
