//! The driver: raft-rs fed by inputs, drained as effects.
//!
//! Owns:       the raft state of one member and everything between it and the shell.
//! Uses:       raft-rs, the other modules of this crate.
//! Never:      I/O, clock, threads, ambient randomness.
//! Invariants: as of the crate; `Applied` never passes a configuration change that was not
//!             answered; no election is won while this member's log is not durable.
//! Source:     raft-library.md 3 and 4, design.md 2 and 4.
//!
//! ```text
//!  step(Input) --> raft-rs --> Ready --> Persist --> (shell) --> step(Persisted)
//!                                 |----> Send         then: acks, votes
//!                                 `----> Apply --> (shell) --> step(ConfChangeApplied | Applied)
//! ```

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use proto::raftpb::{self, ConfChange, ConfState, Entry, Message, Snapshot};
use raft::eraftpb;
use raft::{RawNode, StateRole};
use types::{LogIndex, NodeId, RequestId, Term};

use crate::jitter::Jitter;
use crate::log::MemoryLog;
use crate::reads::ReadRounds;
use crate::translate;
use crate::{Effect, Input, Options, Recovered, Role, StartError, Status};

mod install;
mod intake;
mod network;
mod ready;
mod start;
mod view;

/// One member's raft.
pub struct Driver {
    id: NodeId,
    node: RawNode<MemoryLog>,
    effects: Vec<Effect>,
    jitter: Jitter,
    timeout_ticks: usize,
    seen: Seen,
    reads: ReadRounds,
    /// The term whose first commit has already made unanswered reads ask again.
    reads_term: u64,
    proposals: Vec<(RequestId, Bytes)>,
    /// What only the leader of a term may propose.
    leader_proposals: Vec<(Term, RequestId, Bytes)>,
    conf_changes: VecDeque<(RequestId, ConfChange)>,
    writes: ready::Writes,
    apply: ready::ApplyQueue,
    snapshots: install::Snapshots,
    /// Votes that arrived before this member's own log was durable.
    held_votes: Vec<eraftpb::Message>,
    /// Whether a configuration change took this member out.
    removed: bool,
    /// Until it has been decided whether this member may skip its first election timeout: the last
    /// configuration change that it recovered as committed.
    first_campaign: Option<LogIndex>,
    pre_vote: bool,
    /// The last term in which the leader was given up before its time.
    gave_up_in: u64,
}

/// What the last [`Effect::Role`] said.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    term: u64,
    leader: u64,
    role: StateRole,
}

impl Driver {
    /// Starts a member from what it recovered.
    ///
    /// Entries behind the snapshot are handed out again; the caller knows from its consistent
    /// index which of them have taken effect.
    ///
    /// # Errors
    ///
    /// When the log is not one that this member can go on with; see [`StartError`].
    pub fn new(options: Options, recovered: Recovered) -> Result<Self, StartError> {
        start::start(&options, recovered)
    }

    /// Takes one input; what follows from it comes out of the next [`Driver::drain`].
    ///
    /// # Panics
    ///
    /// When raft finds that its own invariants are broken, or the shell has broken the order that
    /// [`Input`] demands: going on would risk acknowledged data.
    pub fn step(&mut self, input: Input) {
        match input {
            Input::Tick => self.tick(),
            Input::Message(message) => self.receive(message),
            Input::Propose(requests) => self.queue_proposals(requests),
            Input::ProposeAsLeader { term, requests } => self.queue_as_leader(term, requests),
            Input::ProposeConfChange(request, change) => self.queue_conf_change(request, change),
            Input::ReadIndex(requests) => self.queue_reads(requests),
            Input::CancelReads => self.reads.cancel(),
            Input::Persisted(number) => self.persisted(number),
            Input::Applied(index) => self.applied(index),
            Input::ConfChangeApplied { index, change } => self.conf_change_applied(index, change),
            Input::SnapshotInstalled(metadata) => self.snapshot_installed(&metadata),
            Input::SnapshotInstallFailed => self.snapshots.install_failed(),
            Input::SnapshotReady(snapshot) => self.snapshot_ready(snapshot),
            Input::SnapshotUnavailable => self.snapshot_unavailable(),
            Input::SnapshotSent { to, ok } => self.snapshot_sent(to, ok),
            Input::Unreachable(id) => self.node.report_unreachable(id.0),
            Input::PeerGone(id) => self.peer_gone(id),
            Input::TransferLeader(id) => self.transfer_leader(id),
            Input::Campaign => self.campaign(),
            Input::Compact(index) => self.compact(index),
        }
        self.observe();
    }

