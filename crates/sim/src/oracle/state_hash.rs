//! Members that applied the same entries have the same state.
//!
//! Source:     Raft paper 2 (replicated state machines); design.md 4 (apply is deterministic).

use std::collections::BTreeMap;

use types::NodeId;

use super::Verdict;
use crate::Violation;

/// Hash by applied index, and who had it first.
#[derive(Debug, Default)]
pub(super) struct StateHashes {
    hashes: BTreeMap<u64, (u64, NodeId)>,
}

impl StateHashes {
    pub(super) fn check(&mut self, id: NodeId, index: u64, hash: u64) -> Verdict {
        let (known, by) = *self.hashes.entry(index).or_insert((hash, id));
        if known == hash {
            return Ok(());
        }
        let detail = format!("{id} has another state than {by} behind entry {index}");
        Err(Violation::new("state hash", detail))
    }
}
