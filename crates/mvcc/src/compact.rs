//! Compaction: scheduled by the log, carried out row by row, finished with a mark.
//!
//! ```text
//! compact(at) -> scheduledCompactRev      reads that begin are refused before `at` from here on;
//!                                         those that began earlier go on until the first step
//! compact_step(rows <= at)* -> deletions  the index forgets exactly the rows that are deleted
//! compact_finish(at) -> finishedCompactRev
//! ```
//!
//! Owns:       nothing.
//! Uses:       `store`, `key_entry`, `types`.
//! Never:      a walk over the whole index.
//! Invariants: after each step index and rows agree, so a restart in between resumes.
//! Source:     api-v3.md 2.7, disk-formats.md 6 and 7, peer-protocol.md 15.9.

use bytes::Bytes;
use types::{Bucket, EtcdError, Op, RevKey};

use crate::store::Store;

const SCHEDULED: &[u8] = b"scheduledCompactRev";
const FINISHED: &[u8] = b"finishedCompactRev";

impl Store {
    /// Makes `revision` the oldest that can be read and returns the mark of it.
    ///
    /// # Errors
    ///
    /// When it is compacted already or in the future.
    pub fn compact(&mut self, revision: i64) -> Result<Vec<Op>, EtcdError> {
        if revision <= self.compacted_revision {
            return Err(EtcdError::Compacted);
        }
        if revision > self.current_revision {
            return Err(EtcdError::FutureRev);
        }
        self.compacted_revision = revision;
        Ok(vec![mark(SCHEDULED, revision)])
    }

    /// The compaction whose rows are not all deleted yet.
    #[must_use]
    pub fn pending_compaction(&self) -> Option<i64> {
        (self.compacted_revision > self.finished_compaction).then_some(self.compacted_revision)
    }

    /// Deletes those of the given rows that a compaction at `at` does not keep.
    ///
    /// Rows are revision, whether a tombstone, and user key; they must come in ascending order over
    /// the calls and from the first row on. Rows behind `at` are left alone, and `at` counts as no
    /// more than the compacted revision.
    pub fn compact_step(&mut self, rows: &[(RevKey, bool, Bytes)], at: i64) -> Vec<Op> {
        let at = at.min(self.compacted_revision);
        self.trimmed_revision = self.trimmed_revision.max(at);
        let due = rows.iter().filter(|(revision, ..)| revision.main <= at);
        due.filter_map(|(revision, tombstone, key)| {
            let mut is_kept = false;
            self.index.retain(key, |entry| {
                is_kept = entry.kept_by_compaction(at) == Some(*revision);
                is_kept || entry.forget(*revision)
            });
            (!is_kept).then(|| Op::delete(Bucket::Key, row_key(*revision, *tombstone)))
        })
        .collect()
    }

    /// Whether a compaction at `at` keeps the row of a key.
    #[must_use]
    pub fn compaction_keeps(&self, key: &[u8], revision: RevKey, at: i64) -> bool {
        revision.main > at
            || self.index.get(key).and_then(|entry| entry.kept_by_compaction(at)) == Some(revision)
    }

    /// Records that all rows of a compaction are deleted and returns the mark of it.
    pub fn compact_finish(&mut self, at: i64) -> Vec<Op> {
        self.finished_compaction = self.finished_compaction.max(at.min(self.compacted_revision));
        vec![mark(FINISHED, at)]
    }
}

/// The key of a row in the `key` bucket.
pub(crate) fn row_key(revision: RevKey, tombstone: bool) -> Vec<u8> {
    if tombstone { revision.to_tombstone().to_vec() } else { revision.to_live().to_vec() }
}

fn mark(name: &'static [u8], revision: i64) -> Op {
    Op::put(Bucket::Meta, name, RevKey::new(revision, 0).to_live().to_vec())
}
