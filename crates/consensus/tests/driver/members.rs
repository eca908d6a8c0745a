//! Configuration changes, with etcd's bytes in the log.

use bytes::Bytes;
use consensus::{Input, RejectReason, Role};
use proto::raftpb::{
    ConfChange, ConfChangeType, ConfChangeType::*, Entry, EntryType, Message, MessageType,
};
use types::RequestId;

use crate::harness::{Net, change};

fn configuration(net: &mut Net, id: u64) -> (Vec<u64>, Vec<u64>) {
    let conf_state = net.peer(id).driver.conf_state();
    assert_eq!(conf_state, net.peer(id).conf_state);
    (conf_state.voters, conf_state.learners)
}

fn last_change(net: &Net) -> ConfChange {
    let changes = net.truth.values().rev();
    let mut changes = changes.filter_map(|(_, data)| ConfChange::decode(data.clone()).ok());
    changes.find(|change| change.node_id != 0).unwrap()
}

#[test]
fn a_member_is_added_as_learner_promoted_updated_and_removed() {
    let mut net = Net::founded(&[1, 2, 3], 7);
    net.elect(1);
    net.propose(1, 1, "put a");
    net.join(4);
    let steps: [(ConfChangeType, &[u64], &[u64]); 4] = [
        (AddLearnerNode, &[1, 2, 3], &[4]),
        (AddNode, &[1, 2, 3, 4], &[]),
        (UpdateNode, &[1, 2, 3, 4], &[]),
        (RemoveNode, &[1, 2, 3], &[]),
    ];
    for (number, (change_type, voters, learners)) in steps.into_iter().enumerate() {
        net.change(1, 10 + number as u64, change_type, 4);
        net.settle();
        net.tick(3);
        assert_eq!(configuration(&mut net, 1), (voters.to_vec(), learners.to_vec()));
        let request = 10 + number as u64;
        assert_eq!(last_change(&net), change(request, change_type, 4), "etcd's bytes are kept");
    }
    assert_eq!(net.texts(4), ["put a"]);
    assert_eq!(net.seen.rejected, []);
}

#[test]
fn a_forwarded_change_is_taken_in_etcds_encoding() {
    let mut net = Net::founded(&[1, 2, 3], 7);
    net.elect(1);
    net.change(2, 10, AddLearnerNode, 4);
    net.settle();
    assert_eq!(configuration(&mut net, 3), (vec![1, 2, 3], vec![4]));

    // The same from a member in Go, byte by byte: id 11, AddLearnerNode (3), node 5.
    let data = Bytes::from_static(b"\x08\x0b\x10\x03\x18\x05\x22\x02{}");
    let entry = Entry { entry_type: EntryType::ConfChange, data: data.clone(), ..Entry::default() };
    net.step(1, Input::Message(proposal(3, vec![entry])));
    net.settle();
    assert_eq!(configuration(&mut net, 2), (vec![1, 2, 3], vec![4, 5]));
    assert!(net.truth.values().any(|(_, found)| *found == data));
}

fn proposal(from: u64, entries: Vec<Entry>) -> Message {
    Message { message_type: MessageType::Prop, to: 1, from, entries, ..Message::default() }
}

#[test]
fn proposals_that_are_no_changes_of_etcd_are_dropped() {
    let mut net = Net::founded(&[1, 2, 3], 7);
    net.elect(1);
    let last = net.peer(1).driver.status().last_index;
    let entry = |entry_type, data| Entry { entry_type, data, ..Entry::default() };
    let garbage = Bytes::from_static(b"\xff\xff\xff");
    let unknown_type = Bytes::from_static(b"\x10\x07\x18\x05");
    for bad in [
        vec![entry(EntryType::ConfChange, garbage.clone())],
        vec![entry(EntryType::ConfChange, unknown_type)],
        vec![entry(EntryType::ConfChangeV2, Bytes::new())],
        vec![entry(EntryType::Normal, garbage.clone()), entry(EntryType::ConfChange, garbage)],
        vec![],
    ] {
        net.step(1, Input::Message(proposal(2, bad)));
    }
    assert_eq!(net.peer(1).driver.status().last_index, last);
}

