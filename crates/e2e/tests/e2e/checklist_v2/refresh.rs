//! Items 61 and 62: refresh.

use super::case::{Case, done, file};

super::items! {
    shared: item_061_refresh_is_seen_by_nobody,
        item_062_refresh_of_a_missing_key;
}

fn item_061_refresh_is_seen_by_nobody(case: &mut Case) {
    let _ = case.put("/~", "value=x&ttl=500");
    let mut watch = case.watch("/~", "");
    let refresh = case.put("/~", "refresh=true&ttl=1000").has_status(200).json();
    assert_eq!((&refresh["action"], &refresh["node"]["value"]), (&"set".into(), &"x".into()));
    assert_eq!((&refresh["node"]["ttl"], refresh.get("refresh")), (&1000.into(), None));
    assert_eq!(refresh["node"]["createdIndex"], case.at(2), "{refresh}");
    assert_eq!(case.index(), case.at(2));
    let update = case.put("/~", "refresh=true&ttl=1000&prevExist=true").has_status(200).json();
    assert_eq!((&update["action"], &update["node"]["value"]), (&"update".into(), &"x".into()));
    assert_eq!(update["node"]["createdIndex"], case.at(2), "{update}");
    let swap = case.put("/~", "refresh=true&ttl=1000&prevValue=x").has_status(200).json();
    assert_eq!((&swap["action"], &swap["node"]["value"]), (&"compareAndSwap".into(), &"x".into()));
    watch.is_silent();
    let _ = case.put("/~", "prevExist=true&value=y");
    let seen = watch.event();
    assert!(seen.contains(r#""action":"update""#) && seen.contains(r#""value":"y""#), "{seen}");
    watch.ends();
    let mut past = case.watch("/~", &case.fill("&waitIndex=@2"));
    assert_eq!(past.event(), seen);
}

fn item_062_refresh_of_a_missing_key(case: &mut Case) {
    case.put("/~", "refresh=true&ttl=1000").fails(100, "/~", 0);
    case.put("/~", "refresh=true&ttl=1000&prevExist=true").fails(100, "/~", 0);
    let create = case.put("/~", "refresh=true&ttl=1000&prevExist=false");
    let node = case.fill(
        r#"{"key":"/~","value":"","expiration":"T","ttl":1000,"modifiedIndex":@1,"createdIndex":@1}"#,
    );
    create.is(201, &done("create", &node));
    let _ = case.put("/~dir", "dir=true");
    case.put("/~dir", "refresh=true&ttl=1000").fails(102, "/~dir", 2);
    let _ = case.put("/~file", "value=x");
    case.get("/~file").is(200, &done("get", &file("/~file", "x", 3, 3)));
}
