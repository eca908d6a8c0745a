//! peer-protocol.md 15, rules 2, 3 and 5 to 9, 14.

use proto::etcdserverpb::{
    AlarmRequest, AlarmType, CompactionRequest, DeleteRangeRequest, InternalRaftRequest,
    LeaseGrantRequest, LeaseRevokeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
    request_op,
};
use types::{Bucket, EtcdError, RequestId};

use super::harness::{Peer, put, settings, v3_reply, with_header};
use crate::{Local, Response};

fn delete(key: &'static str) -> InternalRaftRequest {
    let delete_range = DeleteRangeRequest { key: key.into(), ..Default::default() };
    InternalRaftRequest { delete_range: Some(delete_range), ..with_header(7) }
}

fn range(key: &'static str) -> InternalRaftRequest {
    let range = RangeRequest { key: key.into(), ..Default::default() };
    InternalRaftRequest { range: Some(range), ..with_header(7) }
}

fn compaction(revision: i64) -> InternalRaftRequest {
    let compaction = CompactionRequest { revision, physical: false };
    InternalRaftRequest { compaction: Some(compaction), ..with_header(7) }
}

fn txn(ops: Vec<request_op::Request>) -> InternalRaftRequest {
    let success = ops.into_iter().map(|op| RequestOp { request: Some(op) }).collect();
    let txn = TxnRequest { success, ..Default::default() };
    InternalRaftRequest { txn: Some(txn), ..with_header(7) }
}

fn put_op(key: &'static str) -> request_op::Request {
    request_op::Request::RequestPut(PutRequest { key: key.into(), ..Default::default() })
}

fn range_op(key: &'static str) -> request_op::Request {
    request_op::Request::RequestRange(RangeRequest { key: key.into(), ..Default::default() })
}

fn grant(id: i64) -> InternalRaftRequest {
    let lease_grant = LeaseGrantRequest { id, ttl: 60 };
    InternalRaftRequest { lease_grant: Some(lease_grant), ..with_header(7) }
}

fn revoke(id: i64) -> InternalRaftRequest {
    let lease_revoke = LeaseRevokeRequest { id };
    InternalRaftRequest { lease_revoke: Some(lease_revoke), ..with_header(7) }
}

fn raise(kind: AlarmType) -> InternalRaftRequest {
    let alarm = AlarmRequest { action: 1, member_id: 3, alarm: kind as i32 };
    InternalRaftRequest { alarm: Some(alarm), ..with_header(7) }
}

#[test]
fn put_writes_the_bytes_that_go_writes() {
    let mut peer = Peer::new();
    let applied = peer.request(&put("q", "r"));
    assert_eq!((applied.revision, applied.request_id), (2, RequestId(7)));
    let row = peer.rows.row(Bucket::Key, b"\0\0\0\0\0\0\0\x02_\0\0\0\0\0\0\0\0").unwrap();
    assert_eq!(row, b"\x0a\x01q\x10\x02\x18\x02\x20\x01\x2a\x01r");
    assert_eq!(applied.events.len(), 1);
    assert!(matches!(v3_reply(applied), Ok(Response::Put(_))));
}

#[test]
fn old_id_field_wins_over_the_header() {
    let mut peer = Peer::new();
    let applied = peer.request(&InternalRaftRequest { id: 99, ..put("a", "b") });
    assert_eq!(applied.request_id, RequestId(99));
}

#[test]
fn empty_entry_starts_a_term_and_changes_nothing() {
    let mut peer = Peer::new();
    let applied = peer.apply(&peer.next(bytes::Bytes::new()));
    assert_eq!(applied.local, [Local::FirstEntryOfTerm]);
    assert_eq!((applied.revision, applied.ops.len()), (1, 0));
    assert_eq!(peer.machine.consistent_index().0, 1);
}

#[test]
fn failed_and_empty_requests_use_no_revision() {
    let mut peer = Peer::new();
    let unknown_lease = {
        let mut request = put("a", "b");
        request.put.as_mut().unwrap().lease = 5;
        request
    };
    let keep_value = {
        let mut request = put("a", "");
        request.put.as_mut().unwrap().ignore_value = true;
        request
    };
    let cases = [
        (unknown_lease, Some(EtcdError::LeaseNotFound)),
        (keep_value, Some(EtcdError::KeyNotFound)),
        (delete("a"), None),
        (txn(vec![range_op("a")]), None),
        (compaction(2), Some(EtcdError::FutureRev)),
        (compaction(-1), Some(EtcdError::Compacted)),
    ];
    for (request, error) in cases {
        let applied = peer.request(&request);
        assert_eq!((applied.revision, &applied.ops[..]), (1, &[][..]), "{request:?}");
        assert_eq!(v3_reply(applied).err(), error, "{request:?}");
    }
    assert_eq!(peer.machine.consistent_index().0, 6, "failed entries count too");
}

#[test]
fn delete_and_txn_share_one_revision_among_their_changes() {
    let mut peer = Peer::new();
    let applied = peer.request(&txn(vec![put_op("a"), put_op("b"), range_op("a")]));
    assert_eq!(applied.revision, 2);
    let keys: Vec<u8> = applied.ops.iter().map(|op| op.key[16]).collect();
    assert_eq!(keys, [0, 1], "sub revisions");
    let applied = peer.request(&delete("a"));
    assert_eq!(applied.revision, 3);
    assert_eq!(applied.ops[0].key.len(), 18);
    assert_eq!(applied.ops[0].value.as_deref(), Some(&b"\x0a\x01a"[..]));
}

