//! The leader is killed in the middle of each kind of request: the documented answer in time, and
//! what was acknowledged is there, once.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use e2e::v3::{Client, Failure, Received};
use e2e::{Cluster, Program, eventually, http};
use prost::Message as _;
use proto::etcdserverpb::{
    Compare, DeleteRangeRequest, DeleteRangeResponse, LeaseGrantRequest, LeaseGrantResponse,
    LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseLeasesRequest, LeaseLeasesResponse,
    LeaseRevokeRequest, LeaseRevokeResponse, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
    PutRequest, RangeRequest, RequestOp, TxnRequest, TxnResponse, request_op,
};

use super::api;

const PATIENCE: Duration = Duration::from_secs(60);
/// The request time-out is 7 s; a loaded machine gets some more.
const ANSWER: Duration = Duration::from_secs(12);
/// Requests of each kind that have to be acknowledged before and after the kill.
const ENOUGH: u64 = 5;
/// What etcd says of a request whose outcome is unknown, or that found no leader.
const ANSWERS: [&str; 5] = [
    "etcdserver: request timed out",
    "etcdserver: request timed out, possibly due to previous leader failure",
    "etcdserver: request timed out, possibly due to connection lost",
    "etcdserver: leader changed",
    "etcdserver: no leader",
];

/// One kind of request, sent over and over; `Ok(false)` counts for nothing.
type Kind = fn(&Site<'_>, u64) -> Result<bool, String>;

const KINDS: [(&str, Kind); 13] = [
    ("put", put),
    ("txn", txn),
    ("delete", delete),
    ("range", range),
    ("compact", compact),
    ("grant", grant),
    ("revoke", revoke),
    ("keep-alive", keep_alive),
    ("time-to-live", time_to_live),
    ("leases", leases),
    ("v2 set", v2_set),
    ("v2 post", v2_post),
    ("v2 quorum", v2_quorum),
];

/// A member that does not lead, and what is there to be asked for.
struct Site<'a> {
    client: Client,
    server: std::net::SocketAddr,
    lease: i64,
    stop: &'a AtomicBool,
}

