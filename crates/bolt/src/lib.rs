//! A small engine for bbolt database files (etcd's `member/snap/db`).
//!
//! Owns:       the database file while it is open, and the choice of which pages are free.
//! Uses:       `disk` for bytes, `bytes` for shared slices.
//! Never:      memory maps, cursors, write transactions that stay open, threads; a panic on
//!             anything that was read from a file.
//! Invariants: after every commit both metas of the file name a whole tree; a pinned view reads
//!             what it was pinned at, whatever is committed meanwhile.
//! Source:     docs/format/bolt.md; disk-formats.md 5, 8 and 12; storage-engine.md.
//!
//! Reading order: `page` and `meta` (bytes), `node` (items in memory), `store` (file access),
//! `walk` (validation), `freeset` and `space` (which pages are free), `merge` (one sorted batch
//! into one tree), `engine` (commit), `shrink`, `view`, `bulk`.

mod batch;
pub mod bulk;
mod check;
mod create;
mod engine;
mod error;
mod freeset;
mod merge;
mod meta;
mod node;
mod page;
mod pageset;
mod shrink;
mod space;
mod store;
mod view;
mod walk;

pub use crate::batch::{Ops, SortedBatch};
pub use crate::check::{CheckReport, check};
pub use crate::engine::{Bolt, Options, Sizes, Unchecked};
pub use crate::error::BoltError;
pub use crate::view::View;