#[test]
fn compaction_schedules_and_is_carried_out_in_steps() {
    let mut peer = Peer::new();
    let _ = peer.request(&put("a", "1"));
    let _ = peer.request(&put("a", "2"));
    let applied = peer.request(&compaction(3));
    assert_eq!(applied.local, [Local::CompactionScheduled(3)]);
    assert_eq!(&applied.ops[0].key[..], b"scheduledCompactRev");
    assert_eq!(v3_reply(peer.request(&compaction(3))).err(), Some(EtcdError::Compacted));
    let rows: Vec<_> = peer
        .rows
        .bucket(Bucket::Key)
        .map(|(key, _)| {
            let (revision, tombstone) = types::RevKey::parse(key).unwrap();
            (revision, tombstone, bytes::Bytes::from_static(b"a"))
        })
        .collect();
    let before = peer.machine.state_hash();
    let mut ops = peer.machine.compact_step(&rows, 3);
    assert_eq!(ops.len(), 1);
    ops.extend(peer.machine.compact_finish(3));
    assert_eq!(peer.machine.state_hash(), before, "physical deletion is a local matter");
}

#[test]
fn alarms_forbid_what_etcd_forbids() {
    let forbidden = [
        // (request, with NOSPACE, with CORRUPT)
        (put("a", "b"), true, true),
        (range("a"), false, true),
        (delete("a"), false, true),
        (txn(vec![put_op("a")]), true, true),
        (txn(vec![range_op("a")]), false, true),
        (compaction(1), false, true),
        (grant(8), true, true),
        (revoke(4), false, true),
    ];
    for (kind, error) in
        [(AlarmType::Nospace, EtcdError::NoSpace), (AlarmType::Corrupt, EtcdError::Corrupt)]
    {
        for (request, by_no_space, by_corrupt) in &forbidden {
            let mut peer = Peer::new();
            let _ = peer.request(&grant(4));
            let raised = peer.request(&raise(kind));
            assert_eq!(raised.local, [Local::AlarmsChanged]);
            let refused = if kind == AlarmType::Corrupt { *by_corrupt } else { *by_no_space };
            let applied = peer.request(request);
            let expected = refused.then_some(error);
            if refused {
                assert!(applied.ops.is_empty() && applied.events.is_empty(), "{request:?}");
            }
            assert_eq!(v3_reply(applied).err(), expected, "{kind:?} {request:?}");
        }
    }
}

#[test]
fn corrupt_comes_before_no_space() {
    let mut peer = Peer::new();
    let _ = peer.request(&raise(AlarmType::Nospace));
    let _ = peer.request(&raise(AlarmType::Corrupt));
    assert_eq!(v3_reply(peer.request(&put("a", "b"))).err(), Some(EtcdError::Corrupt));
}

#[test]
fn disarming_lets_writes_through_again() {
    let mut peer = Peer::new();
    let _ = peer.request(&raise(AlarmType::Nospace));
    assert_eq!(peer.machine.alarms().len(), 1);
    let mut disarm = raise(AlarmType::Nospace);
    disarm.alarm.as_mut().unwrap().action = 2;
    let applied = peer.request(&disarm);
    assert!(matches!(v3_reply(applied), Ok(Response::Alarm(list)) if list.len() == 1));
    assert!(peer.machine.alarms().is_empty());
    assert!(v3_reply(peer.request(&put("a", "b"))).is_ok());
}

#[test]
fn quota_changes_the_reply_and_never_the_data() {
    let mut settings = settings();
    settings.quota_bytes = 1_000;
    let over: Vec<(InternalRaftRequest, bool)> = vec![
        (put("a", "b"), true),
        (txn(vec![put_op("a")]), true),
        (txn(vec![range_op("a")]), false),
        (grant(8), true),
        (delete("a"), false),
        (compaction(1), false),
    ];
    for (request, is_over) in over {
        let mut small = Peer::with(settings.clone());
        let mut roomy = Peer::with(settings.clone());
        small.machine.set_storage_bytes(990);
        roomy.machine.set_storage_bytes(0);
        let applied = small.request(&request);
        let reference = roomy.request(&request);
        assert_eq!(applied.ops, reference.ops, "{request:?}");
        assert_eq!(applied.revision, reference.revision, "{request:?}");
        assert_eq!(applied.local.contains(&Local::ProposeNoSpaceAlarm), is_over, "{request:?}");
        assert_eq!(v3_reply(applied).err(), is_over.then_some(EtcdError::NoSpace));
        assert_eq!(v3_reply(reference).err(), None);
        assert_eq!(small.machine.state_hash(), roomy.machine.state_hash());
    }
}

#[test]
fn quota_of_zero_or_less_is_off() {
    for quota_bytes in [0, -1] {
        let mut peer = Peer::with(crate::Settings { quota_bytes, ..settings() });
        peer.machine.set_storage_bytes(u64::MAX);
        assert!(v3_reply(peer.request(&put("a", "b"))).is_ok());
    }
}