#[test]
fn requests_of_every_kind_survive_a_leader_killed_in_their_middle() {
    let mut cluster = Cluster::start("leader-lost", Program::Ours, 3);
    let leader = cluster.wait_leader(PATIENCE);
    let server = cluster.member((leader + 1) % 3).client();
    let lease = api::grant(&Client::new(server), 600).expect("a lease");
    let stop = AtomicBool::new(false);
    let counts: Vec<AtomicU64> = KINDS.iter().map(|_| AtomicU64::new(0)).collect();
    let all_past = |goal: &dyn Fn(usize) -> u64| {
        eventually("requests of every kind", PATIENCE, || {
            let counts = counts.iter().map(|count| count.load(Ordering::Relaxed));
            counts.enumerate().all(|(kind, count)| count >= goal(kind)).then_some(())
        });
    };
    let acknowledged: Vec<BTreeSet<u64>> = std::thread::scope(|scope| {
        let start = |(number, (name, kind)): (usize, &(&'static str, Kind))| {
            let (stop, count, name, kind) = (&stop, &counts[number], *name, *kind);
            scope.spawn(move || {
                let site = Site { client: Client::new(server), server, lease, stop };
                ask(&site, name, kind, count)
            })
        };
        let threads: Vec<_> = KINDS.iter().enumerate().map(start).collect();
        all_past(&|_| ENOUGH);
        cluster.member_mut(leader).kill9();
        let before: Vec<u64> = counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        all_past(&|kind| before[kind] + ENOUGH);
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().map(|thread| thread.join().expect("a kind of request")).collect()
    });
    cluster.member_mut(leader).restart();
    for member in cluster.members() {
        check(&Client::new(member.client()), &acknowledged);
    }
}

/// Asks until told to stop; returns the numbers of the requests that were acknowledged.
fn ask(site: &Site<'_>, name: &str, kind: Kind, count: &AtomicU64) -> BTreeSet<u64> {
    let mut acknowledged = BTreeSet::new();
    for number in 1.. {
        if site.stop.load(Ordering::Relaxed) {
            break;
        }
        let began = Instant::now();
        let answer = kind(site, number);
        assert!(began.elapsed() < ANSWER, "{name} {number}: {answer:?}");
        match answer {
            Ok(true) => {
                acknowledged.insert(number);
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok(false) => {}
            Err(text) => assert!(ANSWERS.contains(&text.as_str()), "{name} {number}: {text}"),
        }
    }
    acknowledged
}

/// What was acknowledged is there, and nothing happened twice.
fn check(client: &Client, acknowledged: &[BTreeSet<u64>]) {
    let of = |name: &str| {
        let number = KINDS.iter().position(|(kind, _)| *kind == name).expect("a kind");
        &acknowledged[number]
    };
    for name in ["put", "txn"] {
        for number in of(name) {
            let reply = api::range(client, &one(&format!("{name}/{number}"))).expect("a range");
            let pair = api::pair(reply.kvs.first().expect("an acknowledged key"));
            assert_eq!(pair.version, 1, "{name} {number}");
        }
    }
    for number in of("delete") {
        let reply = api::range(client, &one(&format!("delete/{number}"))).expect("a range");
        assert_eq!(reply.count, 0, "delete {number}");
    }
    let known = list(client).expect("leases");
    assert!(of("grant").iter().all(|number| known.contains(&grant_id(*number))));
    assert!(of("revoke").iter().all(|number| !known.contains(&revoke_id(*number))));
}

fn one(key: &str) -> RangeRequest {
    RangeRequest { key: Bytes::copy_from_slice(key.as_bytes()), ..RangeRequest::default() }
}

fn text(failure: Failure) -> String {
    failure.message
}

fn put(site: &Site<'_>, number: u64) -> Result<bool, String> {
    api::put(&site.client, format!("put/{number}"), "x").map(|_| true).map_err(text)
}

/// Puts a key if it is not there: a second execution would not succeed.
fn txn(site: &Site<'_>, number: u64) -> Result<bool, String> {
    let key = Bytes::from(format!("txn/{number}"));
    let put = PutRequest { key: key.clone(), ..PutRequest::default() };
    let request = TxnRequest {
        compare: vec![Compare { key, ..Compare::default() }],
        success: vec![RequestOp { request: Some(request_op::Request::RequestPut(put)) }],
        failure: Vec::new(),
    };
    let reply: TxnResponse = site.client.unary("/etcdserverpb.KV/Txn", &request).map_err(text)?;
    assert!(reply.succeeded, "txn {number} was executed twice");
    Ok(true)
}

fn delete(site: &Site<'_>, number: u64) -> Result<bool, String> {
    let key = Bytes::from(format!("delete/{number}"));
    api::put(&site.client, key.clone(), "x").map_err(text)?;
    let request = DeleteRangeRequest { key, ..DeleteRangeRequest::default() };
    let path = "/etcdserverpb.KV/DeleteRange";
    let reply: DeleteRangeResponse = site.client.unary(path, &request).map_err(text)?;
    assert_eq!(reply.deleted, 1, "delete {number}");
    Ok(true)
}

fn range(site: &Site<'_>, _: u64) -> Result<bool, String> {
    api::range(&site.client, &one("put/1")).map(|reply| reply.count == 1).map_err(text)
}

fn compact(site: &Site<'_>, _: u64) -> Result<bool, String> {
    let reply = api::range(&site.client, &one("put/1")).map_err(text)?;
    match api::compact(&site.client, api::revision(&reply.header)) {
        Ok(()) => Ok(true),
        Err(failure) if failure.message.ends_with("has been compacted") => Ok(false),
        Err(failure) => Err(text(failure)),
    }
}

fn grant_id(number: u64) -> i64 {
    i64::try_from(number).expect("few") + 1_000_000
}

fn revoke_id(number: u64) -> i64 {
    i64::try_from(number).expect("few") + 2_000_000
}

fn grant_as(site: &Site<'_>, id: i64) -> Result<(), String> {
    let request = LeaseGrantRequest { ttl: 600, id };
    let path = "/etcdserverpb.Lease/LeaseGrant";
    let reply: LeaseGrantResponse = site.client.unary(path, &request).map_err(text)?;
    assert_eq!((reply.id, reply.ttl), (id, 600));
    Ok(())
}

fn grant(site: &Site<'_>, number: u64) -> Result<bool, String> {
    grant_as(site, grant_id(number)).map(|()| true)
}

fn revoke(site: &Site<'_>, number: u64) -> Result<bool, String> {
    let id = revoke_id(number);
    grant_as(site, id)?;
    let request = LeaseRevokeRequest { id };
    let path = "/etcdserverpb.Lease/LeaseRevoke";
    let _: LeaseRevokeResponse = site.client.unary(path, &request).map_err(text)?;
    Ok(true)
}

fn keep_alive(site: &Site<'_>, _: u64) -> Result<bool, String> {
    let mut stream = site.client.stream(api::KEEP_ALIVE, &[]);
    stream.send(&LeaseKeepAliveRequest { id: site.lease });
    match stream.receive(ANSWER) {
        Received::Message(bytes) => {
            let reply = LeaseKeepAliveResponse::decode(bytes).expect("a response");
            assert_eq!(reply.ttl, 600);
            Ok(true)
        }
        Received::End(Err(failure)) => Err(text(failure)),
        other => panic!("a renewal without an answer: {other:?}"),
    }
}

fn time_to_live(site: &Site<'_>, _: u64) -> Result<bool, String> {
    let request = LeaseTimeToLiveRequest { id: site.lease, keys: true };
    let path = "/etcdserverpb.Lease/LeaseTimeToLive";
    let reply: LeaseTimeToLiveResponse = site.client.unary(path, &request).map_err(text)?;
    assert_eq!(reply.granted_ttl, 600);
    Ok(true)
}

fn list(client: &Client) -> Result<BTreeSet<i64>, Failure> {
    let path = "/etcdserverpb.Lease/LeaseLeases";
    let reply: LeaseLeasesResponse = client.unary(path, &LeaseLeasesRequest {})?;
    Ok(reply.leases.iter().map(|lease| lease.id).collect())
}

fn leases(site: &Site<'_>, _: u64) -> Result<bool, String> {
    list(&site.client).map(|known| known.contains(&site.lease)).map_err(text)
}

/// The cause of a v2 error with code 300; other replies have to be of this status.
fn v2_reply(reply: std::io::Result<http::Response>, status: u16) -> Result<bool, String> {
    let reply = reply.expect("an answer");
    if reply.status == status {
        return Ok(true);
    }
    assert_eq!(reply.status, 500, "{}", reply.body);
    assert!(reply.body.starts_with("{\"errorCode\":300,"), "{}", reply.body);
    let cause = reply.body.split("\"cause\":\"").nth(1).and_then(|rest| rest.split('"').next());
    Err(cause.expect("a cause").to_owned())
}

fn v2_set(site: &Site<'_>, number: u64) -> Result<bool, String> {
    v2_reply(http::form(site.server, "PUT", &format!("/v2/keys/set/{number}"), "value=x"), 201)
}

fn v2_post(site: &Site<'_>, _: u64) -> Result<bool, String> {
    v2_reply(http::form(site.server, "POST", "/v2/keys/queue", "value=x"), 201)
}

fn v2_quorum(site: &Site<'_>, _: u64) -> Result<bool, String> {
    v2_reply(http::get(site.server, "/v2/keys/?quorum=true"), 200)
}
