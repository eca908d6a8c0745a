//! The deadlines of leases, while this member leads.
//!
//! Owns:       `lease::Deadlines`, `lease::Revokes`, the revokes that are on their way.
//! Uses:       raft's view of the role.
//! Never:      proposes; the world does.
//! Invariants: deadlines belong to one term; at every use they are thrown away unless this member
//!             still leads it.
//! Source:     `node::leasing`, `node::expiry_task`.

use std::collections::BTreeMap;

use apply::Local;
use lease::{CHECK_INTERVAL_MS, Deadlines, Renewal, Revokes};
use types::{LeaseId, RequestId, Term};

use super::Shell;
use crate::config::Plant;

/// After this nobody waits for a proposed revoke any more.
const PATIENCE_MS: u64 = 5_000;

/// What hangs on the deadlines, in one life.
pub(super) struct Leasing {
    /// Virtual time at which the clock of this life began.
    origin_us: u64,
    term: Term,
    deadlines: Deadlines,
    revokes: Revokes,
    checked_ms: Option<u64>,
    /// By request: lease and when it was proposed.
    in_flight: BTreeMap<RequestId, (LeaseId, u64)>,
    promoted_us: u64,
}

impl Leasing {
    pub(super) fn new(origin_us: u64) -> Self {
        Self {
            origin_us,
            term: Term(0),
            deadlines: Deadlines::new(),
            revokes: Revokes::new(),
            checked_ms: None,
            in_flight: BTreeMap::new(),
            promoted_us: 0,
        }
    }

    fn now_ms(&self, now_us: u64) -> u64 {
        now_us.saturating_sub(self.origin_us) / 1_000
    }

    /// A revoke was applied, or will not be.
    pub(super) fn finished(&mut self, request: RequestId) {
        if let Some((lease, _)) = self.in_flight.remove(&request) {
            self.revokes.finished(lease);
        }
    }
}

impl Shell {
    /// An entry was applied.
    pub(super) fn lease_applied(&mut self, local: &Local, term: Term, now_us: u64) {
        self.lease_enter();
        let now_ms = self.leasing.now_ms(now_us);
        match local {
            Local::FirstEntryOfTerm if self.leads() && self.term == term => {
                let extend_ms = self.settings.election_timeout_ms;
                // The planted bug takes the clock's zero for the present.
                let is_planted = self.limits.plant == Some(Plant::EarlyRevoke);
                let from_ms = if is_planted { 0 } else { now_ms };
                self.leasing.deadlines.promote(from_ms, self.machine.leases(), extend_ms);
                self.leasing.term = term;
                self.leasing.promoted_us = now_us;
            }
            Local::LeaseGranted { id, ttl_seconds } => {
                self.leasing.deadlines.granted(now_ms, *id, *ttl_seconds);
            }
            Local::LeaseRevoked(id) => self.leasing.deadlines.revoked(*id),
            _ => {}
        }
        self.leasing.deadlines.check_invariants();
    }

    /// A client keeps a lease alive.
    pub(crate) fn lease_renew(&mut self, id: LeaseId, now_us: u64) -> Renewal {
        self.lease_enter();
        let now_ms = self.leasing.now_ms(now_us);
        self.leasing.deadlines.renew(now_ms, id)
    }

    /// What the leader has to revoke now, and in which term it may.
    pub(crate) fn lease_turn(
        &mut self,
        now_us: u64,
        mut next_request: impl FnMut() -> RequestId,
    ) -> (Term, Vec<(RequestId, LeaseId)>) {
        self.lease_enter();
        let leasing = &mut self.leasing;
        let now_ms = leasing.now_ms(now_us);
        let late = leasing.in_flight.iter().filter(|(_, (_, at))| at + PATIENCE_MS < now_ms);
        let late: Vec<RequestId> = late.map(|(request, _)| *request).collect();
        late.into_iter().for_each(|request| leasing.finished(request));
        if leasing.checked_ms.is_none_or(|at| at + CHECK_INTERVAL_MS <= now_ms) {
            leasing.checked_ms = Some(now_ms);
            leasing.revokes.check(now_ms, &mut leasing.deadlines);
        }
        let mut proposed = Vec::new();
        while let Some(id) = leasing.revokes.next(now_ms, &leasing.deadlines) {
            let request = next_request();
            leasing.in_flight.insert(request, (id, now_ms));
            proposed.push((request, id));
        }
        (leasing.term, proposed)
    }

    /// When the present term's deadlines began, if this member keeps any.
    pub(crate) fn lease_deadlines_since_us(&self) -> Option<u64> {
        let is_leading = self.leasing.deadlines.is_leading() && self.leads();
        is_leading.then_some(self.leasing.promoted_us)
    }

    fn lease_enter(&mut self) {
        if !self.leads() || self.term != self.leasing.term {
            self.leasing.deadlines.demote();
        }
    }
}
