//! Whether a peer can be reached, and since when.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use types::NodeId;

use crate::counters::PeerCounters;

/// Locks although a holder panicked: what is kept under these locks is whole after every statement.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Default)]
pub(crate) struct Activity {
    since: Mutex<Option<Instant>>,
}

impl Activity {
    pub(crate) fn activate(&self, id: NodeId) {
        let mut since = lock(&self.since);
        if since.is_none() {
            tracing::info!(peer = %id, "peer became active");
            *since = Some(Instant::now());
        }
    }

    pub(crate) fn deactivate(&self, id: NodeId, counters: &PeerCounters, reason: &str) {
        let mut since = lock(&self.since);
        if since.take().is_some() {
            counters.disconnects.add(1);
            tracing::warn!(peer = %id, reason, "peer became inactive");
        } else {
            tracing::debug!(peer = %id, reason, "peer is still inactive");
        }
    }

    pub(crate) fn since(&self) -> Option<Instant> {
        *lock(&self.since)
    }
}
