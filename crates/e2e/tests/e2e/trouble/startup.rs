//! Starts that must be refused, and what the first minute of a server looks like.

use std::net::TcpListener;
use std::time::Duration;

use e2e::{Cluster, Exit, Program, http, until};

use super::{Acknowledged, Place, assert_no_panic, assert_refused};

/// A start that cannot succeed says so in this time; the locks are waited for 10 s.
const REFUSAL: Duration = Duration::from_secs(30);

#[test]
fn a_port_in_use_is_named() {
    for port in [2379, 2380] {
        let place = Place::new("port-in-use");
        let spec = place.single("p");
        let url = spec.setting("listen-client-urls").expect("set").replace("http://", "");
        let host = url.split(':').next().expect("a host");
        let _taken = TcpListener::bind((host, port)).expect("bind");
        let (exit, log) = spec.run_to_end(REFUSAL);
        let text = format!("listen tcp {host}:{port}: bind: address already in use");
        assert_refused(exit, &log, &text);
        assert!(!spec.data_dir().join("member").exists(), "files were made before the ports");
    }
}

#[test]
fn a_second_server_on_the_same_directory_is_refused() {
    let place = Place::new("two-servers");
    let spec = place.single("first");
    let etcd = spec.start();
    let mut acknowledged = Acknowledged::default();
    acknowledged.write_some(etcd.client(), "before", 5);
    let second = place.single("second").set("data-dir", spec.data_dir().to_string_lossy());
    let (exit, log) = second.run_to_end(REFUSAL);
    assert_refused(exit, &log, "another process");
    acknowledged.write_some(etcd.client(), "after", 5);
    acknowledged.assert_all_on(etcd.client());
}

#[test]
fn the_data_directory_is_named_after_the_member() {
    for (name, directory) in [(Some("named"), "named.etcd"), (None, "default.etcd")] {
        let place = Place::new("default-dir");
        let mut spec = place.single(name.unwrap_or("default")).unset("data-dir");
        if name.is_none() {
            spec = spec.unset("name");
        }
        let spec = spec.current_dir(place.directory.path());
        let etcd = spec.start();
        let member = place.directory.join(directory).join("member");
        assert!(member.join("snap/db").is_file() && member.join("wal").is_dir(), "{directory}");
        assert_no_panic(&etcd.log());
    }
}

#[test]
fn a_data_directory_that_is_a_file_is_refused() {
    let place = Place::new("dir-is-file");
    let spec = place.single("f");
    std::fs::write(spec.data_dir(), b"a file").expect("write");
    let (exit, log) = spec.run_to_end(REFUSAL);
    assert_no_panic(&log);
    assert_eq!(exit, Exit::Code(1));
    assert!(log.contains("f.etcd") || log.contains("cannot access data directory"), "{log}");
}

#[test]
fn members_with_different_tokens_do_not_mix() {
    let programs = [Program::Ours; 2];
    let token =
        |number, spec: e2e::Spec| spec.set("initial-cluster-token", format!("token-{number}"));
    let mut cluster = Cluster::describe("wrong-cluster", &programs, token);
    cluster.spawn_all();
    for member in cluster.members() {
        member.wait_log("cluster ID mismatch", REFUSAL);
        assert!(!member.is_healthy());
    }
    for member in cluster.members_mut() {
        assert_eq!(member.terminate(), Exit::Signal(15));
        assert_no_panic(&member.log());
    }
}

#[test]
fn joining_needs_a_cluster_that_fits() {
    let place = Place::new("join");
    let nobody = place.single("alone").set("initial-cluster-state", "existing");
    let (exit, log) = nobody.run_to_end(REFUSAL);
    assert_refused(exit, &log, "cannot fetch cluster info from peer urls");

    let running = place.single("running").start();
    let joiner = place.single("joiner");
    let both = format!(
        "{},{}",
        running.spec().setting("initial-cluster").expect("set"),
        joiner.setting("initial-cluster").expect("set")
    );
    let joiner = joiner.set("initial-cluster", both).set("initial-cluster-state", "existing");
    let (exit, log) = joiner.run_to_end(REFUSAL);
    assert_refused(exit, &log, "member count is unequal");
}

#[test]
fn a_member_that_lost_its_directory_is_refused() {
    let mut cluster = Cluster::start("emptied", Program::Ours, 3);
    let mut acknowledged = Acknowledged::default();
    acknowledged.write_some(cluster.member(0).client(), "before", 5);
    // A write forwarded to a leader that dies has an unknown outcome, so the victim is a follower.
    let leader = cluster.wait_leader(REFUSAL);
    let (victim, other) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.member_mut(victim).kill9();
    let spec = cluster.member(victim).spec().clone();
    std::fs::remove_dir_all(spec.data_dir()).expect("remove data directory");
    acknowledged.write_some(cluster.member(leader).client(), "meanwhile", 5);
    for state in ["new", "existing"] {
        let (exit, log) = spec.clone().set("initial-cluster-state", state).run_to_end(REFUSAL);
        assert_refused(exit, &log, "has already been bootstrapped");
    }
    acknowledged.write_some(cluster.member(other).client(), "after", 5);
    for number in [leader, other] {
        acknowledged.assert_all_on(cluster.member(number).client());
        assert_no_panic(&cluster.member(number).log());
    }
}

#[test]
fn a_member_without_quorum_waits_and_says_so() {
    let cluster = Cluster::describe("no-quorum", &[Program::Ours; 3], |_, spec| spec);
    let mut etcd = cluster.specs()[0].spawn();
    let health = until(REFUSAL, || http::get(etcd.peer(), "/version").ok());
    assert_eq!(health.expect("the peer port answers").status, 200);
    assert!(!etcd.is_healthy());
    assert_eq!(etcd.terminate(), Exit::Signal(15));
    assert_no_panic(&etcd.log());
}
