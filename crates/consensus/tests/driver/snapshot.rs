//! Snapshots to members that are behind the log.

use consensus::{Input, ProgressState};
use proto::raftpb::{ConfChangeType, MessageType};
use types::NodeId;

use crate::harness::Net;

fn net_with_a_laggard() -> Net {
    let mut net = Net::founded(&[1, 2, 3], 9);
    net.elect(1);
    net.cut.insert(3);
    for request in 0..10 {
        net.propose(1, request, "put x");
    }
    net.settle();
    net.checkpoint(1);
    net.checkpoint(2);
    net.cut.clear();
    net
}

#[test]
fn a_laggard_gets_one_and_goes_on() {
    let mut net = net_with_a_laggard();
    net.tick(5);
    assert_eq!(net.texts(3).len(), 10);
    assert!(net.peer(3).durable.snapshot.index > 10, "it came by snapshot");
    net.propose(3, 99, "put y");
    net.tick(1);
    assert_eq!(net.texts(3).last().unwrap(), "put y");
    let progress = &net.peer(1).driver.status().progress[2].1;
    assert_eq!(progress.state, ProgressState::Replicate);
}

/// Lets everything but the answer to `WantSnapshot` happen.
fn run_to_the_wish(net: &mut Net) {
    for _ in 0..20 {
        net.step(1, Input::Tick);
        while let Some(message) = net.wire.pop_front() {
            net.deliver(message, false);
            for id in [1, 2, 3] {
                while net.write_one(id) {}
                while !net.slow_apply.contains(&id) && net.apply_one(id) {}
            }
        }
        if net.peer(1).wanted_by.is_some() {
            return;
        }
    }
    panic!("the leader never asked");
}

#[test]
fn it_is_asked_for_once_until_answered() {
    let mut net = net_with_a_laggard();
    run_to_the_wish(&mut net);
    assert_eq!(net.peer(1).wanted_by, Some(NodeId(3)));
    // The harness fails when the wish is repeated before it is answered.
    for _ in 0..5 {
        net.step(1, Input::Tick);
        while let Some(message) = net.wire.pop_front() {
            net.deliver(message, false);
            while net.write_one(3) {}
        }
    }
    net.peer(1).wanted_by = None;
    net.step(1, Input::SnapshotUnavailable);
    run_to_the_wish(&mut net);
    net.settle();
    net.tick(2);
    assert_eq!(net.texts(3).len(), 10);
}

#[test]
fn a_snapshot_without_its_receiver_is_not_sent() {
    let mut net = net_with_a_laggard();
    run_to_the_wish(&mut net);
    let mut stale = net.peer(1).durable.snapshot.clone();
    stale.conf_state.voters = vec![1, 2];
    net.peer(1).wanted_by = None;
    let snapshot = proto::raftpb::Snapshot { metadata: stale, ..Default::default() };
    net.step(1, Input::SnapshotReady(snapshot));
    assert!(!net.wire.iter().any(|m| m.message_type == MessageType::Snap));
    net.tick(3);
    assert_eq!(net.texts(3).len(), 10);
}

#[test]
fn a_lost_snapshot_is_made_again() {
    let mut net = net_with_a_laggard();
    run_to_the_wish(&mut net);
    net.answer_snapshot(1);
    let snap = net.wire.iter().position(|m| m.message_type == MessageType::Snap).unwrap();
    let message = net.wire.remove(snap).unwrap();
    net.deliver(message, true);
    net.tick(5);
    assert_eq!(net.texts(3).len(), 10);
}

#[test]
fn nothing_is_applied_until_it_is_installed() {
    let mut net = net_with_a_laggard();
    run_to_the_wish(&mut net);
    net.answer_snapshot(1);
    net.slow_disks.insert(3);
    net.settle();
    let peer = net.peer(3);
    assert!(peer.to_install.is_some());
    let position = peer.writes.iter().position(|write| write.snapshot.is_some()).unwrap();
    assert_eq!(position + 1, peer.writes.len(), "nothing is written behind it before it is");
    // The record is durable, the installation goes on.
    write_all(&mut net, 3);
    net.propose(1, 50, "put late");
    for _ in 0..30 {
        net.step(1, Input::Tick);
        net.step(3, Input::Tick);
        net.settle();
    }
    assert!(net.peer(3).to_apply.is_empty());
    assert!(net.peer(3).writes.iter().any(|write| !write.entries.is_empty()), "the log goes on");
    install(&mut net, 3);
    net.slow_disks.clear();
    net.settle();
    assert_eq!(net.texts(3).last().unwrap(), "put late");
}

