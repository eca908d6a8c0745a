//! Received databases in a snapshot directory: `tmp...` first, `%016x.snap.db` when durable.
//!
//! Owns:       the temporary file of each database being received.
//! Uses:       `disk`.
//! Never:      the database of the running member; that is swapped by who installs the snapshot.
//! Invariants: a file of the final name is whole and durable.
//! Source:     peer-protocol.md 6; disk-formats.md.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use disk::{BlockFile, Disk, OpenMode};
use proto::raftpb::Message;

use crate::api::{SnapshotSink, SnapshotWriter};

/// Stores databases in a directory of a [`Disk`].
pub struct DiskSink {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// Tells temporary files of one process apart; left-overs of an earlier one are removed at
    /// its start by the owner of the directory.
    next: AtomicU64,
}

impl DiskSink {
    /// A sink into `dir`, which exists.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, dir: &Path) -> Self {
        Self { disk, dir: dir.to_owned(), next: AtomicU64::new(0) }
    }

    /// Opens a new temporary file, passing over names that are taken.
    fn create(&self) -> io::Result<(PathBuf, Arc<dyn BlockFile>)> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let path = self.dir.join(format!("tmp{number:09}"));
            match self.disk.open(&path, OpenMode::CreateNew) {
                Ok(file) => return Ok((path, file)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl SnapshotSink for DiskSink {
    fn begin(&self, message: &Message) -> io::Result<Box<dyn SnapshotWriter>> {
        let index = message.snapshot.as_ref().map_or(0, |snapshot| snapshot.metadata.index);
        let (temporary, file) = self.create()?;
        let path = self.dir.join(format!("{index:016x}.snap.db"));
        let (disk, dir) = (Arc::clone(&self.disk), self.dir.clone());
        Ok(Box::new(DiskWriter { disk, dir, temporary, path, file, len: 0, finished: false }))
    }
}

struct DiskWriter {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    temporary: PathBuf,
    path: PathBuf,
    file: Arc<dyn BlockFile>,
    len: u64,
    finished: bool,
}

impl SnapshotWriter for DiskWriter {
    fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.file.write_at(self.len, piece)?;
        self.len += piece.len() as u64;
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.file.sync_data()?;
        // The same snapshot may have come before; then this one only takes its place.
        self.disk.rename(&self.temporary, &self.path)?;
        self.finished = true;
        self.disk.sync_dir(&self.dir)
    }

    fn abort(self: Box<Self>) {}
}

impl Drop for DiskWriter {
    fn drop(&mut self) {
        if !self.finished
            && let Err(error) = self.disk.remove_file(&self.temporary)
        {
            tracing::warn!(path = %self.temporary.display(), %error, "remove unfinished snapshot");
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::raftpb::{Snapshot, SnapshotMetadata};
    use simdisk::SimDisk;

    use super::*;

    fn message(index: u64) -> Message {
        let metadata = SnapshotMetadata { index, ..SnapshotMetadata::default() };
        Message {
            snapshot: Some(Snapshot { metadata, ..Snapshot::default() }),
            ..Message::default()
        }
    }

    #[test]
    fn finished_is_durable_and_named_by_index() {
        let sim = SimDisk::new(1);
        let disk = sim.disk();
        let dir = Path::new("/snap");
        disk.create_dir_all(dir).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let sink = DiskSink::new(Arc::clone(&disk), dir);
        for _again in 0..2 {
            let mut writer = sink.begin(&message(0x1f)).unwrap();
            writer.write(b"data").unwrap();
            writer.write(b"base").unwrap();
            writer.finish().unwrap();
        }
        sim.crash();
        let disk = sim.disk();
        assert_eq!(disk.list(dir).unwrap(), ["000000000000001f.snap.db"]);
        let file = disk.open(&dir.join("000000000000001f.snap.db"), OpenMode::Read).unwrap();
        let mut read = [0; 9];
        assert_eq!(file.read_at(0, &mut read).unwrap(), 8);
        assert_eq!(&read[..8], b"database");
    }

    #[test]
    fn unfinished_leaves_nothing() {
        let sim = SimDisk::new(1);
        let disk = sim.disk();
        let dir = Path::new("/snap");
        disk.create_dir_all(dir).unwrap();
        let sink = DiskSink::new(Arc::clone(&disk), dir);
        let first = sink.begin(&message(1)).unwrap();
        let second = sink.begin(&message(1)).unwrap();
        assert_eq!(disk.list(dir).unwrap().len(), 2);
        first.abort();
        drop(second);
        assert!(disk.list(dir).unwrap().is_empty());
    }
}
