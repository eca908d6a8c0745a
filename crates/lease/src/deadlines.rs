//! When leases expire. Only the leader knows, and it starts anew with each term.
//!
//! Owns:       the deadlines of one term of leadership, and which expired leases were handed out.
//! Uses:       [`Table`] at the beginning of a term.
//! Never:      a clock: `now_ms` is monotonic time from any origin and comes with every call.
//!             Revoking; whoever asks [`Deadlines::due`] does it through the log.
//! Invariants: [`Deadlines::check_invariants`]. A lease that was handed out as expired can not be
//!             renewed any more: its revoke may be in the log already.
//! Source:     api-v3.md 4.3 to 4.5; etcd's `lease/lessor.go`.

use std::collections::{BTreeMap, BTreeSet};

use types::LeaseId;

use crate::table::{Lease, Table};

/// Time after which an expired lease that still exists is handed out again, milliseconds.
pub const RETRY_MS: u64 = 3_000;
/// Number of leases from which on a new leader spreads the deadlines.
const SPREAD_FROM_LEASES: usize = 1_000;
/// Deadlines per second that it aims at: less than can be revoked, so that there is room for those
/// that expire in their own time.
const SPREAD_PER_SECOND: u64 = 750;

/// What became of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The lease lives for so many seconds from now.
    Renewed(i64),
    /// It has expired and is being revoked.
    Expired,
    /// There is no such lease.
    Unknown,
    /// This member is not the one that keeps the deadlines.
    NotLeading,
}

/// The deadlines of all leases, while this member leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deadlines {
    leading: Option<Leading>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Leading {
    leases: BTreeMap<LeaseId, Deadline>,
    /// When to look at which lease: at its deadline or, once handed out, when to do so again.
    agenda: BTreeSet<(u64, LeaseId)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Deadline {
    ttl_seconds: i64,
    expires_ms: u64,
    look_ms: u64,
}

impl Deadlines {
    /// The deadlines of a member that does not lead.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a term of leadership, once the first entry of the term is applied: every lease gets
    /// the whole of its time to live (or what a checkpoint left of it) and `extend_ms`, one
    /// election time-out, for what its holder could not do while there was no leader. Many leases
    /// are spread so that they do not expire all at once.
    pub fn promote(&mut self, now_ms: u64, table: &Table, extend_ms: u64) {
        let mut leading = Leading::default();
        let starting_point = now_ms.saturating_add(extend_ms);
        let delays = spread(table);
        for (id, lease) in table.iter() {
            let delay_ms = delays.get(&id).copied().unwrap_or(0);
            let expires_ms = after(starting_point, initial_seconds(lease)).saturating_add(delay_ms);
            leading.put(id, lease.ttl_seconds, expires_ms);
        }
        self.leading = Some(leading);
    }

    /// Ends it: no lease expires by this member any more.
    pub fn demote(&mut self) {
        self.leading = None;
    }

    /// Whether deadlines are kept.
    #[must_use]
    pub fn is_leading(&self) -> bool {
        self.leading.is_some()
    }

    /// A lease was granted by an entry.
    pub fn granted(&mut self, now_ms: u64, id: LeaseId, ttl_seconds: i64) {
        if let Some(leading) = &mut self.leading {
            leading.put(id, ttl_seconds, after(now_ms, ttl_seconds));
        }
    }

    /// A lease was revoked by an entry.
    pub fn revoked(&mut self, id: LeaseId) {
        if let Some(leading) = &mut self.leading {
            leading.remove(id);
        }
    }

    /// Gives a lease its whole time to live again, unless it has expired.
    pub fn renew(&mut self, now_ms: u64, id: LeaseId) -> Renewal {
        let Some(leading) = &mut self.leading else { return Renewal::NotLeading };
        let Some(deadline) = leading.leases.get(&id).copied() else { return Renewal::Unknown };
        if deadline.expires_ms <= now_ms {
            return Renewal::Expired;
        }
        leading.put(id, deadline.ttl_seconds, after(now_ms, deadline.ttl_seconds));
        Renewal::Renewed(deadline.ttl_seconds)
    }

    /// Seconds that a lease has left, cut to whole ones; below zero when it is overdue. `None` when
    /// it is not known or this member does not lead.
    #[must_use]
    pub fn remaining_seconds(&self, now_ms: u64, id: LeaseId) -> Option<i64> {
        let expires_ms = self.leading.as_ref()?.leases.get(&id)?.expires_ms;
        let seconds = |ms: u64| i64::try_from(ms / 1_000).unwrap_or(i64::MAX);
        Some(match expires_ms.checked_sub(now_ms) {
            Some(left_ms) => seconds(left_ms),
            None => -seconds(now_ms - expires_ms),
        })
    }

    /// Whether a lease is known to have expired.
    #[must_use]
    pub fn has_expired(&self, now_ms: u64, id: LeaseId) -> bool {
        let deadline = self.leading.as_ref().and_then(|leading| leading.leases.get(&id));
        deadline.is_some_and(|deadline| deadline.expires_ms <= now_ms)
    }

    /// At most `max` leases to be revoked now, the longest overdue first. None of them is handed
    /// out again before [`RETRY_MS`] have passed.
    pub fn due(&mut self, now_ms: u64, max: usize) -> Vec<LeaseId> {
        let Some(leading) = &mut self.leading else { return Vec::new() };
        let mut due = Vec::new();
        while due.len() < max
            && let Some((look_ms, id)) = leading.agenda.first().copied()
            && look_ms <= now_ms
        {
            leading.agenda.pop_first();
            if let Some(deadline) = leading.leases.get_mut(&id) {
                deadline.look_ms = now_ms.saturating_add(RETRY_MS);
                leading.agenda.insert((deadline.look_ms, id));
                due.push(id);
            }
        }
        due
    }

    /// All leases with the time at which each expires, milliseconds, in no particular order: sorting
    /// them is left to the caller, who may hold a lock now. None when this member does not lead.
    #[must_use]
    pub fn expiries(&self) -> Vec<(u64, LeaseId)> {
        let leases = self.leading.iter().flat_map(|leading| &leading.leases);
        leases.map(|(id, deadline)| (deadline.expires_ms, *id)).collect()
    }

    /// Asserts what always holds between calls.
    ///
    /// # Panics
    ///
    /// When it does not hold.
    pub fn check_invariants(&self) {
        let Some(leading) = &self.leading else { return };
        assert_eq!(leading.agenda.len(), leading.leases.len(), "one look per lease");
        for (id, deadline) in &leading.leases {
            let Deadline { expires_ms, look_ms, .. } = *deadline;
            assert!(leading.agenda.contains(&(look_ms, *id)), "lease {id} is never looked at");
            assert!(look_ms >= expires_ms, "lease {id} is looked at before it expires");
        }
    }
}

impl Leading {
    fn put(&mut self, id: LeaseId, ttl_seconds: i64, expires_ms: u64) {
        self.remove(id);
        self.leases.insert(id, Deadline { ttl_seconds, expires_ms, look_ms: expires_ms });
        self.agenda.insert((expires_ms, id));
    }

    fn remove(&mut self, id: LeaseId) {
        if let Some(deadline) = self.leases.remove(&id) {
            self.agenda.remove(&(deadline.look_ms, id));
        }
    }
}

fn after(start_ms: u64, seconds: i64) -> u64 {
    start_ms.saturating_add(u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000))
}

