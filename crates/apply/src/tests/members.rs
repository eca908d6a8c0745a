//! Conf changes: verdicts, rows, the v2 tree, and what the shell is told (peer-protocol.md 12.4).

use membership::{Member, MembershipError};
use proto::raftpb::{ConfChange, ConfChangeType};
use types::{Bucket, NodeId};

use super::harness::{Peer, add, member, promote, remove, update};
use crate::{Local, Reply};

fn learner(id: u64) -> Member {
    Member { is_learner: true, ..member(id) }
}

fn moved(id: u64, url: &str) -> Member {
    Member { peer_urls: vec![url.to_owned()], ..member(id) }
}

/// Members 1 and 2 vote, 3 learns, 4 is gone.
fn peer() -> Peer {
    let mut peer = Peer::new();
    for change in [add(&member(1)), add(&member(2)), add(&learner(3)), add(&member(4)), remove(4)] {
        assert!(matches!(peer.conf_change(&change).reply, Some(Reply::Members(Ok(_)))));
    }
    peer
}

#[test]
fn verdicts_are_those_of_go() {
    let nobody = ConfChange { node_id: 0, ..remove(0) };
    let cases = [
        (add(&member(4)), Err(MembershipError::IdRemoved)),
        (remove(4), Err(MembershipError::IdRemoved)),
        (add(&member(2)), Err(MembershipError::IdExists)),
        (add(&moved(5, "http://127.0.0.1:2382")), Err(MembershipError::PeerUrlExists)),
        (add(&learner(5)), Err(MembershipError::TooManyLearners)),
        (promote(9), Err(MembershipError::IdNotFound)),
        (promote(2), Err(MembershipError::NotLearner)),
        (remove(9), Err(MembershipError::IdNotFound)),
        (update(&member(9)), Err(MembershipError::IdNotFound)),
        (update(&moved(2, "http://127.0.0.1:2381")), Err(MembershipError::PeerUrlExists)),
        (nobody, Ok(3)),
        (add(&member(5)), Ok(4)),
        (promote(3), Ok(3)),
        (remove(2), Ok(2)),
        (update(&moved(2, "http://h:1")), Ok(3)),
        (update(&member(2)), Ok(3)),
    ];
    for (change, expected) in cases {
        let mut peer = peer();
        let before = (peer.conf_state.clone(), peer.machine.membership().clone());
        let index = peer.machine.consistent_index().0;
        let applied = peer.conf_change(&change);
        let Some(Reply::Members(reply)) = applied.reply else { panic!("{change:?}") };
        assert_eq!(reply.as_ref().map(Vec::len).map_err(|error| *error), expected, "{change:?}");
        assert_eq!(peer.machine.consistent_index().0, index + 1, "{change:?}");
        if expected.is_err() {
            assert!(applied.ops.is_empty() && applied.local.is_empty(), "{change:?}");
            assert_eq!(before, (peer.conf_state, peer.machine.membership().clone()));
        }
    }
}

#[test]
fn rows_and_tree_are_those_of_go() {
    let peer = peer();
    let row = |bucket, key: &[u8]| {
        peer.rows.row(bucket, key).map(|row| String::from_utf8_lossy(row).into_owned())
    };
    let expected = r#"{"id":2,"peerURLs":["http://127.0.0.1:2382"]}"#;
    assert_eq!(row(Bucket::Members, b"2").as_deref(), Some(expected));
    let expected = r#"{"id":3,"peerURLs":["http://127.0.0.1:2383"],"isLearner":true}"#;
    assert_eq!(row(Bucket::Members, b"3").as_deref(), Some(expected));
    assert_eq!(row(Bucket::Members, b"4"), None);
    assert_eq!(row(Bucket::MembersRemoved, b"4").as_deref(), Some("removed"));
    let expected = r#"{"voters":[1,2],"learners":[3],"auto_leave":false}"#;
    assert_eq!(row(Bucket::Meta, b"confState").as_deref(), Some(expected));
    let leaves = peer.machine.v2().files("/0");
    let expected = [
        ("/0/members/1/raftAttributes", r#"{"peerURLs":["http://127.0.0.1:2381"]}"#),
        ("/0/members/2/raftAttributes", r#"{"peerURLs":["http://127.0.0.1:2382"]}"#),
        (
            "/0/members/3/raftAttributes",
            r#"{"peerURLs":["http://127.0.0.1:2383"],"isLearner":true}"#,
        ),
        ("/0/removed_members/4", ""),
    ];
    let expected = expected.map(|(path, value)| (path.to_owned(), value.to_owned()));
    assert_eq!(leaves, expected);
    assert_eq!(peer.machine.v2().index(), 6, "four creations, one deletion, one more creation");
}

#[test]
fn promotion_and_move_rewrite_row_and_tree() {
    let mut peer = peer();
    let applied = peer.conf_change(&promote(3));
    assert!(matches!(&applied.local[..], [Local::MemberUpdated(m)] if !m.is_learner));
    let applied = peer.conf_change(&update(&moved(2, "http://h:1")));
    assert!(
        matches!(&applied.local[..], [Local::MemberUpdated(m)] if m.peer_urls == ["http://h:1"])
    );
    let row = peer.rows.row(Bucket::Members, b"2");
    assert_eq!(row, Some(&br#"{"id":2,"peerURLs":["http://h:1"]}"#[..]));
    let value = |id: u64| {
        let path = format!("/0/members/{id}/raftAttributes");
        peer.machine.v2().get(&path, false, false).unwrap().node.value.unwrap()
    };
    assert_eq!(value(2), r#"{"peerURLs":["http://h:1"]}"#);
    assert_eq!(value(3), r#"{"peerURLs":["http://127.0.0.1:2383"]}"#);
    assert_eq!(peer.conf_state.voters, [1, 2, 3]);
}

#[test]
fn raft_is_told_nothing_about_refused_changes() {
    let mut peer = peer();
    for (change, is_told) in [(add(&member(2)), false), (remove(2), true), (promote(3), true)] {
        let entry = peer.next_conf(&change);
        let decision = peer.machine.check_conf_change(&entry).unwrap();
        assert_eq!(decision.change, is_told.then_some(change.clone()));
        let _ = peer.apply(&entry);
    }
}

#[test]
fn own_removal_is_told() {
    let mut peer = peer();
    let applied = peer.conf_change(&remove(1));
    assert_eq!(applied.local, [Local::MemberRemoved(NodeId(1)), Local::SelfRemoved]);
    assert_eq!(applied.request_id, types::RequestId(7));
    let mut peer = self::peer();
    assert_eq!(peer.conf_change(&remove(2)).local, [Local::MemberRemoved(NodeId(2))]);
}

#[test]
fn bootstrap_entry_with_a_name_fills_the_row_as_go_does() {
    let mut peer = Peer::new();
    let named = Member { name: "m3".to_owned(), ..member(3) };
    let change = ConfChange { id: 0, change_type: ConfChangeType::AddNode, ..add(&named) };
    let applied = peer.conf_change(&change);
    assert_eq!(applied.request_id, types::RequestId(0));
    let row = peer.rows.row(Bucket::Members, b"3");
    let expected = br#"{"id":3,"peerURLs":["http://127.0.0.1:2383"],"name":"m3"}"#;
    assert_eq!(row, Some(&expected[..]));
    let attributes = peer.machine.v2().get("/0/members/3/attributes", false, false);
    assert!(attributes.is_err(), "the tree gets the name by publishing only");
}
