//! What only the leader proposes by itself.
//!
//! Owns:       the leader's timers: when to ask for versions, when to propose a cluster version,
//!             when to propose a v2 SYNC.
//! Uses:       `types`, `proto` for the proposals, `membership` for versions.
//! Never:      I/O, clock (time is an input), replicated state: everything here may be lost at any
//!             moment and starts again with the next leader.
//! Invariants: a member that is not the leader proposes nothing; entries are v2-style if and only
//!             if the cluster version is below 3.6.
//! Source:     peer-protocol.md 12.6, 13, 18; design.md 4 (versions); api-v2.md 1.12.

pub mod duties;
pub mod style;

pub use duties::{Action, Duties, Input, Settings};
pub use style::{Proposal, publish_attributes, set_cluster_version};
