//! Raft snapshot files (`<term>-<index>.snap`) and the names of the databases beside them.
//!
//! Owns:       the `.snap`, `.broken` and temporary files of `member/snap`.
//! Uses:       `disk`, `proto::raftpb`, `crc32c`.
//! Never:      the database itself (crate `bolt`); what the data means (crate `v2store`).
//! Invariants: a file under a `.snap` name was written whole and synced; a file that cannot be used
//!             is renamed, never deleted.
//! Source:     disk-formats.md 3 and 4; docs/format/snap.md.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use disk::{BlockFile, Disk, OpenMode};
use proto::raftpb::wire::{self, Reader};
use proto::raftpb::{DecodeError, Snapshot, SnapshotMetadata};

use crate::record::WalSnapshot;
use crate::{WalError, names};

/// Prefixes of files that are left over from an interrupted operation.
const TEMP_PREFIXES: [&str; 2] = ["tmp", "db.tmp"];

/// The snapshot directory of a member.
#[derive(Clone)]
pub struct SnapStore {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

impl SnapStore {
    /// Works in `dir`, which exists.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, dir: &Path) -> Self {
        Self { disk, dir: dir.to_path_buf() }
    }

    /// Writes a snapshot file; it is durable, or absent, whatever happens.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn save(&self, snapshot: &Snapshot) -> Result<PathBuf, WalError> {
        self.save_encoded(&snapshot.metadata, &encode_file(snapshot))
    }

    /// As [`SnapStore::save`], with what [`encode_file`] made of the snapshot.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn save_encoded(
        &self,
        metadata: &SnapshotMetadata,
        encoded: &[u8],
    ) -> Result<PathBuf, WalError> {
        let name = names::snap(metadata.term, metadata.index);
        let path = self.dir.join(&name);
        let temp = self.dir.join(format!("tmp-{}", name.trim_end_matches(names::SNAP_SUFFIX)));
        let failed = |source| WalError::io("write snapshot", &path, source);
        let file = self.disk.open(&temp, OpenMode::CreateOrOpen).map_err(failed)?;
        file.set_len(0).map_err(failed)?;
        file.write_at(0, encoded).map_err(failed)?;
        file.sync_data().map_err(failed)?;
        self.disk.rename(&temp, &path).map_err(failed)?;
        self.sync_dir()?;
        Ok(path)
    }

    /// The newest usable snapshot that the log knows. Files that cannot be used are renamed to
    /// `.broken`.
    ///
    /// # Errors
    /// Those of the file system; a damaged file is not one.
    pub fn load_newest(&self, valid: &[WalSnapshot]) -> Result<Option<Snapshot>, WalError> {
        let is_valid = |snapshot: &Snapshot| {
            let metadata = &snapshot.metadata;
            valid.iter().any(|it| (it.index, it.term) == (metadata.index, metadata.term))
        };
        for name in self.names()?.into_iter().rev() {
            match self.load(&name) {
                Ok(snapshot) if is_valid(&snapshot) => return Ok(Some(snapshot)),
                Ok(_) => {}
                Err(WalError::Corrupt { .. }) => self.set_aside(&name)?,
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Reads one snapshot file.
    ///
    /// # Errors
    /// `Corrupt` when the file is empty or its checksum or content is wrong; those of the file
    /// system.
    pub fn load(&self, name: &str) -> Result<Snapshot, WalError> {
        let path = self.dir.join(name);
        let failed = |source| WalError::io("read snapshot", &path, source);
        let file = self.disk.open(&path, OpenMode::Read).map_err(failed)?;
        let bytes = read_whole(&*file).map_err(failed)?;
        decode_file(&bytes)
            .map_err(|(offset, expected, found)| WalError::corrupt(&path, offset, expected, found))
    }

    /// Names of the snapshot files, oldest first.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn names(&self) -> Result<Vec<String>, WalError> {
        let mut names = self.list()?;
        names.retain(|name| name.ends_with(names::SNAP_SUFFIX));
        names.sort();
        Ok(names)
    }

    /// Index of the newest snapshot file by its name; `None` when there is none.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn newest_index(&self) -> Result<Option<u64>, WalError> {
        Ok(self.names()?.iter().rev().find_map(|name| names::parse_snap(name)))
    }

    /// Where the database that came with the snapshot at `index` is kept until it is installed.
    #[must_use]
    pub fn db_snapshot_path(&self, index: u64) -> PathBuf {
        self.dir.join(names::snap_db(index))
    }

    /// Removes what interrupted operations left (`tmp*`, `db.tmp*`); returns the names.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn remove_temp_files(&self) -> Result<Vec<String>, WalError> {
        self.remove_where(|name| TEMP_PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
    }

    /// Removes databases that came with snapshots older than `index`; returns the names.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn release_snap_dbs(&self, index: u64) -> Result<Vec<String>, WalError> {
        self.remove_where(|name| names::parse_snap_db(name).is_some_and(|it| it < index))
    }

    fn remove_where(&self, matches: impl Fn(&str) -> bool) -> Result<Vec<String>, WalError> {
        let mut names = self.list()?;
        names.retain(|name| matches(name));
        for name in &names {
            let path = self.dir.join(name);
            self.disk.remove_file(&path).map_err(|source| WalError::io("remove", &path, source))?;
        }
        Ok(names)
    }

    /// Takes a file that cannot be used out of the way, for a human to look at.
    fn set_aside(&self, name: &str) -> Result<(), WalError> {
        let path = self.dir.join(name);
        let broken = self.dir.join(format!("{name}.broken"));
        self.disk
            .rename(&path, &broken)
            .map_err(|source| WalError::io("set broken snapshot aside", &path, source))
    }

    fn list(&self) -> Result<Vec<String>, WalError> {
        self.disk
            .list(&self.dir)
            .map_err(|source| WalError::io("list snapshots in", &self.dir, source))
    }

    fn sync_dir(&self) -> Result<(), WalError> {
        self.disk
            .sync_dir(&self.dir)
            .map_err(|source| WalError::io("sync directory", &self.dir, source))
    }
}

