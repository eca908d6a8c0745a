//! At most one leader can be elected in a given term.
//!
//! Source:     Raft paper 5.2, figure 3 "Election Safety".

use std::collections::BTreeMap;

use types::NodeId;

use super::Verdict;
use crate::Violation;

/// Who led in which term.
#[derive(Debug, Default)]
pub(super) struct ElectionSafety {
    leaders: BTreeMap<u64, NodeId>,
}

impl ElectionSafety {
    pub(super) fn leader(&mut self, id: NodeId, term: u64) -> Verdict {
        let known = *self.leaders.entry(term).or_insert(id);
        if known == id {
            return Ok(());
        }
        Err(Violation::new("election safety", format!("{known} and {id} both led term {term}")))
    }
}
