//! Replays what a real etcd 3.4.23 (`--enable-v2`, one member) answered, and its `.snap`.
//!
//! `etcd-3.4.23.transcript` was recorded over HTTP. Its lines:
//!
//!     # comment
//!     > METHOD path form     the request; form as in a query string
//!     @ ns                   wall clock right after the answer, unix nanoseconds
//!     < status index         status and X-Etcd-Index, followed by the body
//!     ~ ns                   time passed; SYNC entries may have run up to here
//!     = stats                followed by the body of /v2/stats/store
//!
//! `etcd-3.4.23.snap.json` is the payload of a `.snap` that the same server wrote in passing.
//! `etcd-3.4.23-members.snap.json` is that of a server whose members were changed.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of #[test] functions")]

use membership::v2_tree::{self, V2Write};
use membership::{Change, ClusterVersion, Member, Membership, ids};
use proto::raftpb::{ConfChange, ConfChangeType};
use proto::v2_request::V2Request;
use types::{ClusterId, V2Error};
use v2store::{Event, Lifetime, Store, json, path, time};

const TRANSCRIPT: &str = include_str!("testdata/etcd-3.4.23.transcript");
const SNAPSHOT: &str = include_str!("testdata/etcd-3.4.23.snap.json");
const MEMBERS: &str = include_str!("testdata/etcd-3.4.23-members.snap.json");
const PEER_URL: &str = "http://127.77.1.1:2380";
const CLIENT_URL: &str = "http://127.77.1.1:2379";

#[test]
fn every_answer_equals_that_of_etcd() {
    let mut store = fresh_member();
    let checked = replay(&mut store, u64::MAX);
    assert!(checked > 150, "only {checked} answers were compared");
}

#[test]
fn replay_gives_the_snapshot_of_etcd() {
    let mut store = fresh_member();
    let theirs = Store::from_json(SNAPSHOT.as_bytes()).unwrap();
    replay(&mut store, theirs.index());
    assert_eq!(store, theirs);

    // Reads of the auth flag are counted by Go but are none of the keys API's business.
    let ours = String::from_utf8(store.to_json()).unwrap();
    let (ours_gets, theirs_gets) = (gets_of(&ours), gets_of(SNAPSHOT));
    assert_eq!(ours.replace(&ours_gets, &theirs_gets), SNAPSHOT);
}

#[test]
fn snapshot_of_etcd_is_rewritten_byte_for_byte() {
    let store = Store::from_json(SNAPSHOT.as_bytes()).unwrap();
    store.check_invariants();
    assert_eq!(String::from_utf8(store.to_json()).unwrap(), SNAPSHOT);
    assert_eq!(store.stats().expire_count, 6);
}

#[test]
fn membership_is_found_in_the_snapshot() {
    let store = Store::from_json(SNAPSHOT.as_bytes()).unwrap();
    let found = Membership::from_v2_leaves(ClusterId(1), store.files(path::CLUSTER)).unwrap();
    let id = ids::member_id(&[PEER_URL.to_owned()], "gold", None);
    let member = &found.members[&id];
    assert_eq!(member.name, "gold");
    assert_eq!(member.peer_urls, [PEER_URL]);
    assert_eq!(member.client_urls, [CLIENT_URL]);
    assert_eq!(found.version, Some(ClusterVersion::new(3, 4)));
}

