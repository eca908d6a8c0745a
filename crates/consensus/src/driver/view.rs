//! What can be seen of a driver from outside.
//!
//! Owns:       nothing.
//! Uses:       the driver's state, read only.
//! Never:      a change.
//! Invariants: lists ascend by ID.
//! Source:     raft-rs `Status`.

use super::*;
use crate::{ProgressState, ProgressStatus};

impl Driver {
    /// Returns this member's view of the group.
    #[must_use]
    pub fn status(&self) -> Status {
        let raft = &self.node.raft;
        Status {
            id: self.id,
            term: Term(raft.term),
            vote: NodeId(raft.vote),
            commit: LogIndex(raft.raft_log.committed),
            applied: LogIndex(self.apply.applied()),
            leader: NodeId(raft.leader_id),
            role: role(raft.state),
            progress: self.progress(),
            transferee: raft.lead_transferee.map(NodeId),
            first_index: LogIndex(self.node.store().first()),
            last_index: LogIndex(raft.raft_log.last_index()),
        }
    }

    fn progress(&self) -> Vec<(NodeId, ProgressStatus)> {
        if !self.leads() {
            return Vec::new();
        }
        let mut all: Vec<_> = self
            .node
            .raft
            .prs()
            .iter()
            .map(|(&id, progress)| (NodeId(id), progress_status(progress)))
            .collect();
        all.sort_by_key(|&(id, _)| id);
        all
    }

    /// Returns the term that this member leads as the only voter there is; `None` otherwise. Then
    /// nobody can commit anything without it, until another voter has heard of a change that made it
    /// one: this turns to `None` before any effect that could tell it.
    #[must_use]
    pub fn sole_term(&self) -> Option<Term> {
        (self.leads() && self.is_sole_voter()).then(|| Term(self.node.raft.term))
    }

    /// Returns whether there is another member, voter or learner.
    #[must_use]
    pub fn has_peers(&self) -> bool {
        self.node.raft.prs().iter().any(|(&id, _)| id != self.id.0)
    }

    /// Returns the bytes that the in-memory log holds.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.node.store().bytes()
    }

    /// Returns the configuration in force.
    #[must_use]
    pub fn conf_state(&self) -> ConfState {
        translate::conf_state_out(&self.node.raft.prs().conf().to_conf_state())
    }
}

fn progress_status(progress: &raft::Progress) -> ProgressStatus {
    ProgressStatus {
        matched: LogIndex(progress.matched),
        next: LogIndex(progress.next_idx),
        state: match progress.state {
            raft::ProgressState::Probe => ProgressState::Probe,
            raft::ProgressState::Replicate => ProgressState::Replicate,
            raft::ProgressState::Snapshot => ProgressState::Snapshot,
        },
        recent_active: progress.recent_active,
    }
}

/// Turns raft-rs's role into ours.
pub(super) fn role(state: StateRole) -> Role {
    match state {
        StateRole::Follower => Role::Follower,
        StateRole::PreCandidate => Role::PreCandidate,
        StateRole::Candidate => Role::Candidate,
        StateRole::Leader => Role::Leader,
    }
}
