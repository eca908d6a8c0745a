//! Work of clients on its way into raft.
//!
//! Owns:       when queued proposals, configuration changes and reads are stepped.
//! Uses:       raft-rs's `step`.
//! Never:      a second try of a proposal: its outcome is either "certainly not in the log" or
//!             for the caller to find out.
//! Invariants: all proposals of a drain become one message, and so do all its reads.
//! Source:     peer-protocol.md 14, raft-library.md 3 and 4 (trap 6).

use super::*;
use crate::RejectReason;
use raft::eraftpb::MessageType;

/// Proposals of one drain; beyond it they are refused.
const PROPOSALS_MAX: usize = 65_536;
/// Configuration changes that wait for the one before them; beyond it they are refused.
const CONF_CHANGES_MAX: usize = 64;

impl Driver {
    pub(super) fn queue_proposals(&mut self, mut requests: Vec<(RequestId, Bytes)>) {
        let room = PROPOSALS_MAX.saturating_sub(self.proposals.len()).min(requests.len());
        let refused = requests.split_off(room);
        self.proposals.append(&mut requests);
        self.reject(refused.into_iter().map(|(id, _)| id).collect(), RejectReason::TooMany);
    }

    /// Held to the same bound as the proposals of clients, and apart from it.
    pub(super) fn queue_as_leader(&mut self, term: Term, mut requests: Vec<(RequestId, Bytes)>) {
        let room = PROPOSALS_MAX.saturating_sub(self.leader_proposals.len()).min(requests.len());
        let refused = requests.split_off(room);
        self.leader_proposals.extend(requests.into_iter().map(|(id, data)| (term, id, data)));
        self.reject(refused.into_iter().map(|(id, _)| id).collect(), RejectReason::TooMany);
    }

    pub(super) fn queue_conf_change(&mut self, request: RequestId, change: ConfChange) {
        if change.node_id == 0 {
            self.reject(vec![request], RejectReason::Invalid);
        } else if self.conf_changes.len() >= CONF_CHANGES_MAX {
            self.reject(vec![request], RejectReason::TooMany);
        } else {
            self.conf_changes.push_back((request, change));
        }
    }

    pub(super) fn queue_reads(&mut self, requests: Vec<RequestId>) {
        let dropped = self.reads.push(requests);
        if !dropped.is_empty() {
            self.effects.push(Effect::ReadDropped { requests: dropped });
        }
    }

    pub(super) fn flush_proposals(&mut self) {
        if self.proposals.is_empty() {
            return;
        }
        let (requests, entries) = std::mem::take(&mut self.proposals)
            .into_iter()
            .map(|(id, data)| (id, translate::normal_entry(data)))
            .unzip();
        self.propose(requests, entries);
    }

    /// Proposes what was asked for by this member as the leader of the present term; at this point
    /// no other input of the drain can change the role any more.
    pub(super) fn flush_leader_proposals(&mut self) {
        let term = self.leads().then_some(Term(self.node.raft.term));
        let (ours, late): (Vec<_>, Vec<_>) = std::mem::take(&mut self.leader_proposals)
            .into_iter()
            .partition(|(made_in, ..)| Some(*made_in) == term);
        self.reject(late.into_iter().map(|(_, id, _)| id).collect(), RejectReason::NotLeading);
        if !ours.is_empty() {
            let entries = |(_, id, data)| (id, translate::normal_entry(data));
            let (requests, entries) = ours.into_iter().map(entries).unzip();
            self.propose(requests, entries);
        }
    }

    /// Proposes the next configuration change, unless this member leads and raft-rs would silently
    /// put an empty entry in its place because the one before is not applied yet.
    pub(super) fn flush_conf_changes(&mut self) {
        while !(self.leads() && self.node.raft.has_pending_conf()) {
            let Some((request, change)) = self.conf_changes.pop_front() else { return };
            match translate::conf_change_entry(change.encode()) {
                Some(entry) => self.propose(vec![request], vec![entry]),
                None => self.reject(vec![request], RejectReason::Invalid),
            }
        }
    }

    fn propose(&mut self, requests: Vec<RequestId>, entries: Vec<eraftpb::Entry>) {
        if self.removed {
            return self.reject(requests, RejectReason::Removed);
        }
        if self.node.raft.leader_id == raft::INVALID_ID {
            return self.reject(requests, RejectReason::NoLeader);
        }
        let mut message = eraftpb::Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.id.0;
        message.entries = entries.into();
        if self.node.step(message).is_err() {
            self.reject(requests, RejectReason::Dropped);
        }
    }

    pub(super) fn reject(&mut self, requests: Vec<RequestId>, reason: RejectReason) {
        if !requests.is_empty() {
            self.effects.push(Effect::Rejected { requests, reason });
        }
    }

    /// Starts a round for new reads, and asks again for all at the first commit of a term: before
    /// it a leader answers none.
    pub(super) fn flush_reads(&mut self) {
        let raft = &self.node.raft;
        let can_answer = raft.leader_id != raft::INVALID_ID && raft.commit_to_current_term();
        let context = if can_answer && self.reads_term != raft.term {
            self.reads_term = raft.term;
            self.reads.retry()
        } else {
            self.reads.start()
        };
        if let Some(context) = context {
            self.send_read(context);
        }
    }

    pub(super) fn send_read(&mut self, context: [u8; 8]) {
        self.node.read_index(context.to_vec());
    }

    pub(super) fn read_confirmed(&mut self, state: &raft::ReadState) {
        let requests = self.reads.answer(&state.request_ctx);
        if !requests.is_empty() {
            self.effects.push(Effect::ReadReady { requests, index: LogIndex(state.index) });
        }
    }
}
