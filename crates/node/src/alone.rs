//! Whether this member alone decides, and has applied everything that it ever acknowledged.
//!
//! Owns:       the term that it leads as the only voter, the term that apply has reached.
//! Invariants: the raft thread says that the member is no longer the only voter before any message can
//!             tell the other one.
//! Source:     decision 0023.

use std::sync::atomic::{AtomicU64, Ordering};

use types::Term;

/// What the raft and apply threads say; any thread asks.
#[derive(Debug, Default)]
pub(crate) struct Alone {
    /// The term that this member leads as the only voter, else 0.
    sole_term: AtomicU64,
    /// The term whose first entry was applied last.
    begun_term: AtomicU64,
}

impl Alone {
    /// The raft thread's word: the term that this member leads as the only voter.
    pub(crate) fn set_sole_term(&self, term: Option<Term>) {
        self.sole_term.store(term.map_or(0, |term| term.0), Ordering::SeqCst);
    }

    /// The apply thread's word: the first entry of this term is applied, and with it everything of the
    /// terms before.
    pub(crate) fn term_begun(&self, term: Term) {
        self.begun_term.store(term.0, Ordering::SeqCst);
    }

    /// Whether what this member has applied holds everything that was ever acknowledged: it alone
    /// decides what is committed, acknowledges only what it has applied, and has applied what was
    /// committed before it came to lead.
    pub(crate) fn is_up_to_date(&self) -> bool {
        let term = self.sole_term.load(Ordering::SeqCst);
        term != 0 && self.begun_term.load(Ordering::SeqCst) == term
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sole_voter_that_has_applied_the_start_of_its_term_is_up_to_date() {
        let alone = Alone::default();
        for (sole_term, begun_term, expected) in [
            (None, 0, false),
            (Some(0), 0, false),
            (None, 2, false),
            // It came to lead, and what it acknowledged before a crash may not be applied yet.
            (Some(3), 2, false),
            (Some(3), 3, true),
            // A second voter.
            (None, 3, false),
            (Some(4), 3, false),
        ] {
            alone.set_sole_term(sole_term.map(Term));
            alone.term_begun(Term(begun_term));
            assert_eq!(alone.is_up_to_date(), expected, "{sole_term:?} {begun_term}");
        }
    }
}
