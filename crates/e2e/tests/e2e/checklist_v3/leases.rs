//! Items 98-107 and 110: leases of one member.

use std::time::{Duration, Instant};

use proto::etcdserverpb::{
    LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseLeasesRequest, LeaseLeasesResponse,
    PutRequest,
};
use tonic::Code;

use super::case::{Case, PATIENCE, refused};
use super::requests::{NO_LEASE, put};

super::items! {
    both {
        shared: item_098_a_short_ttl_is_raised,
            item_099_ttl_has_a_maximum,
            item_100_ids_are_granted_once,
            item_101_revoke_deletes_all_keys_in_one_revision,
            item_102_revoke_needs_the_lease,
            item_103_keep_alive_of_an_unknown_lease_says_0,
            item_104_time_to_live_of_an_unknown_lease_says_minus_1,
            item_105_time_to_live_lists_the_keys;
        alone: item_106_leases_are_listed_by_remaining_time,
            item_107_a_lease_that_is_not_renewed_ends,
            item_110_leases_and_keys_survive_a_restart;
    }
    ours {}
}

fn item_098_a_short_ttl_is_raised(case: &mut Case) {
    for ttl in [0, -1, 1, 2, i64::MIN] {
        let answer = case.grant(ttl, 0).expect("grant");
        assert_eq!((answer.ttl, answer.error.as_str()), (2, ""), "{ttl}");
        assert!(answer.id > 0, "{answer:?}");
        let _ = case.revoke(answer.id).expect("revoke");
    }
    assert_eq!(case.grant(3, 0).expect("grant").ttl, 3);
}

fn item_099_ttl_has_a_maximum(case: &mut Case) {
    let answer = case.grant(9_000_000_000, 0).expect("grant");
    assert_eq!(answer.ttl, 9_000_000_000);
    let _ = case.revoke(answer.id).expect("revoke");
    let message = "etcdserver: too large lease TTL";
    refused(case.grant(9_000_000_001, 0), Code::OutOfRange, message);
    refused(case.grant(i64::MAX, 0), Code::OutOfRange, message);
}

fn item_100_ids_are_granted_once(case: &mut Case) {
    for id in [100_100, -100_100, i64::MIN] {
        let answer = case.grant(1000, id).expect("grant");
        assert_eq!((answer.id, answer.ttl), (id, 1000));
        let exists = "etcdserver: lease already exists";
        refused(case.grant(1000, id), Code::FailedPrecondition, exists);
        let _ = case.revoke(id).expect("revoke");
        assert!(case.grant(1000, id).is_ok(), "{id} is free again");
        let _ = case.revoke(id).expect("revoke");
    }
}

fn item_101_revoke_deletes_all_keys_in_one_revision(case: &mut Case) {
    let lease = case.grant(1000, 0).expect("grant").id;
    for name in ["c", "a", "b"] {
        let _ = case.put(&PutRequest { lease, ..put(case.key(name), "1") }).expect("put");
    }
    case.write("free", "1");
    let mut watch = case.watch_all(0);
    let answer = case.revoke(lease).expect("revoke");
    assert_eq!(case.steps(&answer.header), 5);
    let events = case.show_events(&watch.next());
    assert_eq!(events, ["DELETE a= 0 @5 v0", "DELETE b= 0 @5 v0", "DELETE c= 0 @5 v0"]);
    assert_eq!(case.all(), ["free=1 @4 @4 v1"]);
}

fn item_102_revoke_needs_the_lease(case: &mut Case) {
    for id in [0, 4242, -1] {
        refused(case.revoke(id), Code::NotFound, NO_LEASE);
    }
    let lease = case.grant(1000, 0).expect("grant").id;
    let _ = case.revoke(lease).expect("revoke");
    refused(case.revoke(lease), Code::NotFound, NO_LEASE);
}

fn item_103_keep_alive_of_an_unknown_lease_says_0(case: &mut Case) {
    let lease = case.grant(1000, 0).expect("grant").id;
    let mut stream = case.client.stream("/etcdserverpb.Lease/LeaseKeepAlive", &[]);
    for (id, ttl) in [(4242, 0), (lease, 1000), (0, 0), (lease, 1000)] {
        stream.send(&LeaseKeepAliveRequest { id });
        let answer: LeaseKeepAliveResponse = stream.next();
        assert_eq!((answer.id, answer.ttl), (id, ttl));
        assert_eq!(case.steps(&answer.header), 0);
    }
    stream.half_close();
    assert_eq!(stream.receive(PATIENCE), e2e::v3::Received::End(Ok(())));
}