fn read_whole(file: &dyn BlockFile) -> std::io::Result<Bytes> {
    let len = usize::try_from(file.len()?).map_err(std::io::Error::other)?;
    let mut bytes = vec![0; len];
    file.read_exact_at(0, &mut bytes)?;
    Ok(bytes.into())
}

/// Encodes the content of a snapshot file: checksum, then the snapshot.
#[must_use]
pub fn encode_file(snapshot: &Snapshot) -> Vec<u8> {
    let data = snapshot.encode();
    let mut out = Vec::with_capacity(data.len() + 16);
    wire::put_uint(&mut out, 1, u64::from(crc32c::crc32c(&data)));
    wire::put_text(&mut out, 2, &data);
    out
}

/// Decodes the content of a snapshot file; an error says offset, expected and found.
fn decode_file(bytes: &Bytes) -> Result<Snapshot, (u64, String, String)> {
    let wrong = |expected: &str, found: String| (0, expected.to_owned(), found);
    let (crc, data) =
        decode_parts(bytes).map_err(|error| wrong("checksum and snapshot", error.to_string()))?;
    if data.is_empty() || crc == 0 {
        return Err(wrong("checksum and snapshot", format!("{} bytes", bytes.len())));
    }
    let actual = crc32c::crc32c(&data);
    if u64::from(actual) != crc {
        return Err(wrong(&format!("data of checksum {crc:08x}"), format!("{actual:08x}")));
    }
    Snapshot::decode(data).map_err(|error| wrong("a raft snapshot", error.to_string()))
}

fn decode_parts(bytes: &Bytes) -> Result<(u64, Bytes), DecodeError> {
    let (mut crc, mut data) = (0, Bytes::new());
    let mut reader = Reader::new(bytes);
    while let Some(tag) = reader.next_tag()? {
        match tag.number {
            1 => crc = reader.uint(tag)?,
            2 => data = reader.bytes(tag)?,
            _ => reader.skip(tag)?,
        }
    }
    Ok((crc, data))
}
