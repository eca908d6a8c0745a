//! Placeholder header.

use proto::raftpb::{ConfState, Entry, HardState};
use types::{LogIndex, NodeId};

/// Builds the log every founding member writes for itself.
#[must_use]
pub fn new_cluster(_members: &[membership::Member]) -> (Vec<Entry>, HardState) {
    (Vec::new(), HardState::default())
}

/// What `--force-new-cluster` does to a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForcedCluster {
    /// Entries that stay in force; those behind were never committed and are dropped.
    pub kept: Vec<Entry>,
    /// Entries to append, which remove every other member.
    pub appended: Vec<Entry>,
    /// The new hard state.
    pub hard_state: HardState,
}

/// Turns this member's log into that of a cluster of one.
#[must_use]
pub fn force_new_cluster(
    _id: NodeId,
    hard_state: HardState,
    entries: Vec<Entry>,
    _snapshot: &ConfState,
    _consistent_index: LogIndex,
) -> ForcedCluster {
    ForcedCluster { kept: entries, appended: Vec::new(), hard_state }
}
