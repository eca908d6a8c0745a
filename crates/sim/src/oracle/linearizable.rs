//! Every operation takes effect at one moment between its call and its answer.
//!
//! Revisions (and v2 indexes) order the operations, so checking takes linear time: the model has
//! said whether an answer is the right one for its revision; here remains real time. An operation
//! must not be ordered before one that had been answered when it was called.
//!
//! Source:     Herlihy and Wing, "Linearizability", 1990; Raft thesis 6.3 and 6.4.

use types::RequestId;

use super::Verdict;
use crate::Violation;
use crate::requests::{Answer, Request};

/// The latest order known to clients at some moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Floor {
    revision: i64,
    index: u64,
}

/// What clients were told so far.
#[derive(Debug, Default)]
pub(super) struct History {
    latest: Floor,
}

impl History {
    pub(super) fn floor(&self) -> Floor {
        self.latest
    }

    pub(super) fn returned(
        &mut self,
        id: RequestId,
        floor: Floor,
        request: &Request,
        answer: &Answer,
    ) -> Verdict {
        if matches!(request, Request::SerializableRead { .. }) {
            return Ok(());
        }
        if let Some((revision, is_new)) = revision(answer) {
            check(id, revision, floor.revision, is_new)?;
            self.latest.revision = self.latest.revision.max(revision);
        }
        if let Some((index, is_new)) = index(answer) {
            check(id, index, floor.index, is_new)?;
            self.latest.index = self.latest.index.max(index);
        }
        Ok(())
    }
}

fn check<T: Ord + std::fmt::Display>(id: RequestId, at: T, floor: T, is_new: bool) -> Verdict {
    if at > floor || (at == floor && !is_new) {
        return Ok(());
    }
    let detail = format!("request {id} was ordered at {at}, but {floor} was known before its call");
    Err(Violation::new("linearizability", detail))
}

/// Revision of an answer, and whether the operation made it.
fn revision(answer: &Answer) -> Option<(i64, bool)> {
    match answer {
        Answer::Put { revision } => Some((*revision, true)),
        Answer::Deleted { revision, count } => Some((*revision, *count > 0)),
        Answer::Swapped { revision, seen } => Some((*revision, seen.is_none())),
        Answer::Read { revision, .. } => Some((*revision, false)),
        _ => None,
    }
}

fn index(answer: &Answer) -> Option<(u64, bool)> {
    match answer {
        Answer::V2 { index, .. } => Some((*index, true)),
        Answer::V2Failed { index, .. } | Answer::V2Read { index, .. } => Some((*index, false)),
        _ => None,
    }
}
