//! Clients with leases that end within a run: they grant them, hang keys on them, keep some alive.
//!
//! Owns:       what they were told and when, and a source of chance of their own.
//! Uses:       the world to reach members.
//! Never:      a renewal that takes time: it is asked for and acknowledged at one moment.
//! Invariants: a lease is in the book from its grant's acknowledgement to its revoke's first
//!             application; `renewed_us` is when the last acknowledged call was made.
//! Source:     api-v3.md 4.

use std::collections::BTreeMap;

use consensus::Input;
use lease::Renewal;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use types::{LeaseId, NodeId, RequestId};

use crate::Violation;
use crate::clients::KEYS;
use crate::requests::{Request, SHORT_LEASES, lease_ttl};
use crate::schedule::{Event, Life};
use crate::world::World;

/// Longest pause between two turns.
const PAUSE_US: u64 = 120_000;
/// Leases that they hold at a time.
const LEASES_MAX: usize = 8;
/// Time that whole milliseconds may take off a lease.
const ROUNDING_US: u64 = 1_000;

/// All of them.
pub(crate) struct LeaseClients {
    rng: StdRng,
    /// Grants asked for, by lease: when.
    asked: BTreeMap<i64, u64>,
    /// Leases that exist as far as clients know: when the last acknowledged call was made.
    renewed_us: BTreeMap<i64, u64>,
    /// Revokes proposed by leaders because of time.
    expiring: BTreeMap<RequestId, i64>,
    /// Revokes asked for by clients.
    revoking: BTreeMap<RequestId, i64>,
    pub(crate) renewals: u64,
    pub(crate) expired: u64,
}

impl LeaseClients {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed ^ 0x001e_a5e5),
            asked: BTreeMap::new(),
            renewed_us: BTreeMap::new(),
            expiring: BTreeMap::new(),
            revoking: BTreeMap::new(),
            renewals: 0,
            expired: 0,
        }
    }

    /// A client asks for this.
    pub(crate) fn asks(&mut self, id: RequestId, request: &Request, now_us: u64) {
        match request {
            Request::Grant { lease } if *lease >= SHORT_LEASES => {
                self.asked.insert(*lease, now_us);
            }
            Request::Revoke { lease } => {
                self.revoking.insert(id, *lease);
            }
            _ => {}
        }
    }

    /// A grant was acknowledged.
    pub(crate) fn granted(&mut self, lease: i64) {
        if let Some(asked_us) = self.asked.remove(&lease) {
            self.renewed_us.insert(lease, asked_us);
        }
    }

    /// A request was applied somewhere.
    pub(crate) fn applied(&mut self, id: RequestId, now_us: u64) -> Result<(), Violation> {
        if let Some(lease) = self.revoking.remove(&id) {
            self.renewed_us.remove(&lease);
            self.asked.remove(&lease);
        }
        let Some(lease) = self.expiring.remove(&id) else { return Ok(()) };
        self.expired += 1;
        self.asked.remove(&lease);
        let Some(renewed_us) = self.renewed_us.remove(&lease) else { return Ok(()) };
        let ends_us = renewed_us + ttl_us(lease);
        if now_us + ROUNDING_US >= ends_us {
            return Ok(());
        }
        let detail = format!("lease {lease} is revoked at {now_us} us, but lasts until {ends_us}");
        Err(Violation::new("lease lives", detail))
    }
}

fn ttl_us(lease: i64) -> u64 {
    u64::try_from(lease_ttl(lease)).unwrap_or(0) * 1_000_000
}

