//! Bytes: those we write against those that Go wrote, and Go's files read by us.

use bytes::Bytes;
use proto::entry::{EntryPayload, decode_payload};
use proto::raftpb::{ConfChange, EntryType};
use wal::{Metadata, Options, Wal, WalSnapshot};

use crate::support::*;

const GO_3_4: &[u8] = include_bytes!("../fixtures/go-3.4.23.wal");
const GO_3_5: &[u8] = include_bytes!("../fixtures/go-3.5.1.wal");

#[test]
fn new_log_has_the_bytes_of_3_5() {
    let sim = fresh(1);
    let mut wal = create(&sim, Options::default());
    wal.append(&[entry(2, 4, Bytes::new())], Some(&state(1, 0, 3))).unwrap();
    wal.flush(true).unwrap();
    let bytes = content(&sim, &segment(0, 0));
    assert_eq!(bytes.len(), 64_000_000);
    let head = hex("0400000000000084 08041000 00000000
         1f00000000000081 0801 10c6c1b7af0b 1a15 08a586bcecbeb7b59ead01 10edf8e9e2e5f493f142 00
         0e00000000000082 0805 10bda593e902 1a04 08001000 0000");
    assert_eq!(&bytes[..head.len()], head);
    let at = frames(&bytes);
    assert_eq!(at.len(), 5);
    assert_eq!(bytes[at[3]..at[3] + 10], hex("1000000000000000 0802"));
    assert_eq!(bytes[at[3] + 16..at[4]], hex("1a06 0800 1002 1804"));
    assert_eq!(bytes[at[4] + 16..at[4] + 24], hex("1a06 0801 1000 1803"));
}

#[test]
fn snapshot_record_carries_the_configuration() {
    let snapshot = WalSnapshot { index: 51, ..snapshot(51, 2) };
    assert_eq!(snapshot.encode()[..], hex("0833 1002 1a08 0801 0802 0803 2800"));
    assert_eq!(WalSnapshot::decode(&snapshot.encode()), Ok(snapshot));
    let old = WalSnapshot { index: 12, term: 2, conf_state: None };
    assert_eq!(old.encode()[..], hex("080c 1002"));
    assert_eq!(WalSnapshot::decode(&old.encode()), Ok(old));
    assert_eq!(Metadata::default().encode()[..], hex("0800 1000"));
}

/// Writes a Go segment to a disk, preallocated or not.
fn adopt(bytes: &[u8], len: usize) -> simdisk::SimDisk {
    let sim = fresh(1);
    let mut bytes = bytes.to_vec();
    bytes.resize(len.max(bytes.len()), 0);
    put_file(&sim.disk(), &segment(0, 0), &bytes);
    sim
}

/// Reads a Go log of version 3.4.23 or 3.5.1, made by the same script, in full and from its
/// snapshot, then appends to it and reads it again.
fn check_go(bytes: &[u8], conf_state_recorded: bool) {
    for len in [bytes.len(), 64_000] {
        let sim = adopt(bytes, len);
        let valid = Wal::valid_snapshots(&*sim.disk(), dir()).unwrap();
        let positions: Vec<_> = valid.iter().map(|it| (it.index, it.term)).collect();
        assert_eq!(positions, [(0, 0), (9, 2)]);
        assert_eq!(valid[1].conf_state.is_some(), conf_state_recorded);

        let (wal, all) = open(&sim, Options::default()).unwrap();
        assert!(!all.repaired);
        assert_eq!(content(&sim, &segment(0, 0)).len(), len);
        check_entries(&all);
        drop(wal);

        let start = valid[1].clone();
        let (mut wal, tail) =
            Wal::open(sim.disk(), dir(), start.clone(), Options::default()).unwrap();
        assert_eq!(tail.entries[..], all.entries[9..]);
        assert_eq!(tail.snapshot, start);
        let next = all.entries.len() as u64 + 1;
        wal.append(&[entry(3, next, "ours")], Some(&state(3, 1, next))).unwrap();
        wal.flush(true).unwrap();
        drop(wal);
        let (_, again) = open(&sim, Options::default()).unwrap();
        assert_eq!(again.entries[..all.entries.len()], all.entries);
        assert_eq!(again.entries.last().unwrap().data, "ours");
    }
}

fn check_entries(replay: &wal::Replay) {
    let indexes: Vec<_> = replay.entries.iter().map(|entry| entry.index).collect();
    assert_eq!(indexes, (1..=indexes.len() as u64).collect::<Vec<_>>());
    assert_eq!(replay.hard_state.commit, indexes.len() as u64);
    assert_eq!(replay.hard_state.vote, replay.metadata.node_id.0);
    let mut changes = Vec::new();
    let mut v2_paths = Vec::new();
    let mut keys = Vec::new();
    for entry in &replay.entries {
        if entry.entry_type == EntryType::ConfChange {
            changes.push(ConfChange::decode(entry.data.clone()).unwrap());
            continue;
        }
        match decode_payload(&entry.data).unwrap() {
            EntryPayload::Empty => {}
            // The health check of 3.4 puts a QGET of the empty path into the log.
            EntryPayload::V2(request) if request.method == "QGET" => assert_eq!(request.path, ""),
            EntryPayload::V2(request) => v2_paths.push(request.path),
            EntryPayload::V3(request) => {
                keys.extend(request.put.map(|put| put.key));
                keys.extend(request.delete_range.map(|range| range.key));
            }
        }
    }
    let numbers: Vec<_> = changes.iter().map(|change| change.change_type.number()).collect();
    assert_eq!(numbers, [0, 3]);
    let attributes = format!("/0/members/{}/attributes", replay.metadata.node_id);
    assert_eq!(v2_paths, [&attributes, "/0/version", "/1/dir/leaf"]);
    let expected = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "1"].map(|n| format!("key{n}"));
    assert_eq!(keys, expected);
}

