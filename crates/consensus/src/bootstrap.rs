//! Logs that are written without an election: a cluster's first, and that of a lone survivor.
//!
//! Owns:       nothing.
//! Uses:       `membership` for the context of configuration changes.
//! Never:      I/O; the caller writes what is returned to the WAL.
//! Invariants: every founding member makes the same log from the same members.
//! Source:     peer-protocol.md 12.2, disk-formats.md 4 (point 8).

use std::collections::BTreeSet;

use bytes::Bytes;
use membership::{Member, json};
use proto::raftpb::{ConfChange, ConfChangeType, ConfState, Entry, EntryType, HardState};
use types::{LogIndex, NodeId};

/// The term that the log of a new cluster starts in; its first election makes the next.
const BOOTSTRAP_TERM: u64 = 1;
/// Where a survivor that is no member says it can be reached, as etcd does.
const FORCED_PEER_URL: &str = "http://localhost:2380";

/// Builds the log that every founding member writes for itself: one configuration change per
/// member, ascending by ID, all committed.
#[must_use]
pub fn new_cluster(members: &[Member]) -> (Vec<Entry>, HardState) {
    let mut members: Vec<&Member> = members.iter().collect();
    members.sort_by_key(|member| member.id);
    let mut log = Log { last: 0, term: BOOTSTRAP_TERM, entries: Vec::new() };
    for member in members {
        let context = json::conf_change_context(member, false);
        log.push(ConfChangeType::AddNode, member.id.0, context);
    }
    (log.entries, HardState { term: BOOTSTRAP_TERM, vote: 0, commit: log.last })
}

/// What `--force-new-cluster` does to a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForcedCluster {
    /// Entries that stay in force; those behind them were never committed and are dropped.
    pub kept: Vec<Entry>,
    /// Entries to append behind them, after which this member is alone.
    pub appended: Vec<Entry>,
    /// The hard state to write with them: they are committed.
    pub hard_state: HardState,
}

/// Turns this member's log into that of a cluster of one.
///
/// `entries` are those behind the snapshot whose configuration is `conf_state`. What the backend
/// has applied counts as committed.
#[must_use]
pub fn force_new_cluster(
    id: NodeId,
    hard_state: HardState,
    mut entries: Vec<Entry>,
    conf_state: &ConfState,
    consistent_index: LogIndex,
) -> ForcedCluster {
    let commit = hard_state.commit.max(consistent_index.0);
    entries.retain(|entry| entry.index <= commit);
    let last_term = entries.last().map_or(0, |entry| entry.term);
    let term = hard_state.term.max(last_term);
    let vote = if term == hard_state.term { hard_state.vote } else { 0 };
    let effective = Effective::from_log(conf_state, &entries);
    let mut log = Log { last: commit, term, entries: Vec::new() };
    if !effective.voters.contains(&id.0) {
        let context = json::conf_change_context(&survivor(id), effective.learners.contains(&id.0));
        log.push(ConfChangeType::AddNode, id.0, context);
    }
    for other in effective.voters.union(&effective.learners).filter(|&&other| other != id.0) {
        log.push(ConfChangeType::RemoveNode, *other, Bytes::new());
    }
    let hard_state = HardState { term, vote, commit: log.last };
    ForcedCluster { kept: entries, appended: log.entries, hard_state }
}

fn survivor(id: NodeId) -> Member {
    Member { id, peer_urls: vec![FORCED_PEER_URL.to_owned()], ..Member::default() }
}

/// Entries being written.
struct Log {
    last: u64,
    term: u64,
    entries: Vec<Entry>,
}

impl Log {
    fn push(&mut self, change_type: ConfChangeType, node_id: u64, context: Bytes) {
        self.last += 1;
        let change = ConfChange { id: 0, change_type, node_id, context };
        self.entries.push(Entry {
            entry_type: EntryType::ConfChange,
            term: self.term,
            index: self.last,
            data: change.encode(),
        });
    }
}

/// The members after all changes in a log, those that were refused when applied included.
struct Effective {
    voters: BTreeSet<u64>,
    learners: BTreeSet<u64>,
}