impl World {
    /// The holders of leases do something.
    pub(crate) fn lease_client_turn(&mut self) -> Result<(), Violation> {
        let delay_us = self.lease_clients.rng.random_range(1..PAUSE_US);
        self.schedule.after(delay_us, Event::LeaseClient);
        let up = self.ids_up();
        if up.is_empty() || !self.clients_work {
            return Ok(());
        }
        let rng = &mut self.lease_clients.rng;
        let id = up[rng.random_range(0..up.len())];
        let held: Vec<i64> = self.lease_clients.renewed_us.keys().copied().collect();
        let action = rng.random_range(0..100);
        if held.is_empty() || (held.len() < LEASES_MAX && action < 15) {
            let request_id = self.clients.next_request();
            let lease = SHORT_LEASES + i64::try_from(request_id.0).unwrap_or(0);
            return self.call(usize::MAX, id, request_id, Request::Grant { lease });
        }
        let lease = held[rng.random_range(0..held.len())];
        if action < 35 {
            let key = rng.random_range(0..KEYS);
            let request_id = self.clients.next_request();
            let value = format!("v{}", request_id.0);
            return self.call(usize::MAX, id, request_id, Request::Put { key, value, lease });
        }
        // Some are left to end.
        held.into_iter()
            .filter(|lease| lease % 3 != 0)
            .for_each(|lease| self.keep_alive(id, lease));
        Ok(())
    }

    /// A member is asked to renew a lease, and asks its leader if it is another one.
    fn keep_alive(&mut self, at: NodeId, lease: i64) {
        let now_us = self.schedule.now_us();
        let Some(shell) = self.members.get(&at).and_then(|member| member.shell.as_ref()) else {
            return;
        };
        let leader = if shell.leads() { at } else { shell.leader };
        let is_cut = self.network.is_cut((at, leader)) || self.network.is_cut((leader, at));
        if leader != at && is_cut {
            return;
        }
        let shell = self.members.get_mut(&leader).and_then(|member| member.shell.as_mut());
        let Some(shell) = shell else { return };
        if let Renewal::Renewed(_) = shell.lease_renew(LeaseId(lease), now_us) {
            self.trace.line(now_us, || format!("{leader}: renews lease {lease}"));
            self.trace.number(lease.unsigned_abs());
            self.lease_clients.renewals += 1;
            self.lease_clients.renewed_us.insert(lease, now_us);
        }
    }

    /// The leader has expired leases revoked.
    pub(crate) fn expire_leases(&mut self, life: Life) -> Result<(), Violation> {
        let now_us = self.schedule.now_us();
        let Some(member) = self.members.get_mut(&life.id).filter(|it| it.life() == life) else {
            return Ok(());
        };
        let Some(shell) = &mut member.shell else { return Ok(()) };
        let (term, expired) = shell.lease_turn(now_us, || self.clients.next_request());
        let mut requests = Vec::new();
        for (id, LeaseId(lease)) in expired {
            self.trace.line(now_us, || format!("{}: lease {lease} expires, {id}", life.id));
            let request = Request::Revoke { lease };
            requests.push((id, request.encode(id)));
            self.oracles.invoked(id, &request);
            self.lease_clients.expiring.insert(id, lease);
        }
        if requests.is_empty() {
            return Ok(());
        }
        self.post(life, Input::ProposeAsLeader { term, requests })
    }

    /// Leases must have ended for which nobody has done anything for so long. Only for a cluster
    /// without faults.
    pub(crate) fn judge_overdue_leases(&self) -> Result<(), Violation> {
        let now_us = self.schedule.now_us();
        let since = self.members.values().find_map(|member| {
            member.shell.as_ref().and_then(|shell| shell.lease_deadlines_since_us())
        });
        let Some(since_us) = since else { return Ok(()) };
        let slack_us = self.lease_slack_us();
        for (lease, renewed_us) in &self.lease_clients.renewed_us {
            let limit_us = since_us.max(*renewed_us) + ttl_us(*lease) + slack_us;
            if now_us > limit_us {
                let detail = format!("lease {lease} should have ended before {limit_us} us");
                return Err(Violation::new("lease ends", detail));
            }
        }
        Ok(())
    }

    /// What a lease may live longer than its time: the extension of a new leader, two election
    /// time-outs, the interval of looks at deadlines and of chores, and one revoke that was lost
    /// with the faults.
    fn lease_slack_us(&self) -> u64 {
        let ticks = u64::try_from(self.config.election_ticks).unwrap_or(0);
        let election_us = self.config.tick_us * ticks;
        3 * election_us + 1_000 * (lease::CHECK_INTERVAL_MS + lease::RETRY_MS + 400)
    }

    /// Whether all leases that can end have ended.
    pub(crate) fn leases_left(&self) -> usize {
        self.oracles.model().leases_from(SHORT_LEASES)
    }
}
