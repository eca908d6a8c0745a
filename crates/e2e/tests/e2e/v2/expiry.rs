//! TTLs that run out: on time, once, whoever leads.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use e2e::{Cluster, Program, eventually, http};

use super::poll::{Poll, modified_index};
use super::{index_of, put};

const PATIENCE: Duration = Duration::from_secs(60);
/// Keys of the storm, and how many connections write them.
const KEYS: usize = 3_000;
const WRITERS: usize = 6;
/// Time in which all of them are written: then all have the same deadline, within a second.
const TTL_SECONDS: u64 = 15;

#[test]
fn nodes_expire_under_every_leader_and_after_a_restart() {
    let mut cluster = Cluster::start("v2-ttl", Program::Ours, 3);
    let leader = cluster.wait_leader(PATIENCE);
    let server = cluster.member((leader + 1) % 3).client();
    let mut watch = Poll::open(server, "/short?wait=true&stream=true").expect("a stream");
    let set = put(server, "short", "value=v&ttl=1");
    put(server, "long", "value=v&ttl=600");
    put(server, "d", "dir=true&ttl=3");
    put(server, "d/k", "value=v");
    put(server, "down", "value=v&ttl=3");
    assert_eq!(watch.index(), set);
    let event = watch.next().expect("the expiration").expect("before the end");
    assert!(event.starts_with("{\"action\":\"expire\",\"node\":{\"key\":\"/short\","), "{event}");
    cluster.member_mut(leader).kill9();
    let gone = |server: SocketAddr, key: &str| {
        http::get(server, &format!("/v2/keys/{key}")).ok().filter(|reply| reply.status == 404)
    };
    // The next leader knows the deadlines too. A directory goes as one.
    eventually("the next leader to let expire", PATIENCE, || gone(server, "d"));
    eventually("the next leader to let expire", PATIENCE, || gone(server, "down"));
    cluster.member_mut(leader).restart();
    put(server, "again", "value=v&ttl=2");
    for member in cluster.members_mut() {
        member.kill9();
    }
    cluster.spawn_all();
    for member in cluster.members_mut() {
        member.wait_ready(PATIENCE);
    }
    for member in cluster.members() {
        eventually("what ran out meanwhile to go", PATIENCE, || gone(member.client(), "again"));
        let reply = http::get(member.client(), "/v2/keys/long").expect("what has time left");
        assert!(reply.body.contains("\"ttl\":5"), "{}", reply.body);
    }
}

/// Writes keys over one connection; returns when all are acknowledged.
fn write_keys(server: SocketAddr, keys: impl Iterator<Item = usize>, deadline: Instant) {
    let stream = http::connect(server).expect("a connection");
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut stream = stream;
    for key in keys {
        let left = deadline.saturating_duration_since(Instant::now()).as_secs();
        assert!(left > 2, "writing took too long for this test");
        let target = format!("/v2/keys/storm/{key}?value=v&ttl={left}");
        let head = format!("PUT {target} HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("a request");
        let mut size = 0;
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            assert!(reader.read_line(&mut line).expect("a reply") > 0);
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                size = value.trim().parse().expect("a size");
            }
        }
        reader.read_exact(&mut vec![0; size]).expect("a body");
    }
}

#[test]
fn a_storm_expires_each_key_once_while_others_write() {
    let cluster = Cluster::start("v2-storm", Program::Ours, 1);
    let server = cluster.member(0).client();
    let deadline = Instant::now() + Duration::from_secs(TTL_SECONDS);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let keys = (0..KEYS).filter(move |key| key % WRITERS == writer);
            scope.spawn(move || write_keys(server, keys, deadline));
        }
    });
    let before = index_of(server);
    let mut stream =
        Poll::open(server, "/storm?wait=true&recursive=true&stream=true").expect("a stream");
    let mut writes = 0;
    let mut slowest = Duration::ZERO;
    let reading = std::thread::spawn(move || {
        let mut told = Vec::new();
        // A stream that cannot keep up is cut; until then it misses nothing.
        while told.len() < KEYS {
            match stream.next() {
                Ok(Some(event)) => told.push(event),
                Ok(None) => panic!("the stream ended as if it were complete"),
                Err(_) => break,
            }
        }
        told
    });
    let is_empty = || {
        let reply = http::get(server, "/v2/keys/storm").expect("the directory");
        !reply.body.contains("nodes")
    };
    while !(reading.is_finished() && is_empty()) {
        let began = Instant::now();
        put(server, "other", "value=v");
        slowest = slowest.max(began.elapsed());
        writes += 1;
    }
    let told = reading.join().expect("a reader");
    eprintln!(
        "{KEYS} keys, {} events read, {writes} writes beside them, the slowest took {slowest:?}",
        told.len()
    );
    assert!(told.iter().all(|event| event.starts_with("{\"action\":\"expire\",")));
    let keys: BTreeSet<&str> = told.iter().map(|event| key_of(event)).collect();
    assert_eq!(keys.len(), told.len(), "an event came twice");
    assert!(told.is_sorted_by_key(|event| modified_index(event)), "events out of order");
    assert_eq!(index_of(server), before + KEYS as u64 + writes, "an index step for each");
}

fn key_of(event: &str) -> &str {
    event.split('"').nth(9).expect("a key")
}
