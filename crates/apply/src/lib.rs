//! The replicated state machine: what committed entries do, the same on every member.
//!
//! Owns:       [`Machine`]: key-value store, leases, alarms, v2 tree, members, cluster version, and up
//!             to which entry all of these are in the database.
//! Uses:       `mvcc`, `lease`, `v2store`, `membership`, `proto` (decoding of entries), `types`,
//!             `gojson`.
//! Never:      I/O, clock, randomness, threads; rows leave as values, old values come through
//!             `mvcc::History`.
//! Invariants: equal entries give equal rows, replies and hashes on every member; an entry is never
//!             applied twice; a failure is either a reply that all members compute, or a [`Fault`]
//!             that stops this one before it diverges.
//! Source:     peer-protocol.md 12 and 15; disk-formats.md 6 and 11; design.md 4 and 5;
//!             docs/format/engine-rows.md.

mod contract;
mod kind;
mod machine;

mod alarms;
mod cluster;
mod position;
mod v2;

mod conf_change;
mod kv;
mod leases;
mod restore;
mod state_hash;
mod system;

pub use alarms::{Alarms, lease_cost, put_cost, txn_cost};
pub use contract::{
    Applied, ConfDecision, Fault, Frozen, Local, Reply, Response, Restored, Settings, SnapshotBase,
    Source,
};
pub use kind::RequestKind;
pub use machine::Machine;
pub use restore::{V2_ROWS_DIFFER, read_run};

#[cfg(test)]
mod tests;
