//! What can go wrong with the log and the snapshot files.

use std::io;
use std::path::{Path, PathBuf};

/// Failure of the log or of a snapshot file.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The file system refused an operation.
    #[error("{operation} {}", path.display())]
    Io {
        /// Verb phrase for what was tried.
        operation: &'static str,
        /// File or directory.
        path: PathBuf,
        /// The answer of the file system.
        source: io::Error,
    },
    /// The file system is full, or a quota is used up.
    #[error("{operation} {}: no space left", path.display())]
    NoSpace {
        /// Verb phrase for what was tried.
        operation: &'static str,
        /// File or directory.
        path: PathBuf,
        /// The answer of the file system.
        source: io::Error,
    },
    /// The bytes of a file are not what they must be.
    #[error("{} is damaged at offset {offset}: expected {expected}, found {found}", file.display())]
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// Where the record or field starts.
        offset: u64,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Another process uses the log.
    #[error("{} is locked by another process", path.display())]
    Locked {
        /// The locked segment.
        path: PathBuf,
    },
    /// The directory holds a log already.
    #[error("{} already holds a log", dir.display())]
    AlreadyExists {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory for a new log holds something else.
    #[error("{} is not empty: it holds {name}", dir.display())]
    DirNotEmpty {
        /// The directory.
        dir: PathBuf,
        /// One of the foreign names.
        name: String,
    },
    /// No segment starts at or before the index asked for.
    #[error("{} has no segment that covers index {index}", dir.display())]
    SegmentNotFound {
        /// The directory.
        dir: PathBuf,
        /// The index asked for.
        index: u64,
    },
    /// A segment is missing in the middle.
    #[error("{} lacks segments between sequence {after} and {found}", dir.display())]
    SequenceGap {
        /// The directory.
        dir: PathBuf,
        /// Sequence number before the gap.
        after: u64,
        /// Sequence number behind the gap.
        found: u64,
    },
    /// The log has no record of the snapshot to start at.
    #[error("{} has no record of the snapshot at index {index}", dir.display())]
    SnapshotNotFound {
        /// The directory.
        dir: PathBuf,
        /// Index of the snapshot.
        index: u64,
    },
    /// The log knows the snapshot under another term.
    #[error("snapshot at index {index} has term {found} in {}, not {expected}", dir.display())]
    SnapshotMismatch {
        /// The directory.
        dir: PathBuf,
        /// Index of the snapshot.
        index: u64,
        /// Term asked for.
        expected: u64,
        /// Term in the log.
        found: u64,
    },
    /// Two segments belong to different members or clusters.
    #[error("{} at offset {offset} names another member or cluster", file.display())]
    MetadataConflict {
        /// The later segment.
        file: PathBuf,
        /// Where its metadata record starts.
        offset: u64,
    },
    /// A snapshot record needs the configuration (since 3.5).
    #[error("snapshot record at index {index} lacks its configuration")]
    SnapshotWithoutConfState {
        /// Index of the snapshot.
        index: u64,
    },
    /// An earlier write or sync failed; nothing may be built on this log any more.
    #[error("log in {} failed earlier", dir.display())]
    Failed {
        /// The directory.
        dir: PathBuf,
    },
}

impl WalError {
    /// Turns an answer of the file system into the variant that fits.
    pub(crate) fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::NoSpace { operation, path, source }
            }
            _ => Self::Io { operation, path, source },
        }
    }

    /// Damage at an offset.
    pub(crate) fn corrupt(
        file: &Path,
        offset: u64,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        let (expected, found) = (expected.into(), found.into());
        Self::Corrupt { file: file.to_path_buf(), offset, expected, found }
    }
}
