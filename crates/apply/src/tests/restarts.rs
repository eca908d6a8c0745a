//! Random logs, applied straight and with crashes at any point: the same state and the same rows.

use bytes::Bytes;
use membership::Member;
use proptest::prelude::*;
use proto::etcdserverpb::{
    AlarmRequest, CompactionRequest, DeleteRangeRequest, InternalRaftRequest, LeaseGrantRequest,
    LeaseRevokeRequest, PutRequest, RequestOp, TxnRequest, request_op,
};
use proto::raftpb::{Entry, EntryType};
use proto::v2_request::V2Request;
use types::Bucket;

use super::harness::{
    Peer, Rows, add, member, promote, remove, settings, snapshot, update, v2_put, v3, with_header,
};
use crate::SnapshotBase;

/// One entry of a log; indexes and terms are given later.
#[derive(Clone, Debug)]
enum Step {
    Normal(Bytes),
    Conf(Bytes),
}

/// What happens to a member between two entries.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// The flusher commits.
    Flush,
    /// A checkpoint: commit, then the `.snap` file.
    Checkpoint,
    /// Power is lost; what was not flushed is gone.
    Crash,
    /// As `Crash`, and a Go server had the database meanwhile: v2 and member rows are stale.
    CrashUnderGo,
}

fn key() -> impl Strategy<Value = Bytes> {
    (0u8..5).prop_map(|number| Bytes::from(vec![b'k', b'0' + number]))
}

fn v3_step(request: &InternalRaftRequest) -> Step {
    Step::Normal(v3(request))
}

fn put_request() -> impl Strategy<Value = PutRequest> {
    (key(), any::<u8>(), 0i64..4, any::<bool>()).prop_map(|(key, value, lease, prev_kv)| {
        PutRequest { key, value: vec![value].into(), lease, prev_kv, ..Default::default() }
    })
}

fn kv_step() -> impl Strategy<Value = Step> {
    let none = || with_header(1);
    let put = put_request()
        .prop_map(move |put| v3_step(&InternalRaftRequest { put: Some(put), ..with_header(1) }));
    let delete = key().prop_map(move |key| {
        let delete_range =
            DeleteRangeRequest { key, range_end: Bytes::from_static(b"k3"), prev_kv: true };
        v3_step(&InternalRaftRequest { delete_range: Some(delete_range), ..none() })
    });
    let txn = proptest::collection::btree_map(key(), put_request(), 0..3).prop_map(|puts| {
        let success = puts
            .into_iter()
            .map(|(key, put)| PutRequest { key, ..put })
            .map(|put| RequestOp { request: Some(request_op::Request::RequestPut(put)) })
            .collect();
        let txn = TxnRequest { success, ..Default::default() };
        v3_step(&InternalRaftRequest { txn: Some(txn), ..with_header(1) })
    });
    let compact = (0i64..30).prop_map(|revision| {
        let compaction = CompactionRequest { revision, physical: false };
        v3_step(&InternalRaftRequest { compaction: Some(compaction), ..with_header(1) })
    });
    prop_oneof![6 => put, 2 => delete, 2 => txn, 1 => compact]
}

fn lease_step() -> impl Strategy<Value = Step> {
    let grant = (0i64..4, 0i64..100).prop_map(|(id, ttl)| {
        let lease_grant = Some(LeaseGrantRequest { id, ttl });
        v3_step(&InternalRaftRequest { lease_grant, ..with_header(1) })
    });
    let revoke = (0i64..4).prop_map(|id| {
        let lease_revoke = Some(LeaseRevokeRequest { id });
        v3_step(&InternalRaftRequest { lease_revoke, ..with_header(1) })
    });
    let alarm = (0i32..3, 1u64..3, 0i32..2).prop_map(|(action, member_id, alarm)| {
        let alarm = Some(AlarmRequest { action, member_id, alarm });
        v3_step(&InternalRaftRequest { alarm, ..with_header(1) })
    });
    prop_oneof![2 => grant, 1 => revoke, 1 => alarm]
}

fn v2_step() -> impl Strategy<Value = Step> {
    let path = prop_oneof![
        Just("/1/a"),
        Just("/1/d/x"),
        Just("/1/d/y"),
        Just("/1/d"),
        Just("/1/a/below"),
    ];
    let method = prop_oneof![4 => Just("PUT"), 1 => Just("POST"), 2 => Just("DELETE")];
    let change = (path, method, any::<u8>(), any::<bool>(), 0i64..5).prop_map(
        |(path, method, val, recursive, expiration)| {
            let request = V2Request {
                method: method.to_owned(),
                recursive,
                expiration,
                ..v2_put(path, &val.to_string())
            };
            Step::Normal(request.encode())
        },
    );
    let sync = (0i64..5).prop_map(|time| {
        let request = V2Request { method: "SYNC".to_owned(), time, ..Default::default() };
        Step::Normal(request.encode())
    });
    let version = Just(Step::Normal(v2_put("/0/version", "3.4.0").encode()));
    prop_oneof![6 => change, 1 => sync, 1 => version]
}

