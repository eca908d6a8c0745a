//! The log while a member runs: appends, group commit, cutting and letting go of segments.
//!
//! Owns:       the open segments, their locks and the bytes that are not yet written.
//! Uses:       `disk`, `record`, `replay`.
//! Never:      decides when to sync; goes on after a failed write or sync.
//! Invariants: `offset` is the end of the last record in the tail segment; everything behind it in
//!             the file is zero, some of it because it was written so; segments have contiguous
//!             sequence numbers; a segment has its head on disk before it has its name.
//! Source:     disk-formats.md 2.1, 2.5, 2.6, 2.9.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use disk::{BlockFile, Disk, LockKind, OpenMode};
use proto::raftpb::{Entry, HardState};

use crate::reader::Segment;
use crate::record::{self, Kind, Metadata, WalSnapshot};
use crate::replay::{self, End, Replay, Tail};
use crate::{WalError, names};

/// Length at which a segment is cut, and to which the next one is preallocated.
const SEGMENT_BYTES: u64 = 64_000_000;

/// Buffers that one large group commit blew up beyond this are given back.
const BUFFER_KEPT_MAX_BYTES: usize = 4 * 1024 * 1024;

/// Bytes behind the last record that are written as zeros together with it, whenever it comes near the
/// end of those written before. The blocks of a preallocated file that were never written are marked
/// so, and each sync behind a first write to some of them waits for the file system's journal; a sync
/// behind an overwrite does not (100 kB: 250 us against 90 us, and 110 against 70 us of CPU).
const ZERO_AHEAD_BYTES: u64 = 1024 * 1024;

/// Name under which the next segment is prepared.
const NEXT_SEGMENT: &str = "0.tmp";

/// How a log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// A segment is cut once it has this many bytes; it may be longer by one group commit.
    pub segment_bytes: u64,
    /// Never sync (`--unsafe-no-fsync`).
    pub no_sync: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: SEGMENT_BYTES, no_sync: false }
    }
}

/// An open log, locked against other processes.
pub struct Wal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: Options,
    /// Locked segments, the one that is written last; never empty.
    segments: Vec<Segment>,
    /// End of the written records in the last segment.
    offset: u64,
    /// Where its blocks end that have been written, with records or zeros, since it was opened.
    zeroed: u64,
    /// Checksum over all records, those in `pending` included.
    crc: u32,
    /// Frames that the next flush writes.
    pending: Vec<u8>,
    /// Where records are encoded before they are framed.
    scratch: Vec<u8>,
    /// Bytes of records written since the log was opened.
    written: u64,
    /// Whether something was written since the last sync.
    dirty: bool,
    metadata: Bytes,
    hard_state: HardState,
    /// Index of the last entry or snapshot appended; the next segment is named after it.
    last_index: u64,
    failed: bool,
}

