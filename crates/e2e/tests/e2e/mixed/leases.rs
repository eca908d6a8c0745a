//! Leases in a cluster of both kinds: each forwards to the other's leader.

use e2e::Program;

use super::{AGREEMENT_PATIENCE, Mixed};
use crate::leases::client::Holder;

const GO: usize = 2;
const TTL: i64 = 120;

/// Renewals that a member's own lessor has done.
fn renewed(mixed: &Mixed, number: usize) -> u64 {
    let metrics =
        e2e::http::get(mixed.cluster.member(number).client(), "/metrics").expect("metrics");
    let name = "etcd_debugging_lease_renewed_total ";
    let line = metrics.body.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.parse().ok()).expect("the counter of renewals")
}

#[test]
fn renewals_and_questions_are_forwarded_both_ways() {
    let programs = [Program::Ours, Program::Ours, Program::GoEtcd351];
    let mut mixed = Mixed::start("mixed-leases", &programs, |_, spec| spec);
    for (round, leader) in [GO, 0, GO].into_iter().enumerate() {
        mixed.lead(leader);
        let id = i64::try_from(round).expect("small") + 1;
        for number in mixed.running() {
            let holder = Holder::new(mixed.cluster.member(number).client());
            let key = format!("lease/{round}/{number}");
            if number == 0 {
                holder.grant(id, TTL).expect("grant");
            }
            holder.put(&key, id).expect("put");
            let before = renewed(&mixed, leader);
            assert_eq!(holder.renew(id), TTL, "through m{number}, m{leader} leads");
            assert_eq!(renewed(&mixed, leader), before + 1, "the leader did it");
            assert_eq!(holder.renew(4711), 0, "unknown, through m{number}");
            let told = holder.time_to_live(id).expect("time to live");
            assert_eq!((told.id, told.granted_ttl), (id, TTL));
            assert!((TTL - 30..=TTL).contains(&told.ttl), "{told:?}");
            assert!(told.keys.iter().any(|found| found == key.as_bytes()), "{told:?}");
            assert_eq!(holder.time_to_live(4711).expect("no error").ttl, -1);
        }
        assert_eq!(mixed.leader(), leader, "nobody lost the office meanwhile");
    }
}

/// Each kind revokes what was granted under the other.
#[test]
fn whoever_leads_revokes() {
    let programs = [Program::Ours, Program::Ours, Program::GoEtcd351];
    let mut mixed = Mixed::start("mixed-expiry", &programs, |_, spec| spec);
    for (round, (granting, revoking)) in [(GO, 0), (0, GO)].into_iter().enumerate() {
        mixed.lead(granting);
        let holder = Holder::new(mixed.cluster.member(1).client());
        let id = i64::try_from(round).expect("small") + 1;
        // Long enough for the hand-over: each leader gives the whole time again.
        holder.grant(id, 10).expect("grant");
        holder.put(&format!("expiry{round}/a"), id).expect("put");
        mixed.lead(revoking);
        let holder = Holder::new(mixed.cluster.member(1).client());
        assert_eq!(holder.count(&format!("expiry{round}")), Ok(1));
        e2e::eventually("the lease to be revoked", AGREEMENT_PATIENCE, || {
            (holder.count(&format!("expiry{round}")) == Ok(0)).then_some(())
        });
        assert_eq!(mixed.leader(), revoking, "nobody lost the office meanwhile");
        mixed.assert_same_history();
    }
}
