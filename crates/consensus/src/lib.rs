//! The raft state machine of one member, as inputs and effects.
//!
//! Owns:       the raft state, the in-memory log tail, read rounds, the order of effects.
//! Uses:       raft-rs 0.7 for the algorithm, `proto::raftpb` for the wire types, `membership` for
//!             the context of configuration changes.
//! Never:      I/O, clock, threads, ambient randomness (raft-rs draws some; `jitter`
//!             overrides every draw), the wire codec of raft-rs.
//! Invariants: messages that vouch for the log leave only after the log is durable; committed
//!             entries leave in order and once; equal options and inputs give equal effects.
//! Source:     raft thesis 3, 4.2.1, 6.4, 9.6, 10.2.1; etcd `server/etcdserver/raft.go`.

pub mod contract;

mod driver;

mod reads;

mod admit;
mod log;
mod translate;

mod jitter;

pub mod bootstrap;

pub use bootstrap::{ForcedCluster, force_new_cluster, new_cluster};
pub use contract::{
    Effect, Input, Options, ProgressState, ProgressStatus, Recovered, RejectReason, Role,
    StartError, Status,
};
pub use driver::Driver;
