//! Items 55-60: time to live and expiry.

use std::time::{Duration, Instant};

use e2e::eventually;
use serde_json::Value;

use super::case::{Case, PATIENCE, done, file};

super::items! {
    alone: item_055_ttl_counts_down_in_whole_seconds,
        item_056_ttl_0_expires_at_once,
        item_057_expiry_is_an_event_with_an_index_of_its_own,
        item_058_expiry_of_a_directory_is_one_event,
        item_059_a_put_without_ttl_makes_permanent,
        item_060_what_ran_out_while_down_is_gone_after_a_restart;
}

fn item_055_ttl_counts_down_in_whole_seconds(case: &mut Case) {
    let put = case.put("/~", "value=x&ttl=100").json();
    assert_eq!(put["node"]["ttl"], 100, "{put}");
    let began = Instant::now();
    let put = case.put("/~", "value=x&ttl=2").json();
    assert_eq!(put["node"]["ttl"], 2, "{put}");
    eventually("ttl 1", PATIENCE, || {
        let ttl = case.get("/~").json()["node"]["ttl"].as_i64();
        // A part of the last second counts as a whole one.
        let is_early = began.elapsed() < Duration::from_millis(990);
        assert!(!is_early || ttl == Some(2), "{ttl:?} after {:?}", began.elapsed());
        (ttl == Some(1)).then_some(())
    });
    wait_gone(case, "/~");
    assert!(began.elapsed() >= Duration::from_millis(1990), "gone after {:?}", began.elapsed());
}

fn item_056_ttl_0_expires_at_once(case: &mut Case) {
    let node = case.put("/~", "value=x&ttl=0").json()["node"].clone();
    assert!(node.get("ttl").is_none() && node["expiration"].is_string(), "{node}");
    let began = Instant::now();
    wait_gone(case, "/~");
    // The sweep is due every 500 ms; the rest is for a machine that is busy.
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

fn item_057_expiry_is_an_event_with_an_index_of_its_own(case: &mut Case) {
    let mut watch = case.watch("/~", "&stream=true");
    let _ = case.put("/~", "value=x&ttl=1");
    let set: Value = serde_json::from_str(&watch.event()).expect("an event");
    assert_eq!(set["node"]["ttl"], 1);
    let former =
        r#"{"key":"/~","value":"x","expiration":"T","modifiedIndex":@1,"createdIndex":@1}"#;
    let node = r#"{"key":"/~","modifiedIndex":@2,"createdIndex":@1}"#;
    watch.sees(&super::case::redone("expire", node, former));
    assert_eq!(case.index(), case.at(2));
    case.get("/~").fails(100, "/~", 2);
}

fn item_058_expiry_of_a_directory_is_one_event(case: &mut Case) {
    let _ = case.put("/~", "dir=true&ttl=1");
    let mut watch = case.watch("/", "&recursive=true&stream=true");
    let _ = case.put("/~/a", "value=x&ttl=1000");
    let _ = case.put("/~/b/c", "value=y");
    assert!(watch.event().contains(&case.fill(r#""key":"/~/a""#)));
    watch.sees(&done("set", &file("/~/b/c", "y", 3, 3)));
    let indexes = r#""modifiedIndex":@1,"createdIndex":@1"#;
    let former = format!(r#"{{"key":"/~","dir":true,"expiration":"T",{indexes}}}"#);
    let node = r#"{"key":"/~","dir":true,"modifiedIndex":@4,"createdIndex":@1}"#;
    watch.sees(&super::case::redone("expire", node, &former));
    let _ = case.put("/~", "value=after");
    watch.sees(&done("set", &file("/~", "after", 5, 5)));
}

fn item_059_a_put_without_ttl_makes_permanent(case: &mut Case) {
    let _ = case.put("/~", "value=x&ttl=1");
    let _ = case.put("/~", "value=y").has_status(200);
    case.get("/~").is(200, &done("get", &file("/~", "y", 2, 2)));
    // A later one that does expire shows that the sweep has passed.
    let _ = case.put("/~later", "value=z&ttl=1");
    wait_gone(case, "/~later");
    case.get("/~").is(200, &done("get", &file("/~", "y", 2, 2)));
}

fn item_060_what_ran_out_while_down_is_gone_after_a_restart(case: &mut Case) {
    let _ = case.put("/~short", "value=x&ttl=1");
    let _ = case.put("/~long", "value=x&ttl=1000");
    let began = Instant::now();
    case.restart(|| {
        eventually("the end of the time to live", PATIENCE, || {
            (began.elapsed() > Duration::from_millis(1100)).then_some(())
        });
    });
    wait_gone(case, "/~short");
    let long = case.get("/~long").json();
    let ttl = long["node"]["ttl"].as_i64().expect("a ttl");
    assert!((900..1000).contains(&ttl), "{long}");
}

#[track_caller]
fn wait_gone(case: &Case, key: &str) {
    eventually("expiry", PATIENCE, || (case.get(key).response.status == 404).then_some(()));
}
