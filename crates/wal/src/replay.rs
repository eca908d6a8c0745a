//! What the records of a log mean together: the state at start-up.
//!
//! Owns:       nothing after it returned.
//! Uses:       `reader`, `record`.
//! Never:      writes to the log.
//! Invariants: entries are contiguous from the start index on; later ones replaced earlier ones.
//! Source:     disk-formats.md 2.7.

use std::path::Path;

use bytes::Bytes;
use disk::{Disk, OpenMode};
use proto::raftpb::{DecodeError, Entry, HardState};

use crate::reader::{Next, RecordReader, Segment};
use crate::record::{Kind, Metadata, Record, WalSnapshot};
use crate::{WalError, names};

/// The state that a log holds from a snapshot on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// Whose log it is.
    pub metadata: Metadata,
    /// The last recorded hard state; zeros if there is none.
    pub hard_state: HardState,
    /// Entries behind the snapshot, without gaps.
    pub entries: Vec<Entry>,
    /// The record of the snapshot to start at, with its configuration if it was recorded.
    pub snapshot: WalSnapshot,
    /// Whether a torn record, or what followed one that never arrived, was cut off the end; the
    /// segment as it was is kept as `.broken`.
    pub repaired: bool,
}

/// Where reading ended, which is where writing goes on.
pub(crate) struct End {
    pub(crate) offset: u64,
    pub(crate) crc: u32,
    pub(crate) tail: Tail,
    /// Metadata exactly as recorded, to head further segments.
    pub(crate) metadata: Bytes,
    /// Index that the last entry or snapshot record in the log has.
    pub(crate) last_index: u64,
}

/// What follows the last good record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// Zeros or nothing.
    Clean,
    /// A length field of zero and then other bytes.
    Rest,
    /// A torn record.
    Torn,
}

/// Names, sequence numbers and first indexes of the segments in a directory, in order.
pub(crate) fn list_segments(
    disk: &dyn Disk,
    dir: &Path,
) -> Result<Vec<(String, u64, u64)>, WalError> {
    let names = disk.list(dir).map_err(|source| WalError::io("list wal directory", dir, source))?;
    let mut segments: Vec<_> = names
        .into_iter()
        .filter_map(|name| names::parse_segment(&name).map(|(seq, index)| (name, seq, index)))
        .collect();
    segments.sort_by_key(|(_, sequence, _)| *sequence);
    Ok(segments)
}

/// Opens all segments from the one that covers `index` on.
pub(crate) fn open_segments(
    disk: &dyn Disk,
    dir: &Path,
    index: u64,
    mode: OpenMode,
) -> Result<Vec<Segment>, WalError> {
    let listed = list_segments(disk, dir)?;
    let first = listed.iter().rposition(|(_, _, start)| *start <= index);
    let first = first.ok_or_else(|| WalError::SegmentNotFound { dir: dir.into(), index })?;
    open_listed(disk, dir, &listed[first..], mode)
}

/// Opens segments whose sequence numbers must be contiguous.
pub(crate) fn open_listed(
    disk: &dyn Disk,
    dir: &Path,
    listed: &[(String, u64, u64)],
    mode: OpenMode,
) -> Result<Vec<Segment>, WalError> {
    for pair in listed.windows(2) {
        let (after, found) = (pair[0].1, pair[1].1);
        if after.checked_add(1) != Some(found) {
            return Err(WalError::SequenceGap { dir: dir.into(), after, found });
        }
    }
    let open = |(name, sequence, index): &(String, u64, u64)| {
        let path = dir.join(name);
        let file = disk
            .open(&path, mode)
            .map_err(|source| WalError::io("open wal segment", &path, source))?;
        Ok(Segment { file, path, sequence: *sequence, index: *index })
    };
    listed.iter().map(open).collect()
}

/// Reads everything behind `start`.
pub(crate) fn replay(
    dir: &Path,
    segments: &[Segment],
    start: &WalSnapshot,
) -> Result<(Replay, End), WalError> {
    let mut reader = RecordReader::new(segments)?;
    let mut state =
        State { dir, start, found: None, metadata: None, last_index: 0, replay: Replay::default() };
    let tail = loop {
        match reader.next()? {
            Next::Record(record, at) => state.record(&reader, record, at)?,
            Next::Torn => break Tail::Torn,
            Next::EndWithRest => break Tail::Rest,
            Next::End => break Tail::Clean,
        }
    };
    let State { found, metadata, last_index, mut replay, .. } = state;
    let Some(metadata) = metadata else {
        return Err(damage(&reader, 0, "a metadata record", "none"));
    };
    let not_found = || WalError::SnapshotNotFound { dir: dir.into(), index: start.index };
    replay.snapshot = found.ok_or_else(not_found)?;
    let (offset, crc) = (reader.offset(), reader.crc());
    Ok((replay, End { offset, crc, tail, metadata, last_index }))
}

