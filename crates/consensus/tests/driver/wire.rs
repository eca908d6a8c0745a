//! What the network may say without harm.

use bytes::Bytes;
use consensus::{Input, Role};
use proto::raftpb::{Entry, Message, MessageType};

use crate::harness::Net;

/// etcd's local kinds never pass the codec.
#[test]
fn local_kinds_are_refused() {
    for kind in [0_u8, 1, 10, 11, 12, 19, 20, 21, 22, 23, 24, 127] {
        let bytes = Bytes::from(vec![0x08, kind, 0x10, 1, 0x18, 2, 0x20, 5]);
        assert!(Message::decode(bytes).is_err(), "kind {kind}");
    }
    for kind in [2_u8, 3, 4, 5, 6, 7, 8, 9, 13, 14, 15, 16, 17, 18] {
        let bytes = Bytes::from(vec![0x08, kind, 0x10, 1, 0x18, 2, 0x20, 5]);
        assert!(Message::decode(bytes).is_ok(), "kind {kind}");
    }
}

#[test]
fn responses_of_unknown_members_are_ignored() {
    let mut net = Net::founded(&[1, 2, 3], 13);
    net.elect(1);
    let term = net.peer(1).driver.status().term.0;
    for message_type in [MessageType::AppResp, MessageType::HeartbeatResp, MessageType::VoteResp] {
        let message =
            Message { message_type, to: 1, from: 99, term, index: 1, ..Message::default() };
        net.step(1, Input::Message(message));
    }
    assert_eq!(net.peer(1).role, Role::Leader);
    net.propose(1, 1, "put a");
    net.settle();
    net.assert_all_applied(&["put a"]);
}

/// Any message with any numbers leaves a member standing, unless it contradicts what is committed.
#[test]
fn random_messages_do_not_panic() {
    let mut random = crate::chaos::Random(1);
    for role in [1, 2] {
        let mut net = Net::founded(&[1, 2, 3], 13);
        net.elect(1);
        net.propose(1, 1, "put a");
        net.settle();
        for _ in 0..4000 {
            let message = random_message(&mut random, role, &mut net);
            net.peer(role).driver.step(Input::Message(message));
            let _effects = net.peer(role).driver.drain();
            if random.below(10) == 0 {
                net.peer(role).driver.step(Input::Tick);
            }
        }
    }
}

fn random_message(random: &mut crate::chaos::Random, to: u64, net: &mut Net) -> Message {
    let status = net.peer(to).driver.status();
    let types = [
        MessageType::Prop,
        MessageType::AppResp,
        MessageType::Vote,
        MessageType::VoteResp,
        MessageType::Heartbeat,
        MessageType::HeartbeatResp,
        MessageType::TransferLeader,
        MessageType::ReadIndex,
        MessageType::ReadIndexResp,
        MessageType::PreVote,
        MessageType::PreVoteResp,
        MessageType::App,
    ];
    let message_type = types[random.index(types.len())];
    // Entries that contradict committed ones are a reason to stop, so appends begin at the end.
    let append = message_type == MessageType::App;
    let near = |random: &mut crate::chaos::Random, value: u64| match random.below(8) {
        0 => 0,
        1 => u64::MAX,
        2 => value + 1,
        3 => value.saturating_sub(1),
        _ => value,
    };
    let count = random.below(3);
    let entry = Entry { data: Bytes::from_static(b"x"), index: 7, term: 1, ..Entry::default() };
    Message {
        message_type,
        to,
        from: random.below(5),
        term: near(random, status.term.0),
        log_term: if append { near(random, 0) } else { near(random, status.term.0) },
        index: if append { u64::MAX - 1 } else { near(random, status.last_index.0) },
        entries: (0..count).map(|_| entry.clone()).collect(),
        commit: near(random, status.commit.0),
        snapshot: None,
        reject: random.below(2) == 0,
        reject_hint: near(random, status.last_index.0),
        context: Bytes::from_static(b"12345678"),
    }
}
