//! Five thousand leases that end in the same second while others work.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use e2e::v3::{Client, Stream};
use e2e::{Cluster, Program, eventually};
use proto::etcdserverpb::{
    LeaseLeasesRequest, LeaseLeasesResponse, PutRequest, RangeRequest, WatchResponse,
};
use proto::mvccpb::event::EventType;

use super::api::{self, TXN_OPS};
use super::assert_no_panic;

/// Leases, and clients that ask for them.
const LEASES: usize = 5_000;
const GRANTERS: usize = 16;
/// Time in which all are granted and have a key: then all have the same deadline, within a second.
const TTL_SECONDS: u64 = 14;
/// etcd revokes at most a thousand a second.
const EXPIRY_SECONDS: u64 = 5;
/// What may be added: the second in which the deadlines are, the check's pause, two election
/// time-outs.
const GRACE: Duration = Duration::from_secs(4);
/// The slowest request beside the storm.
const SLOWEST: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn five_thousand_leases_end_in_the_same_second() {
    let cluster = Cluster::start("lease-storm", Program::Ours, 1);
    let server = cluster.member(0).client();
    let client = Client::new(server);
    let watch = api::watch(&client, "storm/", "storm0", 0);
    let deadline = Instant::now() + Duration::from_secs(TTL_SECONDS);
    let leases: Vec<i64> = std::thread::scope(|scope| {
        let grant = |number: usize| {
            let client = Client::new(server);
            let count = LEASES / GRANTERS + usize::from(number < LEASES % GRANTERS);
            scope.spawn(move || grant_many(&client, count, deadline))
        };
        let granters: Vec<_> = (0..GRANTERS).map(grant).collect();
        granters.into_iter().flat_map(|granter| granter.join().expect("leases")).collect()
    });
    assert_eq!(leases.len(), LEASES);
    for (part, ids) in leases.chunks(TXN_OPS).enumerate() {
        let put = |(number, lease): (usize, &i64)| PutRequest {
            key: format!("storm/{}", part * TXN_OPS + number).into(),
            lease: *lease,
            ..PutRequest::default()
        };
        api::put_all(&client, ids.iter().enumerate().map(put).collect()).expect("keys");
    }
    assert!(Instant::now() < deadline, "granting took too long for this test");
    println!("granted with {:?} to go", deadline.saturating_duration_since(Instant::now()));
    let reading = std::thread::spawn(move || deletions(watch));
    let (mut writes, mut slowest) = (0, Duration::ZERO);
    while !reading.is_finished() {
        let begun = Instant::now();
        api::put(&client, "other", "v").expect("a put beside the storm");
        slowest = slowest.max(begun.elapsed());
        writes += 1;
    }
    let told = reading.join().expect("every key was deleted");
    let (first, last) = told.values().fold((None, None), |(first, last), at| {
        (Some(first.map_or(*at, |it: Instant| it.min(*at))), last.max(Some(*at)))
    });
    let (first, last) = (first.expect("events"), last.expect("events"));
    println!("{writes} writes beside, the slowest took {slowest:?}; gone in {:?}", last - first);
    // A lease was granted whole seconds, the last of them not quite.
    assert!(first + Duration::from_secs(1) >= deadline, "{:?} early", deadline - first);
    assert!(last < deadline + Duration::from_secs(EXPIRY_SECONDS) + GRACE, "{:?}", last - deadline);
    assert!(slowest < SLOWEST, "a put took {slowest:?}");
    let left =
        RangeRequest { key: "storm/".into(), range_end: "storm0".into(), ..Default::default() };
    assert_eq!(api::range(&client, &left).expect("range").count, 0);
    eventually("the list of leases to be empty", PATIENCE, || {
        let path = "/etcdserverpb.Lease/LeaseLeases";
        let reply: LeaseLeasesResponse = client.unary(path, &LeaseLeasesRequest {}).expect("list");
        reply.leases.is_empty().then_some(())
    });
    assert_no_panic(&cluster.member(0).log());
}

fn grant_many(client: &Client, count: usize, deadline: Instant) -> Vec<i64> {
    let grant = |_| {
        let left = deadline.saturating_duration_since(Instant::now()).as_secs();
        assert!(left > 2, "granting took too long for this test");
        api::grant(client, i64::try_from(left).expect("seconds")).expect("a lease")
    };
    (0..count).map(grant).collect()
}

/// When each key was deleted.
fn deletions(mut watch: Stream) -> BTreeMap<bytes::Bytes, Instant> {
    let mut told = BTreeMap::new();
    while told.len() < LEASES {
        let response: WatchResponse = watch.next();
        for event in response.events {
            let key = api::pair(event.kv.as_ref().expect("a pair")).key;
            if event.r#type == i32::from(EventType::Delete) {
                assert_eq!(told.insert(key.clone(), Instant::now()), None, "{key:?} twice");
            }
        }
    }
    told
}
