//! Items 32, 33, 67, 96, 108, 109 and 148: what needs more than one member.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use e2e::v3::{Client, Failure, Received, Stream};
use e2e::{Cluster, Program, Shared, eventually, http};
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, MemberAddRequest, MemberAddResponse,
    PutRequest, PutResponse, RangeRequest, RangeResponse, TxnResponse, WatchCreateRequest,
    WatchRequest, WatchResponse,
};
use tonic::Code;

use super::case::{PATIENCE, refused};
use super::requests::{Part, all_of, get, put};

/// Election time-out of clusters that lose members.
const ELECTION: Duration = Duration::from_millis(500);
/// How long a change of membership may be refused until all members were connected long enough.
const REPEAT_PATIENCE: Duration = Duration::from_secs(40);

/// Makes a test of each item against ours and, with feature `real`, Go's 3.5.1.
macro_rules! with_each_program {
    ($($name:ident),+$(,)?) => {
        mod ours {
            $(#[test] fn $name() { super::$name(e2e::Program::Ours); })+
        }
        #[cfg(feature = "real")]
        mod go_351 {
            $(#[test] fn $name() { super::$name(e2e::Program::GoEtcd351); })+
        }
    };
}

with_each_program!(
    item_032_serializable_ranges_work_without_a_quorum,
    item_033_linearizable_ranges_need_a_quorum,
    item_067_serializable_read_only_txns_work_without_a_quorum,
    item_096_watches_that_need_a_leader_end_without_one,
    item_108_leases_start_over_under_a_new_leader,
    item_109_leases_work_through_a_follower,
    item_148_a_learner_serves_serializable_reads_only,
);

static OURS: Shared<Lonely> = Shared::new();
static GO: Shared<Lonely> = Shared::new();

/// A member that has lost the others; it knows key `k`.
struct Lonely {
    // Ends before the process does.
    watch: Mutex<Stream>,
    client: Client,
    lost: Instant,
    _cluster: Cluster,
}

impl Lonely {
    #[track_caller]
    fn of(program: Program) -> Arc<Self> {
        let slot = if program == Program::Ours { &OURS } else { &GO };
        slot.get(|| Self::start(program))
    }

    #[track_caller]
    fn start(program: Program) -> Self {
        let mut cluster = quick(program, "checklist-v3-lonely");
        let client = Client::new(cluster.member(0).client());
        let key = Bytes::from_static(b"k");
        let _: PutResponse = unary(&client, "KV/Put", &put(key.clone(), "v")).expect("put");
        let mut watch = client.stream("/etcdserverpb.Watch/Watch", &[("hasleader", "true")]);
        let create = WatchCreateRequest { key, ..WatchCreateRequest::default() };
        let create = RequestUnion::CreateRequest(create);
        watch.send(&WatchRequest { request_union: Some(create) });
        assert!(watch.next::<WatchResponse>().created);
        let lost = Instant::now();
        for number in [1, 2] {
            cluster.member_mut(number).kill9();
        }
        Self { watch: Mutex::new(watch), client, lost, _cluster: cluster }
    }
}

/// Three members that elect quickly.
#[track_caller]
fn quick(program: Program, label: &str) -> Cluster {
    let election = ELECTION.as_millis().to_string();
    let cluster = Cluster::start_with(label, &[program; 3], |_, spec| {
        spec.set("heartbeat-interval", "50").set("election-timeout", election.as_str())
    });
    let _ = cluster.wait_leader(PATIENCE);
    cluster
}

fn unary<A: prost::Message + Default>(
    client: &Client,
    method: &str,
    request: &impl prost::Message,
) -> Result<A, Failure> {
    client.unary(&format!("/etcdserverpb.{method}"), request)
}

fn local(key: &'static str) -> RangeRequest {
    RangeRequest { serializable: true, ..get(Bytes::from_static(key.as_bytes())) }
}

fn item_032_serializable_ranges_work_without_a_quorum(program: Program) {
    let lonely = Lonely::of(program);
    let found: RangeResponse = unary(&lonely.client, "KV/Range", &local("k")).expect("range");
    assert_eq!(found.count, 1);
}

fn item_033_linearizable_ranges_need_a_quorum(program: Program) {
    let lonely = Lonely::of(program);
    let request = get(Bytes::from_static(b"k"));
    let answer: Result<RangeResponse, Failure> = unary(&lonely.client, "KV/Range", &request);
    let failure = answer.expect_err("a refusal was expected");
    let texts = ["etcdserver: request timed out", "etcdserver: leader changed"];
    assert!(texts.contains(&failure.message.as_str()), "{failure:?}");
    assert_eq!(failure.code, Code::Unavailable);
}

fn item_067_serializable_read_only_txns_work_without_a_quorum(program: Program) {
    let lonely = Lonely::of(program);
    let request = all_of(vec![local("k").op(), local("other").op()]);
    let answer: TxnResponse = unary(&lonely.client, "KV/Txn", &request).expect("txn");
    assert!(answer.succeeded && answer.responses.len() == 2, "{answer:?}");
    assert_eq!(super::requests::range_of(&answer, 0).count, 1);
}

fn item_096_watches_that_need_a_leader_end_without_one(program: Program) {
    let lonely = Lonely::of(program);
    let mut watch = lonely.watch.lock().unwrap_or_else(PoisonError::into_inner);
    let message = "etcdserver: no leader".to_owned();
    let failure = Failure { code: Code::Unavailable, message };
    assert_eq!(watch.receive(PATIENCE), Received::End(Err(failure.clone())));
    // At the third look, and there is one in each election time-out.
    assert!(lonely.lost.elapsed() >= ELECTION * 2, "after {:?}", lonely.lost.elapsed());
    let metadata = [("hasleader", "true")];
    let mut late = lonely.client.stream("/etcdserverpb.Watch/Watch", &metadata);
    assert_eq!(late.receive(PATIENCE), Received::End(Err(failure)));
    let request = prost::Message::encode_to_vec(&local("k")).into();
    let answer = lonely.client.unary_bytes("/etcdserverpb.KV/Range", &metadata, request);
    refused(answer, Code::Unavailable, "etcdserver: no leader");
}

fn item_108_leases_start_over_under_a_new_leader(program: Program) {
    const TTL: Duration = Duration::from_secs(3);
    let mut cluster = quick(program, "checklist-v3-leader-change");
    let leader = cluster.wait_leader(PATIENCE);
    let client = Client::new(cluster.member((leader + 1) % 3).client());
    let grant = LeaseGrantRequest { ttl: 3, id: 0 };
    let lease: LeaseGrantResponse = unary(&client, "Lease/LeaseGrant", &grant).expect("grant");
    let key = Bytes::from_static(b"k");
    let leased = PutRequest { lease: lease.id, ..put(key.clone(), "v") };
    let _: PutResponse = unary(&client, "KV/Put", &leased).expect("put");
    let mut watch = client.stream("/etcdserverpb.Watch/Watch", &[]);
    let create = WatchCreateRequest { key, ..WatchCreateRequest::default() };
    watch.send(&WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) });
    assert!(watch.next::<WatchResponse>().created);
    let remaining = LeaseTimeToLiveRequest { id: lease.id, keys: false };
    eventually("less than 2 s of the lease", PATIENCE, || {
        let answer: LeaseTimeToLiveResponse =
            unary(&client, "Lease/LeaseTimeToLive", &remaining).expect("time to live");
        assert!(answer.ttl >= 0, "the lease has ended before the leader did");
        (answer.ttl < 2).then_some(())
    });
    cluster.member_mut(leader).kill9();
    let killed = Instant::now();
    let event = watch.next::<WatchResponse>();
    assert_eq!(event.events.len(), 1, "{event:?}");
    let lived = killed.elapsed();
    // The whole time again and one election time-out; then detection, the election and the check.
    assert!(lived >= TTL + ELECTION, "ended {lived:?} after the leader");
    assert!(
        lived < TTL + 3 * ELECTION + Duration::from_secs(4),
        "ended {lived:?} after the leader"
    );
}

