//! If a member has applied an entry at an index, no other member applies another one there.
//!
//! Source:     Raft paper 5.4.3, figure 3 "State Machine Safety".

use std::collections::BTreeMap;

use types::NodeId;

use crate::Violation;

/// An entry that was applied somewhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct CommittedEntry {
    pub(super) term: u64,
    fingerprint: u64,
    /// Term of the member that applied it first, when it did.
    pub(super) known_in: u64,
    by: NodeId,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Committed {
    entries: BTreeMap<u64, CommittedEntry>,
}

impl Committed {
    /// Returns whether it is the first to apply at this index.
    pub(super) fn applied(
        &mut self,
        id: NodeId,
        (index, term, fingerprint): (u64, u64, u64),
        known_in: u64,
    ) -> Result<bool, Violation> {
        let Some(known) = self.entries.get(&index) else {
            let entry = CommittedEntry { term, fingerprint, known_in, by: id };
            self.entries.insert(index, entry);
            return Ok(true);
        };
        if (known.term, known.fingerprint) == (term, fingerprint) {
            return Ok(false);
        }
        let detail = format!(
            "{id} applies entry {index} of term {term}, {} applied one of term {} there",
            known.by, known.term
        );
        Err(Violation::new("state machine safety", detail))
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (u64, &CommittedEntry)> {
        self.entries.iter().map(|(index, entry)| (*index, entry))
    }

    pub(super) fn last(&self) -> Option<(u64, u64)> {
        self.entries.last_key_value().map(|(index, entry)| (*index, entry.term))
    }

    pub(super) fn count(&self) -> u64 {
        self.entries.len() as u64
    }
}
