//! An entry committed in a term is in the logs of the leaders of all higher terms.
//!
//! Source:     Raft paper 5.4, figure 3 "Leader Completeness".

use types::NodeId;

use super::Verdict;
use super::log_book::Book;
use super::state_machine_safety::Committed;
use crate::Violation;

pub(super) fn check(id: NodeId, term: u64, log: &Book, committed: &Committed) -> Verdict {
    for (index, entry) in committed.entries() {
        // The term in which it was committed is not known, only one that it was not committed
        // after.
        if entry.known_in < term && !log.has(index, entry.term) {
            let detail = format!(
                "{id} leads term {term} without entry {index} of term {}, committed by term {}",
                entry.term, entry.known_in
            );
            return Err(Violation::new("leader completeness", detail));
        }
    }
    Ok(())
}