fn item_109_leases_work_through_a_follower(program: Program) {
    let cluster = quick(program, "checklist-v3-follower");
    let leader = cluster.wait_leader(PATIENCE);
    let client = Client::new(cluster.member((leader + 1) % 3).client());
    let grant = LeaseGrantRequest { ttl: 2, id: 0 };
    let lease: LeaseGrantResponse = unary(&client, "Lease/LeaseGrant", &grant).expect("grant");
    let leased = PutRequest { lease: lease.id, ..put(Bytes::from_static(b"k"), "v") };
    let _: PutResponse = unary(&client, "KV/Put", &leased).expect("put");
    let mut keep = client.stream("/etcdserverpb.Lease/LeaseKeepAlive", &[]);
    let began = Instant::now();
    // Renewals of a lease of 2 s for 3 s: without them it would end.
    eventually("3 s of renewals", PATIENCE, || {
        keep.send(&LeaseKeepAliveRequest { id: lease.id });
        let answer: LeaseKeepAliveResponse = keep.next();
        assert_eq!((answer.id, answer.ttl), (lease.id, 2), "after {:?}", began.elapsed());
        (began.elapsed() > Duration::from_secs(3)).then_some(())
    });
    let asked = LeaseTimeToLiveRequest { id: lease.id, keys: true };
    let answer: LeaseTimeToLiveResponse =
        unary(&client, "Lease/LeaseTimeToLive", &asked).expect("time to live");
    assert_eq!((answer.granted_ttl, answer.keys.len()), (2, 1));
    assert!((0..=2).contains(&answer.ttl), "{answer:?}");
    keep.send(&LeaseKeepAliveRequest { id: 4242 });
    assert_eq!(keep.next::<LeaseKeepAliveResponse>().ttl, 0);
    let unknown = LeaseTimeToLiveRequest { id: 4242, keys: true };
    let answer: LeaseTimeToLiveResponse =
        unary(&client, "Lease/LeaseTimeToLive", &unknown).expect("time to live");
    assert_eq!((answer.ttl, answer.granted_ttl), (-1, 0));
}

