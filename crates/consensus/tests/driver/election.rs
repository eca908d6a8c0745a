//! Elections, replication, forwarding and transfers among three members.

use bytes::Bytes;
use consensus::{Effect, Input, RejectReason, Role};
use proto::raftpb::{ConfChangeType, Message, MessageType};
use types::{NodeId, RequestId};

use crate::harness::Net;

#[test]
fn time_elects_a_leader_that_replicates() {
    let mut net = Net::founded(&[1, 2, 3], 3);
    let leader = net.wait_for_leader();
    net.propose(leader, 1, "put a");
    net.propose(leader, 2, "put b");
    net.settle();
    net.assert_all_applied(&["put a", "put b"]);
}

#[test]
fn leader_sends_before_its_own_write_and_counts_itself_after_it() {
    let mut net = Net::founded(&[1, 2, 3], 3);
    net.elect(1);
    net.slow_disks.insert(1);
    net.cut.insert(3);
    net.propose(1, 1, "put a");
    assert!(
        net.wire.iter().any(|m| m.message_type == MessageType::App && !m.entries.is_empty()),
        "entries leave while the leader's write is queued"
    );
    let commit = net.peer(1).driver.status().commit;
    net.settle();
    assert_eq!(net.peer(1).driver.status().commit, commit, "only one durable copy of two");
    net.slow_disks.clear();
    net.settle();
    assert_eq!(net.texts(1), ["put a"]);
    assert_eq!(net.texts(2), ["put a"]);
}

#[test]
fn followers_acknowledge_only_what_is_durable() {
    let mut net = Net::founded(&[1, 2, 3], 3);
    net.elect(1);
    net.slow_disks.extend([2, 3]);
    net.propose(1, 1, "put a");
    net.settle();
    assert_eq!(net.texts(1), [""; 0]);
    assert!(net.write_one(2));
    net.settle();
    assert_eq!(net.texts(1), ["put a"]);
}

#[test]
fn votes_wait_for_the_disk() {
    let mut net = Net::founded(&[1, 2, 3], 3);
    net.slow_disks.extend([2, 3]);
    net.step(1, Input::Campaign);
    net.settle();
    assert_eq!(net.peer(1).role, Role::Candidate, "pre-votes promise nothing, votes do");
    net.slow_disks.clear();
    net.settle();
    assert_eq!(net.peer(1).role, Role::Leader);
}

#[test]
fn followers_forward_at_once() {
    let mut net = Net::founded(&[1, 2, 3], 3);
    net.elect(1);
    net.slow_disks.insert(2);
    net.propose(2, 1, "put a");
    net.propose(3, 2, "put b");
    net.settle();
    assert_eq!(net.texts(1), ["put a", "put b"]);
    net.slow_disks.clear();
    net.settle();
    net.assert_all_applied(&["put a", "put b"]);
    assert_eq!(net.seen.rejected, []);
}

#[test]
fn leadership_is_transferred_and_proposals_refused_meanwhile() {
    let mut net = Net::founded(&[1, 2, 3], 3);
    net.elect(1);
    net.step(1, Input::TransferLeader(NodeId(2)));
    assert_eq!(net.peer(1).driver.status().transferee, Some(NodeId(2)));
    net.propose(1, 1, "put a");
    assert_eq!(net.seen.rejected, [(RequestId(1), RejectReason::Dropped)]);
    net.settle();
    assert_eq!(net.leader(), Some(2));
    assert!(net.seen.lost_leader > 0);
    // A follower hands the wish on to the leader.
    net.step(1, Input::TransferLeader(NodeId(3)));
    net.settle();
    assert_eq!(net.leader(), Some(3));
    net.propose(1, 2, "put b");
    net.settle();
    net.assert_all_applied(&["put b"]);
}

