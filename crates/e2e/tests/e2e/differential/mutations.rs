//! The comparison is worth something: a change of one field in one reply is a difference.
//!
//! Two servers of Go get the same operations, one of them through a proxy; without a change there is
//! no difference, with each change of the tables there is one.

use bytes::Bytes;
use e2e::Program;
use proto::etcdserverpb::compare::TargetUnion;
use proto::etcdserverpb::request_op::Request as RequestUnion;
use proto::etcdserverpb::watch_request::RequestUnion as WatchUnion;
use proto::etcdserverpb::{
    Compare, DeleteRangeRequest, LeaseGrantRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest,
    PutRequest, RangeRequest, RequestOp, TxnRequest, WatchCancelRequest, WatchCreateRequest,
    WatchRequest,
};

use super::Servers;
use super::proxy::{Mutation, Proxy};
use super::run::Side;
use super::v2::{self, LAST_VALUE, Request, WatchCase};
use super::v3::{self, Operation};
use super::v3_requests::call;

/// Writes that make all revisions two bytes long on the wire, so that fields stay where they are.
const REVISIONS_BEFORE: usize = 130;
/// Signs of a reply that could not be read.
const BROKEN: [&str; 3] = ["Internal", "failure", "not decoded"];
const LEASE_ID: i64 = 5;
const LEASE_TTL_SECONDS: i64 = 600;
const WATCH_ID: i64 = 7;

#[test]
fn changed_v2_replies_are_noticed() {
    // Digits, letters and values, in headers and bodies.
    let table: [(&str, &str, isize, u8); 20] = [
        ("status", "HTTP/1.1 200", 11, 1),
        ("status of a refusal", "HTTP/1.1 412", 11, 1),
        ("X-Etcd-Index", "X-Etcd-Index: ", 14, 1),
        ("name of X-Raft-Term", "X-Raft-Term: ", 2, 1),
        ("Content-Type", "Content-Type: application/json", 29, 1),
        ("Access-Control-Allow-Origin", "Access-Control-Allow-Origin: *", 29, 1),
        ("action", "\"action\":\"set\"", 10, 1),
        ("action of an event", "\"action\":\"delete\"", 10, 1),
        ("key", "\"key\":\"/mut", 8, 1),
        ("value", "\"value\":\"two\"", 9, 1),
        ("modifiedIndex", "\"modifiedIndex\":", 16, 1),
        ("createdIndex", "\"createdIndex\":", 15, 1),
        ("name of prevNode", "\"prevNode\":", 1, 1),
        ("dir", "\"dir\":true", 1, 1),
        ("ttl", "\"ttl\":", 6, 2),
        ("name of expiration", "\"expiration\":", 1, 1),
        ("errorCode", "\"errorCode\":101", 14, 1),
        ("message", "\"message\":\"Compare", 11, 1),
        ("cause", "\"cause\":\"[", 10, 1),
        ("index of a refusal", ",\"index\":", 9, 1),
    ];
    let mutation = |(name, near, at, bits): (&'static str, &'static str, isize, u8)| Mutation {
        name,
        near: near.as_bytes(),
        at,
        bits,
    };
    all_noticed("mutations-v2", v2::Server::new, &[], &v2_scenario(), &table.map(mutation));
}

#[test]
fn changed_v3_replies_are_noticed() {
    let table: [(&str, &[u8], isize, u8); 23] = [
        ("Range: header.revision", b"mutrange", -8, 1),
        ("Range: key", b"mutrange", 0, 0x20),
        ("Range: create_revision", b"mutrange", 9, 1),
        ("Range: mod_revision", b"mutrange", 12, 1),
        ("Range: version", b"mutrange", 15, 2),
        ("Range: value", b"range-value", 0, 0x20),
        ("Range: count", b"range-value", 12, 2),
        ("Range: lease", b"lease-value", 12, 1),
        ("Range: more", b"more-value", 11, 1),
        ("Put: prev_kv.value", b"prev-value", 0, 0x20),
        ("DeleteRange: deleted", b"mutdel", -5, 2),
        ("DeleteRange: prev_kvs.value", b"del-value", 0, 0x20),
        ("Txn: succeeded", b"muttxn", -14, 1),
        ("Txn: revision of an inner header", b"muttxn", -6, 1),
        ("Watch: type of an event", b"\x08\x01\x12\x0c\x0a\x07mutgone", 1, 1),
        ("Watch: mod_revision of an event", b"\x08\x01\x12\x0c\x0a\x07mutgone", 14, 1),
        ("Watch: prev_kv.value", b"gone-value", 0, 0x20),
        ("Watch: watch_id", b"\x10\x07\x18\x01", 1, 8),
        ("Watch: canceled", b"\x10\x07\x20\x01", 3, 1),
        ("LeaseGrant: ID", b"\x10\x05\x18\xd8\x04", 1, 2),
        ("LeaseGrant: TTL", b"\x10\x05\x18\xd8\x04", 3, 8),
        ("LeaseTimeToLive: grantedTTL", b"\x04\x20\xd8\x04", 2, 8),
        ("LeaseTimeToLive: keys", b"mutlease", 0, 0x20),
    ];
    let mutation = |(name, near, at, bits)| Mutation { name, near, at, bits };
    let before: Vec<Operation> =
        (0..REVISIONS_BEFORE).map(|_| put("before", "x", |_| ())).collect();
    all_noticed("mutations-v3", v3::Server::new, &before, &v3_scenario(), &table.map(mutation));
}