/// Carries out the writes of a member with a slow disk.
fn write_all(net: &mut Net, id: u64) {
    while let Some(write) = net.peer(id).writes.pop_front() {
        net.peer(id).driver.step(Input::Persisted(write.number));
        net.wire.extend(write.then);
        net.drain(id);
    }
}

/// Installs the snapshot that a member was handed.
fn install(net: &mut Net, id: u64) {
    let metadata = net.peer(id).to_install.take().unwrap().metadata;
    let peer = net.peer(id);
    peer.applied = metadata.index;
    peer.conf_state = metadata.conf_state.clone();
    peer.durable.snapshot = metadata.clone();
    peer.written = peer.durable.clone();
    net.step(id, Input::SnapshotInstalled(metadata));
}

/// A leader whose log has moved on sends the next one while the first is being installed.
#[test]
fn the_next_one_waits_until_the_first_is_installed() {
    let mut net = net_with_a_laggard();
    run_to_the_wish(&mut net);
    net.answer_snapshot(1);
    let first = net.wire.iter().find(|m| m.message_type == MessageType::Snap).unwrap().clone();
    net.slow_disks.insert(3);
    net.settle();
    write_all(&mut net, 3);
    let mut next = first;
    next.snapshot.as_mut().unwrap().metadata.index += 5;
    net.deliver(next, false);
    assert!(net.peer(3).writes.iter().all(|write| write.snapshot.is_none()));
    install(&mut net, 3);
    net.slow_disks.clear();
    net.propose(1, 50, "put late");
    net.tick(5);
    assert_eq!(net.texts(3).last().unwrap(), "put late");
}

#[test]
fn a_crash_after_the_record_installs_at_the_next_start() {
    let mut net = net_with_a_laggard();
    run_to_the_wish(&mut net);
    net.answer_snapshot(1);
    net.slow_disks.insert(3);
    net.settle();
    let queued = net.peer(3).writes.len();
    net.crash(3, queued + 1, false);
    assert!(net.peer(3).applied > 10);
    net.slow_disks.clear();
    net.tick(3);
    assert_eq!(net.texts(3).len(), 10);
}

#[test]
fn a_learner_joins_by_snapshot() {
    let mut net = Net::founded(&[1, 2, 3], 9);
    net.elect(1);
    for request in 0..10 {
        net.propose(1, request, "put x");
    }
    net.settle();
    net.checkpoint(1);
    net.join(4);
    net.change(1, 50, ConfChangeType::AddLearnerNode, 4);
    net.tick(5);
    assert_eq!(net.texts(4).len(), 10);
    assert_eq!(net.peer(4).driver.conf_state().learners, [4]);
}

#[test]
fn a_change_older_than_a_received_snapshot_is_not_put_on_top() {
    let mut net = Net::founded(&[1, 2, 3], 9);
    net.elect(1);
    net.slow_apply.insert(3);
    net.change(1, 50, ConfChangeType::AddLearnerNode, 4);
    net.settle();
    net.tick(1);
    assert!(!net.peer(3).to_apply.is_empty(), "the change was handed out");
    net.cut.insert(3);
    net.change(1, 51, ConfChangeType::RemoveNode, 4);
    net.propose(1, 52, "put x");
    net.settle();
    net.checkpoint(1);
    net.cut.clear();
    run_to_the_wish(&mut net);
    net.answer_snapshot(1);
    net.slow_disks.insert(3);
    net.settle();
    assert!(net.peer(3).to_install.is_some());
    net.slow_apply.clear();
    while net.apply_one(3) {}
    assert_eq!(net.peer(3).driver.conf_state().learners, [0; 0]);
    net.slow_disks.clear();
    net.tick(3);
    assert_eq!(net.texts(3), ["put x"]);
    assert_eq!(net.peer(3).driver.conf_state().learners, [0; 0]);
}