impl Wal {
    /// Whether the directory holds a log; a missing directory holds none.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn exists(disk: &dyn Disk, dir: &Path) -> io::Result<bool> {
        match disk.list(dir) {
            Ok(names) => Ok(names.iter().any(|name| name.ends_with(names::SEGMENT_SUFFIX))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Creates a log with its first segment and the record of the empty snapshot, durably and at
    /// once: it is built beside `dir` and renamed.
    ///
    /// # Errors
    /// When `dir` holds a log or foreign files, or the file system refuses.
    pub fn create(
        disk: Arc<dyn Disk>,
        dir: &Path,
        metadata: Metadata,
        options: Options,
    ) -> Result<Self, WalError> {
        clear_for_creation(&*disk, dir)?;
        let built = build_dir(dir);
        remove_dir_if_exists(&*disk, &built)?;
        disk.create_dir_all(&built)
            .map_err(|source| WalError::io("create wal directory", &built, source))?;
        let name = names::segment(0, 0);
        let file = create_segment(&*disk, &built.join(&name), options)?;
        let segment = Segment { file, path: dir.join(&name), sequence: 0, index: 0 };
        let mut wal = Self::assemble(disk, dir, options, segment, metadata.encode());
        wal.put_head();
        wal.put(Kind::Snapshot, &WalSnapshot::default().encode());
        wal.write_pending()?;
        wal.sync_tail()?;
        wal.move_into_place(&built)?;
        Ok(wal)
    }

    /// Opens a log for appending and reads what it holds behind `start`.
    ///
    /// A record torn by a crash at the very end is cut off after the segment was copied to
    /// `<name>.broken`, where etcd does the same, and so are bytes behind a record that is missing,
    /// which etcd wipes without a copy. What follows the last record is zeroed, and what
    /// was read is durable when this returns.
    ///
    /// # Errors
    /// When the log is in use, damaged, or has no record of `start`.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        start: WalSnapshot,
        options: Options,
    ) -> Result<(Self, Replay), WalError> {
        let segments = replay::open_segments(&*disk, dir, start.index, OpenMode::ReadWrite)?;
        for segment in &segments {
            lock(&segment.file, &segment.path)?;
        }
        remove_stale_next_segments(&*disk, dir)?;
        let (mut replay, end) = replay::replay(dir, &segments, &start)?;
        let tail = segments.last().expect("at least one segment was opened");
        if end.tail != Tail::Clean {
            keep_broken_copy(&*disk, tail)?;
            replay.repaired = true;
        }
        zero_behind(tail, &end, options)?;
        let wal = Self::resume(disk, dir, options, segments, end, replay.hard_state);
        Ok((wal, replay))
    }

    /// Records of snapshots that the log knows to be committed, oldest first. Takes no lock and
    /// changes nothing; a torn end is passed over.
    ///
    /// # Errors
    /// When a segment is missing or damaged.
    pub fn valid_snapshots(disk: &dyn Disk, dir: &Path) -> Result<Vec<WalSnapshot>, WalError> {
        let listed = replay::list_segments(disk, dir)?;
        replay::snapshots(&replay::open_listed(disk, dir, &listed, OpenMode::Read)?)
    }

    /// As [`Wal::valid_snapshots`], from the segment on that covers `index`: everything that was
    /// recorded at that index or behind it. Empty when no segment covers it.
    ///
    /// # Errors
    /// When a segment from there on is missing or damaged.
    pub fn valid_snapshots_from(
        disk: &dyn Disk,
        dir: &Path,
        index: u64,
    ) -> Result<Vec<WalSnapshot>, WalError> {
        match replay::open_segments(disk, dir, index, OpenMode::Read) {
            Ok(segments) => replay::snapshots(&segments),
            Err(WalError::SegmentNotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Queues entries and a hard state, in this order; an empty hard state is left out.
    ///
    /// # Errors
    /// When an earlier operation failed.
    pub fn append(
        &mut self,
        entries: &[Entry],
        hard_state: Option<&HardState>,
    ) -> Result<(), WalError> {
        self.check_usable()?;
        let mut scratch = std::mem::take(&mut self.scratch);
        for entry in entries {
            scratch.clear();
            entry.encode_into(&mut scratch);
            self.put(Kind::Entry, &scratch);
            self.last_index = entry.index;
        }
        self.scratch = scratch;
        self.scratch.shrink_to(BUFFER_KEPT_MAX_BYTES);
        if let Some(state) = hard_state.filter(|state| !state.is_empty()) {
            self.put(Kind::State, &state.encode());
            self.hard_state = *state;
        }
        Ok(())
    }

    /// Writes everything queued in one piece and, with `sync`, makes it durable together with
    /// everything written before. Starts a new segment when this one is full.
    ///
    /// # Errors
    /// When an earlier operation failed, or this one does: then the log is failed for good.
    pub fn flush(&mut self, sync: bool) -> Result<(), WalError> {
        self.check_usable()?;
        let result = self.try_flush(sync);
        self.failed |= result.is_err();
        result
    }

    /// Records a raft snapshot, durably. The snapshot file must be durable before.
    ///
    /// # Errors
    /// When the configuration is missing (the log stays usable); those of [`Wal::flush`].
    pub fn save_snapshot(&mut self, snapshot: &WalSnapshot) -> Result<(), WalError> {
        self.check_usable()?;
        if snapshot.index > 0 && snapshot.conf_state.is_none() {
            return Err(WalError::SnapshotWithoutConfState { index: snapshot.index });
        }
        self.put(Kind::Snapshot, &snapshot.encode());
        self.last_index = self.last_index.max(snapshot.index);
        self.flush(true)
    }

    /// Unlocks, and so leaves to the purge, the segments that a start at `index` does not need. One
    /// segment that starts below `index` stays.
    ///
    /// # Errors
    /// When an earlier operation failed.
    pub fn release_to(&mut self, index: u64) -> Result<(), WalError> {
        self.check_usable()?;
        let first_above = self.segments.iter().position(|segment| segment.index >= index);
        let last = self.segments.len() - 1;
        let released = first_above.map_or(last, |at| at.saturating_sub(1));
        self.segments.drain(..released);
        Ok(())
    }

    /// Bytes of records in the segment that is written, without what is queued.
    #[must_use]
    pub fn tail_bytes(&self) -> u64 {
        self.offset
    }

    /// Bytes of records written since the log was opened.
    #[must_use]
    pub fn written_bytes(&self) -> u64 {
        self.written
    }

    fn assemble(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: Options,
        segment: Segment,
        metadata: Bytes,
    ) -> Self {
        let end = End { offset: 0, crc: 0, tail: Tail::Clean, metadata, last_index: 0 };
        Self::resume(disk, dir, options, vec![segment], end, HardState::default())
    }

    fn resume(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: Options,
        segments: Vec<Segment>,
        end: End,
        hard_state: HardState,
    ) -> Self {
        Self {
            disk,
            dir: dir.to_path_buf(),
            options,
            segments,
            offset: end.offset,
            zeroed: end.offset,
            crc: end.crc,
            pending: Vec::new(),
            scratch: Vec::new(),
            written: 0,
            dirty: false,
            metadata: end.metadata,
            hard_state,
            last_index: end.last_index,
            failed: false,
        }
    }

    fn check_usable(&self) -> Result<(), WalError> {
        if self.failed { Err(WalError::Failed { dir: self.dir.clone() }) } else { Ok(()) }
    }

    fn tail(&self) -> &Segment {
        self.segments.last().expect("a log has at least one segment")
    }

    fn put(&mut self, kind: Kind, data: &[u8]) {
        self.crc = record::put_record(&mut self.pending, self.crc, kind, Some(data));
    }

    /// Queues what every segment starts with.
    fn put_head(&mut self) {
        self.crc = record::put_record(&mut self.pending, self.crc, Kind::Crc, None);
        let metadata = self.metadata.clone();
        self.put(Kind::Metadata, &metadata);
    }

    fn try_flush(&mut self, sync: bool) -> Result<(), WalError> {
        self.write_pending()?;
        if self.offset >= self.options.segment_bytes {
            // The old segment is synced on the way.
            return self.cut();
        }
        if sync { self.sync_tail() } else { Ok(()) }
    }

    fn write_pending(&mut self) -> Result<(), WalError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let records = self.pending.len();
        let end = self.offset + records as u64;
        if end > self.zeroed && !self.options.no_sync {
            self.zeroed = (end + ZERO_AHEAD_BYTES).min(self.options.segment_bytes).max(end);
            let zeros = usize::try_from(self.zeroed - end).unwrap_or(0);
            self.pending.resize(records + zeros, 0);
        }
        let tail = self.tail();
        tail.file
            .write_at(self.offset, &self.pending)
            .map_err(|source| WalError::io("write wal segment", &tail.path, source))?;
        self.offset = end;
        self.written += records as u64;
        self.dirty = true;
        self.pending.clear();
        self.pending.shrink_to(BUFFER_KEPT_MAX_BYTES);
        Ok(())
    }

    fn sync_tail(&mut self) -> Result<(), WalError> {
        if self.dirty && !self.options.no_sync {
            sync_file(self.tail())?;
        }
        self.dirty = false;
        Ok(())
    }

    /// Closes the tail segment at its exact length and starts the next one.
    fn cut(&mut self) -> Result<(), WalError> {
        let tail = self.tail();
        tail.file
            .set_len(self.offset)
            .map_err(|source| WalError::io("truncate wal segment", &tail.path, source))?;
        let (sequence, index) = (tail.sequence + 1, self.last_index + 1);
        self.dirty = true;
        self.sync_tail()?;
        remove_stale_next_segments(&*self.disk, &self.dir)?;
        let prepared = self.dir.join(NEXT_SEGMENT);
        let path = self.dir.join(names::segment(sequence, index));
        let file = create_segment(&*self.disk, &prepared, self.options)?;
        self.segments.push(Segment { file, path: path.clone(), sequence, index });
        self.offset = 0;
        self.zeroed = 0;
        self.put_head();
        if !self.hard_state.is_empty() {
            let state = self.hard_state.encode();
            self.put(Kind::State, &state);
        }
        self.write_pending()?;
        self.sync_tail()?;
        self.disk
            .rename(&prepared, &path)
            .map_err(|source| WalError::io("rename wal segment to", &path, source))?;
        self.sync_dir(&self.dir)
    }

    /// Gives a log that was built beside its directory the name of that directory.
    fn move_into_place(&self, built: &Path) -> Result<(), WalError> {
        self.sync_dir(built)?;
        self.disk
            .rename(built, &self.dir)
            .map_err(|source| WalError::io("rename wal directory to", &self.dir, source))?;
        match self.dir.parent() {
            Some(parent) => self.sync_dir(parent),
            None => Ok(()),
        }
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), WalError> {
        if self.options.no_sync {
            return Ok(());
        }
        self.disk.sync_dir(dir).map_err(|source| WalError::io("sync directory", dir, source))
    }
}

/// `<dir>.tmp`
fn build_dir(dir: &Path) -> PathBuf {
    let mut name = dir.file_name().unwrap_or_default().to_os_string();
    name.push(".tmp");
    dir.with_file_name(name)
}

/// Makes sure that nothing of value is in the way of a new log, and removes an empty directory.
fn clear_for_creation(disk: &dyn Disk, dir: &Path) -> Result<(), WalError> {
    let names = match disk.list(dir) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(WalError::io("list wal directory", dir, source)),
    };
    if names.iter().any(|name| name.ends_with(names::SEGMENT_SUFFIX)) {
        return Err(WalError::AlreadyExists { dir: dir.into() });
    }
    if let Some(name) = names.into_iter().find(|name| !is_next_segment(name)) {
        return Err(WalError::DirNotEmpty { dir: dir.into(), name });
    }
    remove_dir_if_exists(disk, dir)
}

fn remove_dir_if_exists(disk: &dyn Disk, dir: &Path) -> Result<(), WalError> {
    match disk.remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(WalError::io("remove directory", dir, error))
        }
        _ => Ok(()),
    }
}

