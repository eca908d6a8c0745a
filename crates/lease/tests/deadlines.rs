//! Deadlines and revokes of the leader (api-v3.md 4.3 to 4.5).

use std::collections::BTreeMap;

use lease::{Deadlines, IN_FLIGHT_MAX, QUEUED_MAX, RETRY_MS, Renewal, Revokes, Table};
use proptest::prelude::*;
use types::LeaseId;

const EXTEND_MS: u64 = 1_000;

fn id(number: usize) -> LeaseId {
    LeaseId(i64::try_from(number).expect("a small number"))
}

/// A table of leases 1, 2, ... with these times to live and what checkpoints left of them.
fn table(leases: &[(i64, i64)]) -> Table {
    let mut table = Table::new();
    for (number, (ttl, remaining)) in leases.iter().enumerate() {
        table.restore(id(number + 1), *ttl, *remaining);
    }
    table
}

fn leading(now_ms: u64, leases: &[(i64, i64)]) -> Deadlines {
    let mut deadlines = Deadlines::new();
    deadlines.promote(now_ms, &table(leases), EXTEND_MS);
    deadlines.check_invariants();
    deadlines
}

/// All leases, the one that expires first in front.
fn by_expiry(deadlines: &Deadlines) -> Vec<LeaseId> {
    let mut expiries = deadlines.expiries();
    expiries.sort_unstable();
    expiries.into_iter().map(|(_, id)| id).collect()
}

#[test]
fn a_new_leader_gives_full_or_checkpointed_time_and_an_election() {
    let mut deadlines = leading(10_000, &[(10, 0), (600, 4)]);
    assert_eq!(deadlines.remaining_seconds(10_000, id(1)), Some(11));
    assert_eq!(deadlines.remaining_seconds(10_001, id(1)), Some(10));
    assert_eq!(deadlines.remaining_seconds(10_000, id(2)), Some(5));
    assert_eq!(by_expiry(&deadlines), [id(2), id(1)]);
    assert_eq!(deadlines.due(14_999, 9), []);
    assert_eq!(deadlines.due(15_000, 9), [id(2)]);
    assert_eq!(deadlines.due(20_999, 9), [id(2)]);
    assert_eq!(deadlines.due(21_000, 9), [id(1)]);
}

#[test]
fn renewals() {
    let mut deadlines = leading(0, &[(600, 4)]);
    deadlines.granted(500, id(2), 10);
    for (now_ms, lease, expected) in [
        (500, 2, Renewal::Renewed(10)),
        (10_499, 2, Renewal::Renewed(10)),
        (20_498, 2, Renewal::Renewed(10)),
        (30_498, 2, Renewal::Expired),
        (30_498, 3, Renewal::Unknown),
        (30_498, 1, Renewal::Expired),
    ] {
        assert_eq!(deadlines.renew(now_ms, id(lease)), expected, "{now_ms} {lease}");
    }
    // A renewal gives all of the time, whatever a checkpoint said.
    let mut deadlines = leading(0, &[(600, 4)]);
    assert_eq!(deadlines.renew(4_999, id(1)), Renewal::Renewed(600));
    assert_eq!(deadlines.remaining_seconds(4_999, id(1)), Some(600));
    deadlines.demote();
    assert_eq!(deadlines.renew(5_000, id(1)), Renewal::NotLeading);
}

#[test]
fn an_overdue_lease_has_less_than_nothing_left() {
    let deadlines = leading(0, &[(2, 0)]);
    for (now_ms, seconds) in [(2_001, 0), (3_000, 0), (3_999, 0), (4_000, -1), (5_500, -2)] {
        assert_eq!(deadlines.remaining_seconds(now_ms, id(1)), Some(seconds), "{now_ms}");
    }
    assert_eq!(deadlines.remaining_seconds(0, id(2)), None);
}

#[test]
fn without_the_leadership_nothing_is_due() {
    let mut deadlines = leading(0, &[(2, 0)]);
    deadlines.demote();
    deadlines.granted(0, id(2), 2);
    assert!(!deadlines.is_leading());
    assert_eq!(deadlines.due(u64::MAX, 9), []);
    assert_eq!(deadlines.remaining_seconds(0, id(1)), None);
    assert_eq!(by_expiry(&deadlines), []);
    assert!(!deadlines.has_expired(u64::MAX, id(1)));
}