#[test]
fn a_leader_without_quorum_steps_down_and_says_so() {
    let mut net = Net::founded(&[1, 2, 3], 3);
    net.elect(1);
    net.tick(3);
    let lost_before = net.seen.lost_leader;
    net.cut.extend([2, 3]);
    net.tick(25);
    assert_ne!(net.peer(1).role, Role::Leader);
    assert!(net.seen.lost_leader > lost_before);
    net.propose(1, 1, "put a");
    assert_eq!(net.seen.rejected, [(RequestId(1), RejectReason::NoLeader)]);
    net.cut.clear();
    let leader = net.wait_for_leader();
    net.propose(leader, 2, "put b");
    net.tick(3);
    net.assert_all_applied(&["put b"]);
}

#[test]
fn pre_vote_keeps_the_term_of_a_member_that_is_cut_off() {
    let mut net = Net::founded(&[1, 2, 3], 3);
    net.elect(1);
    let term = net.peer(3).driver.status().term;
    net.cut.insert(3);
    net.tick(100);
    assert_eq!(net.peer(3).driver.status().term, term);
    net.cut.clear();
    net.tick(5);
    assert_eq!(net.leader(), Some(1));
}

#[test]
fn status_of_a_leader_shows_all_members_in_order() {
    let mut net = Net::founded(&[3, 1, 2], 3);
    net.elect(2);
    net.propose(2, 1, "put a");
    net.settle();
    net.tick(2);
    let status = net.peer(2).driver.status();
    let ids: Vec<u64> = status.progress.iter().map(|(id, _)| id.0).collect();
    assert_eq!(ids, [1, 2, 3]);
    assert!(status.progress.iter().all(|(_, progress)| progress.matched == status.last_index));
    assert_eq!(status.applied, status.commit);
    assert_eq!(net.peer(1).driver.status().progress, []);
    assert_eq!(net.peer(1).driver.status().leader, NodeId(2));
}

#[test]
fn idle_heartbeats_need_no_writes() {
    let mut net = Net::founded(&[1, 2, 3], 3);
    net.elect(1);
    net.tick(3);
    for id in [1, 2, 3] {
        let driver = &mut net.peer(id).driver;
        driver.step(Input::Tick);
        let effects = driver.drain();
        assert!(
            !effects.iter().any(|effect| matches!(effect, Effect::Persist { .. })),
            "member {id}: {effects:?}"
        );
    }
}

#[test]
fn too_many_proposals_are_refused() {
    let mut net = Net::founded(&[1], 3);
    net.elect(1);
    let driver = &mut net.peer(1).driver;
    let all = (0..65_540).map(|request| (RequestId(request), Bytes::new())).collect();
    driver.step(Input::Propose(all));
    let effects = driver.drain();
    let refused = effects.iter().find_map(|effect| match effect {
        Effect::Rejected { requests, reason: RejectReason::TooMany } => Some(requests.len()),
        _ => None,
    });
    assert_eq!(refused, Some(4));
}

#[test]
fn a_lone_voter_tells_learners_nothing_before_its_term_is_durable() {
    let mut net = Net::founded(&[1], 3);
    net.elect(1);
    net.join(4);
    net.change(1, 10, ConfChangeType::AddLearnerNode, 4);
    net.settle();
    net.tick(2);
    net.slow_disks.insert(1);
    net.crash(1, 0, false);
    net.settle();
    assert_eq!(net.peer(1).role, Role::Leader);
    net.step(1, Input::Tick);
    net.propose(1, 11, "put a");
    assert!(net.wire.is_empty(), "{:?}", net.wire);
    net.slow_disks.clear();
    net.settle();
    net.tick(2);
    net.assert_all_applied(&["put a"]);
}

/// The vote requests leave with the write they wait for; their answers may overtake the news of it.
#[test]
fn votes_are_not_counted_before_the_own_log_is_durable() {
    let mut net = Net::founded(&[1, 2, 3], 3);
    net.elect(2);
    net.slow_disks.insert(1);
    net.propose(2, 1, "put a");
    net.settle();
    net.cut.insert(2);
    let mut news = Vec::new();
    net.step(1, Input::TransferLeader(NodeId(1)));
    net.wire.clear();
    let term = net.peer(1).driver.status().term.0;
    let timeout_now = Message {
        message_type: MessageType::TimeoutNow,
        to: 1,
        from: 2,
        term,
        ..Message::default()
    };
    net.step(1, Input::Message(timeout_now));
    assert_eq!(net.peer(1).role, Role::Candidate);
    while let Some(write) = net.peer(1).writes.pop_front() {
        net.wire.extend(write.then);
        news.push(write.number);
        let entries = write.entries;
        let peer = net.peer(1);
        peer.durable.entries.extend(entries);
    }
    net.settle();
    assert_eq!(net.peer(1).role, Role::Candidate);
    for number in news {
        net.step(1, Input::Persisted(number));
    }
    assert_eq!(net.peer(1).role, Role::Leader);
}

