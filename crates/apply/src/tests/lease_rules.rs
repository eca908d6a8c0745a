//! peer-protocol.md 15, rule 10.

use bytes::Bytes;
use proto::etcdserverpb::{
    InternalRaftRequest, LeaseCheckpoint, LeaseCheckpointRequest, LeaseGrantRequest,
    LeaseRevokeRequest,
};
use proto::membershippb::ClusterVersionSetRequest;
use types::{Bucket, EtcdError, LeaseId};

use super::harness::{Peer, put, settings, v3_reply, with_header};
use crate::{Local, Response, SnapshotBase};

fn grant(id: i64, ttl: i64) -> InternalRaftRequest {
    let lease_grant = LeaseGrantRequest { id, ttl };
    InternalRaftRequest { lease_grant: Some(lease_grant), ..with_header(7) }
}

fn revoke(id: i64) -> InternalRaftRequest {
    let lease_revoke = LeaseRevokeRequest { id };
    InternalRaftRequest { lease_revoke: Some(lease_revoke), ..with_header(7) }
}

fn put_with(key: &str, lease: i64) -> InternalRaftRequest {
    let mut request = put(key, "v");
    request.put.as_mut().unwrap().lease = lease;
    request
}

fn checkpoint(id: i64, remaining_ttl: i64) -> InternalRaftRequest {
    let checkpoints = vec![LeaseCheckpoint { id, remaining_ttl }];
    let lease_checkpoint = Some(LeaseCheckpointRequest { checkpoints });
    InternalRaftRequest { lease_checkpoint, ..with_header(7) }
}

fn row(peer: &Peer, id: i64) -> Option<Vec<u8>> {
    peer.rows.row(Bucket::Lease, &id.to_be_bytes()).map(<[u8]>::to_vec)
}

#[test]
fn grants_as_etcd_does() {
    // (id, ttl, outcome)
    let cases = [
        (1, 500, Ok(500)),
        (1, 500, Err(EtcdError::LeaseExist)),
        (-3, 60, Ok(60)),
        (0, 60, Err(EtcdError::LeaseNotFound)),
        (4, 0, Ok(2)),
        (5, -7, Ok(2)),
        (6, 9_000_000_000, Ok(9_000_000_000)),
        (7, 9_000_000_001, Err(EtcdError::LeaseTTLTooLarge)),
        (1, 9_000_000_001, Err(EtcdError::LeaseTTLTooLarge)),
    ];
    let mut peer = Peer::new();
    for (id, ttl, expected) in cases {
        let applied = peer.request(&grant(id, ttl));
        assert_eq!(applied.revision, 1);
        let granted = v3_reply(applied).map(|response| match response {
            Response::LeaseGrant { id: granted, ttl } => {
                assert_eq!(granted, LeaseId(id));
                ttl
            }
            other => panic!("{other:?}"),
        });
        assert_eq!(granted, expected, "grant {id} for {ttl}");
    }
    assert_eq!(row(&peer, 1), Some(b"\x08\x01\x10\xf4\x03".to_vec()), "ID and TTL");
    assert_eq!(row(&peer, 0), None);
}

#[test]
fn smallest_ttl_follows_the_election_timeout() {
    for (election_timeout_ms, expected) in [(1_000, 2), (500, 1), (2_000, 3), (2_001, 4), (0, 0)] {
        let settings = crate::Settings { election_timeout_ms, ..settings() };
        assert_eq!(settings.lease_ttl_min_seconds(), expected, "{election_timeout_ms} ms");
    }
}

#[test]
fn revoke_deletes_the_keys_in_order_under_one_revision() {
    let mut peer = Peer::new();
    let _ = peer.request(&grant(9, 60));
    for key in ["c", "a", "b"] {
        let _ = peer.request(&put_with(key, 9));
    }
    let _ = peer.request(&put("b", "detached"));
    let applied = peer.request(&revoke(9));
    assert_eq!(applied.revision, 6);
    let deleted: Vec<&Bytes> = applied.events.iter().map(|event| &event.key).collect();
    assert_eq!(deleted, ["a", "c"]);
    assert_eq!(row(&peer, 9), None);
    assert_eq!(v3_reply(peer.request(&revoke(9))).err(), Some(EtcdError::LeaseNotFound));
    assert_eq!(v3_reply(peer.request(&revoke(0))).err(), Some(EtcdError::LeaseNotFound));
    assert_eq!(v3_reply(peer.request(&put_with("a", 9))).err(), Some(EtcdError::LeaseNotFound));
}

