//! Thousands of leases that expire in one second.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use e2e::{Cluster, Program, eventually};

use super::client::Holder;

const LEASES: usize = 5_000;
/// Connections that grant.
const GRANTERS: usize = 8;
/// From the first grant to the second in which all expire; granting must be over well before.
const UNTIL_EXPIRY: Duration = Duration::from_secs(40);
/// A leader revokes at most a thousand in a second; on a loaded machine half of that.
const REVOKE_PATIENCE: Duration = Duration::from_secs(60);
/// How long other traffic may take meanwhile.
const PUT_PATIENCE: Duration = Duration::from_secs(5);

/// Grants a part of the leases, each so that it expires in the same second; when the last was.
fn grant(server: SocketAddr, part: usize, expiry: Instant) {
    let holder = Holder::new(server);
    for number in (part..LEASES).step_by(GRANTERS) {
        let left = expiry.saturating_duration_since(Instant::now());
        let ttl = i64::try_from(left.as_secs()).expect("a short time");
        let id = i64::try_from(number).expect("a small number") + 1;
        holder.grant(id, ttl).expect("grant");
        holder.put(&format!("storm/{number}"), id).expect("put");
    }
}

#[test]
fn all_are_revoked_and_other_traffic_goes_on() {
    let cluster = Cluster::start("leases-storm", Program::Ours, 3);
    let servers: Vec<SocketAddr> = cluster.members().iter().map(|member| member.client()).collect();
    let expiry = Instant::now() + UNTIL_EXPIRY;
    std::thread::scope(|scope| {
        for part in 0..GRANTERS {
            let server = servers[part % servers.len()];
            scope.spawn(move || grant(server, part, expiry));
        }
    });
    let holder = Holder::new(servers[0]);
    // Each put was acknowledged by the member that it was sent to; this one may be a moment behind.
    eventually("the leases' keys", PUT_PATIENCE, || {
        (holder.count("storm") == Ok(i64::try_from(LEASES).expect("small"))).then_some(())
    });
    assert!(Instant::now() < expiry - Duration::from_secs(5), "granting took too long");

    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            let writer = Holder::new(servers[1]);
            let mut slowest = Duration::ZERO;
            while !is_over.load(Ordering::Relaxed) {
                let begin = Instant::now();
                writer.put("traffic/1", 0).expect("put");
                slowest = slowest.max(begin.elapsed());
            }
            slowest
        });
        // TTLs were cut to whole seconds, so the first may go two seconds before.
        let early = expiry - Duration::from_secs(3);
        eventually("the time to come", UNTIL_EXPIRY, || {
            let count = holder.count("storm").expect("count");
            let is_early = Instant::now() < early;
            let is_whole = usize::try_from(count) == Ok(LEASES);
            assert!(is_whole || !is_early, "{count} left before their time");
            (!is_early).then_some(())
        });
        eventually("all leases to be revoked", REVOKE_PATIENCE, || {
            (holder.count("storm") == Ok(0)).then_some(())
        });
        is_over.store(true, Ordering::Relaxed);
        let slowest = traffic.join().expect("traffic");
        assert!(slowest < PUT_PATIENCE, "a put took {slowest:?}");
    });
    for server in &servers {
        let holder = Holder::new(*server);
        eventually("no lease on any member", REVOKE_PATIENCE, || {
            let left: BTreeSet<i64> = holder.leases().ok()?.into_iter().collect();
            left.is_empty().then_some(())
        });
    }
}
