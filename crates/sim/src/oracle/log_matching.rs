//! If two logs contain an entry with the same index and term, they are identical up to it.
//!
//! Checked by induction: an entry of some index and term has one content and one predecessor. Only
//! what is durable counts: a lone voter that loses its election with its power may lead the same
//! term once more, with other entries, and nobody has seen the first.
//!
//! Source:     Raft paper 5.3, figure 3 "Log Matching".

use std::collections::BTreeMap;

use types::NodeId;

use super::Verdict;
use super::log_book::Book;
use crate::Violation;
use crate::turn::LogNote;

/// Fingerprint and term of the predecessor by index and term.
#[derive(Debug, Default)]
pub(super) struct LogMatching {
    entries: BTreeMap<(u64, u64), (u64, Option<u64>)>,
}

impl LogMatching {
    pub(super) fn synced(&mut self, id: NodeId, log: &Book, write: &LogNote) -> Verdict {
        let first = write.entries.first().map_or(0, |entry| entry.0);
        let mut before = match write.snapshot {
            Some((index, term)) => (index + 1 == first).then_some(term),
            None => log.term(first.saturating_sub(1)),
        };
        for &(index, term, fingerprint) in &write.entries {
            let known = *self.entries.entry((index, term)).or_insert((fingerprint, before));
            let same_before = known.1.is_none() || before.is_none() || known.1 == before;
            if known.0 != fingerprint || !same_before {
                let detail = format!("{id} has another entry {index} of term {term} than others");
                return Err(Violation::new("log matching", detail));
            }
            before = Some(term);
        }
        Ok(())
    }
}