/// Runs `scenario` with each mutation, and without one before and after.
fn all_noticed<S: Side>(
    label: &str,
    side: impl Fn(std::net::SocketAddr) -> S,
    before: &[S::Operation],
    scenario: &[S::Operation],
    table: &[Mutation],
) {
    let servers = Servers::start(label, &[Program::GoEtcd34, Program::GoEtcd34]);
    let proxy = Proxy::start(servers.members[1].1.client());
    // New connections each time: what a change did to a side's idea of the server ends with it.
    let differences = |operations: &[S::Operation]| -> Vec<String> {
        let (mut go, mut changed) = (side(servers.members[0].1.client()), side(proxy.address));
        let both = |operation| go.run(operation).differences(&changed.run(operation));
        let found = operations.iter().map(both).find(|found| !found.is_empty());
        found.unwrap_or_default().iter().map(|difference| format!("{difference:?}")).collect()
    };
    assert_eq!(differences(before), [""; 0]);
    assert_eq!(differences(scenario), [""; 0], "no change");
    for mutation in table {
        proxy.mutate(Some(*mutation));
        let found = differences(scenario);
        assert!(proxy.hits() > 0, "nothing to change: {}", mutation.name);
        assert!(!found.is_empty(), "not noticed: {}", mutation.name);
        // A reply that broke would prove nothing.
        let is_broken = |text: &&String| BROKEN.iter().any(|sign| text.contains(sign));
        assert_eq!(found.iter().find(is_broken), None, "{}", mutation.name);
    }
    proxy.mutate(None);
    assert_eq!(differences(scenario), [""; 0], "no change any more");
}

fn v2_scenario() -> Vec<v2::Operation> {
    let plain =
        |method, target: &str, form: &str| v2::Operation::Plain(Request::new(method, target, form));
    let put = |value: &str| Request::new("PUT", "/v2/keys/mut/watched", &format!("value={value}"));
    let watch = WatchCase {
        before: vec![put("1")],
        watch: Request::new("GET", "/v2/keys/mut/watched?wait=true&stream=true", ""),
        after: vec![
            Request::new("DELETE", "/v2/keys/mut/watched", ""),
            put(&LAST_VALUE.replace(' ', "+")),
        ],
        expirations: None,
    };
    vec![
        plain("PUT", "/v2/keys/mut/a", "value=one"),
        plain("PUT", "/v2/keys/mut/a", "value=two"),
        plain("GET", "/v2/keys/mut/a", ""),
        plain("GET", "/v2/keys/mut?sorted=true", ""),
        plain("PUT", "/v2/keys/mut/a", "value=three&prevValue=nothing"),
        plain("PUT", "/v2/keys/mut/t", "value=x&ttl=500"),
        plain("GET", "/v2/keys/missing", ""),
        plain("HEAD", "/v2/keys/mut", ""),
        plain("OPTIONS", "/v2/keys/mut", ""),
        v2::Operation::Watch(watch),
    ]
}

fn v3_scenario() -> Vec<Operation> {
    let watch = |union| Operation::Watch {
        stream: 0,
        request: WatchRequest { request_union: Some(union) },
    };
    let create = WatchCreateRequest {
        key: "mutgone".into(),
        prev_kv: true,
        watch_id: WATCH_ID,
        ..WatchCreateRequest::default()
    };
    let delete = |key: &'static str| DeleteRangeRequest {
        key: key.into(),
        prev_kv: true,
        ..Default::default()
    };
    let compare = Compare {
        key: "muttxn".into(),
        target_union: Some(TargetUnion::Version(0)),
        result: proto::etcdserverpb::compare::CompareResult::Greater.into(),
        ..Compare::default()
    };
    let txn = TxnRequest {
        compare: vec![compare],
        success: vec![RequestOp { request: Some(RequestUnion::RequestRange(one("muttxn"))) }],
        ..TxnRequest::default()
    };
    let lease = "/etcdserverpb.Lease/LeaseGrant";
    let delete_range = "/etcdserverpb.KV/DeleteRange";
    let revoke = call("/etcdserverpb.Lease/LeaseRevoke", &LeaseRevokeRequest { id: LEASE_ID });
    vec![
        // A run ends with the first difference, and may leave the lease.
        revoke.clone(),
        put("mutrange", "range-value", |_| ()),
        range(one("mutrange")),
        put("mutmore1", "more-value", |_| ()),
        put("mutmore2", "x", |_| ()),
        range(RangeRequest { range_end: "mutmore3".into(), limit: 1, ..one("mutmore1") }),
        put("mutprev", "prev-value", |_| ()),
        put("mutprev", "x", |put| put.prev_kv = true),
        put("mutdel", "del-value", |_| ()),
        call(delete_range, &delete("mutdel")),
        put("muttxn", "x", |_| ()),
        call("/etcdserverpb.KV/Txn", &txn),
        put("mutgone", "gone-value", |_| ()),
        watch(WatchUnion::CreateRequest(create)),
        call(delete_range, &delete("mutgone")),
        watch(WatchUnion::CancelRequest(WatchCancelRequest { watch_id: WATCH_ID })),
        call(lease, &LeaseGrantRequest { id: LEASE_ID, ttl: LEASE_TTL_SECONDS }),
        put("mutlease", "lease-value", |put| put.lease = LEASE_ID),
        range(one("mutlease")),
        call(
            "/etcdserverpb.Lease/LeaseTimeToLive",
            &LeaseTimeToLiveRequest { id: LEASE_ID, keys: true },
        ),
        revoke,
        Operation::Close { stream: 0 },
    ]
}

fn put(key: &'static str, value: &'static str, adjust: impl Fn(&mut PutRequest)) -> Operation {
    let mut put = PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() };
    adjust(&mut put);
    call("/etcdserverpb.KV/Put", &put)
}

fn one(key: &'static str) -> RangeRequest {
    RangeRequest { key: Bytes::from_static(key.as_bytes()), ..RangeRequest::default() }
}

fn range(request: RangeRequest) -> Operation {
    call("/etcdserverpb.KV/Range", &request)
}
