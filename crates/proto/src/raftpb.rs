//! raft's messages, entries and states in etcd's own encoding.
//!
//! Owns:       the types, and in `codec` their bytes.
//! Uses:       `bytes`.
//! Never:      raft-rs's own types (crate `consensus` converts), behaviour of raft.
//! Invariants: a value that was decoded holds known enum values only; decoding never panics.
//! Source:     peer-protocol.md 10 and 11; docs/format/raftpb.md.

pub mod wire;

pub(crate) mod codec;
mod error;
#[cfg(test)]
mod tests;

pub use error::DecodeError;

use bytes::Bytes;

/// Kind of a log entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EntryType {
    /// A request, or empty for a leader's first entry.
    #[default]
    Normal,
    /// A [`ConfChange`] in etcd's encoding.
    ConfChange,
    /// A `ConfChangeV2`; etcd never proposes one.
    ConfChangeV2,
}

/// One entry of the raft log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Field 1.
    pub entry_type: EntryType,
    /// Field 2.
    pub term: u64,
    /// Field 3.
    pub index: u64,
    /// Field 4; carried untouched, never re-encoded.
    pub data: Bytes,
}

/// The voters and learners of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfState {
    /// Field 1, ascending.
    pub voters: Vec<u64>,
    /// Field 2, ascending.
    pub learners: Vec<u64>,
    /// Field 3; only in a joint configuration, which etcd does not use.
    pub voters_outgoing: Vec<u64>,
    /// Field 4; likewise.
    pub learners_next: Vec<u64>,
    /// Field 5; likewise.
    pub auto_leave: bool,
}

/// Position and configuration of a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotMetadata {
    /// Field 1.
    pub conf_state: ConfState,
    /// Field 2.
    pub index: u64,
    /// Field 3.
    pub term: u64,
}

/// A raft snapshot: the v2 tree as JSON, and its position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Field 1.
    pub data: Bytes,
    /// Field 2.
    pub metadata: SnapshotMetadata,
}

/// What a member must not forget across a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// Field 1.
    pub term: u64,
    /// Field 2; 0 for none.
    pub vote: u64,
    /// Field 3.
    pub commit: u64,
}

impl HardState {
    /// Whether nothing was ever recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Kind of a message that may travel between members; etcd's local kinds have no variant here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are raft's")]
pub enum MessageType {
    Prop = 2,
    App = 3,
    AppResp = 4,
    Vote = 5,
    VoteResp = 6,
    Snap = 7,
    #[default]
    Heartbeat = 8,
    HeartbeatResp = 9,
    TransferLeader = 13,
    TimeoutNow = 14,
    ReadIndex = 15,
    ReadIndexResp = 16,
    PreVote = 17,
    PreVoteResp = 18,
}

/// One raft message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Field 1.
    pub message_type: MessageType,
    /// Field 2.
    pub to: u64,
    /// Field 3.
    pub from: u64,
    /// Field 4.
    pub term: u64,
    /// Field 5.
    pub log_term: u64,
    /// Field 6.
    pub index: u64,
    /// Field 7.
    pub entries: Vec<Entry>,
    /// Field 8.
    pub commit: u64,
    /// Field 9; only with [`MessageType::Snap`], dropped on reading otherwise.
    pub snapshot: Option<Snapshot>,
    /// Field 10.
    pub reject: bool,
    /// Field 11.
    pub reject_hint: u64,
    /// Field 12.
    pub context: Bytes,
}

/// Kind of a change of the configuration, with etcd's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConfChangeType {
    /// 0: a voter is added or a learner promoted.
    #[default]
    AddNode,
    /// 1
    RemoveNode,
    /// 2: peer URLs change; nothing changes for raft.
    UpdateNode,
    /// 3
    AddLearnerNode,
}

/// A change of the configuration as the log holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfChange {
    /// Field 1: the request ID of the proposer.
    pub id: u64,
    /// Field 2.
    pub change_type: ConfChangeType,
    /// Field 3.
    pub node_id: u64,
    /// Field 4: member JSON.
    pub context: Bytes,
}