/// Records of all snapshots that the log knows to be committed, oldest first.
pub(crate) fn snapshots(segments: &[Segment]) -> Result<Vec<WalSnapshot>, WalError> {
    let mut reader = RecordReader::new(segments)?;
    let mut found = Vec::new();
    let mut hard_state = HardState::default();
    while let Next::Record(record, at) = reader.next()? {
        match kind_of(&reader, &record, at)? {
            Kind::Snapshot => found.push(decoded(&reader, at, WalSnapshot::decode(&record.data))?),
            Kind::State => hard_state = decoded(&reader, at, HardState::decode(record.data))?,
            Kind::Metadata | Kind::Entry | Kind::Crc => {}
        }
    }
    found.retain(|snapshot| snapshot.index <= hard_state.commit);
    Ok(found)
}

/// The state while records come in.
struct State<'a> {
    dir: &'a Path,
    start: &'a WalSnapshot,
    /// Record of the snapshot to start at.
    found: Option<WalSnapshot>,
    metadata: Option<Bytes>,
    last_index: u64,
    replay: Replay,
}

impl State<'_> {
    fn record(
        &mut self,
        reader: &RecordReader<'_>,
        record: Record,
        at: u64,
    ) -> Result<(), WalError> {
        match kind_of(reader, &record, at)? {
            Kind::Crc => Ok(()),
            Kind::Metadata => self.metadata(reader, record.data, at),
            Kind::Entry => {
                let entry = decoded(reader, at, Entry::decode(record.data))?;
                self.entry(reader, entry, at)
            }
            Kind::State => {
                self.replay.hard_state = decoded(reader, at, HardState::decode(record.data))?;
                Ok(())
            }
            Kind::Snapshot => {
                self.snapshot(decoded(reader, at, WalSnapshot::decode(&record.data))?)
            }
        }
    }

    fn metadata(
        &mut self,
        reader: &RecordReader<'_>,
        data: Bytes,
        at: u64,
    ) -> Result<(), WalError> {
        let metadata = decoded(reader, at, Metadata::decode(&data))?;
        if self.metadata.is_some() && metadata != self.replay.metadata {
            return Err(WalError::MetadataConflict { file: reader.path().into(), offset: at });
        }
        self.replay.metadata = metadata;
        self.metadata = Some(data);
        Ok(())
    }

    /// Puts an entry in its place; what stood there and behind was overruled by a later leader.
    fn entry(&mut self, reader: &RecordReader<'_>, entry: Entry, at: u64) -> Result<(), WalError> {
        self.last_index = entry.index;
        let Some(place) = entry.index.checked_sub(self.start.index).and_then(|n| n.checked_sub(1))
        else {
            return Ok(());
        };
        let entries = &mut self.replay.entries;
        match usize::try_from(place) {
            Ok(place) if place <= entries.len() => entries.truncate(place),
            _ => {
                let next = self.start.index + entries.len() as u64 + 1;
                let expected = format!("an entry with index {next} at most");
                return Err(damage(reader, at, expected, format!("index {}", entry.index)));
            }
        }
        entries.push(entry);
        Ok(())
    }

    fn snapshot(&mut self, snapshot: WalSnapshot) -> Result<(), WalError> {
        self.last_index = self.last_index.max(snapshot.index);
        if snapshot.index != self.start.index {
            return Ok(());
        }
        if snapshot.term != self.start.term {
            return Err(WalError::SnapshotMismatch {
                dir: self.dir.into(),
                index: snapshot.index,
                expected: self.start.term,
                found: snapshot.term,
            });
        }
        self.found = Some(snapshot);
        Ok(())
    }
}

fn kind_of(reader: &RecordReader<'_>, record: &Record, at: u64) -> Result<Kind, WalError> {
    let found = || format!("type {}", record.kind);
    Kind::from_number(record.kind)
        .ok_or_else(|| damage(reader, at, "a record of type 1 to 5", found()))
}

fn decoded<T>(
    reader: &RecordReader<'_>,
    at: u64,
    result: Result<T, DecodeError>,
) -> Result<T, WalError> {
    result.map_err(|error| damage(reader, at, "a message of raft", error.to_string()))
}

fn damage(
    reader: &RecordReader<'_>,
    at: u64,
    expected: impl Into<String>,
    found: impl Into<String>,
) -> WalError {
    WalError::corrupt(reader.path(), at, expected, found)
}
