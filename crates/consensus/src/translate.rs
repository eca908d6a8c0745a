//! Between etcd's wire types and those of raft-rs.
//!
//! Owns:       nothing.
//! Uses:       `proto::raftpb`, `raft::eraftpb`.
//! Never:      the codec of raft-rs; a configuration change in any bytes but etcd's outside of a
//!             proposal's way through raft-rs.
//! Invariants: `Entry.context` is empty outside of raft-rs; fields 13 to 16 of a message never
//!             pass.
//! Source:     raft-library.md 1, peer-protocol.md 11.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use proto::raftpb;
use raft::eraftpb;

/// Marks an entry whose data is an etcd configuration change inside of raft-rs's own.
const WRAPPED: &[u8] = &[1];
/// Tag of `ConfChange.context`, the only field that the wrapper carries: a leader parses a proposed
/// change just to see that it is one, and etcd's type numbers would fail it.
const CONTEXT_TAG: u8 = 0x22;

/// Turns a message from the network into raft-rs's; `None` when a proposal in it is not valid.
pub(crate) fn message_in(message: raftpb::Message) -> Option<eraftpb::Message> {
    let proposal = message.message_type == raftpb::MessageType::Prop;
    let mut m = eraftpb::Message::default();
    m.set_msg_type(type_in(message.message_type));
    m.to = message.to;
    m.from = message.from;
    m.term = message.term;
    m.log_term = message.log_term;
    m.index = message.index;
    m.commit = message.commit;
    m.reject = message.reject;
    m.reject_hint = message.reject_hint;
    m.context = message.context;
    let entries: Option<Vec<_>> = if proposal {
        message.entries.into_iter().map(proposed_entry).collect()
    } else {
        Some(message.entries.into_iter().map(entry_in).collect())
    };
    m.entries = entries?.into();
    if let Some(snapshot) = message.snapshot
        && message.message_type == raftpb::MessageType::Snap
    {
        m.set_snapshot(snapshot_in(snapshot));
    }
    Some(m)
}

/// Turns a message for the network into etcd's; `None` for kinds that stay inside of a member.
pub(crate) fn message_out(mut message: eraftpb::Message) -> Option<raftpb::Message> {
    let message_type = type_out(message.get_msg_type())?;
    let snapshot =
        (message_type == raftpb::MessageType::Snap).then(|| snapshot_out(message.take_snapshot()));
    Some(raftpb::Message {
        message_type,
        to: message.to,
        from: message.from,
        term: message.term,
        log_term: message.log_term,
        index: message.index,
        entries: message.take_entries().into_iter().map(entry_out).collect(),
        commit: message.commit,
        snapshot,
        reject: message.reject,
        reject_hint: message.reject_hint,
        context: message.take_context(),
    })
}

/// Turns an entry of the log into raft-rs's.
pub(crate) fn entry_in(entry: raftpb::Entry) -> eraftpb::Entry {
    let mut e = eraftpb::Entry::default();
    e.set_entry_type(match entry.entry_type {
        raftpb::EntryType::Normal => eraftpb::EntryType::EntryNormal,
        raftpb::EntryType::ConfChange => eraftpb::EntryType::EntryConfChange,
        raftpb::EntryType::ConfChangeV2 => eraftpb::EntryType::EntryConfChangeV2,
    });
    e.term = entry.term;
    e.index = entry.index;
    e.data = entry.data;
    e
}

/// Turns raft-rs's entry, unwrapped or not, into etcd's.
pub(crate) fn entry_out(entry: eraftpb::Entry) -> raftpb::Entry {
    let entry = unwrap_entry(entry);
    raftpb::Entry {
        entry_type: match entry.get_entry_type() {
            eraftpb::EntryType::EntryNormal => raftpb::EntryType::Normal,
            eraftpb::EntryType::EntryConfChange => raftpb::EntryType::ConfChange,
            eraftpb::EntryType::EntryConfChangeV2 => raftpb::EntryType::ConfChangeV2,
        },
        term: entry.term,
        index: entry.index,
        data: entry.data,
    }
}