#[test]
fn logs_of_go_are_read_and_continued() {
    check_go(GO_3_4, false);
    check_go(GO_3_5, true);
}

/// What Go wrote, fed through our writer, comes out the same byte for byte.
#[test]
fn logs_of_go_are_written_the_same() {
    let source = adopt(GO_3_5, GO_3_5.len());
    let (_, replay) = open(&source, Options::default()).unwrap();
    let sim = fresh(1);
    let options = Options { segment_bytes: GO_3_5.len() as u64, no_sync: false };
    let mut wal = Wal::create(sim.disk(), dir(), replay.metadata, options).unwrap();
    for record in frames(GO_3_5).windows(2).map(|at| &GO_3_5[at[0]..at[1]]).skip(3) {
        replay_record(&mut wal, record);
    }
    let ours = content(&sim, &segment(0, 0));
    let last = *frames(GO_3_5).last().unwrap();
    assert_eq!(ours[..last], GO_3_5[..last]);
}

/// Hands one framed record to the writer.
fn replay_record(wal: &mut Wal, record: &[u8]) {
    use proto::raftpb::wire::Reader;
    use proto::raftpb::{Entry, HardState};
    let len = usize::from(record[0]) | usize::from(record[1]) << 8;
    let body = Bytes::copy_from_slice(&record[8..8 + len]);
    let mut data = Bytes::new();
    let mut reader = Reader::new(&body);
    while let Some(tag) = reader.next_tag().unwrap() {
        if tag.number == 3 {
            data = reader.bytes(tag).unwrap();
        } else {
            reader.skip(tag).unwrap();
        }
    }
    match body[1] {
        2 => wal.append(&[Entry::decode(data).unwrap()], None).unwrap(),
        3 => wal.append(&[], Some(&HardState::decode(data).unwrap())).unwrap(),
        5 => wal.save_snapshot(&WalSnapshot::decode(&data).unwrap()).unwrap(),
        kind => panic!("record of type {kind}"),
    }
    wal.flush(true).unwrap();
}

#[test]
fn lean_log_as_3_7_writes_it_is_read_and_continued() {
    let mut crc = 0;
    let mut bytes = lean_record(4, &mut crc, b"");
    assert_eq!(bytes, hex("0200000000000086 0804 000000000000"));
    bytes.extend(lean_record(1, &mut crc, &METADATA.encode()));
    bytes.extend(lean_record(5, &mut crc, b""));
    bytes.extend(lean_record(2, &mut crc, &hex("1001 1801 220161")));
    bytes.extend(lean_record(3, &mut crc, &hex("0801 1801")));
    let sim = adopt(&bytes, bytes.len());
    let (mut wal, replay) = open(&sim, Options::default()).unwrap();
    assert_eq!(replay.metadata, METADATA);
    assert_eq!(replay.entries, [entry(1, 1, "a")]);
    assert_eq!(replay.hard_state, state(1, 0, 1));
    wal.append(&[entry(1, 2, "b")], None).unwrap();
    wal.flush(true).unwrap();
    drop(wal);
    assert_eq!(open(&sim, Options::default()).unwrap().1.entries.len(), 2);
}
