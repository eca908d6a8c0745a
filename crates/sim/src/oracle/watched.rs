//! A watcher is told of every change that it asked for, once, in order, all of one revision
//! together, with what was there before; and of progress only when nothing is missing up to there.
//!
//! Because changes are compared one by one with those of the model, from where the watcher stands
//! to the last one told, ordered, unique, atomic and reliable are one comparison. Where a watcher
//! stands is what a client resumes from, so that resumable and bookmarkable are the same one again.
//!
//! Source:     api-v3.md 3.

use super::Verdict;
use super::model::{Change, Model};
use crate::Violation;
use crate::requests::v3_key;
use crate::shell::WatchedEvent;

/// What a watcher wants to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interest {
    /// Keys.
    pub(crate) keys: std::ops::Range<u8>,
    pub(crate) no_put: bool,
    pub(crate) no_delete: bool,
    pub(crate) prev_kv: bool,
}

impl Interest {
    fn changes(&self, model: &Model, from: i64, through: i64) -> Vec<Change> {
        let mut changes = model.changes(self.keys.clone(), from, through);
        changes.retain(|change| match change.value {
            Some(_) => !self.no_put,
            None => !self.no_delete,
        });
        changes
    }

    /// How many changes from a revision on the watcher has not been told of.
    pub(super) fn missing(&self, model: &Model, from: i64) -> usize {
        self.changes(model, from, model.revision()).len()
    }

    /// Judges events for a watcher that stands at `next`; returns where it stands then.
    pub(super) fn told(
        &self,
        model: &Model,
        next: i64,
        events: &[WatchedEvent],
    ) -> Result<i64, Violation> {
        let last = events.last().map_or(next, |event| event.revision);
        let right = self.changes(model, next, last);
        let is_equal = right.len() == events.len()
            && right.iter().zip(events).all(|(right, event)| self.is(model, right, event));
        if is_equal && !events.is_empty() {
            return Ok(last + 1);
        }
        let detail = format!("from {next} on {self:?} was told {events:?}, not {right:?}");
        Err(Violation::new("watch", detail))
    }

    fn is(&self, model: &Model, right: &Change, event: &WatchedEvent) -> bool {
        // A pair that was compacted meanwhile is not shown any more.
        let may_lack = !self.prev_kv || right.revision <= model.compacted();
        let previous = event.previous == right.previous && self.prev_kv;
        (right.revision, &v3_key(right.key), &right.value)
            == (event.revision, &event.key, &event.value)
            && (previous || (may_lack && event.previous.is_none()))
    }

    /// Judges an answer that everything up to a revision was told.
    pub(super) fn progress(
        &self,
        model: &Model,
        next: i64,
        revision: i64,
    ) -> Result<i64, Violation> {
        let missing = self.changes(model, next, revision);
        if missing.is_empty() && revision <= model.revision() {
            return Ok(next.max(revision + 1));
        }
        let detail = format!("progress {revision} for {self:?} at {next}, which lacks {missing:?}");
        Err(Violation::new("watch progress", detail))
    }
}

/// Judges the end of a watcher that stands at `next`.
pub(super) fn compacted(model: &Model, next: i64, compact_revision: i64) -> Verdict {
    if next < compact_revision && compact_revision <= model.compacted() {
        return Ok(());
    }
    let compacted = model.compacted();
    let detail =
        format!("a watcher at {next} ends by {compact_revision}; {compacted} is compacted");
    Err(Violation::new("watch compacted", detail))
}
