//! What can go wrong with a database file.
//!
//! Owns:       the error type of the crate.
//! Uses:       `thiserror`.
//! Never:      texts that a client sees.
//! Invariants: one variant for each thing that a caller would do differently.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Error of the engine.
#[derive(Debug, Error)]
pub enum BoltError {
    /// The file system refused an operation.
    #[error("access database {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// The file is not a whole bbolt database.
    #[error("database {} is damaged at byte {offset}: expected {expected}, found {found}",
        file.display())]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// What a whole file has there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Another process, or another handle of this one, has the database open.
    #[error("database is locked")]
    Locked,
    /// A commit failed before; what is durable is known only after opening again.
    #[error("database engine has failed and must be opened again")]
    Failed,
    /// A batch asks for something that the format cannot hold. Nothing was written.
    #[error("{what}: limit {limit}, found {found}")]
    Limit {
        /// The rule.
        what: &'static str,
        /// Its bound.
        limit: u64,
        /// The offending size or position.
        found: u64,
    },
}
