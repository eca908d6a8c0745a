//! More work than can be done: it is answered, refused or timed out, and the server lives on.

use std::time::Duration;

use e2e::{Cluster, Program, until};
use nix::sys::signal::Signal;

use super::{Acknowledged, assert_no_panic, h2};

/// Calls at once on each connection; together more than the raft inbox holds.
const CALLS: u32 = 3000;
const CONNECTIONS: u32 = 3;
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_flood_without_quorum_is_answered_and_forgotten() {
    let mut cluster = Cluster::start("flood", Program::Ours, 3);
    let mut acknowledged = Acknowledged::default();
    let leader = cluster.wait_leader(PATIENCE);
    let server = cluster.member(leader).client();
    acknowledged.write_some(server, "before", 5);
    let others: Vec<usize> = (0..3).filter(|number| *number != leader).collect();
    for number in &others {
        cluster.member_mut(*number).signal(Signal::SIGSTOP);
    }
    let flood =
        |number| std::thread::spawn(move || h2::flood(server, &format!("flood-{number}"), CALLS));
    let floods: Vec<_> = (0..CONNECTIONS).map(flood).collect();
    for flood in floods {
        let ended = flood.join().expect("no panic").expect("the connection lives on");
        assert_eq!(ended, CALLS, "calls without an answer");
    }
    for number in &others {
        cluster.member_mut(*number).signal(Signal::SIGCONT);
    }
    let resumed = until(PATIENCE, || acknowledged.write(server, "3-resumed", "yes").then_some(()));
    assert!(resumed.is_some(), "no write after the others came back");
    for member in cluster.members() {
        acknowledged.assert_all_on(member.client());
        assert_no_panic(&member.log());
    }
}