fn item_148_a_learner_serves_serializable_reads_only(program: Program) {
    let mut cluster = Cluster::start("checklist-v3-learner", program, 1);
    let client = Client::new(cluster.member(0).client());
    let key = Bytes::from_static(b"k");
    let _: PutResponse = unary(&client, "KV/Put", &put(key, "v")).expect("put");
    // Before that nobody may join.
    eventually("the cluster version", PATIENCE, || {
        let version = http::get(cluster.member(0).client(), "/version").ok()?;
        (!version.body.contains("not_decided")).then_some(())
    });
    let (peer, spec) = cluster.describe_joiner(program);
    let request = MemberAddRequest { peer_urls: vec![peer], is_learner: true };
    eventually("the learner to be taken", REPEAT_PATIENCE, || {
        unary::<MemberAddResponse>(&client, "Cluster/MemberAdd", &request).ok()
    });
    let _ = cluster.join(&spec);
    let learner = Client::new(cluster.member(1).client());
    eventually("the learner to have the key", PATIENCE, || {
        let found: RangeResponse = unary(&learner, "KV/Range", &local("k")).ok()?;
        (found.count == 1).then_some(())
    });
    let message = "etcdserver: rpc not supported for learner";
    // Go's code changed in 3.6.
    let code = match program {
        Program::Ours => Code::FailedPrecondition,
        _ => Code::Unavailable,
    };
    let put: Result<PutResponse, Failure> =
        unary(&learner, "KV/Put", &put(Bytes::from_static(b"k"), "2"));
    refused(put, code, message);
    let range: Result<RangeResponse, Failure> =
        unary(&learner, "KV/Range", &get(Bytes::from_static(b"k")));
    refused(range, code, message);
    let grant: Result<LeaseGrantResponse, Failure> =
        unary(&learner, "Lease/LeaseGrant", &LeaseGrantRequest { ttl: 10, id: 0 });
    refused(grant, code, message);
    let mut watch = learner.stream("/etcdserverpb.Watch/Watch", &[]);
    let failure = Failure { code, message: message.to_owned() };
    assert_eq!(watch.receive(PATIENCE), Received::End(Err(failure)));
}
