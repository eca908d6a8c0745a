//! A log on a simulated disk, and frames made by hand.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use disk::{Disk, OpenMode};
use proto::raftpb::{ConfState, Entry, HardState};
use simdisk::SimDisk;
use types::{ClusterId, NodeId};
use wal::{Metadata, Options, Replay, Wal, WalError, WalSnapshot};

pub(crate) const METADATA: Metadata = Metadata {
    node_id: NodeId(0xad3c_d5bb_ed8f_0325),
    cluster_id: ClusterId(0x42e2_4fa6_5c5a_7c6d),
};

pub(crate) const SMALL: Options = Options { segment_bytes: 2048, no_sync: false };

/// Directory of the log in all tests.
pub(crate) fn dir() -> &'static Path {
    Path::new("/member/wal")
}

/// A fresh disk with `/member` on it.
pub(crate) fn fresh(seed: u64) -> SimDisk {
    let sim = SimDisk::new(seed);
    let disk = sim.disk();
    disk.create_dir_all(Path::new("/member")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    sim
}

pub(crate) fn create(sim: &SimDisk, options: Options) -> Wal {
    Wal::create(sim.disk(), dir(), METADATA, options).unwrap()
}

pub(crate) fn open(sim: &SimDisk, options: Options) -> Result<(Wal, Replay), WalError> {
    Wal::open(sim.disk(), dir(), WalSnapshot::default(), options)
}

/// The error of a result whose value cannot be printed.
pub(crate) fn error_of<T>(result: Result<T, WalError>) -> WalError {
    match result {
        Ok(_) => panic!("an error was expected"),
        Err(error) => error,
    }
}

pub(crate) fn entry(term: u64, index: u64, data: impl Into<Bytes>) -> Entry {
    Entry { term, index, data: data.into(), ..Entry::default() }
}

pub(crate) fn state(term: u64, vote: u64, commit: u64) -> HardState {
    HardState { term, vote, commit }
}

pub(crate) fn snapshot(index: u64, term: u64) -> WalSnapshot {
    let conf_state = ConfState { voters: vec![1, 2, 3], ..ConfState::default() };
    WalSnapshot { index, term, conf_state: Some(conf_state) }
}

/// Path of a segment.
pub(crate) fn segment(sequence: u64, index: u64) -> PathBuf {
    dir().join(format!("{sequence:016x}-{index:016x}.wal"))
}

pub(crate) fn list(disk: &dyn Disk) -> Vec<String> {
    disk.list(dir()).unwrap()
}

/// Whole content of a file.
pub(crate) fn content(sim: &SimDisk, path: &Path) -> Vec<u8> {
    sim.snapshot_files().remove(path).unwrap_or_else(|| panic!("{} is missing", path.display()))
}

/// Puts a file on the disk, durably.
pub(crate) fn put_file(disk: &Arc<dyn Disk>, path: &Path, bytes: &[u8]) {
    let parent = path.parent().unwrap();
    disk.create_dir_all(parent).unwrap();
    let file = disk.open(path, OpenMode::CreateOrOpen).unwrap();
    file.set_len(0).unwrap();
    file.write_at(0, bytes).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(parent).unwrap();
}

/// Frames record bytes as etcd does.
pub(crate) fn frame(record: &[u8]) -> Vec<u8> {
    let padding = record.len().wrapping_neg() % 8;
    let mut field = (record.len() as u64).to_le_bytes();
    if padding > 0 {
        field[7] = 0x80 | u8::try_from(padding).unwrap();
    }
    let mut out = field.to_vec();
    out.extend_from_slice(record);
    out.resize(out.len() + padding, 0);
    out
}

/// A record with the zero fields left out, as 3.7 writes it; moves the checksum on.
pub(crate) fn lean_record(kind: u8, crc: &mut u32, data: &[u8]) -> Vec<u8> {
    use proto::raftpb::wire;
    *crc = crc32c::crc32c_append(*crc, data);
    let mut record = vec![8, kind];
    if *crc != 0 {
        wire::put_uint(&mut record, 2, u64::from(*crc));
    }
    wire::put_bytes(&mut record, 3, data);
    frame(&record)
}

/// Offsets of all frames in a segment.
pub(crate) fn frames(bytes: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = 0;
    while at + 8 <= bytes.len() {
        let field = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let len = usize::try_from(field & 0x00ff_ffff_ffff_ffff).unwrap();
        if len == 0 {
            break;
        }
        found.push(at);
        at += 8 + len.next_multiple_of(8);
    }
    found
}

pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).expect("hex digit"))
        .collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap()).collect()
}