fn member_step() -> impl Strategy<Value = Step> {
    let conf = (0u8..5, 1u64..6).prop_map(|(kind, id)| {
        let moved = Member { peer_urls: vec![format!("http://h:{}", id % 4)], ..member(id) };
        let change = match kind {
            0 => add(&member(id)),
            1 => add(&Member { is_learner: true, ..member(id) }),
            2 => promote(id),
            3 => remove(id),
            _ => update(&moved),
        };
        Step::Conf(change.encode())
    });
    let publish = (1u64..3).prop_map(|id| {
        let path = format!("/0/members/{id:x}/attributes");
        let val = format!(r#"{{"name":"m{id}","clientURLs":["http://c:{id}"]}}"#);
        Step::Normal(v2_put(&path, &val).encode())
    });
    prop_oneof![3 => conf, 1 => publish]
}

fn step() -> impl Strategy<Value = Step> {
    let empty = Just(Step::Normal(Bytes::new()));
    prop_oneof![
        8 => kv_step(),
        3 => lease_step(),
        5 => v2_step(),
        2 => member_step(),
        1 => empty,
    ]
}

/// Members 1 and 2 come first, so that publishing always has someone to speak for.
fn log() -> impl Strategy<Value = Vec<Entry>> {
    proptest::collection::vec(step(), 1..60).prop_map(|steps| {
        let founders = [1, 2].map(|id| Step::Conf(add(&member(id)).encode()));
        let steps = founders.into_iter().chain(steps).enumerate();
        steps.map(|(at, step)| entry(at as u64 + 1, step)).collect()
    })
}

fn entry(index: u64, step: Step) -> Entry {
    let (entry_type, data) = match step {
        Step::Normal(data) => (EntryType::Normal, data),
        Step::Conf(data) => (EntryType::ConfChange, data),
    };
    Entry { entry_type, term: 1 + index / 10, index, data }
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => Just(Event::Flush),
        2 => Just(Event::Checkpoint),
        2 => Just(Event::Crash),
        1 => Just(Event::CrashUnderGo),
    ]
}

fn straight(log: &[Entry]) -> Peer {
    let mut peer = Peer::new();
    for entry in log {
        let _ = peer.apply(entry);
    }
    peer.flush();
    peer
}

/// Applies the log with `events` (before which entry, what) in between.
fn troubled(log: &[Entry], events: &[(usize, Event)]) -> Peer {
    let mut peer = Peer::new();
    let mut base = SnapshotBase::default();
    for (at, event) in events {
        catch_up(&mut peer, &log[..*at % (log.len() + 1)]);
        match event {
            Event::Flush => peer.flush(),
            // Behind a crash an event may lie in the middle of the replay.
            Event::Checkpoint if peer.machine.is_replaying() => {}
            Event::Checkpoint => {
                peer.flush();
                base = snapshot(&peer.machine);
            }
            Event::Crash => peer = Peer::restored(peer.durable, settings(), base.clone()),
            Event::CrashUnderGo => {
                let mut rows = peer.durable;
                leave_as_go_does(&mut rows);
                peer = Peer::restored(rows, settings(), base.clone());
            }
        }
    }
    catch_up(&mut peer, log);
    peer.flush();
    peer
}

/// Applies what is missing.
fn catch_up(peer: &mut Peer, log: &[Entry]) {
    let applied = usize::try_from(peer.machine.applied_index().0).unwrap();
    for entry in log.get(applied..).unwrap_or_default() {
        let _ = peer.apply(entry);
    }
}

/// A Go 3.5.1 server writes neither our v2 rows nor a member row that exists already.
fn leave_as_go_does(rows: &mut Rows) {
    rows.0.remove(&(Bucket::V2Meta, Bytes::from_static(b"position")));
    let stale: Vec<Bytes> = rows.bucket(Bucket::Members).map(|(key, _)| key.clone()).collect();
    for key in stale {
        let id = u64::from_str_radix(std::str::from_utf8(&key).unwrap(), 16).unwrap();
        let row = format!(r#"{{"id":{id},"peerURLs":["http://stale:{id}"],"isLearner":true}}"#);
        rows.put(Bucket::Members, &key, row.as_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn crashes_change_nothing(
        log in log(),
        events in proptest::collection::vec((0usize..64, event()), 0..10),
    ) {
        let expected = straight(&log);
        let found = troubled(&log, &events);
        prop_assert_eq!(found.machine.state_hash(), expected.machine.state_hash());
        prop_assert_eq!(&found.conf_state, &expected.conf_state);
        prop_assert_eq!(&found.machine.membership(), &expected.machine.membership());
        prop_assert_eq!(found.machine.v2().history(), expected.machine.v2().history());
        prop_assert_eq!(found.machine.v2().stats(), expected.machine.v2().stats());
        prop_assert_eq!(found.durable, expected.durable);
    }

    #[test]
    fn equal_entries_give_equal_rows(log in log(), bytes in any::<u64>()) {
        let mut one = Peer::new();
        let mut other = Peer::with(crate::Settings { quota_bytes: 1, ..settings() });
        other.machine.set_storage_bytes(bytes);
        for entry in &log {
            let (first, second) = (one.apply(entry), other.apply(entry));
            prop_assert_eq!(first.ops, second.ops);
            prop_assert_eq!(first.events, second.events);
            prop_assert_eq!(first.v2_events, second.v2_events);
            prop_assert_eq!(first.revision, second.revision);
            prop_assert_eq!(one.machine.meta_ops(), other.machine.meta_ops());
        }
        prop_assert_eq!(one.machine.state_hash(), other.machine.state_hash());
    }
}
