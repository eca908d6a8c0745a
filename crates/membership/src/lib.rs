//! Who belongs to the cluster: members, removed members and the cluster version.
//!
//! Owns:       the replicated list of members, the IDs that may never come back, the cluster version.
//! Uses:       `types`, `proto::raftpb`, `gojson`, `serde_json`, `sha1`.
//! Never:      I/O, clock, raft state, the v2 tree itself (only its paths and values as text).
//! Invariants: no ID is both a member and removed; no two members share a peer URL unless the
//!             bootstrap gave it to both; ID 0 is no member.
//! Source:     peer-protocol.md 2.2, 12, 13; disk-formats.md 3.1, 6, 11; etcd
//!             `server/etcdserver/api/membership`.

pub mod bootstrap;
pub mod ids;
pub mod json;
pub mod rows;
pub mod strict;
pub mod v2_tree;

mod change;
mod error;
mod member;
mod version;

pub use change::Change;
pub use error::MembershipError;
pub use member::{MAX_LEARNERS_DEFAULT, Member, Membership};
pub use version::ClusterVersion;