#[test]
fn what_only_a_leader_may_propose_is_never_forwarded() {
    let mut net = Net::founded(&[1, 2, 3], 3);
    net.elect(1);
    net.settle();
    let term = net.peer(1).driver.status().term;
    let ask = |request: u64, text: &'static [u8]| Input::ProposeAsLeader {
        term,
        requests: vec![(RequestId(request), Bytes::from_static(text))],
    };
    net.step(1, ask(1, b"put a"));
    net.settle();
    net.assert_all_applied(&["put a"]);

    // A follower of another leader, and a leader again, but in a later term.
    net.step(1, Input::TransferLeader(NodeId(2)));
    net.settle();
    for request in [2, 3] {
        let driver = &mut net.peer(1).driver;
        driver.step(ask(request, b"put late"));
        let effects = driver.drain();
        let refused = Effect::Rejected {
            requests: vec![RequestId(request)],
            reason: RejectReason::NotLeading,
        };
        assert_eq!(effects, [refused]);
        net.step(2, Input::TransferLeader(NodeId(1)));
        net.settle();
    }
    net.settle();
    net.assert_all_applied(&["put a"]);
}

#[test]
fn a_leader_that_ended_is_replaced_long_before_the_election_timeout() {
    for seed in 0..20 {
        let mut net = Net::founded(&[1, 2, 3], seed);
        net.elect(1);
        let term = net.peer(1).driver.status().term;
        net.cut.insert(1);
        for id in [2, 3] {
            net.step(id, Input::PeerGone(NodeId(1)));
            assert_eq!(net.peer(id).driver.status().leader, NodeId(0));
        }
        for _ in 0..3 {
            net.tick(1);
            net.settle();
        }
        let leader = [2, 3].into_iter().find(|id| net.peers[id].role == Role::Leader);
        let leader = leader.unwrap_or_else(|| panic!("seed {seed}: no leader after 3 ticks"));
        assert!(net.peer(leader).driver.status().term > term);
    }
}

#[test]
fn a_leader_that_lives_keeps_its_term_when_it_is_said_to_have_ended() {
    for who_believes_it in [&[2][..], &[3], &[2, 2, 3]] {
        let mut net = Net::founded(&[1, 2, 3], 7);
        net.elect(1);
        net.settle();
        let term = net.peer(1).driver.status().term;
        for id in who_believes_it {
            net.step(*id, Input::PeerGone(NodeId(1)));
            net.tick(1);
            net.settle();
        }
        net.tick(25);
        net.settle();
        for id in [1, 2, 3] {
            let status = net.peer(id).driver.status();
            assert_eq!((status.term, status.leader), (term, NodeId(1)), "member {id}");
        }
    }
}

#[test]
fn word_of_an_end_is_believed_once_in_a_term() {
    let mut net = Net::founded(&[1, 2, 3], 7);
    net.elect(1);
    net.settle();
    net.step(2, Input::PeerGone(NodeId(3)));
    assert_eq!(net.peer(2).driver.status().leader, NodeId(1), "another member's end");
    net.step(2, Input::PeerGone(NodeId(1)));
    assert_eq!(net.peer(2).driver.status().leader, NodeId(0));
    net.tick(1);
    net.settle();
    assert_eq!(net.peer(2).driver.status().leader, NodeId(1));
    net.step(2, Input::PeerGone(NodeId(1)));
    assert_eq!(net.peer(2).driver.status().leader, NodeId(1));
    net.step(1, Input::PeerGone(NodeId(1)));
    assert_eq!(net.peer(1).role, Role::Leader, "a leader does not give itself up");
}