/// Creates, locks and preallocates a segment.
fn create_segment(
    disk: &dyn Disk,
    path: &Path,
    options: Options,
) -> Result<Arc<dyn BlockFile>, WalError> {
    let file = disk
        .open(path, OpenMode::CreateNew)
        .map_err(|source| WalError::io("create wal segment", path, source))?;
    lock(&file, path)?;
    file.allocate(options.segment_bytes)
        .map_err(|source| WalError::io("preallocate wal segment", path, source))?;
    Ok(file)
}

fn lock(file: &Arc<dyn BlockFile>, path: &Path) -> Result<(), WalError> {
    let locked = file
        .try_lock(LockKind::Ofd)
        .map_err(|source| WalError::io("lock wal segment", path, source))?;
    if locked { Ok(()) } else { Err(WalError::Locked { path: path.into() }) }
}

/// Whether the name is that of a segment in preparation, ours or Go's (`0.tmp`, `1.tmp`).
fn is_next_segment(name: &str) -> bool {
    name.strip_suffix(".tmp").is_some_and(|stem| stem.bytes().all(|c| c.is_ascii_digit()))
}

/// Removes segments that were prepared and never used: they may hold records of another head.
fn remove_stale_next_segments(disk: &dyn Disk, dir: &Path) -> Result<(), WalError> {
    let names = disk.list(dir).map_err(|source| WalError::io("list wal directory", dir, source))?;
    for name in names.iter().filter(|name| is_next_segment(name)) {
        let path = dir.join(name);
        disk.remove_file(&path)
            .map_err(|source| WalError::io("remove unused wal segment", &path, source))?;
    }
    Ok(())
}