/// What a lease has left at the beginning of a term.
fn initial_seconds(lease: &Lease) -> i64 {
    if lease.remaining_ttl_seconds > 0 { lease.remaining_ttl_seconds } else { lease.ttl_seconds }
}

/// By how many milliseconds leases are put off so that no more of them than can be revoked expire
/// in one second: the arithmetic is etcd's, in milliseconds.
fn spread(table: &Table) -> BTreeMap<LeaseId, u64> {
    let mut delays = BTreeMap::new();
    if table.iter().len() < SPREAD_FROM_LEASES {
        return delays;
    }
    let mut leases: Vec<(u64, LeaseId)> =
        table.iter().map(|(id, lease)| (after(0, initial_seconds(lease)), id)).collect();
    leases.sort_unstable();
    let mut window_from_ms = leases.first().map_or(0, |(left_ms, _)| *left_ms);
    let mut window_to_ms = window_from_ms.saturating_add(1_000);
    let mut in_window = 0_u64;
    for (left_ms, id) in leases {
        if left_ms > window_to_ms {
            window_from_ms = left_ms;
            window_to_ms = left_ms.saturating_add(1_000);
            in_window = 1;
            continue;
        }
        in_window += 1;
        if in_window <= SPREAD_PER_SECOND {
            continue;
        }
        // A lease that expires somewhat later by itself is put off by so much less.
        let full_ms = in_window.saturating_mul(1_000) / SPREAD_PER_SECOND;
        let delay_ms = full_ms.saturating_sub(left_ms - window_from_ms);
        window_to_ms = window_from_ms.saturating_add(delay_ms);
        delays.insert(id, delay_ms);
    }
    delays
}