impl Effective {
    fn from_log(conf_state: &ConfState, entries: &[Entry]) -> Self {
        let mut effective = Self {
            voters: conf_state.voters.iter().copied().collect(),
            learners: conf_state.learners.iter().copied().collect(),
        };
        for entry in entries.iter().filter(|entry| entry.entry_type == EntryType::ConfChange) {
            if let Ok(change) = ConfChange::decode(entry.data.clone()) {
                effective.apply(&change);
            }
        }
        effective
    }

    fn apply(&mut self, change: &ConfChange) {
        let id = change.node_id;
        match change.change_type {
            ConfChangeType::AddNode => {
                self.learners.remove(&id);
                self.voters.insert(id);
            }
            ConfChangeType::AddLearnerNode => {
                if !self.voters.contains(&id) {
                    self.learners.insert(id);
                }
            }
            ConfChangeType::RemoveNode => {
                self.voters.remove(&id);
                self.learners.remove(&id);
            }
            ConfChangeType::UpdateNode => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, name: &str) -> Member {
        Member {
            id: NodeId(id),
            peer_urls: vec![format!("http://127.0.0.1:{id}")],
            name: name.to_owned(),
            ..Member::default()
        }
    }

    fn changes(entries: &[Entry]) -> Vec<(u64, u64, ConfChangeType, u64)> {
        entries
            .iter()
            .map(|entry| {
                let change = ConfChange::decode(entry.data.clone()).unwrap();
                (entry.index, entry.term, change.change_type, change.node_id)
            })
            .collect()
    }

    #[test]
    fn founding_log_is_sorted_and_committed() {
        let (entries, hard_state) = new_cluster(&[member(7, "c"), member(2, "a"), member(5, "b")]);
        use ConfChangeType::AddNode;
        assert_eq!(changes(&entries), [(1, 1, AddNode, 2), (2, 1, AddNode, 5), (3, 1, AddNode, 7)]);
        assert_eq!(hard_state, HardState { term: 1, vote: 0, commit: 3 });
        let first = ConfChange::decode(entries[0].data.clone()).unwrap();
        assert_eq!(
            first.context,
            br#"{"id":2,"peerURLs":["http://127.0.0.1:2"],"name":"a"}"#.as_slice()
        );
    }

    #[test]
    fn survivor_removes_the_others_and_drops_what_was_not_committed() {
        let (mut entries, _) = new_cluster(&[member(1, "a"), member(2, "b"), member(3, "c")]);
        let normal = |index, term| Entry { index, term, ..Entry::default() };
        entries.extend([normal(4, 2), normal(5, 2), normal(6, 3)]);
        let hard_state = HardState { term: 3, vote: 2, commit: 4 };
        let forced =
            force_new_cluster(NodeId(2), hard_state, entries, &ConfState::default(), LogIndex(5));
        assert_eq!(forced.kept.len(), 5);
        use ConfChangeType::RemoveNode;
        assert_eq!(changes(&forced.appended), [(6, 3, RemoveNode, 1), (7, 3, RemoveNode, 3)]);
        assert_eq!(forced.hard_state, HardState { term: 3, vote: 2, commit: 7 });
    }

    #[test]
    fn survivor_becomes_a_voter_first() {
        let conf_state =
            ConfState { voters: vec![1, 3], learners: vec![2], ..ConfState::default() };
        let hard_state = HardState { term: 4, vote: 0, commit: 10 };
        for (id, context) in [
            (2, r#"{"id":2,"peerURLs":["http://localhost:2380"],"isPromote":true}"#),
            (9, r#"{"id":9,"peerURLs":["http://localhost:2380"]}"#),
        ] {
            let forced =
                force_new_cluster(NodeId(id), hard_state, vec![], &conf_state, LogIndex(0));
            let first = &forced.appended[0];
            let change = ConfChange::decode(first.data.clone()).unwrap();
            assert_eq!((first.index, change.change_type), (11, ConfChangeType::AddNode));
            assert_eq!(change.context, context.as_bytes());
            let removed: Vec<u64> =
                changes(&forced.appended[1..]).iter().map(|change| change.3).collect();
            let others: &[u64] = if id == 2 { &[1, 3] } else { &[1, 2, 3] };
            assert_eq!(removed, others);
        }
    }
}