fn item_104_time_to_live_of_an_unknown_lease_says_minus_1(case: &mut Case) {
    for keys in [false, true] {
        let answer = case.time_to_live(4242, keys).expect("time to live");
        assert_eq!((answer.id, answer.ttl, answer.granted_ttl), (4242, -1, 0));
        assert!(answer.keys.is_empty() && answer.header.is_some());
    }
}

fn item_105_time_to_live_lists_the_keys(case: &mut Case) {
    let lease = case.grant(1000, 0).expect("grant").id;
    for name in ["a", "b"] {
        let _ = case.put(&PutRequest { lease, ..put(case.key(name), "1") }).expect("put");
    }
    let keys = |keys| {
        let answer = case.time_to_live(lease, keys).expect("time to live");
        assert!((990..=1000).contains(&answer.ttl) && answer.granted_ttl == 1000, "{answer:?}");
        let mut keys = answer.keys;
        keys.sort();
        keys
    };
    assert_eq!(keys(true), [case.key("a"), case.key("b")]);
    assert!(keys(false).is_empty());
    case.write("a", "2");
    assert_eq!(keys(true), [case.key("b")]);
    case.remove("b");
    assert!(keys(true).is_empty());
}

fn item_106_leases_are_listed_by_remaining_time(case: &mut Case) {
    for (id, ttl) in [(1, 3000), (2, 1000), (3, 2000)] {
        let _ = case.grant(ttl, id).expect("grant");
    }
    assert_eq!(leases(case), [2, 3, 1]);
    let _ = case.revoke(3).expect("revoke");
    assert_eq!(leases(case), [2, 1]);
}

#[track_caller]
fn leases(case: &Case) -> Vec<i64> {
    let answer: Result<LeaseLeasesResponse, _> =
        case.client.unary("/etcdserverpb.Lease/LeaseLeases", &LeaseLeasesRequest {});
    answer.expect("leases").leases.iter().map(|lease| lease.id).collect()
}

fn item_107_a_lease_that_is_not_renewed_ends(case: &mut Case) {
    let began = Instant::now();
    let lease = case.grant(2, 0).expect("grant").id;
    let kept = case.grant(1000, 0).expect("grant").id;
    for (name, lease) in [("b", lease), ("a", lease), ("kept", kept)] {
        let _ = case.put(&PutRequest { lease, ..put(case.key(name), "1") }).expect("put");
    }
    let mut watch = case.watch_all(0);
    let events = case.show_events(&watch.next());
    let elapsed = began.elapsed();
    assert_eq!(events, ["DELETE a= 0 @4 v0", "DELETE b= 0 @4 v0"]);
    // The check is due every 500 ms; the rest is for a machine that is busy.
    let is_in_time = elapsed >= Duration::from_secs(2) && elapsed < Duration::from_secs(5);
    assert!(is_in_time, "ended after {elapsed:?}");
    assert_eq!(case.time_to_live(lease, false).expect("time to live").ttl, -1);
    refused(case.revoke(lease), Code::NotFound, NO_LEASE);
    assert_eq!(leases(case), [kept]);
}

fn item_110_leases_and_keys_survive_a_restart(case: &mut Case) {
    // Go forgets leases with a negative ID when it restarts.
    let lease = case.grant(1000, 77).expect("grant").id;
    let _ = case.put(&PutRequest { lease, ..put(case.key("a"), "1") }).expect("put");
    for is_orderly in [true, false] {
        if is_orderly {
            let _ = case.etcd().terminate();
        } else {
            case.etcd().kill9();
        }
        case.etcd().restart();
        let answer = e2e::eventually("the connection to work again", PATIENCE, || {
            case.time_to_live(lease, true).ok()
        });
        assert_eq!((answer.granted_ttl, answer.keys), (1000, vec![case.key("a")]));
        assert!((990..=1002).contains(&answer.ttl), "{}", answer.ttl);
        assert_eq!(case.all(), [format!("a=1 @1 @1 v1 lease {lease}")]);
    }
    let _ = case.revoke(lease).expect("revoke");
    assert!(case.all().is_empty());
}
