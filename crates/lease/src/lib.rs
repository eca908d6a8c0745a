//! The leases that all members agree on: who exists, for how long, and which keys hang on it.
//!
//! Owns:       [`Table`], the replicated part of leasing.
//! Uses:       `types`.
//! Never:      time; deadlines are kept by the leader alone, elsewhere. Rows; the caller writes them.
//! Invariants: [`Table::check_invariants`]: a key hangs on one lease at most.
//! Source:     api-v3.md 4, peer-protocol.md 15.10.

mod table;

pub use table::{Lease, TTL_MAX_SECONDS, Table};
