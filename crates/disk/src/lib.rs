//! The narrow view of a file system on which the log, the snapshots and the engine are written.
//!
//! Owns:       nothing; two traits and their value types.
//! Uses:       `std` only.
//! Never:      a real file (crate `osdisk`) or a simulated one (crate `simdisk`).
//! Invariants: bytes are durable after `sync_data` returned `Ok`, names after `sync_dir`; before
//!             that a crash may keep, lose or tear them in any mixture.
//! Source:     design.md 3; disk-formats.md 1 for the two kinds of lock.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Existing file, reads only.
    Read,
    /// Existing file, reads and writes.
    ReadWrite,
    /// New file; fails with `AlreadyExists` if the name is taken.
    CreateNew,
    /// Reads and writes; created empty when missing.
    CreateOrOpen,
}

/// etcd's two kinds of lock, which do not see each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// Open file description lock over the whole file, exclusive: WAL segments.
    Ofd,
    /// `flock(2)`, exclusive: the database.
    Flock,
}

/// A directory tree. Paths are passed through as given.
pub trait Disk: Send + Sync {
    /// Opens or creates a file (mode 0600 when created).
    ///
    /// # Errors
    /// Those of the file system.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn BlockFile>>;

    /// Creates a directory and its parents (mode 0700); fine if it exists.
    ///
    /// # Errors
    /// Those of the file system.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Renames a file or directory, replacing a file of the new name.
    ///
    /// # Errors
    /// Those of the file system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// Those of the file system.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes a directory and all in it.
    ///
    /// # Errors
    /// Those of the file system.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Names of the entries of a directory, sorted.
    ///
    /// # Errors
    /// Those of the file system; `NotFound` when the directory is missing.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes the names of a directory durable.
    ///
    /// # Errors
    /// Those of the file system.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Whether the path exists.
    ///
    /// # Errors
    /// Those of the file system.
    fn exists(&self, path: &Path) -> io::Result<bool>;
}

/// An open file, addressed by offset. All methods take `&self` so that readers and the one writer
/// can share it.
pub trait BlockFile: Send + Sync {
    /// Fills `buf` from `offset`; returns how many bytes there were (fewer only at the end).
    ///
    /// # Errors
    /// Those of the file system.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `data` at `offset`, growing the file as needed.
    ///
    /// # Errors
    /// Those of the file system; part of the data may have been written.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Makes all written bytes and the length durable (`fdatasync`).
    ///
    /// # Errors
    /// Those of the file system; the caller must never retry (design.md 5).
    fn sync_data(&self) -> io::Result<()>;

    /// Cuts or extends the file to `len` bytes; new bytes read as zero.
    ///
    /// # Errors
    /// Those of the file system.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Reserves space up to `len` bytes and extends the file to it; new bytes read as zero.
    ///
    /// # Errors
    /// Those of the file system, "no space left" among them.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Current length in bytes.
    ///
    /// # Errors
    /// Those of the file system.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// Those of [`BlockFile::len`].
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Tries to take an exclusive lock, which lasts until the file is dropped; `false` when another
    /// holder has it.
    ///
    /// # Errors
    /// Those of the file system.
    fn try_lock(&self, kind: LockKind) -> io::Result<bool>;

    /// Path under which the file was opened, for error messages.
    fn path(&self) -> PathBuf;

    /// Fills `buf` whole from `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before; those of [`BlockFile::read_at`] otherwise.
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let got = self.read_at(offset, buf)?;
        if got == buf.len() {
            return Ok(());
        }
        let wanted = buf.len();
        let text = format!("{}: {got} of {wanted} bytes at {offset}", self.path().display());
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, text))
    }
}
