//! The hash over the `key` bucket by which members compare their history.
//!
//! Owns:       nothing.
//! Uses:       `store`, `kv`, `crc32c`; rows through `History`.
//! Never:      rows that another member may have deleted already.
//! Invariants: members that applied the same entries answer the same hash for the same revision and
//!             compacted revision, whatever their release and however far their compactions are.
//! Source:     peer-protocol.md 16.

use std::ops::ControlFlow;

use bytes::Bytes;
use types::{EtcdError, RevKey};

use crate::compact::row_key;
use crate::history::{History, HistoryFault};
use crate::store::Store;

/// Answer to a hash request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashReply {
    /// CRC-32C.
    pub hash: u32,
    /// Compacted revision when hashing began, -1 for never.
    pub compact_revision: i64,
    /// The revision up to which rows were hashed.
    pub hash_revision: i64,
}

/// What must be known of the index to hash rows without it.
///
/// The rows must be those of a view pinned while the store stood still; a later view may lack rows.
#[derive(Clone, Debug)]
pub struct HashPlan {
    revision: i64,
    compacted: i64,
    /// Revisions at or before `compacted` that a compaction at `revision` would keep, ascending.
    keep: Vec<RevKey>,
}

impl Store {
    /// Hashes the rows up to a revision, 0 for the current one.
    ///
    /// # Errors
    ///
    /// The inner error is the client's: a compacted or a future revision. The outer one is a fault.
    pub fn hash_kv(
        &self,
        revision: i64,
        history: &dyn History,
    ) -> Result<Result<HashReply, EtcdError>, HistoryFault> {
        match self.hash_plan(revision) {
            Ok(plan) => plan.run(history).map(Ok),
            Err(error) => Ok(Err(error)),
        }
    }

    /// Collects what hashing needs of the index, so that the rows can be read without it.
    ///
    /// # Errors
    ///
    /// When the revision is compacted or in the future.
    pub fn hash_plan(&self, revision: i64) -> Result<HashPlan, EtcdError> {
        if revision > 0 && revision < self.compacted_revision {
            return Err(EtcdError::Compacted);
        }
        if revision > self.current_revision {
            return Err(EtcdError::FutureRev);
        }
        let revision = if revision == 0 { self.current_revision } else { revision };
        let kept = self.index.iter().filter_map(|entry| {
            entry.visible_at(revision).map(|position| entry.change(position).revision())
        });
        let mut keep: Vec<_> = kept.filter(|kept| kept.main <= self.compacted_revision).collect();
        keep.sort_unstable();
        Ok(HashPlan { revision, compacted: self.compacted_revision, keep })
    }
}

impl HashPlan {
    /// Reads the rows and makes the hash.
    ///
    /// # Errors
    ///
    /// When the rows cannot be read.
    pub fn run(&self, history: &dyn History) -> Result<HashReply, HistoryFault> {
        let mut hash = crc32c::crc32c(b"key");
        let mut feed = |revision: RevKey, tombstone: bool, value: &Bytes| {
            if revision.main > self.revision {
                return ControlFlow::Break(());
            }
            if self.covers(revision) {
                hash = crc32c::crc32c_append(hash, &row_key(revision, tombstone));
                hash = crc32c::crc32c_append(hash, value);
            }
            ControlFlow::Continue(())
        };
        history.scan(RevKey::default(), &mut feed)?;
        let (compact_revision, hash_revision) = (self.compacted, self.revision);
        Ok(HashReply { hash, compact_revision, hash_revision })
    }

    /// Whether a row counts: not if compaction may have deleted it on some member. A tombstone at or
    /// before the compacted revision is never kept in this sense: older releases delete it.
    ///
    /// etcd counts whatever rows there still are when a compaction at `revision` would keep nothing
    /// at all. That differs from here only while such a compaction is under way, and from its own
    /// answer after that, so it is not copied.
    fn covers(&self, revision: RevKey) -> bool {
        revision.main > self.compacted || self.keep.binary_search(&revision).is_ok()
    }
}