#[test]
fn what_is_not_revoked_is_due_again() {
    let mut deadlines = leading(0, &[(2, 0), (2, 0), (3, 0)]);
    assert_eq!(deadlines.due(3_000, 1), [id(1)]);
    assert_eq!(deadlines.due(3_000, 9), [id(2)]);
    assert_eq!(deadlines.due(4_500, 9), [id(3)]);
    deadlines.revoked(id(2));
    assert_eq!(deadlines.due(3_000 + RETRY_MS - 1, 9), []);
    assert_eq!(deadlines.due(3_000 + RETRY_MS, 9), [id(1)]);
    deadlines.check_invariants();
}

#[test]
fn times_at_the_edge_do_not_overflow() {
    let deadlines = leading(u64::MAX - 5, &[(i64::MAX, 0), (i64::MIN, i64::MIN)]);
    assert_eq!(by_expiry(&deadlines), [id(1), id(2)]);
    assert!(deadlines.has_expired(u64::MAX, id(1)));
    assert_eq!(
        deadlines.remaining_seconds(0, id(2)),
        Some(i64::try_from(u64::MAX / 1_000).unwrap())
    );
}

/// Most leases that expire within one second.
fn busiest_second(deadlines: &Deadlines, count: usize) -> usize {
    let mut deadlines = deadlines.clone();
    let mut times = Vec::new();
    for now_ms in 0_u64.. {
        let due = deadlines.due(now_ms, usize::MAX);
        for lease in due {
            deadlines.revoked(lease);
            times.push(now_ms);
        }
        if times.len() == count {
            break;
        }
    }
    let within =
        |from: usize| times[from..].iter().take_while(|at| **at < times[from] + 1_000).count();
    (0..times.len()).map(within).max().unwrap_or(0)
}

#[test]
fn deadlines_are_spread_from_a_thousand_leases_on() {
    let few = leading(0, &vec![(60, 0); 999]);
    assert_eq!(busiest_second(&few, 999), 999);
    let same = leading(0, &vec![(60, 0); 3_000]);
    assert_eq!(busiest_second(&same, 3_000), 750);
    // The first 750 keep their time, the last is put off by 3,000 / 750 seconds.
    assert_eq!(same.remaining_seconds(0, id(750)), Some(61));
    assert_eq!(same.remaining_seconds(0, id(751)), Some(62));
    assert_eq!(same.remaining_seconds(0, id(3_000)), Some(65));
    let far_apart: Vec<(i64, i64)> = (0..3_000).map(|number| (60 + 2 * number, 0)).collect();
    let far_apart = leading(0, &far_apart);
    assert_eq!(far_apart.remaining_seconds(0, id(3_000)), Some(61 + 2 * 2_999));
}

#[test]
fn revokes_go_out_a_few_at_a_time_and_all_in_the_end() {
    let count = 20_000;
    let mut deadlines = Deadlines::new();
    deadlines.promote(0, &Table::new(), EXTEND_MS);
    for number in 1..=count {
        deadlines.granted(0, id(number), 2);
    }
    let mut revokes = Revokes::new();
    let mut revoked = Vec::new();
    for round in 0..count.div_ceil(QUEUED_MAX) as u64 {
        let now_ms = 2_000 + round * 500;
        revokes.check(now_ms, &mut deadlines);
        while let Some(first) = revokes.next(now_ms, &deadlines) {
            let mut flying = vec![first];
            while let Some(further) = revokes.next(now_ms, &deadlines) {
                flying.push(further);
            }
            assert!(flying.len() <= IN_FLIGHT_MAX);
            for lease in flying {
                deadlines.revoked(lease);
                revokes.finished(lease);
                revoked.push(lease);
            }
        }
        assert_eq!(revoked.len(), usize::try_from(round + 1).expect("a small number") * QUEUED_MAX);
    }
    revoked.dedup();
    assert_eq!(revoked.len(), count);
    assert_eq!(by_expiry(&deadlines), []);
}

#[test]
fn a_revoke_that_hangs_is_not_proposed_twice_at_a_time() {
    let mut deadlines = leading(0, &[(2, 0)]);
    let mut revokes = Revokes::new();
    revokes.check(3_000, &mut deadlines);
    assert_eq!(revokes.next(3_000, &deadlines), Some(id(1)));
    revokes.check(9_000, &mut deadlines);
    assert_eq!(revokes.next(9_000, &deadlines), None);
    revokes.finished(id(1));
    revokes.check(9_000 + RETRY_MS, &mut deadlines);
    assert_eq!(revokes.next(9_000 + RETRY_MS, &deadlines), Some(id(1)));
}

