//! A member that is alone: its own disk is the quorum.

use bytes::Bytes;
use consensus::{Driver, Effect, Input, RejectReason, Role};
use proto::raftpb::MessageType;
use types::{LogIndex, RequestId};

use crate::harness::{Net, options};

#[test]
fn commits_only_what_is_durable() {
    let mut net = Net::founded(&[1], 1);
    net.elect(1);
    net.slow_disks.insert(1);
    net.propose(1, 10, "put a");
    net.settle();
    let commit_before = net.peer(1).driver.status().commit;
    assert_eq!(net.peer(1).writes.len(), 1);
    assert!(net.peer(1).writes[0].must_sync);
    assert_eq!(net.texts(1), [""; 0]);

    assert!(net.write_one(1));
    assert_eq!(net.peer(1).driver.status().commit, commit_before.next());
    net.slow_disks.clear();
    net.settle();
    assert_eq!(net.texts(1), ["put a"]);
}

#[test]
fn leads_without_waiting_for_an_election_timeout() {
    let mut net = Net::founded(&[1], 1);
    assert_eq!(net.peer(1).role, Role::Leader);
    net.propose(1, 10, "put a");
    net.settle();
    net.crash(1, 0, false);
    net.settle();
    assert_eq!(net.peer(1).role, Role::Leader);
    assert_eq!(net.texts(1), ["put a"]);
}

#[test]
fn waits_for_one_when_it_is_not_alone_or_may_not_vote() {
    let mut net = Net::founded(&[1, 2], 1);
    net.join(3);
    net.settle();
    assert!(net.peers.values().all(|peer| peer.role == Role::Follower));
    // The log of a voter that was alone once, and has a second one beside it now.
    let mut net = Net::founded(&[1], 1);
    net.join(2);
    net.change(1, 10, proto::raftpb::ConfChangeType::AddNode, 2);
    net.settle();
    net.crash(1, 0, false);
    net.settle();
    assert_eq!(net.peer(1).role, Role::Follower);
}

#[test]
fn wins_no_election_while_its_log_is_not_durable() {
    let mut net = Net::founded(&[1], 1);
    net.elect(1);
    net.slow_disks.insert(1);
    net.propose(1, 10, "put a");
    // Any message of a later term makes it a follower with a log that is still being written.
    let term = net.peer(1).driver.status().term.0 + 5;
    let vote = proto::raftpb::Message {
        message_type: MessageType::Vote,
        to: 1,
        from: 9,
        term,
        context: Bytes::from_static(b"CampaignTransfer"),
        ..Default::default()
    };
    net.step(1, Input::Message(vote));
    assert_eq!(net.peer(1).role, Role::Follower);
    for _ in 0..50 {
        net.step(1, Input::Tick);
        net.step(1, Input::Campaign);
        assert_eq!(net.peer(1).role, Role::Follower);
    }
    net.slow_disks.clear();
    net.settle();
    net.wait_for_leader();
    net.settle();
    assert_eq!(net.texts(1), ["put a"]);
}

#[test]
fn a_drain_makes_one_batch() {
    let mut net = Net::founded(&[1], 1);
    net.elect(1);
    let driver = &mut net.peer(1).driver;
    for request in 0..50 {
        let data = Bytes::from(format!("put {request}"));
        driver.step(Input::Propose(vec![(RequestId(request), data)]));
    }
    let writes: Vec<usize> = driver
        .drain()
        .iter()
        .filter_map(|effect| match effect {
            Effect::Persist { entries, .. } => Some(entries.len()),
            _ => None,
        })
        .collect();
    assert_eq!(writes, [50]);
}

#[test]
fn reads_at_its_commit_index_at_once() {
    let mut net = Net::founded(&[1], 1);
    net.elect(1);
    net.read(1, 7);
    let commit = net.peer(1).driver.status().commit.0;
    assert_eq!(net.seen.reads[&RequestId(7)], commit);
}

#[test]
fn rejects_without_a_leader() {
    let mut net = Net::founded(&[1, 2], 1);
    net.propose(1, 10, "put a");
    net.change(1, 11, proto::raftpb::ConfChangeType::AddNode, 3);
    net.change(1, 12, proto::raftpb::ConfChangeType::AddNode, 0);
    let mut rejected = net.seen.rejected.clone();
    rejected.sort_by_key(|&(request, _)| request);
    assert_eq!(
        rejected,
        [
            (RequestId(10), RejectReason::NoLeader),
            (RequestId(11), RejectReason::NoLeader),
            (RequestId(12), RejectReason::Invalid),
        ]
    );
}

#[test]
fn an_empty_member_never_campaigns() {
    let mut driver = Driver::new(options(4, 1), Default::default()).unwrap();
    for _ in 0..100 {
        driver.step(Input::Tick);
        driver.step(Input::Campaign);
        assert_eq!(driver.drain(), []);
    }
}

#[test]
fn apply_stays_in_its_window_and_goes_on_when_it_is_reported() {
    let mut net = Net::founded(&[1], 1);
    net.elect(1);
    let base = net.peer(1).applied;
    let count = types::limits::APPLIED_LAG_MAX + 10;
    let driver = &mut net.peer(1).driver;
    driver.step(Input::Propose(
        (0..count).map(|request| (RequestId(request), Bytes::from_static(b"x"))).collect(),
    ));
    let number = number_of_write(&driver.drain());
    driver.step(Input::Persisted(number));
    assert_eq!(applied_count(&driver.drain()), types::limits::APPLIED_LAG_MAX);
    driver.step(Input::Applied(LogIndex(base + 4)));
    assert_eq!(applied_count(&driver.drain()), 4);
    driver.step(Input::Applied(LogIndex(base + 100)));
    assert_eq!(applied_count(&driver.drain()), 6);
}

fn number_of_write(effects: &[Effect]) -> u64 {
    let numbers = effects.iter().filter_map(|effect| match effect {
        Effect::Persist { number, .. } => Some(*number),
        _ => None,
    });
    numbers.last().unwrap()
}

fn applied_count(effects: &[Effect]) -> u64 {
    let counts = effects.iter().map(|effect| match effect {
        Effect::Apply(entries) => entries.len() as u64,
        _ => 0,
    });
    counts.sum()
}

#[test]
fn compaction_frees_memory_up_to_what_is_applied() {
    let mut net = Net::founded(&[1], 1);
    net.elect(1);
    for request in 0..10 {
        net.propose(1, request, "put x");
    }
    net.settle();
    let before = net.peer(1).driver.log_bytes();
    net.propose(1, 99, "put y");
    net.step(1, Input::Compact(LogIndex(1_000_000)));
    let peer = net.peer(1);
    assert!(peer.driver.log_bytes() < before);
    assert_eq!(peer.driver.status().first_index.0, peer.applied + 1);
    net.settle();
    assert_eq!(net.texts(1).last().unwrap(), "put y");
}