/// Copies a segment to `<name>.broken` before its end is cut off.
fn keep_broken_copy(disk: &dyn Disk, segment: &Segment) -> Result<(), WalError> {
    let mut path = segment.path.clone().into_os_string();
    path.push(".broken");
    let path = PathBuf::from(path);
    let failed = |source| WalError::io("copy broken wal segment to", &path, source);
    let copy = disk.open(&path, OpenMode::CreateOrOpen).map_err(failed)?;
    copy.set_len(0).map_err(failed)?;
    let mut chunk = vec![0; 1 << 20];
    let mut offset = 0;
    loop {
        let got = segment.file.read_at(offset, &mut chunk).map_err(failed)?;
        if got == 0 {
            return copy.sync_data().map_err(failed);
        }
        copy.write_at(offset, &chunk[..got]).map_err(failed)?;
        offset += got as u64;
    }
}

/// Drops what follows the last record, durably. A sector of a torn group commit may have survived
/// behind a lost one; half overwritten it would read as damage later. Like etcd, leaves a repaired segment at the length of its records.
fn zero_behind(tail: &Segment, end: &End, options: Options) -> Result<(), WalError> {
    let failed = |source| WalError::io("zero end of wal segment", &tail.path, source);
    let len = tail.file.len().map_err(failed)?;
    tail.file.set_len(end.offset).map_err(failed)?;
    if end.tail != Tail::Torn {
        tail.file.allocate(len).map_err(failed)?;
    }
    if options.no_sync { Ok(()) } else { sync_file(tail) }
}

fn sync_file(segment: &Segment) -> Result<(), WalError> {
    segment
        .file
        .sync_data()
        .map_err(|source| WalError::io("sync wal segment", &segment.path, source))
}