#[test]
fn a_lease_granted_anew_or_carried_into_a_new_term_is_not_revoked() {
    let leases = [(2, 0), (2, 0), (2, 0)];
    let mut deadlines = leading(0, &leases);
    let mut revokes = Revokes::new();
    revokes.check(3_000, &mut deadlines);
    deadlines.revoked(id(1));
    deadlines.revoked(id(2));
    deadlines.granted(3_000, id(2), 60);
    assert_eq!(revokes.next(3_000, &deadlines), Some(id(3)));
    assert_eq!(revokes.next(3_000, &deadlines), None);

    revokes.finished(id(3));
    let mut deadlines = leading(0, &leases);
    revokes.check(3_000, &mut deadlines);
    deadlines.demote();
    deadlines.promote(3_000, &table(&leases), EXTEND_MS);
    assert_eq!(revokes.next(3_000, &deadlines), None);
}

/// The same without an agenda: a list that is searched each time.
#[derive(Default)]
struct Naive {
    is_leading: bool,
    /// Per lease: time to live, deadline, when it may be handed out.
    leases: BTreeMap<LeaseId, (i64, u64, u64)>,
}

impl Naive {
    fn grant(&mut self, now_ms: u64, lease: LeaseId, ttl: i64, extend_ms: u64) {
        let expires_ms = now_ms + ttl.unsigned_abs() * 1_000 + extend_ms;
        self.leases.insert(lease, (ttl, expires_ms, expires_ms));
    }

    fn renew(&mut self, now_ms: u64, lease: LeaseId) -> Renewal {
        match self.leases.get(&lease).copied() {
            _ if !self.is_leading => Renewal::NotLeading,
            None => Renewal::Unknown,
            Some((_, expires_ms, _)) if expires_ms <= now_ms => Renewal::Expired,
            Some((ttl, ..)) => {
                self.grant(now_ms, lease, ttl, 0);
                Renewal::Renewed(ttl)
            }
        }
    }

    fn due(&mut self, now_ms: u64, max: usize) -> Vec<LeaseId> {
        let mut due: Vec<(u64, LeaseId)> =
            self.leases.iter().map(|(lease, (_, _, look_ms))| (*look_ms, *lease)).collect();
        due.retain(|(look_ms, _)| self.is_leading && *look_ms <= now_ms);
        due.sort_unstable();
        due.truncate(max);
        for (_, lease) in &due {
            self.leases.get_mut(lease).expect("it was listed").2 = now_ms + RETRY_MS;
        }
        due.into_iter().map(|(_, lease)| lease).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn like_a_list_that_is_searched(
        steps in proptest::collection::vec((0..7_u8, 1..6_usize, 1..5_i64, 0..2_500_u64), 0..80)
    ) {
        let (mut deadlines, mut naive, mut table) = (Deadlines::new(), Naive::default(), Table::new());
        let mut now_ms = 0;
        for (what, number, ttl, pause_ms) in steps {
            let lease = id(number);
            match what {
                0 if table.grant(lease, ttl, 0).is_ok() => {
                    deadlines.granted(now_ms, lease, ttl);
                    if naive.is_leading {
                        naive.grant(now_ms, lease, ttl, 0);
                    }
                }
                1 => {
                    let _ = table.revoke(lease);
                    deadlines.revoked(lease);
                    naive.leases.remove(&lease);
                }
                2 => prop_assert_eq!(deadlines.renew(now_ms, lease), naive.renew(now_ms, lease)),
                3 => prop_assert_eq!(deadlines.due(now_ms, number), naive.due(now_ms, number)),
                4 if number == 1 => {
                    deadlines.promote(now_ms, &table, EXTEND_MS);
                    naive = Naive { is_leading: true, ..Naive::default() };
                    for (lease, stored) in table.iter() {
                        naive.grant(now_ms, lease, stored.ttl_seconds, EXTEND_MS);
                    }
                }
                5 if number == 1 => {
                    deadlines.demote();
                    naive = Naive::default();
                }
                _ => now_ms += pause_ms,
            }
            deadlines.check_invariants();
            prop_assert_eq!(deadlines.is_leading(), naive.is_leading);
            for lease in (1..6).map(id) {
                let left = naive.leases.get(&lease).map(|(_, expires_ms, _)| {
                    (i128::from(*expires_ms) - i128::from(now_ms)) / 1_000
                });
                let found = deadlines.remaining_seconds(now_ms, lease).map(i128::from);
                prop_assert_eq!(found, left);
            }
        }
    }
}
