//! Which expired leases are proposed for revocation next, a few at a time.
//!
//! Owns:       the expired leases that wait for their turn, and those whose revoke is on its way.
//! Uses:       [`Deadlines`].
//! Never:      proposes; the shell does and reports the end by [`Revokes::finished`].
//! Invariants: at most [`QUEUED_MAX`] wait and [`IN_FLIGHT_MAX`] are on their way; none is handed
//!             out that has not expired, whatever happened while it waited.
//! Source:     api-v3.md 4.5.

use std::collections::{BTreeSet, VecDeque};

use types::LeaseId;

use crate::deadlines::Deadlines;

/// Distance of two looks at the deadlines, milliseconds.
pub const CHECK_INTERVAL_MS: u64 = 500;
/// Expired leases that wait for their revoke: with [`CHECK_INTERVAL_MS`] no more than 1,000 are
/// revoked in a second, and other traffic goes on. Further ones stay with [`Deadlines`].
pub const QUEUED_MAX: usize = 500;
/// Revokes that are proposed and not applied yet.
pub const IN_FLIGHT_MAX: usize = 16;

/// The revokes of one leader.
#[derive(Clone, Debug, Default)]
pub struct Revokes {
    queued: VecDeque<LeaseId>,
    in_flight: BTreeSet<LeaseId>,
}

impl Revokes {
    /// Nothing to revoke.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what has expired, as far as there is room; to be called every [`CHECK_INTERVAL_MS`].
    pub fn check(&mut self, now_ms: u64, deadlines: &mut Deadlines) {
        let waiting: BTreeSet<LeaseId> = self.queued.iter().copied().collect();
        let due = deadlines.due(now_ms, QUEUED_MAX.saturating_sub(waiting.len()));
        let is_new = |id: &LeaseId| !waiting.contains(id) && !self.in_flight.contains(id);
        self.queued.extend(due.into_iter().filter(is_new));
    }

    /// The next lease to propose a revoke for, if one may be proposed now. It has still expired: a
    /// lease that was revoked and granted anew meanwhile, or that got a new deadline with a new
    /// term, is passed over.
    pub fn next(&mut self, now_ms: u64, deadlines: &Deadlines) -> Option<LeaseId> {
        while self.in_flight.len() < IN_FLIGHT_MAX {
            let id = self.queued.pop_front()?;
            if deadlines.has_expired(now_ms, id) && self.in_flight.insert(id) {
                return Some(id);
            }
        }
        None
    }

    /// The revoke of a lease was applied, or nothing more will be heard of it.
    pub fn finished(&mut self, id: LeaseId) {
        self.in_flight.remove(&id);
    }
}