/// As a renewal does it, also in a cluster whose version says that no checkpoint is kept.
#[test]
fn a_checkpoint_that_is_taken_back_leaves_no_trace() {
    let mut peer = Peer::new();
    let _ = peer.request(&grant(9, 600));
    let _ = peer.request(&checkpoint(9, 300));
    peer.flush();
    let granted = row(&peer, 9);
    let mut rows = peer.durable.clone();
    let checkpointed = Bytes::from_static(b"\x08\x09\x10\xd8\x04\x18\xac\x02");
    rows.0.insert((Bucket::Lease, Bytes::copy_from_slice(&9_i64.to_be_bytes())), checkpointed);
    let (machine, _) = crate::Machine::restore(&rows, settings(), SnapshotBase::default()).unwrap();
    assert_eq!(machine.leases().get(LeaseId(9)).unwrap().remaining_ttl_seconds, 300);

    let applied = peer.request(&checkpoint(9, 0));
    assert_eq!(applied.ops.len(), 1);
    assert_eq!(row(&peer, 9), granted);
    assert_eq!(peer.machine.leases().get(LeaseId(9)).unwrap().remaining_ttl_seconds, 0);
}

/// What the leader keeps deadlines by.
#[test]
fn grants_and_revokes_are_told_to_the_member_when_they_took_effect() {
    let mut peer = Peer::new();
    let granted = Local::LeaseGranted { id: LeaseId(9), ttl_seconds: 2 };
    let revoked = Local::LeaseRevoked(LeaseId(9));
    for (request, expected) in [
        (grant(9, 1), vec![granted]),
        (grant(9, 60), vec![]),
        (revoke(8), vec![]),
        (revoke(9), vec![revoked]),
        (revoke(9), vec![]),
    ] {
        assert_eq!(peer.request(&request).local, expected, "{request:?}");
    }
}

#[test]
fn revoke_without_keys_uses_no_revision() {
    let mut peer = Peer::new();
    let _ = peer.request(&grant(9, 60));
    assert_eq!(peer.request(&revoke(9)).revision, 1);
}

#[test]
fn attachments_survive_a_restart_and_unknown_ones_are_noted() {
    let mut peer = Peer::new();
    let _ = peer.request(&grant(9, 60));
    let _ = peer.request(&put_with("a", 9));
    peer.flush();
    let mut rows = peer.durable.clone();
    let (machine, restored) =
        crate::Machine::restore(&rows, settings(), SnapshotBase::default()).unwrap();
    assert_eq!(machine.leases().keys(LeaseId(9)), ["a"]);
    assert!(restored.notes.is_empty());
    rows.0.remove(&(Bucket::Lease, Bytes::copy_from_slice(&9_i64.to_be_bytes())));
    let (_, restored) =
        crate::Machine::restore(&rows, settings(), SnapshotBase::default()).unwrap();
    assert_eq!(restored.notes, ["a key names lease 9, which does not exist"]);
}

#[test]
fn checkpoints_are_persisted_from_three_six_on() {
    let mut settings = settings();
    settings.server_version = membership::ClusterVersion::new(3, 6);
    let mut peer = Peer::with(settings);
    let _ = peer.request(&grant(9, 600));
    let before = (row(&peer, 9), peer.machine.state_hash());
    let applied = peer.request(&checkpoint(9, 300));
    assert!(applied.ops.is_empty());
    assert_eq!(row(&peer, 9), before.0);
    assert_eq!(peer.machine.leases().get(LeaseId(9)).unwrap().remaining_ttl_seconds, 300);

    let set = ClusterVersionSetRequest { ver: "3.6.0".to_owned() };
    let _ = peer.request(&InternalRaftRequest { cluster_version_set: Some(set), ..with_header(1) });
    let _ = peer.request(&checkpoint(9, 200));
    assert_eq!(row(&peer, 9), Some(b"\x08\x09\x10\xd8\x04\x18\xc8\x01".to_vec()));
    let applied = peer.request(&checkpoint(77, 200));
    assert!(applied.ops.is_empty());
    assert!(matches!(v3_reply(applied), Ok(Response::LeaseCheckpoint)));
}
