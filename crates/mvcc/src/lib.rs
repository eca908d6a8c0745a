//! The multi-version key-value store: key index, revisions, ranges, transactions, compaction, hash.
//!
//! Owns:       the key index (key to its revisions and its latest pair) and the store's revisions.
//! Uses:       `types`, the request messages of `proto`, `prost`'s varints, `crc32c`.
//! Never:      I/O, clock, randomness, threads; values of old revisions (they come through
//!             [`History`]); lease state (asked through [`LeaseView`], changed by returned values).
//! Invariants: [`Store::check_invariants`]; a revision is in the index if and only if its row is in
//!             the `key` bucket; a failed request leaves no trace.
//! Source:     api-v3.md 2, peer-protocol.md 15 and 16, disk-formats.md 7.

mod history;
pub mod kv;

mod changes;
mod key_entry;
mod store;
mod tree;

mod compare;
mod range;
mod read_txn;
mod txn;

mod check;
mod compact;
mod hash;
mod restore;

pub mod watch;

pub use check::{check_delete, check_put, check_range, check_txn};
pub use hash::{HashPlan, HashReply};
pub use history::{History, HistoryFault, LeaseView};
pub use range::{CursorStep, RangeCursor, RangeReply};
pub use read_txn::{ReadBranch, ReadTxn, is_read_only, is_serializable};
pub use restore::{Restored, Restorer, Run};
pub use store::Store;
pub use txn::{DeleteReply, Event, EventKind, OpReply, Outcome, PutReply, TxnReply};