#[test]
fn a_refused_change_changes_nothing_and_blocks_nothing() {
    let mut net = Net::founded(&[1, 2, 3], 7);
    net.elect(1);
    net.change(1, 10, AddNode, 2);
    net.change(1, 11, RemoveNode, 9);
    net.change(1, 12, AddLearnerNode, 4);
    net.settle();
    net.tick(1);
    assert_eq!(configuration(&mut net, 1), (vec![1, 2, 3], vec![4]));
    assert_eq!(net.seen.rejected, []);
}

#[test]
fn changes_wait_for_the_one_before() {
    let mut net = Net::founded(&[1, 2, 3], 7);
    net.elect(1);
    net.slow_disks.extend([2, 3]);
    for node in [4, 5, 6] {
        net.change(1, node, AddLearnerNode, node);
    }
    net.settle();
    assert_eq!(configuration(&mut net, 1), (vec![1, 2, 3], vec![]));
    net.slow_disks.clear();
    net.settle();
    net.tick(2);
    assert_eq!(configuration(&mut net, 1), (vec![1, 2, 3], vec![4, 5, 6]));
}

#[test]
fn a_removed_leader_steps_down_and_refuses() {
    let mut net = Net::founded(&[1, 2, 3], 7);
    net.elect(1);
    net.change(1, 10, RemoveNode, 1);
    net.settle();
    assert_eq!(net.peer(1).role, Role::Follower);
    net.propose(1, 11, "put a");
    assert_eq!(net.seen.rejected, [(RequestId(11), RejectReason::Removed)]);
    net.tick(60);
    let leader = net.wait_for_leader();
    assert_ne!(leader, 1);
    net.propose(leader, 12, "put b");
    net.settle();
    assert_eq!(configuration(&mut net, leader), (vec![2, 3], vec![]));
    assert_eq!(net.texts(leader), ["put b"]);
    assert_eq!(net.peer(1).role, Role::Follower, "it never campaigns again");
}

#[test]
fn a_removed_leaders_own_writes_may_still_finish() {
    let mut net = Net::founded(&[1, 2, 3], 7);
    net.elect(1);
    net.change(1, 10, RemoveNode, 1);
    net.propose(1, 11, "put a");
    net.slow_disks.insert(1);
    net.settle();
    net.slow_disks.clear();
    net.settle();
    net.tick(60);
    net.wait_for_leader();
    net.tick(2);
    assert_eq!(net.texts(2), ["put a"]);
}

#[test]
fn the_last_voter_cannot_be_removed() {
    let mut net = Net::founded(&[1], 7);
    net.elect(1);
    let driver = &mut net.peer(1).driver;
    driver.step(Input::ProposeConfChange(RequestId(1), change(1, RemoveNode, 1)));
    net.drain(1);
    while net.write_one(1) {}
    // The membership rules let it through here; raft does not.
    let entry = net.peer(1).to_apply.pop_front().unwrap();
    let index = types::LogIndex(entry.index);
    let change = Some(ConfChange::decode(entry.data).unwrap());
    net.step(1, Input::ConfChangeApplied { index, change });
    net.step(1, Input::Applied(index));
    assert_eq!(net.peer(1).driver.conf_state().voters, [1]);
    assert_eq!(net.peer(1).role, Role::Leader);
}

#[test]
fn only_a_leader_that_is_the_sole_voter_decides_alone() {
    let mut net = Net::founded(&[1], 7);
    net.elect(1);
    let term = net.peer(1).driver.status().term;
    assert_eq!(net.peer(1).driver.sole_term(), Some(term));
    assert!(!net.peer(1).driver.has_peers());
    net.join(2);
    let steps = [
        (AddLearnerNode, Some(term), true),
        (AddNode, None, true),
        (RemoveNode, Some(term), false),
    ];
    for (number, (change_type, sole_term, has_peers)) in steps.into_iter().enumerate() {
        net.change(1, 10 + number as u64, change_type, 2);
        net.settle();
        net.tick(3);
        assert_eq!(net.peer(1).driver.sole_term(), sole_term, "{change_type:?}");
        assert_eq!(net.peer(1).driver.has_peers(), has_peers, "{change_type:?}");
        assert_eq!(net.peer(2).driver.sole_term(), None);
    }
}
