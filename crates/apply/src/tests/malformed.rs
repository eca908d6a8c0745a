//! Whatever the log holds, the machine answers with a fault or a reply and never panics.

use bytes::Bytes;
use proptest::prelude::*;
use proto::etcdserverpb::InternalRaftRequest;
use proto::membershippb::ClusterMemberAttrSetRequest;
use proto::raftpb::{ConfChange, ConfChangeType, Entry, EntryType};

use super::harness::{Peer, add, member, put, v3, with_header};
use crate::Fault;

#[test]
fn entries_without_a_meaning_are_faults() {
    let unknown_kind = InternalRaftRequest::default();
    let no_attributes = InternalRaftRequest {
        cluster_member_attr_set: Some(ClusterMemberAttrSetRequest::default()),
        ..with_header(1)
    };
    let cases: [Bytes; 5] = [
        v3(&with_header(1)),
        v3(&InternalRaftRequest { id: 4, ..unknown_kind }),
        v3(&no_attributes),
        Bytes::from_static(b"\xff\xff\xff"),
        Bytes::from_static(b"\x22\x7f"),
    ];
    for data in cases {
        let mut peer = Peer::new();
        let entry = peer.next(data.clone());
        let fault = peer.try_apply(&entry).unwrap_err();
        assert!(matches!(fault, Fault::BadEntry { index: 1, .. }), "{data:?}: {fault}");
    }
}

#[test]
fn entries_out_of_turn_are_faults() {
    let mut peer = Peer::new();
    let _ = peer.request(&put("a", "b"));
    for index in [0, 1, 3, u64::MAX] {
        let entry = Entry { index, ..peer.next(v3(&put("a", "b"))) };
        let fault = peer.try_apply(&entry).unwrap_err();
        assert!(matches!(fault, Fault::OutOfOrder { expected: 2, .. }), "{fault}");
        let conf = Entry { entry_type: EntryType::ConfChange, ..entry };
        assert!(matches!(peer.try_apply(&conf), Err(Fault::OutOfOrder { .. })));
    }
}

#[test]
fn conf_changes_without_a_meaning_are_faults() {
    let change = |change_type, context: &'static [u8]| ConfChange {
        id: 1,
        change_type,
        node_id: 5,
        context: Bytes::from_static(context),
    };
    let mut peer = Peer::new();
    let _ = peer.conf_change(&add(&member(5)));
    for change in [
        change(ConfChangeType::AddNode, b""),
        change(ConfChangeType::AddNode, b"{\"id\":6,\"peerURLs\":[\"u\"]}"),
        change(ConfChangeType::AddLearnerNode, b"[]"),
        change(ConfChangeType::UpdateNode, b"{"),
    ] {
        let entry = peer.next_conf(&change);
        assert!(matches!(peer.try_apply(&entry), Err(Fault::BadEntry { .. })), "{change:?}");
    }
    let v2_kind = Entry { entry_type: EntryType::ConfChangeV2, ..peer.next(Bytes::new()) };
    assert!(matches!(peer.try_apply(&v2_kind), Err(Fault::Unsupported { .. })));
    let as_normal = peer.next_conf(&add(&member(6)));
    assert!(matches!(peer.machine.apply(&as_normal, &peer.rows), Err(Fault::BadEntry { .. })));
    let as_conf = peer.next(v3(&put("a", "b")));
    assert!(matches!(peer.machine.check_conf_change(&as_conf), Err(Fault::BadEntry { .. })));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(data in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut peer = Peer::new();
        let _ = peer.conf_change(&add(&member(5)));
        let entry = peer.next(Bytes::from(data));
        let _ = peer.try_apply(&entry);
        let mut peer = Peer::new();
        let conf = Entry { entry_type: EntryType::ConfChange, ..entry };
        let conf = Entry { index: 1, ..conf };
        let _ = peer.try_apply(&conf);
    }

    #[test]
    fn damaged_requests_never_panic(at in 0usize..64, byte in any::<u8>(), cut in 0usize..64) {
        let whole = v3(&put("some/key", "and a value that is longer"));
        let mut damaged = whole.to_vec();
        let at = at % damaged.len();
        damaged[at] = byte;
        damaged.truncate(damaged.len() - cut % damaged.len());
        let mut peer = Peer::new();
        let entry = peer.next(Bytes::from(damaged));
        let _ = peer.try_apply(&entry);
    }
}
