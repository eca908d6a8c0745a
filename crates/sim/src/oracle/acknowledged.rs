//! What a client was told happened did happen, once, and as it was told; what it was told did not
//! happen never does.
//!
//! Source:     Raft paper 8 (client interaction); design.md 2 (unknown outcomes).

use std::collections::{BTreeMap, BTreeSet};

use types::RequestId;

use super::Verdict;
use super::model::Model;
use crate::Violation;
use crate::requests::{self, Answer, Request};
use crate::turn::AppliedNote;

/// All requests with their fate.
#[derive(Debug, Default)]
pub(super) struct Acknowledged {
    model: Model,
    issued: BTreeMap<RequestId, Request>,
    /// The right answer of every request that was applied.
    applied: BTreeMap<RequestId, Answer>,
    refused: BTreeSet<RequestId>,
}

impl Acknowledged {
    pub(super) fn issued(&mut self, id: RequestId, request: &Request) {
        self.issued.insert(id, request.clone());
    }

    /// An entry was applied for the first time; what it does to the model.
    pub(super) fn applied(&mut self, note: &AppliedNote) -> Verdict {
        let Some(request) = self.issued.get(&note.request) else { return Ok(()) };
        if self.refused.contains(&note.request) {
            let detail = format!("request {} was refused, and then applied", note.request);
            return Err(Violation::new("refused requests", detail));
        }
        // A member that replays has no reply: another one has had it, or nobody can be asked.
        let told = note.reply.as_ref().map_or(Answer::Strange, requests::answer);
        let right = self.model.apply(request, &told);
        if note.revision != self.model.revision() {
            let (found, right) = (note.revision, self.model.revision());
            let detail = format!("revision {found} behind entry {}, not {right}", note.entry.index);
            return Err(Violation::new("model", detail));
        }
        if self.applied.insert(note.request, right).is_some() {
            let detail = format!("request {} was applied twice", note.request);
            return Err(Violation::new("exactly once", detail));
        }
        Ok(())
    }

    /// A member computed a reply.
    pub(super) fn check_reply(&self, id: RequestId, answer: &Answer) -> Verdict {
        match self.applied.get(&id) {
            Some(right) if right != answer => {
                let request = self.issued.get(&id);
                let detail = format!("{request:?} is answered {answer:?}, not {right:?}");
                Err(Violation::new("model", detail))
            }
            _ => Ok(()),
        }
    }

    /// A client was told; returns what it had asked.
    pub(super) fn answered(&self, id: RequestId, answer: &Answer) -> Result<Request, Violation> {
        let Some(request) = self.issued.get(&id) else {
            return Err(Violation::new("acknowledged", format!("nobody made request {id}")));
        };
        if request.is_read() {
            self.model.check_read(request, answer)?;
        } else if self.applied.contains_key(&id) {
            self.check_reply(id, answer)?;
        } else {
            let detail = format!("request {id} is answered and not applied");
            return Err(Violation::new("acknowledged", detail));
        }
        Ok(request.clone())
    }

    pub(super) fn refused(&mut self, id: RequestId) -> Verdict {
        if self.applied.contains_key(&id) {
            let detail = format!("request {id} was applied, and then refused");
            return Err(Violation::new("refused requests", detail));
        }
        self.refused.insert(id);
        Ok(())
    }

    pub(super) fn model(&self) -> &Model {
        &self.model
    }
}