    /// Returns everything there is to do after the inputs so far, in order.
    pub fn drain(&mut self) -> Vec<Effect> {
        self.campaign_if_alone();
        self.flush_conf_changes();
        self.flush_proposals();
        self.flush_leader_proposals();
        self.flush_reads();
        self.observe();
        while !self.snapshots.is_persisting() && self.node.has_ready() {
            self.handle_ready();
            self.observe();
        }
        self.release_apply();
        self.ask_for_snapshot();
        std::mem::take(&mut self.effects)
    }

    /// Overwrites raft-rs's own draws of the election timeout and reports changes of role.
    fn observe(&mut self) {
        let raft = &self.node.raft;
        let now = Seen { term: raft.term, leader: raft.leader_id, role: raft.state };
        if now != self.seen {
            let before = std::mem::replace(&mut self.seen, now);
            self.timeout_ticks = self.jitter.draw();
            self.effects.push(Effect::Role {
                term: Term(now.term),
                leader: NodeId(now.leader),
                role: view::role(now.role),
                lost_leader: before.leader != 0
                    && (before.leader, before.term) != (now.leader, now.term),
            });
        }
        // The draw is hidden inside of raft-rs and may come without a change seen here.
        self.node.raft.set_randomized_election_timeout(self.timeout_ticks);
    }

    fn leads(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    /// Whether this member alone decides elections, so that a campaign is won on the spot.
    fn is_sole_voter(&self) -> bool {
        self.node.raft.promotable() && self.node.raft.prs().is_singleton()
    }

    /// Whether raft may start an election. raft-rs asserts that whoever wins one has a durable log
    /// and that everything up to its applied index can be read back.
    fn may_campaign(&self) -> bool {
        let log_is_durable =
            self.writes.is_log_durable() && self.node.raft.raft_log.unstable_entries().is_empty();
        !self.snapshots.is_installing() && (log_is_durable || !self.is_sole_voter())
    }

    fn tick(&mut self) {
        if self.leads() || self.may_campaign() {
            self.node.tick();
        }
        if let Some(context) = self.reads.tick() {
            self.send_read(context);
        }
    }

    fn campaign(&mut self) {
        if self.node.raft.promotable() && self.may_campaign() {
            // The only error is a dropped proposal, which this is not.
            let _ = self.node.campaign();
        }
    }

    /// Elects a lone voter as soon as it knows itself to be one, once in its life: nobody could
    /// lead it, so there is nobody to wait for.
    fn campaign_if_alone(&mut self) {
        let is_known = |last_change: LogIndex| last_change.0 <= self.apply.applied();
        if !self.first_campaign.is_some_and(is_known) || !self.may_campaign() {
            return;
        }
        self.first_campaign = None;
        if self.is_sole_voter() && self.seen.leader == raft::INVALID_ID {
            self.campaign();
            self.observe();
        }
    }

    /// Gives up a leader whose process has ended, and asks for pre-votes in its turn rather than after
    /// an election timeout. Those of other followers that saw it end too grant them; who still
    /// hears from the leader refuses, and a heartbeat brings it back here. Done once in a term at
    /// most, so that a wrong hint costs one round of pre-votes and cannot be repeated into unrest.
    fn peer_gone(&mut self, id: NodeId) {
        let raft = &mut self.node.raft;
        let follows_it = raft.state == StateRole::Follower && raft.leader_id == id.0;
        let may_act = self.pre_vote && raft.promotable() && self.gave_up_in < raft.term;
        if id.0 == raft::INVALID_ID || !follows_it || !may_act {
            return;
        }
        self.gave_up_in = raft.term;
        raft.leader_id = raft::INVALID_ID;
        self.observe();
        let elapsed = self.timeout_ticks.saturating_sub(self.turn_after(id));
        self.node.raft.election_elapsed = self.node.raft.election_elapsed.max(elapsed);
    }

    /// Ticks to wait when a leader was seen to end. All see it at about the same moment, and two that
    /// ask at the same tick split the votes; so each voter has a turn by its ID, two ticks apart.
    fn turn_after(&self, gone: NodeId) -> usize {
        let voters = self.node.raft.prs().conf().voters().ids();
        let earlier = voters.iter().filter(|&id| id < self.id.0 && id != gone.0).count();
        (1 + 2 * earlier).min(self.timeout_ticks)
    }

    fn transfer_leader(&mut self, id: NodeId) {
        if id.0 != 0 {
            self.node.transfer_leader(id.0);
        }
    }
}
