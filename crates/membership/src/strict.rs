//! Checks of `--strict-reconfig-check`: would a change endanger the quorum right now?
//!
//! Owns:       nothing; pure functions over the membership and the proposer's view of its peers.
//! Uses:       `Membership`.
//! Never:      part of apply: members see different connections and would disagree.
//! Invariants: none.
//! Source:     peer-protocol.md 12.4 (last paragraph) and 12.5, api-v2.md 5.1, api-v3.md 9.

use std::collections::BTreeMap;

use types::{EtcdError, NodeId};

use crate::Membership;

/// How long a peer must have been connected to count as healthy.
pub const HEALTH_INTERVAL_MS: u64 = 5_000;
/// Part of the leader's log that a learner must have before it may vote, in tenths.
const LEARNER_READY_TENTHS: u128 = 9;

/// The proposer's view of its peers, in its own monotonic milliseconds.
#[derive(Clone, Debug, Default)]
pub struct Connections {
    /// The proposer; always connected to itself.
    pub local: NodeId,
    /// Since when each connected peer has been so without interruption; absent means down.
    pub active_since_ms: BTreeMap<NodeId, u64>,
    /// The present.
    pub now_ms: u64,
}

impl Connections {
    fn is_connected(&self, id: NodeId) -> bool {
        let long_enough = |since: &u64| since.saturating_add(HEALTH_INTERVAL_MS) < self.now_ms;
        id == self.local || self.active_since_ms.get(&id).is_some_and(long_enough)
    }

    fn is_down(&self, id: NodeId) -> bool {
        id != self.local && !self.active_since_ms.contains_key(&id)
    }
}

/// How much of the cluster must be connected before a voter is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A quorum of the grown cluster, taking the new member as down (3.6 and later).
    Quorum,
    /// Every voter (3.5 and older; the v2 API follows 3.4).
    All,
}

impl Membership {
    /// Whether a member may be proposed for addition.
    ///
    /// # Errors
    /// Too few members are started or connected.
    pub fn check_add(
        &self,
        is_learner: bool,
        connections: &Connections,
        rule: Rule,
    ) -> Result<(), EtcdError> {
        let (voters, started) = self.count_voters(None);
        // Growing a single member is allowed although the pair cannot lose one: there is no other
        // way to get to three.
        let is_restored_single = started == 1 && voters == 1;
        if !is_learner && !is_restored_single && started < quorum(voters + 1) {
            return Err(EtcdError::MemberNotEnoughStarted);
        }
        // Connections count for learners too: every release of etcd has it so.
        let connected = self.count_connected(connections);
        let needed = match rule {
            Rule::Quorum if voters == 1 => 1,
            Rule::Quorum => quorum(voters + 1),
            Rule::All => voters,
        };
        if connected < needed { Err(EtcdError::Unhealthy) } else { Ok(()) }
    }

    /// Whether a member may be proposed for removal.
    ///
    /// # Errors
    /// Too few members would be left started or connected.
    pub fn check_remove(&self, id: NodeId, connections: &Connections) -> Result<(), EtcdError> {
        if self.members.get(&id).is_some_and(|member| member.is_learner) {
            return Ok(());
        }
        let (voters, started) = self.count_voters(Some(id));
        if started < quorum(voters) {
            return Err(EtcdError::MemberNotEnoughStarted);
        }
        // A member that is down is no part of the working quorum; taking it out only helps.
        if connections.is_down(id) {
            return Ok(());
        }
        let all = self.voters().count();
        let left = self.count_connected(connections).saturating_sub(1);
        if left < quorum(all.saturating_sub(1)) { Err(EtcdError::Unhealthy) } else { Ok(()) }
    }

    /// Whether a learner may be proposed for promotion, as far as started members go.
    ///
    /// # Errors
    /// Too few members are started.
    pub fn check_promote(&self) -> Result<(), EtcdError> {
        let (voters, started) = self.count_voters(None);
        if started + 1 < quorum(voters + 1) {
            return Err(EtcdError::MemberNotEnoughStarted);
        }
        Ok(())
    }

    /// Voters without `except`, and how many of them are started.
    fn count_voters(&self, except: Option<NodeId>) -> (usize, usize) {
        let voters = self.voters().filter(|member| Some(member.id) != except);
        voters.fold((0, 0), |(all, started), member| {
            (all + 1, started + usize::from(member.is_started()))
        })
    }

    fn count_connected(&self, connections: &Connections) -> usize {
        self.voters().filter(|member| connections.is_connected(member.id)).count()
    }
}

/// Whether a learner holds enough of the leader's log to vote (peer-protocol.md 12.5). Positions
/// are the `match` indexes of the leader's progress.
///
/// # Errors
/// The learner is too far behind.
pub fn check_learner_ready(learner_match: u64, leader_match: u64) -> Result<(), EtcdError> {
    let ready = u128::from(learner_match) * 10 >= u128::from(leader_match) * LEARNER_READY_TENTHS;
    if ready { Ok(()) } else { Err(EtcdError::LearnerNotReady) }
}

fn quorum(members: usize) -> usize {
    members / 2 + 1
}

#[cfg(test)]
mod tests;
