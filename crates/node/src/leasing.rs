//! The deadlines of leases on this member, while it leads.
//!
//! Owns:       `lease::Deadlines`, `lease::Revokes`, their clock, who waits for a revoke.
//! Uses:       raft's view of the role.
//! Never:      proposes, waits.
//! Invariants: deadlines belong to one term; at every use they are thrown away unless this member
//!             still leads it, so whoever sees the new role sees no deadline. Grants and revokes
//!             arrive under the lock of the published state: whoever holds it sees table and
//!             deadlines agree. That lock is always taken before this module's.
//! Source:     api-v3.md 4.5.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use apply::Local;
use lease::{Deadlines, Renewal, Revokes, Table};
use tokio::sync::watch;
use types::{LeaseId, Term};

use crate::shared::RaftView;

/// What became of a renewal.
pub(crate) enum Attempt {
    /// The lease lives for so many seconds from now.
    Renewed(i64),
    /// It is being revoked; the receiver ends when that is done or not this member's business any
    /// more.
    Expired(watch::Receiver<()>),
    /// There is none.
    Unknown,
    /// This member does not lead, or has not applied the first entry of its term yet.
    NotLeading,
}

/// The deadlines and what hangs on them.
pub(crate) struct Leasing {
    origin: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    term: Term,
    deadlines: Deadlines,
    revokes: Revokes,
    /// Renewals of expired leases that wait for the revoke.
    waiting: BTreeMap<LeaseId, watch::Sender<()>>,
}

impl Leasing {
    pub(crate) fn new() -> Self {
        Self { origin: Instant::now(), state: Mutex::default() }
    }

    /// The first entry of `term` is applied: if this member leads it, deadlines begin. Raft may put
    /// another empty entry into the same term (in place of a member change that came too early),
    /// which must not give all leases a new life.
    pub(crate) fn promote(
        &self,
        raft: &watch::Sender<RaftView>,
        term: Term,
        table: &Table,
        extend: Duration,
    ) {
        let mut state = self.enter(raft);
        let has_begun = state.deadlines.is_leading() && state.term == term;
        if has_begun || !leads(raft, term) {
            return;
        }
        state.step_down();
        state.term = term;
        state.deadlines.promote(self.now_ms(), table, millis(extend));
        tracing::debug!(%term, leases = table.ids().len(), "leases have deadlines");
    }

    /// An entry was applied; called under the lock of the published state.
    pub(crate) fn applied(&self, raft: &watch::Sender<RaftView>, locals: &[Local]) {
        for local in locals {
            match local {
                Local::LeaseGranted { id, ttl_seconds } => {
                    let now_ms = self.now_ms();
                    self.enter(raft).deadlines.granted(now_ms, *id, *ttl_seconds);
                }
                Local::LeaseRevoked(id) => {
                    let mut state = self.enter(raft);
                    state.deadlines.revoked(*id);
                    state.waiting.remove(id);
                }
                _ => {}
            }
        }
    }

    pub(crate) fn renew(&self, raft: &watch::Sender<RaftView>, id: LeaseId) -> Attempt {
        let mut state = self.enter(raft);
        match state.deadlines.renew(self.now_ms(), id) {
            Renewal::Renewed(ttl_seconds) => Attempt::Renewed(ttl_seconds),
            Renewal::Expired => {
                let waiting = state.waiting.entry(id).or_insert_with(|| watch::Sender::new(()));
                Attempt::Expired(waiting.subscribe())
            }
            Renewal::Unknown => Attempt::Unknown,
            Renewal::NotLeading => Attempt::NotLeading,
        }
    }

    /// Seconds that a lease has left; `None` when this member keeps no deadline for it.
    pub(crate) fn remaining_seconds(
        &self,
        raft: &watch::Sender<RaftView>,
        id: LeaseId,
    ) -> Option<i64> {
        self.enter(raft).deadlines.remaining_seconds(self.now_ms(), id)
    }

    /// All leases with the time at which each expires; `None` when this member keeps no deadlines.
    pub(crate) fn expiries(&self, raft: &watch::Sender<RaftView>) -> Option<Vec<(u64, LeaseId)>> {
        let state = self.enter(raft);
        state.deadlines.is_leading().then(|| state.deadlines.expiries())
    }

    /// Looks for expired leases.
    pub(crate) fn check(&self, raft: &watch::Sender<RaftView>) {
        let state = &mut *self.enter(raft);
        state.revokes.check(self.now_ms(), &mut state.deadlines);
    }

    /// The next lease to be revoked, and the term that this member may do it in.
    pub(crate) fn next_revoke(&self, raft: &watch::Sender<RaftView>) -> Option<(Term, LeaseId)> {
        let state = &mut *self.enter(raft);
        let id = state.revokes.next(self.now_ms(), &state.deadlines)?;
        Some((state.term, id))
    }

    pub(crate) fn revoke_finished(&self, id: LeaseId) {
        self.lock().revokes.finished(id);
    }

    fn enter(&self, raft: &watch::Sender<RaftView>) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        if state.deadlines.is_leading() && !leads(raft, state.term) {
            state.step_down();
        }
        state
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        millis(self.origin.elapsed())
    }
}

impl State {
    fn step_down(&mut self) {
        self.deadlines.demote();
        self.waiting.clear();
    }
}

fn leads(raft: &watch::Sender<RaftView>, term: Term) -> bool {
    let view = raft.borrow();
    view.is_leader && view.term == term
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
