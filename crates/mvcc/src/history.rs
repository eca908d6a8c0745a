//! The two doors of the store to what it does not own: old values and leases.
//!
//! Owns:       nothing.
//! Uses:       `types`.
//! Never:      state; both traits are answered by others.
//! Invariants: a fault is never turned into a result that a client sees.
//! Source:     style.md 1 (results and faults are two kinds), design.md 3.

use std::ops::ControlFlow;

use bytes::Bytes;
use types::{LeaseId, RevKey};

/// The stored rows of the `key` bucket, by revision.
pub trait History {
    /// The stored `KeyValue` bytes of a live revision; `None` when there is no such row.
    ///
    /// # Errors
    ///
    /// When the rows cannot be read: a fault of this member.
    fn value(&self, revision: RevKey) -> Result<Option<Bytes>, HistoryFault>;

    /// Visits the rows at or behind `from` in ascending order: revision, whether it is a tombstone,
    /// stored value.
    ///
    /// # Errors
    ///
    /// When the rows cannot be read: a fault of this member.
    fn scan(
        &self,
        from: RevKey,
        visit: &mut dyn FnMut(RevKey, bool, &Bytes) -> ControlFlow<()>,
    ) -> Result<(), HistoryFault>;
}

/// Reading history failed: this member must stop before it can diverge.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read key history: {0}")]
pub struct HistoryFault(pub String);

/// What the store asks about leases.
pub trait LeaseView {
    /// Whether the lease has been granted and not revoked.
    fn exists(&self, id: LeaseId) -> bool;
}

impl<F: Fn(LeaseId) -> bool> LeaseView for F {
    fn exists(&self, id: LeaseId) -> bool {
        self(id)
    }
}
