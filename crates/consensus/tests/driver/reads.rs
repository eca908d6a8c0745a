//! Linearizable reads.

use consensus::Input;
use proto::raftpb::{Entry, Message, MessageType};
use types::RequestId;

use crate::harness::Net;

#[test]
fn every_member_serves_them() {
    let mut net = Net::founded(&[1, 2, 3], 5);
    net.elect(1);
    net.propose(1, 1, "put a");
    net.settle();
    for id in [1, 2, 3] {
        net.read(id, 100 + id);
    }
    net.settle();
    let commit = net.peer(1).driver.status().commit.0;
    assert_eq!(net.seen.reads.values().copied().collect::<Vec<_>>(), [commit; 3]);
}

#[test]
fn all_of_a_drain_share_one_round() {
    let mut net = Net::founded(&[1, 2, 3], 5);
    net.elect(1);
    for request in 0..100 {
        net.read_floor.insert(RequestId(request), 0);
        net.peer(2).driver.step(Input::ReadIndex(vec![RequestId(request)]));
    }
    net.drain(2);
    let rounds = net.wire.iter().filter(|m| m.message_type == MessageType::ReadIndex).count();
    assert_eq!(rounds, 1);
    net.settle();
    assert_eq!(net.seen.reads.len(), 100);
}

#[test]
fn asked_before_the_first_commit_they_are_answered_by_it() {
    let mut net = Net::founded(&[1, 2, 3], 5);
    net.slow_disks.extend([2, 3]);
    net.step(1, Input::Campaign);
    net.settle();
    net.write_one(2);
    net.settle();
    assert_eq!(net.leader(), Some(1));
    net.read(1, 1);
    net.settle();
    assert!(net.seen.reads.is_empty(), "nothing of its term is committed yet");
    net.slow_disks.clear();
    net.settle();
    assert_eq!(net.seen.reads.len(), 1, "answered without a tick");
}

#[test]
fn lost_rounds_are_sent_again() {
    let mut net = Net::founded(&[1, 2, 3], 5);
    net.elect(1);
    net.cut.insert(2);
    net.read(2, 1);
    net.settle();
    net.cut.clear();
    net.tick(4);
    assert!(net.seen.reads.is_empty());
    net.tick(2);
    assert_eq!(net.seen.reads.len(), 1);
}

#[test]
fn asked_without_a_leader_they_wait_for_one() {
    let mut net = Net::founded(&[1, 2, 3], 5);
    net.read(3, 1);
    net.settle();
    assert!(net.seen.reads.is_empty());
    net.elect(1);
    net.tick(1);
    assert_eq!(net.seen.reads.len(), 1);
}

#[test]
fn cancelled_reads_are_never_answered() {
    let mut net = Net::founded(&[1, 2, 3], 5);
    net.read(3, 1);
    net.step(3, Input::CancelReads);
    net.elect(1);
    net.tick(10);
    assert!(net.seen.reads.is_empty());
}

#[test]
fn a_follower_of_another_make_is_answered() {
    let mut net = Net::founded(&[1, 2, 3], 5);
    net.elect(1);
    net.cut.insert(3);
    net.step(2, Input::Tick);
    let context = bytes::Bytes::from_static(b"\0\0\0\0\0\0\x30\x39");
    let request = Message {
        message_type: MessageType::ReadIndex,
        to: 1,
        from: 3,
        entries: vec![Entry { data: context.clone(), ..Entry::default() }],
        ..Message::default()
    };
    net.step(1, Input::Message(request));
    let mut answer = None;
    while let Some(message) = net.wire.pop_front() {
        if message.message_type == MessageType::ReadIndexResp {
            answer = Some(message.clone());
        }
        net.deliver(message, false);
        net.write_one(2);
    }
    let answer = answer.expect("an answer");
    assert_eq!((answer.to, answer.entries[0].data.clone()), (3, context));
    assert_eq!(answer.index, net.peer(1).driver.status().commit.0);
}