/// The conf changes of that server, in the bytes that its log held, end in the tree, the history
/// and the counters that it wrote.
#[test]
fn conf_changes_give_the_snapshot_of_etcd() {
    const LEARNER: u64 = 14_803_339_750_615_308_098;
    let changes = [
        (
            ConfChangeType::AddNode,
            17_304_556_497_439_077_380,
            r#"{"id":17304556497439077380,"peerURLs":["http://127.77.1.2:2380"],"name":"g\u003co\u003e\u0026ld"}"#,
        ),
        (
            ConfChangeType::AddLearnerNode,
            LEARNER,
            r#"{"id":14803339750615308098,"peerURLs":["http://127.77.1.3:2380"],"isLearner":true}"#,
        ),
        (
            ConfChangeType::AddLearnerNode,
            18_334_340_047_177_109_968,
            r#"{"id":18334340047177109968,"peerURLs":["http://127.77.1.4:2380"],"isLearner":true}"#,
        ),
        (
            ConfChangeType::UpdateNode,
            LEARNER,
            r#"{"id":14803339750615308098,"peerURLs":["http://127.77.1.5:2380","http://127.77.1.3:2380"]}"#,
        ),
        (
            ConfChangeType::UpdateNode,
            LEARNER,
            r#"{"id":14803339750615308098,"peerURLs":["http://127.77.1.2:2380"]}"#,
        ),
        (ConfChangeType::RemoveNode, LEARNER, ""),
        (ConfChangeType::RemoveNode, LEARNER, ""),
        (
            ConfChangeType::AddLearnerNode,
            4_335_944_934_765_476_193,
            r#"{"id":4335944934765476193,"peerURLs":["http://127.77.1.6:2380"],"isLearner":true}"#,
        ),
    ];
    let mut store = Store::new();
    let mut membership = Membership::new(ClusterId(1));
    let mut refused = 0;
    for (change_type, node_id, context) in changes {
        let change = ConfChange { id: 1, change_type, node_id, context: context.into() };
        match membership.validate(&change) {
            Ok(change) => {
                let _ = membership.apply(&change);
                write(&mut store, v2_tree::writes(&change, &membership));
            }
            Err(_) => refused += 1,
        }
        if store.index() == 1 {
            let id = membership.members.values().next().unwrap().id;
            let urls = ["http://127.77.1.2:2379".to_owned()];
            let _ = membership.set_attributes(id, "g<o>&ld", &urls);
            write(&mut store, vec![v2_tree::attributes_write(id, "g<o>&ld", &urls)]);
            let _ = membership.set_version(ClusterVersion::new(3, 4));
            write(&mut store, vec![v2_tree::version_write(ClusterVersion::new(3, 4))]);
        }
    }
    assert_eq!(refused, 3);
    let ours = String::from_utf8(store.to_json()).unwrap();
    assert_eq!(ours.replace(&gets_of(&ours), &gets_of(MEMBERS)), MEMBERS);
    let found = Membership::from_v2_leaves(ClusterId(1), store.files(path::CLUSTER)).unwrap();
    assert_eq!(found, membership);
}

/// What a one-member cluster writes before its first user request.
fn fresh_member() -> Store {
    let urls = vec![PEER_URL.to_owned()];
    let id = ids::member_id(&urls, "gold", None);
    let mut membership = Membership::new(ClusterId(1));
    let added = Change::AddVoter(Member { id, peer_urls: urls, ..Member::default() });
    let _ = membership.apply(&added);
    let mut writes = v2_tree::writes(&added, &membership);
    writes.push(v2_tree::attributes_write(id, "gold", &[CLIENT_URL.to_owned()]));
    writes.push(v2_tree::version_write(ClusterVersion::new(3, 4)));
    let mut store = Store::new();
    write(&mut store, writes);
    assert_eq!(store.index(), 3);
    store
}

fn write(store: &mut Store, writes: Vec<V2Write>) {
    let forever = Lifetime::default();
    for write in writes {
        let applied = match write {
            V2Write::Create { path, value } => store.create(&path, false, &value, forever),
            V2Write::Set { path, value } => store.set(&path, false, &value, forever),
            V2Write::Update { path, value } => store.update(&path, &value, forever),
            V2Write::DeleteTree { path } => store.delete(&path, true, true),
        };
        applied.result.unwrap();
    }
}

