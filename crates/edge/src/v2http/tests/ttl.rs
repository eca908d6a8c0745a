//! TTLs, from the parameter to the fields of the reply.

use serde_json::Value;

use super::*;

const SECOND: i64 = 1_000_000_000;

async fn ask(member: &FakeMember, method: &str, target: &str) -> (u16, Value) {
    let reply = send(member, request(method, target, "")).await;
    (reply.status().as_u16(), serde_json::from_str(body(&reply)).unwrap())
}

/// Lets everything expire that has run out `seconds` from now.
fn sweep(member: &FakeMember, seconds: i64) -> usize {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = i64::try_from(now.as_nanos()).unwrap();
    member.store.lock().unwrap().expire(now + seconds * SECOND).events.len()
}

#[tokio::test]
async fn every_write_sets_or_clears_the_ttl() {
    // Request over a key with a TTL of 50; the TTL afterwards.
    let cases = [
        ("PUT", "/v2/keys/k?value=v&ttl=100", Some(100)),
        ("PUT", "/v2/keys/k?value=v", None),
        ("PUT", "/v2/keys/k?value=v&ttl=", None),
        ("PUT", "/v2/keys/k?value=v&ttl=100&prevExist=true", Some(100)),
        ("PUT", "/v2/keys/k?value=v&prevExist=true", None),
        ("PUT", "/v2/keys/k?value=v&ttl=100&prevValue=old", Some(100)),
        ("PUT", "/v2/keys/k?value=v&prevValue=old", None),
        ("PUT", "/v2/keys/k?value=v&ttl=9223372036", None),
        ("PUT", "/v2/keys/k?ttl=100&refresh=true", Some(100)),
        ("PUT", "/v2/keys/k?ttl=100&refresh=true&prevExist=true", Some(100)),
        ("PUT", "/v2/keys/k?ttl=100&refresh=true&prevValue=old", Some(100)),
    ];
    for (method, target, expected) in cases {
        let member = FakeMember::default();
        ask(&member, "PUT", "/v2/keys/k?value=old&ttl=50").await;
        let (status, reply) = ask(&member, method, target).await;
        assert_eq!(status, 200, "{target}: {reply}");
        for node in [&reply["node"], &ask(&member, "GET", "/v2/keys/k").await.1["node"]] {
            assert_eq!(node["ttl"].as_i64(), expected, "{target}: {reply}");
            assert_eq!(node.get("expiration").is_some(), expected.is_some(), "{target}");
            let value = if target.contains("refresh") { "old" } else { "v" };
            assert_eq!(node["value"], value, "{target}");
        }
        assert_eq!(reply["prevNode"]["ttl"], 50, "{target}");
        assert_eq!(sweep(&member, 51), 0, "{target}");
        assert_eq!(sweep(&member, 101), usize::from(expected.is_some()), "{target}");
    }
}

#[tokio::test]
async fn directories_and_in_order_keys_have_ttls_too() {
    let member = FakeMember::default();
    let (status, reply) = ask(&member, "PUT", "/v2/keys/d?dir=true&ttl=60").await;
    assert_eq!((status, reply["node"]["ttl"].as_i64()), (201, Some(60)));
    let (status, reply) = ask(&member, "POST", "/v2/keys/d?value=j&ttl=60").await;
    assert_eq!((status, reply["node"]["ttl"].as_i64()), (201, Some(60)));
    let (_, listing) = ask(&member, "GET", "/v2/keys").await;
    assert_eq!(listing["node"]["nodes"][0]["ttl"], 60);
    let (status, reply) = ask(&member, "PUT", "/v2/keys/d?prevExist=true&ttl=9").await;
    assert_eq!((status, reply["node"]["ttl"].as_i64()), (200, Some(9)));
    assert_eq!(sweep(&member, 10), 1, "a directory goes with one event");
    assert_eq!(ask(&member, "GET", "/v2/keys/d").await.0, 404);
}

#[tokio::test]
async fn refresh_is_a_renewal_and_no_creation() {
    // Request, status, code or action. Afterwards: what a reply to a refresh never says.
    let cases = [
        ("PUT", "/v2/keys/none?ttl=9&refresh=true", 404, "100"),
        ("PUT", "/v2/keys/d?ttl=9&refresh=true", 403, "102"),
        ("PUT", "/v2/keys/d?ttl=9&refresh=true&prevExist=true", 200, "update"),
        ("PUT", "/v2/keys/none?ttl=9&refresh=true&prevExist=true", 404, "100"),
        ("PUT", "/v2/keys/none?ttl=9&refresh=true&prevExist=false", 201, "create"),
        ("PUT", "/v2/keys/k?ttl=9&refresh=true&prevExist=false", 412, "105"),
        ("PUT", "/v2/keys/k?ttl=9&refresh=true&prevValue=other", 412, "101"),
        ("PUT", "/v2/keys/k?ttl=9&refresh=true&prevIndex=4", 200, "compareAndSwap"),
        ("PUT", "/v2/keys/k?ttl=9&refresh=true", 200, "set"),
        ("PUT", "/v2/keys/k?ttl=9&refresh=false&value=w", 200, "set"),
        ("POST", "/v2/keys/d?ttl=9&refresh=true", 201, "create"),
    ];
    for (method, target, expected_status, expected) in cases {
        let member = FakeMember::default();
        ask(&member, "PUT", "/v2/keys/k?value=v").await;
        ask(&member, "PUT", "/v2/keys/d?dir=true").await;
        let (status, reply) = ask(&member, method, target).await;
        assert_eq!(status, expected_status, "{target}: {reply}");
        match expected.parse::<u64>() {
            Ok(code) => assert_eq!(reply["errorCode"], code, "{target}"),
            Err(_) => assert_eq!(reply["action"], expected, "{target}"),
        }
        assert!(reply.get("refresh").is_none(), "{target}");
    }
}