/// Makes an entry to propose; `None` when it is a change that etcd would not propose.
fn proposed_entry(entry: raftpb::Entry) -> Option<eraftpb::Entry> {
    match entry.entry_type {
        raftpb::EntryType::Normal => Some(normal_entry(entry.data)),
        raftpb::EntryType::ConfChange => conf_change_entry(entry.data),
        raftpb::EntryType::ConfChangeV2 => None,
    }
}

/// Makes an entry that proposes a request.
pub(crate) fn normal_entry(data: Bytes) -> eraftpb::Entry {
    eraftpb::Entry { data, ..eraftpb::Entry::default() }
}

/// Makes an entry that proposes a change in etcd's encoding, wrapped for raft-rs; `None` when the
/// bytes are not a change.
pub(crate) fn conf_change_entry(etcd_bytes: Bytes) -> Option<eraftpb::Entry> {
    raftpb::ConfChange::decode(etcd_bytes.clone()).ok()?;
    let mut entry = eraftpb::Entry::default();
    entry.set_entry_type(eraftpb::EntryType::EntryConfChange);
    entry.data = wrap(&etcd_bytes);
    entry.context = Bytes::from_static(WRAPPED);
    Some(entry)
}

fn wrap(etcd_bytes: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(etcd_bytes.len() + 8);
    out.put_u8(CONTEXT_TAG);
    let mut rest = etcd_bytes.len();
    while rest >= 0x80 {
        out.put_u8(low_bits(rest) | 0x80);
        rest >>= 7;
    }
    out.put_u8(low_bits(rest));
    out.put_slice(etcd_bytes);
    out.freeze()
}

fn low_bits(value: usize) -> u8 {
    u8::try_from(value & 0x7f).unwrap_or(0)
}

/// Undoes [`conf_change_entry`] at every exit from raft-rs.
pub(crate) fn unwrap_entry(mut entry: eraftpb::Entry) -> eraftpb::Entry {
    if !entry.context.is_empty() {
        assert_eq!(entry.context.as_ref(), WRAPPED, "only the wrapper uses the entry context");
        entry.context = Bytes::new();
        entry.data.advance(1);
        while entry.data.has_remaining() && entry.data.get_u8() >= 0x80 {}
    }
    entry
}

/// Turns a change into raft-rs's; `None` when nothing changes for raft.
pub(crate) fn conf_change_in(change: &raftpb::ConfChange) -> Option<eraftpb::ConfChange> {
    let mut c = eraftpb::ConfChange::default();
    c.set_change_type(match change.change_type {
        raftpb::ConfChangeType::AddNode => eraftpb::ConfChangeType::AddNode,
        raftpb::ConfChangeType::RemoveNode => eraftpb::ConfChangeType::RemoveNode,
        raftpb::ConfChangeType::AddLearnerNode => eraftpb::ConfChangeType::AddLearnerNode,
        raftpb::ConfChangeType::UpdateNode => return None,
    });
    c.node_id = change.node_id;
    (c.node_id != 0).then_some(c)
}

/// Turns a snapshot into raft-rs's.
pub(crate) fn snapshot_in(snapshot: raftpb::Snapshot) -> eraftpb::Snapshot {
    let mut s = eraftpb::Snapshot { data: snapshot.data, ..eraftpb::Snapshot::default() };
    let metadata = s.mut_metadata();
    metadata.index = snapshot.metadata.index;
    metadata.term = snapshot.metadata.term;
    metadata.set_conf_state(conf_state_in(&snapshot.metadata.conf_state));
    s
}

/// Turns raft-rs's snapshot into etcd's.
pub(crate) fn snapshot_out(mut snapshot: eraftpb::Snapshot) -> raftpb::Snapshot {
    let mut metadata = snapshot.take_metadata();
    raftpb::Snapshot {
        data: snapshot.data,
        metadata: raftpb::SnapshotMetadata {
            conf_state: conf_state_out(&metadata.take_conf_state()),
            index: metadata.index,
            term: metadata.term,
        },
    }
}

