//! How long leases live when their leader does not.

use std::time::{Duration, Instant};

use e2e::{Cluster, Program, eventually};

use super::client::Holder;

const AGREEMENT_PATIENCE: Duration = Duration::from_secs(30);
/// Granted in these tests: longer than an election, short enough to be waited for.
const TTL: Duration = Duration::from_secs(5);
/// By default, and what a new leader adds.
const ELECTION_TIMEOUT: Duration = Duration::from_secs(1);
/// How late a revoke may be seen on a machine with other work.
const LATE: Duration = Duration::from_secs(10);

/// Granted for a lease that is to outlive a test, seconds.
const LONG_SECONDS: i64 = 60;
/// What may have passed of it right after it was renewed, seconds: less than since the election.
const LEFT_SLACK_SECONDS: i64 = 4;

fn ttl_seconds() -> i64 {
    i64::try_from(TTL.as_secs()).expect("a few seconds")
}

/// A lease with a key, granted by `holder`.
fn leased(holder: &Holder, key: &str) -> i64 {
    let id = holder.grant(0, ttl_seconds()).expect("grant").id;
    holder.put(key, id).expect("put");
    id
}

/// Waits until the keys of `prefix` are gone from a member; when that was seen.
#[track_caller]
fn gone(holder: &Holder, prefix: &str, patience: Duration) -> Instant {
    eventually("the lease to be revoked", patience, || {
        (holder.count(prefix) == Ok(0)).then(Instant::now)
    })
}

#[test]
fn expires_in_its_time_and_not_while_it_is_renewed() {
    let cluster = Cluster::start("leases-expire", Program::Ours, 1);
    let holder = Holder::new(cluster.member(0).client());
    let id = leased(&holder, "a/1");
    let mut keep_alive = holder.keep_alive(&[]);
    let begin = Instant::now();
    let mut renewed = begin;
    while begin.elapsed() < 2 * TTL {
        renewed = Instant::now();
        keep_alive.send(id);
        assert_eq!(keep_alive.answer().ttl, ttl_seconds());
        let pause = || (renewed.elapsed() >= TTL / 3).then_some(());
        eventually("the next renewal", TTL, pause);
        assert_eq!(holder.count("a"), Ok(1));
    }
    let gone = gone(&holder, "a", TTL + LATE);
    assert!(gone >= renewed + TTL, "revoked {:?} after its renewal", gone - renewed);
    keep_alive.send(id);
    assert_eq!(keep_alive.answer().ttl, 0);
    assert_eq!(holder.leases(), Ok(vec![]));
}

#[test]
fn a_new_leader_gives_its_whole_time_again() {
    let mut cluster = Cluster::start("leases-leader", Program::Ours, 3);
    let leader = cluster.wait_leader(AGREEMENT_PATIENCE);
    let survivor = Holder::new(cluster.member((leader + 1) % 3).client());
    let id = leased(&survivor, "a/1");
    assert_eq!(survivor.renew(id), ttl_seconds());
    let killed = Instant::now();
    cluster.member_mut(leader).kill9();
    let gone = gone(&survivor, "a", TTL + AGREEMENT_PATIENCE);
    let lived = gone - killed;
    assert!(lived >= TTL + ELECTION_TIMEOUT, "revoked {lived:?} after the leader died");
    assert!(lived <= TTL + 4 * ELECTION_TIMEOUT + LATE, "revoked as late as {lived:?}");
    assert_eq!(survivor.renew(id), 0);
}

#[test]
fn a_restart_of_all_members_begins_anew() {
    let mut cluster = Cluster::start("leases-restart", Program::Ours, 3);
    let holder = |cluster: &Cluster| Holder::new(cluster.member(0).client());
    let id = leased(&holder(&cluster), "a/1");
    for member in cluster.members_mut() {
        member.kill9();
    }
    // Longer than the lease would have lived.
    let down = Instant::now();
    eventually("its time to pass", 2 * TTL, || (down.elapsed() > TTL).then_some(()));
    let restarted = Instant::now();
    std::thread::scope(|scope| {
        for member in cluster.members_mut() {
            scope.spawn(|| member.restart());
        }
    });
    let holder = holder(&cluster);
    assert_eq!(holder.count("a"), Ok(1));
    let told = eventually("an answer of the new leader", AGREEMENT_PATIENCE, || {
        holder.time_to_live(id).ok()
    });
    assert!(told.ttl <= ttl_seconds() + 1, "{told:?}");
    assert_eq!((told.granted_ttl, told.keys), (ttl_seconds(), vec!["a/1".into()]));
    let gone = gone(&holder, "a", TTL + LATE + AGREEMENT_PATIENCE);
    assert!(gone >= restarted + TTL, "revoked {:?} after the restart", gone - restarted);
}

/// Whoever leads when a lease expires revokes it, and the former leader, which also waited for that
/// moment, does nothing.
#[test]
fn a_suspended_leader_revokes_nothing_when_it_wakes_up() {
    use nix::sys::signal::Signal;
    let mut cluster = Cluster::start("leases-suspend", Program::Ours, 3);
    let leader = cluster.wait_leader(AGREEMENT_PATIENCE);
    let survivor = Holder::new(cluster.member((leader + 1) % 3).client());
    let id = leased(&survivor, "a/1");
    let long = survivor.grant(0, LONG_SECONDS).expect("grant").id;
    let granted = Instant::now();
    cluster.member_mut(leader).signal(Signal::SIGSTOP);
    // The others choose another leader, at which the lease is renewed until its first time is long
    // over; then the first leader wakes up, for which it has expired.
    let mut renewals = 0;
    eventually("renewals by the next leader", 10 * TTL, || {
        let renewed = survivor.renew(id);
        assert_eq!(renewed, ttl_seconds(), "after {:?}", granted.elapsed());
        renewals += 1;
        (granted.elapsed() > 2 * TTL).then_some(())
    });
    let renewed = Instant::now();
    cluster.member_mut(leader).signal(Signal::SIGCONT);
    // Nor does it promise a time by itself before it knows that it was deposed: what it says of a
    // lease that has not expired for it is what the new leader does.
    let woken = Holder::new(cluster.member(leader).client());
    assert_eq!(woken.renew(long), LONG_SECONDS);
    let left = survivor.time_to_live(long).expect("time to live").ttl;
    assert!(left >= LONG_SECONDS - LEFT_SLACK_SECONDS, "renewed, but {left} s are left");
    assert_eq!(woken.renew(id), ttl_seconds());
    let gone = gone(&survivor, "a", TTL + LATE);
    assert!(gone >= renewed + TTL, "revoked {:?} after {renewals} renewals", gone - renewed);
}
