//! Snapshot files.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use proptest::prelude::*;
use proto::raftpb::{ConfState, Snapshot, SnapshotMetadata};
use simdisk::SimDisk;
use wal::snap::{SnapStore, encode_file};
use wal::{WalError, WalSnapshot, purge_snaps};

use crate::support::{error_of, put_file};

const GO: [&[u8]; 2] =
    [include_bytes!("../fixtures/go-3.4.23.snap"), include_bytes!("../fixtures/go-3.5.1.snap")];

fn dir() -> &'static Path {
    Path::new("/member/snap")
}

fn fresh(seed: u64) -> (SimDisk, SnapStore) {
    let sim = SimDisk::new(seed);
    sim.disk().create_dir_all(dir()).unwrap();
    sim.disk().sync_dir(Path::new("/")).unwrap();
    sim.disk().sync_dir(Path::new("/member")).unwrap();
    let store = SnapStore::new(sim.disk(), dir());
    (sim, store)
}

fn snapshot(term: u64, index: u64) -> Snapshot {
    let conf_state = ConfState { voters: vec![1, 2, 3], ..ConfState::default() };
    Snapshot {
        data: Bytes::from(format!("{{\"at\":{index}}}")),
        metadata: SnapshotMetadata { conf_state, index, term },
    }
}

fn valid(positions: &[(u64, u64)]) -> Vec<WalSnapshot> {
    positions
        .iter()
        .map(|(term, index)| WalSnapshot { index: *index, term: *term, conf_state: None })
        .collect()
}

#[test]
fn files_of_go_are_read_and_written_the_same() {
    let (sim, store) = fresh(1);
    for (index, bytes) in (1_u64..).zip(GO) {
        let name = format!("{index:016x}-0000000000000009.snap");
        put_file(&sim.disk(), &dir().join(&name), bytes);
        let snapshot = store.load(&name).unwrap();
        assert_eq!((snapshot.metadata.term, snapshot.metadata.index), (2, 9));
        assert_eq!(snapshot.metadata.conf_state.voters.len(), 1);
        assert!(snapshot.data.starts_with(b"{\"Root\":{\"Path\":\"/\""));
        assert_eq!(encode_file(&snapshot), bytes);
    }
}

#[test]
fn newest_snapshot_that_the_log_knows_is_loaded() {
    let (_sim, store) = fresh(1);
    for (term, index) in [(1, 900), (2, 950), (3, 1000)] {
        store.save(&snapshot(term, index)).unwrap();
    }
    let load = |positions: &[(u64, u64)]| store.load_newest(&valid(positions)).unwrap();
    assert_eq!(load(&[(1, 900), (2, 950), (3, 1000)]), Some(snapshot(3, 1000)));
    assert_eq!(load(&[(1, 900), (2, 950), (4, 1000)]), Some(snapshot(2, 950)));
    assert_eq!(load(&[]), None);
    assert_eq!(store.names().unwrap()[0], "0000000000000001-0000000000000384.snap");
}

#[test]
fn unusable_files_are_set_aside() {
    let good = encode_file(&snapshot(1, 1));
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let cases: [(&str, &[u8]); 5] = [
        ("empty", b""),
        ("no data", &[0x08, 5, 0x12, 0]),
        ("crc 0", &[0x08, 0, 0x12, 1, 65]),
        ("flipped", &flipped),
        ("cut", &good[..good.len() - 1]),
    ];
    for (case, bytes) in cases {
        let (sim, store) = fresh(1);
        store.save(&snapshot(1, 1)).unwrap();
        let name = "0000000000000001-0000000000000002.snap";
        put_file(&sim.disk(), &dir().join(name), bytes);
        assert!(matches!(error_of(store.load(name)), WalError::Corrupt { .. }), "{case}");
        let loaded = store.load_newest(&valid(&[(1, 1), (1, 2)])).unwrap();
        assert_eq!(loaded, Some(snapshot(1, 1)), "{case}");
        assert!(sim.disk().exists(&dir().join(format!("{name}.broken"))).unwrap(), "{case}");
        assert_eq!(store.names().unwrap().len(), 1, "{case}");
    }
}

#[test]
fn leftovers_and_old_databases_are_removed() {
    let (sim, store) = fresh(1);
    let db = |index| store.db_snapshot_path(index);
    assert_eq!(db(51), PathBuf::from("/member/snap/0000000000000033.snap.db"));
    for index in [10, 20, 30] {
        put_file(&sim.disk(), &db(index), b"db");
    }
    for name in ["tmp123", "db.tmp.456", "db", "x.broken"] {
        put_file(&sim.disk(), &dir().join(name), b"x");
    }
    assert_eq!(store.remove_temp_files().unwrap(), ["db.tmp.456", "tmp123"]);
    assert_eq!(store.release_snap_dbs(20).unwrap(), ["000000000000000a.snap.db"]);
    assert_eq!(sim.disk().list(dir()).unwrap().len(), 4);
    assert_eq!(purge_snaps(&*sim.disk(), dir(), ".snap.db", 1).unwrap().len(), 1);
    assert!(sim.disk().exists(&db(30)).unwrap());
}

#[test]
fn purge_keeps_the_newest() {
    let (sim, store) = fresh(1);
    for index in 1..=8 {
        store.save(&snapshot(1, index)).unwrap();
    }
    put_file(&sim.disk(), &store.db_snapshot_path(1), b"db");
    let removed = purge_snaps(&*sim.disk(), dir(), ".snap", 5).unwrap();
    assert_eq!(removed.len(), 3);
    assert_eq!(store.names().unwrap()[0], "0000000000000001-0000000000000004.snap");
    assert!(sim.disk().exists(&store.db_snapshot_path(1)).unwrap());
}

proptest! {
    /// Power lost at any point of a save: the old snapshot is there, and the new one whole or not
    /// at all.
    #[test]
    fn save_is_all_or_nothing(seed in any::<u64>(), boundary in 1_u64..8) {
        let (sim, store) = fresh(seed);
        store.save(&snapshot(1, 1)).unwrap();
        sim.crash_at_write(sim.write_count() + boundary);
        let saved = store.save(&snapshot(1, 2)).is_ok();
        sim.crash();
        let store = SnapStore::new(sim.disk(), dir());
        let loaded = store.load_newest(&valid(&[(1, 1), (1, 2)])).unwrap();
        let index = loaded.map(|snapshot| snapshot.metadata.index);
        prop_assert!(index == Some(2) || (!saved && index == Some(1)), "{index:?} {saved}");
        let names = sim.disk().list(dir()).unwrap();
        prop_assert!(names.iter().all(|name| !name.ends_with(".broken")));
    }

    #[test]
    fn damaged_files_never_panic(at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let (sim, store) = fresh(1);
        let mut bytes = encode_file(&snapshot(1, 1));
        let at = at.index(bytes.len());
        let same = bytes[at] == value;
        bytes[at] = value;
        put_file(&sim.disk(), &dir().join("a.snap"), &bytes);
        let loaded = store.load("a.snap");
        prop_assert!(loaded.is_err() || loaded.unwrap() == snapshot(1, 1) || same);
    }
}
