//! Files that were changed behind our back: an error that says where, or the one repair.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use simdisk::SimDisk;
use wal::{Options, Replay, Wal, WalError};

use crate::support::*;

const ONE_SEGMENT: Options = Options { segment_bytes: 16 * 1024, no_sync: false };

/// A log of ten entries in which every byte was synced.
fn log(options: Options) -> SimDisk {
    let sim = fresh(1);
    let mut wal = create(&sim, options);
    for index in 1..=10_u8 {
        let data = vec![0x40 | index; 100 * usize::from(index % 4)];
        wal.append(&[entry(1, index.into(), data)], Some(&state(1, 1, index.into()))).unwrap();
        wal.flush(true).unwrap();
    }
    drop(wal);
    sim
}

/// The log with one segment changed.
fn changed(sim: &SimDisk, path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> SimDisk {
    let sim = sim.fork();
    let mut bytes = content(&sim, path);
    change(&mut bytes);
    put_file(&sim.disk(), path, &bytes);
    sim
}

fn corrupt_at(error: WalError, path: &Path) -> u64 {
    match error {
        WalError::Corrupt { file, offset, .. } if file == path => offset,
        other => panic!("{other}"),
    }
}

/// Offset of the n-th record from the end of a segment, and the end of its last record.
fn from_end(bytes: &[u8], n: usize) -> usize {
    let at = frames(bytes);
    at[at.len() - n]
}

#[test]
fn zeroed_body_of_the_last_record_is_repaired_as_etcd_does() {
    let sim = log(ONE_SEGMENT);
    let path = segment(0, 0);
    let at = from_end(&content(&sim, &path), 1);
    let sim = changed(&sim, &path, |bytes| bytes[at + 8..at + 24].fill(0));
    let before = content(&sim, &path);
    let (mut wal, replay) = open(&sim, ONE_SEGMENT).unwrap();
    assert!(replay.repaired);
    assert_eq!(replay.entries.len(), 10);
    assert_eq!(replay.hard_state, state(1, 1, 9));
    assert_eq!(content(&sim, &path).len(), at);
    let broken = PathBuf::from(format!("{}.broken", path.display()));
    assert_eq!(content(&sim, &broken), before);
    wal.append(&[entry(1, 11, "more")], None).unwrap();
    wal.flush(true).unwrap();
    drop(wal);
    let (_, replay) = open(&sim, ONE_SEGMENT).unwrap();
    assert!(!replay.repaired);
    assert_eq!(replay.entries.len(), 11);
}

#[test]
fn cut_files_are_repaired_at_every_length() {
    let sim = log(ONE_SEGMENT);
    let path = segment(0, 0);
    let whole = content(&sim, &path);
    let at = frames(&whole);
    let end = at[at.len() - 1] + 24;
    for len in (at[3] + 1..end).step_by(7) {
        let sim = changed(&sim, &path, |bytes| bytes.truncate(len));
        let (_, replay) = open(&sim, ONE_SEGMENT).unwrap();
        assert_eq!(replay.repaired, !at.contains(&len), "cut at {len}");
        let records = at.iter().filter(|at| **at < len).count() - 3;
        assert!(replay.entries.len() >= records.div_ceil(2).saturating_sub(1), "cut at {len}");
    }
}

#[test]
fn flipped_bits_in_the_last_segment_are_fatal() {
    let sim = log(ONE_SEGMENT);
    let path = segment(0, 0);
    let bytes = content(&sim, &path);
    for n in [1, 2, 9] {
        let at = from_end(&bytes, n);
        let sim = changed(&sim, &path, |bytes| bytes[at + 20] ^= 1);
        let error = error_of(open(&sim, ONE_SEGMENT));
        assert_eq!(corrupt_at(error, &path), at as u64);
        assert_eq!(list(&*sim.disk()).len(), 1, "no repair");
    }
}

#[test]
fn torn_record_before_the_last_segment_is_fatal() {
    let sim = log(SMALL);
    let path = segment(0, 0);
    let at = from_end(&content(&sim, &path), 1);
    let zeroed = changed(&sim, &path, |bytes| bytes[at + 8..].fill(0));
    assert_eq!(corrupt_at(error_of(open(&zeroed, SMALL)), &path), at as u64);
    let cut = changed(&sim, &path, |bytes| bytes.truncate(at + 12));
    assert_eq!(corrupt_at(error_of(open(&cut, SMALL)), &path), at as u64);
    // Without its last record the chain of checksums no longer fits the next segment.
    let missing = changed(&sim, &path, |bytes| bytes.truncate(at));
    let next = dir().join(&list(&*sim.disk())[1]);
    assert_eq!(corrupt_at(error_of(open(&missing, SMALL)), &next), 0);
}

#[test]
fn damaged_length_in_the_last_segment_cuts_nothing_off() {
    let sim = log(ONE_SEGMENT);
    let path = segment(0, 0);
    let at = from_end(&content(&sim, &path), 7);
    for (byte, value) in [(1, 0x7f), (3, 1), (0, 0xff), (7, 0x87)] {
        let sim = changed(&sim, &path, |bytes| bytes[at + byte] = value);
        assert_eq!(corrupt_at(error_of(open(&sim, ONE_SEGMENT)), &path), at as u64);
    }
}

/// Wherever a record lies in its sectors, its length field at the end of one and nothing but padding in
/// the next included: a changed byte is no torn write.
#[test]
fn a_changed_byte_cuts_no_records_off_wherever_sectors_end() {
    for shift in 0..96_usize {
        let sim = fresh(1);
        let mut wal = create(&sim, ONE_SEGMENT);
        for (index, size) in [(1, 230 + shift * 4), (2, 90), (3, 30), (4, 30)] {
            wal.append(&[entry(1, index, vec![0x41; size])], None).unwrap();
            wal.flush(true).unwrap();
        }
        drop(wal);
        let (_, whole) = open(&sim, ONE_SEGMENT).unwrap();
        let path = segment(0, 0);
        let bytes = content(&sim, &path);
        let (from, to) = (from_end(&bytes, 3), from_end(&bytes, 2));
        for at in (from..to).filter(|at| !is_type_byte(&bytes, *at)) {
            let sim = changed(&sim, &path, |bytes| bytes[at] ^= 0x55);
            if let Ok((_, replay)) = open(&sim, ONE_SEGMENT) {
                assert!(intact(&replay, &whole), "byte {at} of {from}..{to}, shift {shift}");
            }
        }
    }
}

#[test]
fn records_behind_a_lost_length_are_kept_aside() {
    let sim = log(ONE_SEGMENT);
    let path = segment(0, 0);
    let at = from_end(&content(&sim, &path), 4);
    let sim = changed(&sim, &path, |bytes| bytes[at..at + 8].fill(0));
    let before = content(&sim, &path);
    let (_, replay) = open(&sim, ONE_SEGMENT).unwrap();
    assert!(replay.repaired);
    assert_eq!(replay.entries.len(), 8);
    let broken = PathBuf::from(format!("{}.broken", path.display()));
    assert_eq!(content(&sim, &broken), before);
    assert!(content(&sim, &path)[at..].iter().all(|byte| *byte == 0));
}

#[test]
fn segment_of_another_member_is_refused() {
    let sim = fresh(1);
    let mut crc = 0;
    let mut first = lean_record(4, &mut crc, b"");
    first.extend(lean_record(1, &mut crc, &METADATA.encode()));
    first.extend(lean_record(5, &mut crc, b""));
    put_file(&sim.disk(), &segment(0, 0), &first);
    let mut second = lean_record(4, &mut crc, b"");
    second.extend(lean_record(1, &mut crc, &hex("0801 1002")));
    put_file(&sim.disk(), &segment(1, 1), &second);
    let error = error_of(open(&sim, SMALL));
    assert!(matches!(error, WalError::MetadataConflict { offset: 16, .. }), "{error}");
}

#[test]
fn wrong_records_are_named() {
    let cases: [(&str, u8, &str); 6] = [
        ("type 6", 6, ""),
        ("type 0", 0, ""),
        ("index 5", 2, "1001 1805"),
        ("EntryType has no value 9", 2, "0809"),
        ("field ends", 3, "08"),
        ("field 1 has wire type 2", 5, "0a00"),
    ];
    for (text, kind, data) in cases {
        let sim = fresh(1);
        let mut crc = 0;
        let mut bytes = lean_record(4, &mut crc, b"");
        bytes.extend(lean_record(1, &mut crc, &METADATA.encode()));
        bytes.extend(lean_record(5, &mut crc, b""));
        let at = bytes.len() as u64;
        bytes.extend(lean_record(kind, &mut crc, &hex(data)));
        put_file(&sim.disk(), &segment(0, 0), &bytes);
        let error = error_of(open(&sim, SMALL));
        assert!(error.to_string().contains(text), "{text}: {error}");
        assert_eq!(corrupt_at(error, &segment(0, 0)), at);
    }
}

#[test]
fn missing_head_is_an_error() {
    for (bytes, offset) in [(vec![], 0), (vec![0; 2048], 0), (frame(&[8, 4]), 16)] {
        let sim = fresh(1);
        put_file(&sim.disk(), &segment(0, 0), &bytes);
        assert_eq!(corrupt_at(error_of(open(&sim, SMALL)), &segment(0, 0)), offset);
    }
    let sim = log(SMALL);
    let last = dir().join(list(&*sim.disk()).last().unwrap());
    for (from, to) in [(8, 24), (0, 2048), (16, 2048), (24, 2048)] {
        let sim = changed(&sim, &last, |bytes| bytes[from..to].fill(0));
        let offset = if from < 16 { 0 } else { 16 };
        assert_eq!(corrupt_at(error_of(open(&sim, SMALL)), &last), offset, "from {from}");
    }
    let sim = changed(&sim, &last, Vec::clear);
    assert_eq!(corrupt_at(error_of(open(&sim, SMALL)), &last), 0);
}

/// Places where a changed byte goes unnoticed in etcd's format: the type of a record is in no
/// checksum.
fn is_type_byte(bytes: &[u8], at: usize) -> bool {
    frames(bytes).iter().any(|frame| at == frame + 9)
}

fn intact(replay: &Replay, whole: &Replay) -> bool {
    (&replay.entries, replay.hard_state) == (&whole.entries, whole.hard_state)
}

fn files(sim: &SimDisk) -> BTreeMap<PathBuf, Vec<u8>> {
    sim.snapshot_files()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Changed bytes are found, or are of no consequence, or what they cost is kept as `.broken`.
    #[test]
    fn no_synced_record_is_lost_in_silence(
        small in any::<bool>(),
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        new in prop::collection::vec(any::<u8>(), 1..12),
    ) {
        let options = if small { SMALL } else { ONE_SEGMENT };
        let sim = log(options);
        let (_, whole) = open(&sim, options).unwrap();
        let path = which.get(&files(&sim).into_keys().collect::<Vec<_>>()).clone();
        let bytes = content(&sim, &path);
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
        let at = at.index(used);
        let sim = changed(&sim, &path, |changed| {
            for (at, new) in (at..changed.len()).zip(&new) {
                if !is_type_byte(&bytes, at) {
                    changed[at] = *new;
                }
            }
        });
        let _ = Wal::valid_snapshots(&*sim.disk(), dir());
        if let Ok((_, replay)) = open(&sim, options) {
            prop_assert!(replay.repaired || intact(&replay, &whole), "at {at}");
            let kept = list(&*sim.disk()).iter().any(|name| name.ends_with(".broken"));
            prop_assert_eq!(replay.repaired, kept);
        }
    }

    /// Any bytes at all behind a good head, and any bytes instead of one.
    #[test]
    fn garbage_never_panics(
        garbage in prop::collection::vec(any::<u8>(), 0..2000),
        with_head in any::<bool>(),
    ) {
        let sim = log(SMALL);
        let first = segment(0, 0);
        let sim = changed(&sim, &first, |bytes| {
            bytes.truncate(if with_head { 80 } else { 0 });
            bytes.extend_from_slice(&garbage);
        });
        let _ = open(&sim, SMALL);
        let _ = Wal::valid_snapshots(&*sim.disk(), dir());
    }
}