/// Turns a configuration into raft-rs's.
pub(crate) fn conf_state_in(conf_state: &raftpb::ConfState) -> eraftpb::ConfState {
    let mut c = eraftpb::ConfState::default();
    c.voters.clone_from(&conf_state.voters);
    c.learners.clone_from(&conf_state.learners);
    c.voters_outgoing.clone_from(&conf_state.voters_outgoing);
    c.learners_next.clone_from(&conf_state.learners_next);
    c.auto_leave = conf_state.auto_leave;
    c
}

/// Turns raft-rs's configuration into etcd's, whose lists ascend; raft-rs keeps sets.
pub(crate) fn conf_state_out(conf_state: &eraftpb::ConfState) -> raftpb::ConfState {
    raftpb::ConfState {
        voters: sorted(&conf_state.voters),
        learners: sorted(&conf_state.learners),
        voters_outgoing: sorted(&conf_state.voters_outgoing),
        learners_next: sorted(&conf_state.learners_next),
        auto_leave: conf_state.auto_leave,
    }
}

fn sorted(ids: &[u64]) -> Vec<u64> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids
}

/// Turns a hard state into raft-rs's.
pub(crate) fn hard_state_in(hard_state: raftpb::HardState) -> eraftpb::HardState {
    eraftpb::HardState {
        term: hard_state.term,
        vote: hard_state.vote,
        commit: hard_state.commit,
        ..eraftpb::HardState::default()
    }
}

/// Turns raft-rs's hard state into etcd's.
pub(crate) fn hard_state_out(hard_state: &eraftpb::HardState) -> raftpb::HardState {
    raftpb::HardState { term: hard_state.term, vote: hard_state.vote, commit: hard_state.commit }
}

fn type_in(message_type: raftpb::MessageType) -> eraftpb::MessageType {
    use eraftpb::MessageType as To;
    use raftpb::MessageType as From;
    match message_type {
        From::Prop => To::MsgPropose,
        From::App => To::MsgAppend,
        From::AppResp => To::MsgAppendResponse,
        From::Vote => To::MsgRequestVote,
        From::VoteResp => To::MsgRequestVoteResponse,
        From::Snap => To::MsgSnapshot,
        From::Heartbeat => To::MsgHeartbeat,
        From::HeartbeatResp => To::MsgHeartbeatResponse,
        From::TransferLeader => To::MsgTransferLeader,
        From::TimeoutNow => To::MsgTimeoutNow,
        From::ReadIndex => To::MsgReadIndex,
        From::ReadIndexResp => To::MsgReadIndexResp,
        From::PreVote => To::MsgRequestPreVote,
        From::PreVoteResp => To::MsgRequestPreVoteResponse,
    }
}

fn type_out(message_type: eraftpb::MessageType) -> Option<raftpb::MessageType> {
    use eraftpb::MessageType as From;
    use raftpb::MessageType as To;
    Some(match message_type {
        From::MsgPropose => To::Prop,
        From::MsgAppend => To::App,
        From::MsgAppendResponse => To::AppResp,
        From::MsgRequestVote => To::Vote,
        From::MsgRequestVoteResponse => To::VoteResp,
        From::MsgSnapshot => To::Snap,
        From::MsgHeartbeat => To::Heartbeat,
        From::MsgHeartbeatResponse => To::HeartbeatResp,
        From::MsgTransferLeader => To::TransferLeader,
        From::MsgTimeoutNow => To::TimeoutNow,
        From::MsgReadIndex => To::ReadIndex,
        From::MsgReadIndexResp => To::ReadIndexResp,
        From::MsgRequestPreVote => To::PreVote,
        From::MsgRequestPreVoteResponse => To::PreVoteResp,
        From::MsgHup
        | From::MsgBeat
        | From::MsgUnreachable
        | From::MsgSnapStatus
        | From::MsgCheckQuorum => return None,
    })
}
