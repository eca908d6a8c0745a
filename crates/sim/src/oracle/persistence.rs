//! A member never forgets its term, its vote and its log: they are on stable storage before it
//! answers.
//!
//! Source:     Raft paper 5.2 (one vote in a term) and figure 2 "Persistent state on all servers".

use std::collections::BTreeMap;

use proto::raftpb::{Message, MessageType};
use types::NodeId;

use super::Verdict;
use super::log_book::Book;
use crate::Violation;
use crate::member::LogOnDisk;

/// What members told others about themselves.
#[derive(Debug, Default)]
pub(super) struct Persistence {
    /// Highest term named by each member.
    terms: BTreeMap<NodeId, u64>,
    /// Who got a member's vote in a term.
    votes: BTreeMap<(NodeId, u64), u64>,
}

impl Persistence {
    pub(super) fn sent(&mut self, message: &Message) -> Verdict {
        let id = NodeId(message.from);
        let is_bound = !matches!(
            message.message_type,
            MessageType::PreVote
                | MessageType::PreVoteResp
                | MessageType::Prop
                | MessageType::ReadIndex
        );
        if is_bound {
            let term = self.terms.entry(id).or_default();
            *term = (*term).max(message.term);
        }
        match message.message_type {
            MessageType::Vote => self.voted(id, message.term, message.from),
            MessageType::VoteResp if !message.reject => self.voted(id, message.term, message.to),
            _ => Ok(()),
        }
    }

    /// A term and perhaps a vote are on stable storage.
    pub(super) fn synced(&mut self, id: NodeId, term: u64, vote: u64) -> Verdict {
        let known = self.terms.entry(id).or_default();
        *known = (*known).max(term);
        if vote == 0 { Ok(()) } else { self.voted(id, term, vote) }
    }

    fn voted(&mut self, id: NodeId, term: u64, candidate: u64) -> Verdict {
        let known = *self.votes.entry((id, term)).or_insert(candidate);
        if known == candidate {
            return Ok(());
        }
        let detail = format!("{id} voted for {known:x} and {candidate:x} in term {term}");
        Err(Violation::new("one vote in a term", detail))
    }

    pub(super) fn restarted(&self, id: NodeId, term: u64, vote: u64) -> Verdict {
        let told = self.terms.get(&id).copied().unwrap_or(0);
        if term < told {
            let detail = format!("{id} starts in term {term} after it was in {told}");
            return Err(Violation::new("persistence of the term", detail));
        }
        match self.votes.get(&(id, term)) {
            Some(candidate) if *candidate != vote => {
                let detail =
                    format!("{id} starts with vote {vote:x} in term {term}, was {candidate:x}");
                Err(Violation::new("persistence of the vote", detail))
            }
            _ => Ok(()),
        }
    }
}

/// What was synced must be found again, unless a later leader's entries have taken its place.
pub(super) fn check_log(id: NodeId, durable: &Book, found: &LogOnDisk) -> Verdict {
    let last_term = found.entries.last().map_or(found.snapshot.1, |entry| entry.1);
    for (index, (term, fingerprint)) in durable.entries.range(found.snapshot.0 + 1..) {
        let offset = usize::try_from(index - found.snapshot.0 - 1).unwrap_or(usize::MAX);
        let is_same = found.entries.get(offset) == Some(&(*index, *term, *fingerprint));
        if !is_same && last_term <= *term {
            let detail = format!("{id} lost entry {index} of term {term} from its disk");
            return Err(Violation::new("persistence of the log", detail));
        }
    }
    let last = found.snapshot.0 + found.entries.len() as u64;
    if last < durable.snapshot.0 {
        let detail = format!("{id} lost the snapshot at {} from its disk", durable.snapshot.0);
        return Err(Violation::new("persistence of the log", detail));
    }
    Ok(())
}
