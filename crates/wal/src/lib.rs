//! etcd's write-ahead log and raft snapshot files, byte for byte.
//!
//! Owns:       `member/wal` and the `.snap` files of `member/snap`, through the `disk` traits.
//! Uses:       `disk`, `proto::raftpb`, `crc32c`.
//! Never:      threads, clocks, logging; decides when to sync (the caller does) or what an entry
//!             means; retries after a failed write or sync.
//! Invariants: what a `flush(true)` that returned `Ok` covered is found again by `Wal::open`, in
//!             order and without gaps; damage is an error that names file and offset, or the one
//!             repair that etcd does too.
//! Source:     disk-formats.md 2 and 3; docs/format/wal.md and docs/format/snap.md.

mod error;
mod names;
mod purge;
mod reader;
mod record;
mod replay;
pub mod snap;
mod writer;

pub use error::WalError;
pub use purge::{purge, purge_snaps};
pub use record::{Metadata, WalSnapshot};
pub use replay::Replay;
pub use writer::{Options, Wal};
