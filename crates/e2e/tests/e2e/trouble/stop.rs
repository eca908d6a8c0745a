//! Ends of servers: by signal, by kill, with others left behind.

use std::time::Duration;

use e2e::{Cluster, Exit, Program, until};
use nix::sys::signal::Signal;

use super::{Acknowledged, Place, assert_no_panic};

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_stopped_server_dies_by_the_signal_and_keeps_its_data() {
    let place = Place::new("signals");
    let mut etcd = place.single("s").start();
    let mut acknowledged = Acknowledged::default();
    for (round, signal) in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGKILL].iter().enumerate() {
        acknowledged.write_some(etcd.client(), &format!("round-{round}"), 10);
        etcd.signal(*signal);
        assert_eq!(etcd.wait_exit(PATIENCE), Exit::Signal(*signal as i32));
        assert_no_panic(&etcd.log());
        etcd.restart();
        acknowledged.assert_all_on(etcd.client());
    }
}

#[test]
fn a_leader_hands_over_before_it_stops() {
    let mut cluster = Cluster::start("hand-over", Program::Ours, 3);
    let mut acknowledged = Acknowledged::default();
    acknowledged.write_some(cluster.member(0).client(), "before", 5);
    let leader = cluster.wait_leader(PATIENCE);
    assert_eq!(cluster.member_mut(leader).terminate(), Exit::Signal(15));
    // Nobody waits out an election time-out: another one leads already.
    let successor = cluster.leader();
    assert!(successor.is_some() && successor != Some(leader), "no leader when {leader} had ended");
    let survivor = cluster.member(successor.expect("checked"));
    acknowledged.write_some(survivor.client(), "after", 5);
    acknowledged.assert_all_on(survivor.client());
    cluster.member_mut(leader).restart();
    acknowledged.assert_all_on(cluster.member(leader).client());
    for member in cluster.members() {
        assert_no_panic(&member.log());
    }
}

#[test]
fn a_cluster_killed_as_a_whole_loses_nothing() {
    let mut cluster = Cluster::start("all-killed", Program::Ours, 3);
    let mut acknowledged = Acknowledged::default();
    for round in 0..3 {
        for number in 0..3 {
            let label = format!("round-{round}-{number}");
            acknowledged.write_some(cluster.member(number).client(), &label, 5);
        }
        for member in cluster.members_mut() {
            member.kill9();
        }
        let specs: Vec<e2e::Spec> =
            cluster.members().iter().map(|member| member.spec().clone()).collect();
        for (number, spec) in specs.iter().enumerate() {
            *cluster.member_mut(number) = spec.spawn();
        }
        for member in cluster.members_mut() {
            member.wait_ready(PATIENCE);
            acknowledged.assert_all_on(member.client());
            assert_no_panic(&member.log());
        }
    }
}

#[test]
fn a_frozen_leader_serves_nothing_old_when_it_thaws() {
    let mut cluster = Cluster::start("frozen", Program::Ours, 3);
    let mut acknowledged = Acknowledged::default();
    acknowledged.write_some(cluster.member(0).client(), "before", 5);
    let frozen = cluster.wait_leader(PATIENCE);
    cluster.member_mut(frozen).signal(Signal::SIGSTOP);
    let other = (frozen + 1) % 3;
    let server = cluster.member(other).client();
    // Writes resume by themselves; the keys of those without an answer are left alone.
    let resumed = until(PATIENCE, || {
        let is_done = acknowledged.write(server, "3-resumed", "yes");
        is_done.then_some(())
    });
    assert!(resumed.is_some(), "no write after the leader froze");
    acknowledged.write_some(server, "before", 5);
    for number in 0..5 {
        let (key, value) = (format!("3-before-{number}"), format!("new-{number}"));
        assert!(acknowledged.write(server, &key, &value), "{key}");
    }
    cluster.member_mut(frozen).signal(Signal::SIGCONT);
    // It still believes to lead; its reads must be confirmed by the others first.
    let thawed = cluster.member(frozen).client();
    let newest: Vec<String> = (0..5).map(|number| format!("new-{number}")).collect();
    for (number, value) in newest.iter().enumerate() {
        let is_new = until(PATIENCE, || {
            super::h2::range(thawed, &format!("3-before-{number}")).ok().flatten()
        });
        let reply = is_new.expect("an answer");
        let is_new = reply.windows(value.len()).any(|part| part == value.as_bytes());
        assert!(is_new, "an old value of 3-before-{number} was served");
    }
    acknowledged.assert_all_on(thawed);
    for member in cluster.members() {
        assert_no_panic(&member.log());
    }
}
