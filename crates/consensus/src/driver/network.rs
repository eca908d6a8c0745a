//! Messages from other members.
//!
//! Owns:       votes held back until they may be counted.
//! Uses:       `admit`, `translate`.
//! Never:      an error: what cannot be taken is dropped, as a network may do.
//! Invariants: a vote that could win an election is counted only when this member's log is
//!             durable.
//! Source:     raft-rs 0.7 `become_leader`, raft-library.md 4 (traps 2 and 10).

use super::*;
use crate::admit::{self, Local};
use raft::eraftpb::MessageType;

/// Votes held; more than any group has members. Beyond it they are dropped.
const HELD_VOTES_MAX: usize = 64;
/// Read rounds of followers that a leader holds; beyond it they are dropped and sent again by
/// their requesters.
const PEER_READS_MAX: usize = 4096;

impl Driver {
    pub(super) fn receive(&mut self, message: Message) {
        // The log is about to begin behind a snapshot: raft hears nothing until it durably does.
        if self.snapshots.is_persisting() || !admit::admits(&self.local(), &message) {
            return;
        }
        let Some(mut message) = translate::message_in(message) else { return };
        match message.get_msg_type() {
            MessageType::MsgPropose | MessageType::MsgTransferLeader => message.term = 0,
            MessageType::MsgReadIndex => {
                if self.node.raft.pending_read_count() >= PEER_READS_MAX {
                    return;
                }
                message.term = 0;
            }
            // One at a time: the leader sends another when this one turns out to be too old.
            MessageType::MsgSnapshot if self.snapshots.is_installing() => return,
            MessageType::MsgTimeoutNow if !self.may_campaign() => return,
            MessageType::MsgRequestVoteResponse if !self.writes.is_log_durable() => {
                if self.held_votes.len() < HELD_VOTES_MAX {
                    self.held_votes.push(message);
                }
                return;
            }
            _ => {}
        }
        self.deliver(message);
    }

    /// Counts the votes held back, now that the log is durable.
    pub(super) fn deliver_held_votes(&mut self) {
        if self.writes.is_log_durable() {
            for vote in std::mem::take(&mut self.held_votes) {
                self.deliver(vote);
                self.observe();
            }
        }
    }

    fn deliver(&mut self, message: eraftpb::Message) {
        // An unknown sender or a proposal that is not taken: to its sender, lost by the network.
        let _ = self.node.step(message);
    }

    fn local(&self) -> Local {
        Local {
            id: self.id.0,
            term: self.node.raft.term,
            last_index: self.node.raft.raft_log.last_index(),
            leads: self.leads(),
        }
    }
}
