//! One member at work: the threads around the consensus core and the replicated state.
//!
//! Owns:       the raft, wal, apply and flusher threads, their queues, request IDs and waiters.
//! Uses:       the core crates, `wal`, `backend`, `transport`.
//! Never:      HTTP, gRPC, flags.
//! Invariants: nothing is acknowledged before it was applied, nothing is applied before a quorum
//!             has it durable; a failed write or sync stops the member.
//! Source:     design.md 2 and 5; raft-library.md 3.

mod alone;
pub mod boot;
mod checkpoint;
pub mod counters;
mod desk;
mod duties_task;
mod expiry_task;
mod handle;
mod hash_peer;
mod inbox;
mod lease_peer;
mod leases;
mod leasing;
mod mailbox;
mod node;
mod options;
mod peer_api;
mod profile;
mod quota;
mod read_threads;
mod readers;
mod reads;
mod request_id;
mod shared;
mod silence;
mod timed_sink;
mod waiters;

mod apply_thread;
mod beat;
mod compactor;
mod flusher;
mod housekeeping;
mod raft_thread;
mod v2_watch;
mod wal_thread;
mod watch;

pub use checkpoint::{Capture, raft_snapshot};
pub use compactor::CompactionBudget;
pub use counters::Counters;
pub use handle::{Handle, ProposeReply, Status, V2Outcome};
pub use leases::LeaseTtl;
pub use node::{Node, Start};
pub use options::{Options, Paths, Timing};
pub use peer_api::version_json;
pub use reads::{RangePiece, RangeStream};
pub use shared::{OverlayHistory, StopReason, ViewSource};
pub use v2_watch::{V2Events, V2Leave, V2Next, V2Notice, V2Watch, V2Watchers};
pub use watch::{WatchCharge, WatchFigures, WatchItem, WatchStream};
