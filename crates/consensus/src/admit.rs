//! Which messages from the network may reach raft.
//!
//! Owns:       nothing.
//! Uses:       `proto::raftpb`.
//! Never:      an answer to a refused message: to its sender it is as if the network had lost it.
//! Invariants: nothing that passes can make raft-rs panic, but for a log that contradicts what
//!             was committed; that must stop the member.
//! Source:     raft-rs 0.7 `raft.rs` (its `fatal!` and indexing), raft-library.md 4 (traps 2, 9).

use std::collections::BTreeSet;

use proto::raftpb::{ConfState, Entry, Message, MessageType, SnapshotMetadata};

/// Terms and indexes from the network stay below, so that sums with them cannot overflow.
const POSITION_MAX: u64 = u64::MAX / 4;

/// What of the member's own state a judgement needs.
pub(crate) struct Local {
    /// This member.
    pub(crate) id: u64,
    /// Its term.
    pub(crate) term: u64,
    /// Last index of its log.
    pub(crate) last_index: u64,
    /// Whether it leads.
    pub(crate) leads: bool,
}

/// Returns whether raft may see this message.
pub(crate) fn admits(local: &Local, message: &Message) -> bool {
    let addressed = message.to == local.id && message.from != 0 && message.from != local.id;
    addressed && positions_are_sane(message) && content_is_sane(local, message)
}

fn positions_are_sane(message: &Message) -> bool {
    [message.term, message.log_term, message.index, message.commit, message.reject_hint]
        .iter()
        .all(|&position| position < POSITION_MAX)
}

fn content_is_sane(local: &Local, message: &Message) -> bool {
    match message.message_type {
        MessageType::Prop => !message.entries.is_empty(),
        MessageType::ReadIndex => message.entries.len() == 1,
        // A follower would hand it on with a term set, which raft-rs does not survive.
        MessageType::TransferLeader => local.leads,
        MessageType::ReadIndexResp => message.term > 0 && message.entries.len() == 1,
        MessageType::App => message.term > 0 && entries_follow(message),
        MessageType::AppResp => message.term > 0 && acknowledges_known(local, message),
        // What a leader knows to be committed here was acknowledged by this member before.
        MessageType::Heartbeat => message.term > 0 && commit_is_known(local, message),
        MessageType::Snap => message.term > 0 && snapshot_is_sane(message),
        MessageType::Vote
        | MessageType::VoteResp
        | MessageType::PreVote
        | MessageType::PreVoteResp
        | MessageType::HeartbeatResp
        | MessageType::TimeoutNow => message.term > 0,
    }
}

fn entries_follow(message: &Message) -> bool {
    // Term 0 matches every index that a log does not have.
    let anchored = (message.index == 0) == (message.log_term == 0);
    let (mut index, mut term) = (message.index, message.log_term);
    anchored
        && message.entries.iter().all(|entry: &Entry| {
            let follows = entry.index == index + 1 && entry.term >= term && entry.term > 0;
            (index, term) = (entry.index, entry.term);
            follows && entry.term <= message.term && entry.index < POSITION_MAX
        })
}

fn acknowledges_known(local: &Local, message: &Message) -> bool {
    let stale = message.term != local.term || !local.leads;
    stale || message.reject || message.index <= local.last_index
}

fn commit_is_known(local: &Local, message: &Message) -> bool {
    message.term < local.term || message.commit <= local.last_index
}

fn snapshot_is_sane(message: &Message) -> bool {
    message.snapshot.as_ref().is_some_and(|snapshot| {
        metadata_is_sane(&snapshot.metadata) && snapshot.metadata.term <= message.term
    })
}

/// Returns whether raft can continue from a snapshot with this metadata.
pub(crate) fn metadata_is_sane(metadata: &SnapshotMetadata) -> bool {
    let position = 1..POSITION_MAX;
    position.contains(&metadata.index)
        && position.contains(&metadata.term)
        && conf_state_is_sane(&metadata.conf_state)
}

