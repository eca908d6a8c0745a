//! Item 85: a member that cannot reach the others.

use std::time::{Duration, Instant};

use e2e::{Cluster, Program, http};

use super::case::{PATIENCE, error_body, with_v2};

#[test]
fn item_085_without_a_quorum_writes_time_out_and_plain_reads_work() {
    without_quorum(Program::Ours);
}

#[cfg(feature = "real")]
#[test]
fn item_085_without_a_quorum_go_34() {
    without_quorum(Program::GoEtcd34);
}

fn without_quorum(program: Program) {
    let quick = |_: usize, spec| {
        with_v2(program, spec).set("heartbeat-interval", "50").set("election-timeout", "500")
    };
    let mut cluster = Cluster::start_with("checklist-v2-quorum", &[program; 3], quick);
    // A follower of ours would answer as soon as it misses its leader.
    let leader = cluster.wait_leader(PATIENCE);
    let member = cluster.member(leader).client();
    let put = http::form(member, "PUT", "/v2/keys/k", "value=x").expect("PUT");
    assert_eq!(put.status, 201, "{put:?}");
    for other in [leader + 1, leader + 2] {
        cluster.member_mut(other % 3).kill9();
    }
    let began = Instant::now();
    let put = http::form(member, "PUT", "/v2/keys/k", "value=y").expect("PUT without a quorum");
    let elapsed = began.elapsed();
    assert_eq!((put.status, put.header("X-Etcd-Index")), (500, Some("0")), "{put:?}");
    let causes =
        ["", ", possibly due to previous leader failure", ", possibly due to connection lost"]
            .map(|why| error_body(300, &format!("etcdserver: request timed out{why}"), 0).1);
    assert!(causes.contains(&put.body), "{put:?}");
    // 5 s and two election time-outs.
    let is_in_time = elapsed >= Duration::from_millis(5900) && elapsed < Duration::from_secs(12);
    assert!(is_in_time, "after {elapsed:?}");
    let get = http::get(member, "/v2/keys/k").expect("GET");
    assert!(get.status == 200 && get.body.contains(r#""value":"x""#), "{get:?}");
}
