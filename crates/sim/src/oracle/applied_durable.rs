//! Nothing is applied anywhere before a majority of the voters has it on stable storage, the
//! member that applies it among them.
//!
//! Source:     Raft thesis 10.2.1 (writing to the leader's disk in parallel); design.md 5.

use std::collections::BTreeMap;

use proto::raftpb::Entry;
use types::NodeId;

use super::Verdict;
use super::log_book::LogBooks;
use crate::Violation;
use crate::turn::AppliedNote;

/// Term of the log that founding members write for themselves.
const FOUNDING_TERM: u64 = 1;

/// Voters by the index of the change that made them.
#[derive(Debug, Default)]
pub(super) struct AppliedDurable {
    voters: BTreeMap<u64, Vec<u64>>,
}

impl AppliedDurable {
    pub(super) fn first_applied(&self, id: NodeId, note: &AppliedNote, logs: &LogBooks) -> Verdict {
        let Entry { index, term, .. } = note.entry;
        if term == FOUNDING_TERM {
            return Ok(());
        }
        let has = |id: u64| logs.durable(NodeId(id)).has(index, term);
        // The leader may have counted before it applied the last change in front of the entry.
        let mut in_force = self.voters.range(..index).rev().map(|(_, voters)| voters).take(2);
        let is_committed = in_force
            .any(|voters| voters.iter().filter(|voter| has(**voter)).count() > voters.len() / 2);
        if is_committed && has(id.0) {
            return Ok(());
        }
        let detail = format!("{id} applied entry {index} of term {term} before it was durable");
        Err(Violation::new("applied before durable", detail))
    }

    /// A configuration change was applied for the first time.
    pub(super) fn changed(&mut self, entry: &Entry, voters: Vec<u64>) {
        if entry.term == FOUNDING_TERM {
            self.voters.clear();
        }
        self.voters.insert(entry.index, voters);
    }
}