/// Returns whether raft can run this configuration: voters and learners are apart and unique, and
/// it is not joint, which etcd never is.
pub(crate) fn conf_state_is_sane(conf_state: &ConfState) -> bool {
    let simple = conf_state.voters_outgoing.is_empty()
        && conf_state.learners_next.is_empty()
        && !conf_state.auto_leave;
    let mut seen = BTreeSet::from([0]);
    let unique = conf_state.voters.iter().chain(&conf_state.learners).all(|&id| seen.insert(id));
    simple && unique && !conf_state.voters.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::raftpb::Snapshot;

    const LOCAL: Local = Local { id: 1, term: 5, last_index: 10, leads: true };

    fn message(message_type: MessageType) -> Message {
        Message { message_type, to: 1, from: 2, term: 5, ..Message::default() }
    }

    fn entries(positions: &[(u64, u64)]) -> Vec<Entry> {
        positions.iter().map(|&(index, term)| Entry { index, term, ..Entry::default() }).collect()
    }

    fn conf_state(voters: &[u64], learners: &[u64]) -> ConfState {
        ConfState { voters: voters.into(), learners: learners.into(), ..ConfState::default() }
    }

    #[test]
    fn addresses() {
        let vote = message(MessageType::Vote);
        assert!(admits(&LOCAL, &vote));
        assert!(!admits(&LOCAL, &Message { to: 3, ..vote.clone() }));
        assert!(!admits(&LOCAL, &Message { from: 0, ..vote.clone() }));
        assert!(!admits(&LOCAL, &Message { from: 1, ..vote.clone() }));
        assert!(!admits(&LOCAL, &Message { term: 0, ..vote.clone() }));
        assert!(!admits(&LOCAL, &Message { term: u64::MAX, ..vote.clone() }));
        assert!(!admits(&LOCAL, &Message { index: u64::MAX, ..vote }));
    }

    #[test]
    fn requests_carry_entries() {
        for (message_type, counts) in [
            (MessageType::Prop, [false, true, true]),
            (MessageType::ReadIndex, [false, true, false]),
        ] {
            for (count, expected) in counts.into_iter().enumerate() {
                let m = Message {
                    entries: vec![Entry::default(); count],
                    term: 0,
                    ..message(message_type)
                };
                assert_eq!(admits(&LOCAL, &m), expected, "{message_type:?} {count}");
            }
        }
    }

    #[test]
    fn appended_entries_follow_their_anchor() {
        let append = |index, log_term, positions: &[_]| {
            let m = message(MessageType::App);
            admits(&LOCAL, &Message { index, log_term, entries: entries(positions), ..m })
        };
        assert!(append(0, 0, &[(1, 1), (2, 1), (3, 5)]));
        assert!(append(7, 4, &[]));
        assert!(append(7, 4, &[(8, 4)]));
        assert!(!append(7, 0, &[]), "term 0 would match an index out of range");
        assert!(!append(0, 1, &[]));
        assert!(!append(7, 4, &[(9, 4)]));
        assert!(!append(7, 4, &[(8, 3)]));
        assert!(!append(7, 4, &[(8, 6)]));
        assert!(!append(0, 0, &[(1, 0)]));
    }

    #[test]
    fn acknowledgements_stay_in_the_log() {
        let ack = |index, term, reject| {
            let m = message(MessageType::AppResp);
            admits(&LOCAL, &Message { index, term, reject, ..m })
        };
        assert!(ack(10, 5, false));
        assert!(!ack(11, 5, false));
        assert!(ack(11, 5, true));
        assert!(ack(11, 4, false), "stale, raft ignores it");
    }

    #[test]
    fn heartbeats_commit_what_is_there() {
        let beat = |commit| admits(&LOCAL, &Message { commit, ..message(MessageType::Heartbeat) });
        assert!(beat(10));
        assert!(!beat(11));
    }

    #[test]
    fn snapshots_have_a_position_and_a_simple_configuration() {
        let snap = |index, term, conf_state| {
            let metadata = SnapshotMetadata { conf_state, index, term };
            let snapshot = Some(Snapshot { metadata, ..Snapshot::default() });
            admits(&LOCAL, &Message { snapshot, ..message(MessageType::Snap) })
        };
        assert!(snap(20, 5, conf_state(&[1, 2], &[3])));
        assert!(!snap(0, 5, conf_state(&[1, 2], &[])));
        assert!(!snap(20, 0, conf_state(&[1, 2], &[])));
        assert!(!snap(20, 6, conf_state(&[1, 2], &[])));
        assert!(!snap(20, 5, conf_state(&[], &[1])));
        assert!(!snap(20, 5, conf_state(&[1, 1], &[])));
        assert!(!snap(20, 5, conf_state(&[1, 2], &[2])));
        assert!(!snap(20, 5, conf_state(&[1, 0], &[])));
        let joint = ConfState { voters_outgoing: vec![3], ..conf_state(&[1], &[]) };
        assert!(!snap(20, 5, joint));
        assert!(!admits(&LOCAL, &message(MessageType::Snap)));
    }

    #[test]
    fn transfers_pass_only_at_a_leader() {
        let m = message(MessageType::TransferLeader);
        assert!(admits(&LOCAL, &m));
        assert!(!admits(&Local { leads: false, ..LOCAL }, &m));
    }
}
