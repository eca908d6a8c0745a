//! Every member serves leases; time is the leader's.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use e2e::v3::PATIENCE;
use e2e::{Cluster, Program, eventually, http};
use tonic::Code;

use super::client::Holder;

/// How long members may take to agree on something.
const AGREEMENT_PATIENCE: Duration = Duration::from_secs(30);
/// Three election time-outs, and what a loaded machine adds.
const NO_LEADER_PATIENCE: Duration = Duration::from_secs(20);
/// A stop that waits for nobody takes about a second.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// Renewals that a client asks for without reading their answers.
const GREEDY_REQUESTS: u32 = 100_000;

fn holders(cluster: &Cluster) -> Vec<Holder> {
    cluster.members().iter().map(|member| Holder::new(member.client())).collect()
}

#[test]
fn every_member_grants_renews_tells_and_revokes() {
    let cluster = Cluster::start("leases-members", Program::Ours, 3);
    let leader = cluster.wait_leader(AGREEMENT_PATIENCE);
    let holders = holders(&cluster);
    for (number, holder) in holders.iter().enumerate() {
        let granted = holder.grant(0, 60).expect("grant");
        assert!(granted.id > 0 && granted.ttl == 60 && granted.error.is_empty(), "{granted:?}");
        let id = granted.id;
        let key = format!("k{number}");
        let header = holder.put(&key, id).expect("put").header.expect("header");
        let mut keep_alive = holder.keep_alive(&[("hasleader", "true")]);
        // Answers in the order of the requests; an unknown lease does not end the stream.
        for id in [id, 4711, id] {
            keep_alive.send(id);
        }
        for (id, ttl) in [(id, 60), (4711, 0), (id, 60)] {
            let answer = keep_alive.answer();
            assert_eq!((answer.id, answer.ttl), (id, ttl), "through m{number}");
            assert_eq!(answer.header.expect("header").revision, header.revision);
        }
        keep_alive.stream.half_close();
        assert_eq!(keep_alive.end(PATIENCE), Ok(()), "half-close ends well");

        for other in &holders {
            let told = other.time_to_live(id).expect("time to live");
            assert_eq!((told.id, told.granted_ttl), (id, 60));
            assert!((50..=60).contains(&told.ttl), "{told:?}");
            assert_eq!(told.keys, [key.as_str()]);
            let unknown = other.time_to_live(4711).expect("no error");
            assert_eq!((unknown.ttl, unknown.granted_ttl, unknown.id), (-1, 0, 4711));
        }
        let revoked = holder.revoke(id).expect("revoke").header.expect("header");
        assert_eq!(revoked.revision, header.revision + 1);
        let again = holder.revoke(id).expect_err("a second revoke");
        assert_eq!(again.code, Code::NotFound);
        assert_eq!(again.message, "etcdserver: requested lease not found");
        for other in &holders {
            assert_eq!(other.renew(id), 0);
        }
    }
    // The leader lists what expires first in front.
    for (id, ttl) in [(1, 600), (2, 200), (-3, 400)] {
        holders[leader].grant(id, ttl).expect("grant");
    }
    assert_eq!(holders[leader].leases(), Ok(vec![2, -3, 1]));
    for holder in &holders {
        let all = || Some(()).filter(|()| holder.leases().is_ok_and(|ids| ids.len() == 3));
        eventually("three leases", AGREEMENT_PATIENCE, all);
    }
    for (id, ttl, code, message) in [
        (1, 10, Code::FailedPrecondition, "etcdserver: lease already exists"),
        (9, 9_000_000_001, Code::OutOfRange, "etcdserver: too large lease TTL"),
    ] {
        let refused = holders[0].grant(id, ttl).expect_err("refused");
        assert_eq!((refused.code, refused.message.as_str()), (code, message));
    }
}

/// Renewals that a leader counted, of all its clients.
fn renewed(server: SocketAddr) -> u64 {
    let metrics = http::get(server, "/metrics").expect("metrics").body;
    let value = |line: &str| line.strip_prefix("etcd_debugging_lease_renewed_total ")?.parse().ok();
    metrics.lines().find_map(value).expect("the counter of renewals")
}

#[test]
fn a_client_that_reads_nothing_costs_only_itself() {
    let mut cluster = Cluster::start("leases-unread", Program::Ours, 1);
    let server = cluster.member(0).client();
    let id = Holder::new(server).grant(0, 600).expect("grant").id;
    // More answers than one stream's share of the connection takes, many times over.
    let greedy = Holder::new(server);
    let unread = greedy.keep_alive(&[]);
    for _ in 0..GREEDY_REQUESTS {
        unread.send(id);
    }
    // The rest waits in the client: the server takes none while it cannot answer.
    let mut other = Holder::new(server).keep_alive(&[]);
    let mut before = renewed(server);
    eventually("the stream that is not read to stand still", AGREEMENT_PATIENCE, || {
        for _ in 0..100 {
            other.send(id);
            assert_eq!(other.answer().ttl, 600, "others are served");
        }
        let now = renewed(server);
        let stands_still = now == before + 100;
        before = now;
        stands_still.then_some(())
    });
    assert!(before < u64::from(GREEDY_REQUESTS), "{before} renewals for a client that reads none");
    let began = Instant::now();
    cluster.member_mut(0).terminate();
    // The grace for requests under way is seven seconds.
    assert!(began.elapsed() < STOP_PATIENCE, "the stop waited for it: {:?}", began.elapsed());
}

#[test]
fn streams_that_want_a_leader_end_when_there_is_none() {
    let mut cluster = Cluster::start("leases-leaderless", Program::Ours, 3);
    let leader = cluster.wait_leader(AGREEMENT_PATIENCE);
    let left = (leader + 1) % 3;
    let holder = Holder::new(cluster.member(left).client());
    let id = holder.grant(0, 60).expect("grant").id;
    let mut wanting = holder.keep_alive(&[("hasleader", "true")]);
    wanting.send(id);
    assert_eq!(wanting.answer().ttl, 60);
    let mut patient = holder.keep_alive(&[]);
    patient.send(id);
    assert_eq!(patient.answer().ttl, 60);
    for number in (0..3).filter(|number| *number != left) {
        cluster.member_mut(number).kill9();
    }
    let ended = wanting.end(NO_LEADER_PATIENCE).expect_err("no leader");
    assert_eq!((ended.code, ended.message.as_str()), (Code::Unavailable, "etcdserver: no leader"));
    let refused = holder.keep_alive(&[("hasleader", "true")]).end(PATIENCE).expect_err("no leader");
    assert_eq!(refused, ended, "a new stream is refused at once");
    // The other one is still there, and works again with the first member that comes back.
    cluster.member_mut(leader).restart();
    patient.send(id);
    assert_eq!(patient.answer().ttl, 60);
}