/// Replays until the store has reached `until`; returns how many answers were compared.
fn replay(store: &mut Store, until: u64) -> usize {
    let mut lines = TRANSCRIPT.lines();
    let mut checked = 0;
    while let Some(line) = lines.next() {
        match line.split_once(' ').unwrap() {
            ("#", _) => {}
            ("~", now) => {
                let now = now.parse().unwrap();
                store.observe_time(now);
                let _ = store.expire(now);
            }
            ("=", _) => {
                let expected = lines.next().unwrap();
                let ours = json::stats_body(&store.stats(), 0);
                assert_eq!(ours.replace(&gets_of(&ours), &gets_of(expected)), expected);
            }
            (">", request) => {
                let now = lines.next().unwrap().strip_prefix("@ ").unwrap().parse().unwrap();
                let head = lines.next().unwrap().strip_prefix("< ").unwrap();
                let body = lines.next().unwrap();
                store.observe_time(now);
                let answer = answer(store, request, body, now);
                assert_eq!(render(&answer, store, now), format!("{head}\n{body}\n"), "{request}");
                store.check_invariants();
                checked += 1;
            }
            _ => panic!("bad line {line}"),
        }
        if store.index() >= until {
            break;
        }
    }
    checked
}

fn answer(store: &mut Store, request: &str, body: &str, now: i64) -> Result<Event, V2Error> {
    let mut parts = request.splitn(3, ' ');
    let (method, key) = (parts.next().unwrap(), parts.next().unwrap());
    let form = Form(parts.next().unwrap_or_default());
    let path = path::clean(&format!("/1{key}"));
    let recursive = form.is_true("recursive");
    if form.is_true("wait") {
        let since = form.number("waitIndex");
        let found = store.history().scan(&path, recursive, since, store.index())?;
        return Ok(found.expect("recorded waits ended at once").as_ref().clone());
    }
    if method == "GET" && !form.is_true("quorum") {
        return store.get(&path, recursive, form.is_true("sorted"));
    }
    let request = V2Request {
        method: if method == "GET" { "QGET".to_owned() } else { method.to_owned() },
        path,
        val: form.text("value"),
        dir: form.is_true("dir"),
        prev_value: form.text("prevValue"),
        prev_index: form.number("prevIndex"),
        prev_exist: form.flag("prevExist"),
        refresh: form.flag("refresh"),
        recursive,
        sorted: form.is_true("sorted"),
        expiration: expiration(&form.text("ttl"), body, now),
        ..V2Request::default()
    };
    store.apply(&request).result
}

/// The time that the server put into the log: the one it shows, else computed as Go does.
fn expiration(ttl: &str, body: &str, now: i64) -> i64 {
    let Ok(ttl) = ttl.parse::<u64>() else { return 0 };
    let node = body.split("\"prevNode\"").next().unwrap();
    match node.split_once("\"expiration\":\"") {
        Some((_, rest)) => time::parse(rest.split('"').next().unwrap()).unwrap(),
        None => now.wrapping_add(ttl.cast_signed().wrapping_mul(1_000_000_000)),
    }
}

fn render(answer: &Result<Event, V2Error>, store: &Store, now: i64) -> String {
    match answer {
        Ok(event) => {
            // An event out of the past answers a watch, and a watch is never 201.
            let is_now = event.index == store.index();
            let status = if event.is_created && is_now { 201 } else { 200 };
            format!("{status} {}\n{}", store.index(), json::event_body(event, now))
        }
        Err(error) => {
            format!("{} {}\n{}", error.code.http_status(), error.index, json::error_body(error))
        }
    }
}

fn gets_of(stats: &str) -> String {
    let start = stats.rfind("\"getsSuccess\"").unwrap();
    let end = stats.rfind("\"setsSuccess\"").unwrap();
    stats[start..end].to_owned()
}

struct Form<'a>(&'a str);

impl Form<'_> {
    fn text(&self, name: &str) -> String {
        let pairs = self.0.split('&').filter_map(|pair| pair.split_once('='));
        let value = pairs.clone().find(|(key, _)| *key == name).map_or("", |(_, value)| value);
        unescape(value)
    }

    fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or(0)
    }

    fn flag(&self, name: &str) -> Option<bool> {
        self.text(name).parse().ok()
    }

    fn is_true(&self, name: &str) -> bool {
        self.flag(name) == Some(true)
    }
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                let digits = std::str::from_utf8(&digits).unwrap();
                bytes.push(u8::from_str_radix(digits, 16).unwrap());
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
