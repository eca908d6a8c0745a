//! Compaction under watches that read slowly and under long reads.
//!
//! Invariants: a watch has no gap, or says that it was compacted away; a read is whole, as of one
//!             revision, or is refused.
//! Source:     api-v3.md 2.2, 2.7, 3.1, 3.3.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use e2e::v3::{Client, Failure, Stream};
use proto::etcdserverpb::{PutRequest, RangeRequest};
use tonic::Code;

use super::api::{self, TXN_OPS};
use super::{Place, assert_no_panic};

/// Revisions that a slow watcher has before it, and the size of each.
const HISTORY: i64 = 2_000;
const VALUE_BYTES: usize = 10_000;
/// Slow watchers, and responses after which each of them pauses.
const WATCHERS: usize = 6;
const PAUSE: Duration = Duration::from_millis(4);

/// Keys of the long reads, in blocks that are written in one transaction each.
const BLOCKS: usize = 784;
const KEYS: usize = BLOCKS * TXN_OPS;
/// How long they are read.
const READ_TIME: Duration = Duration::from_secs(12);
/// Keys of one page.
const PAGE_KEYS: i64 = 7_000;
/// Pause between two compactions.
const COMPACT_EVERY: Duration = Duration::from_millis(300);
/// Revisions that most of them leave; every fourth leaves none.
const KEPT_REVISIONS: i64 = 400;
const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";

#[test]
fn a_slow_watcher_across_compactions_has_no_gap_unnoticed() {
    let place = Place::new("slow-watch");
    let etcd = place.single("c").set("unsafe-no-fsync", "true").start();
    let client = Client::new(etcd.client());
    let value = Bytes::from(vec![b'v'; VALUE_BYTES]);
    let first = api::put(&client, "w", value.clone()).expect("a put");
    let newest = AtomicI64::new(first);
    let last = first + HISTORY;
    std::thread::scope(|scope| {
        let reading: Vec<_> = (0..WATCHERS)
            .map(|pace| {
                let watch = api::watch(&Client::new(etcd.client()), "w", "", first);
                scope.spawn(move || read_slowly(watch, pace, first, last))
            })
            .collect();
        for _ in 0..HISTORY {
            let revision = api::put(&client, "w", value.clone()).expect("a put");
            newest.store(revision, Ordering::Relaxed);
            if revision % 500 == 0 {
                api::compact(&client, revision).expect("compact");
            }
        }
        let ends: Vec<i64> =
            reading.into_iter().map(|reader| reader.join().expect("no gap")).collect();
        println!("slow watchers were compacted away {ends:?} times");
        assert_eq!(ends[0], 0, "one that keeps up sees everything");
    });
    assert_eq!(newest.load(Ordering::Relaxed), last);
    assert_no_panic(&etcd.log());
}

/// Reads to the last revision, pausing `pace` times after each response; begins again where a
/// compaction says. Returns how often that was.
fn read_slowly(mut watch: Stream, pace: usize, first: i64, last: i64) -> i64 {
    let (mut next, mut compacted) = (first, 0);
    let mut patience = e2e::v3::PATIENCE;
    while next <= last {
        std::thread::sleep(PAUSE * u32::try_from(pace).expect("small"));
        let Some(response) = api::response_within(&mut watch, patience) else {
            panic!("silence after revision {next} of {last}");
        };
        if response.canceled {
            assert!(response.compact_revision > next, "{next}: {response:?}");
            next = response.compact_revision;
            compacted += 1;
            watch.send(&api::create("w", "", next));
            continue;
        }
        for event in &response.events {
            let kv = api::pair(event.kv.as_ref().expect("a pair"));
            assert_eq!(kv.mod_revision, next, "watcher of pace {pace}");
            next += 1;
        }
        patience = e2e::v3::PATIENCE;
    }
    compacted
}

/// How all keys are read.
#[derive(Clone, Copy, Debug)]
enum Manner {
    Linearizable,
    Serializable,
    AtRevision,
    InPages,
}

/// Blocks as one read found them.
struct Picture {
    manner: Manner,
    revision: i64,
    blocks: Vec<i64>,
}

#[test]
fn a_hundred_thousand_keys_are_read_whole_or_not_at_all() {
    let place = Place::new("long-range");
    let etcd = place.single("c").set("unsafe-no-fsync", "true").start();
    let server = etcd.client();
    let client = Client::new(server);
    let mut history: Vec<BTreeSet<i64>> = vec![BTreeSet::new(); BLOCKS];
    for (block, revisions) in history.iter_mut().enumerate() {
        revisions.insert(write_block(&client, block));
    }
    let (stop, refused) = (AtomicBool::new(false), AtomicUsize::new(0));
    let pictures: Vec<Picture> = std::thread::scope(|scope| {
        let manners =
            [Manner::Linearizable, Manner::Serializable, Manner::AtRevision, Manner::InPages];
        let readers: Vec<_> = manners
            .into_iter()
            .map(|manner| {
                let refused = &refused;
                scope.spawn(move || read_all(server, manner, refused))
            })
            .collect();
        let stop = &stop;
        let compactor = scope.spawn(move || compact_often(&Client::new(server), stop));
        // Overwrites them in an order that is none.
        let mut block = 0;
        while readers.iter().any(|reader| !reader.is_finished()) {
            block = (block + 301) % BLOCKS;
            history[block].insert(write_block(&client, block));
        }
        stop.store(true, Ordering::Relaxed);
        assert!(compactor.join().expect("compactions") > 5, "too few compactions");
        readers.into_iter().flat_map(|reader| reader.join().expect("a reader")).collect()
    });
    for picture in &pictures {
        check(picture, &history);
    }
    let refused = refused.into_inner();
    let count = |manner: &str| {
        pictures.iter().filter(|picture| format!("{:?}", picture.manner) == manner).count()
    };
    let counts = ["Linearizable", "Serializable", "AtRevision", "InPages"].map(count);
    println!("whole reads of {KEYS} keys {counts:?}, {refused} refused");
    assert!(counts[0] > 0 && counts[1] > 0, "{counts:?}");
    assert_no_panic(&etcd.log());
}

fn key(block: usize, number: usize) -> String {
    format!("long/{block:03}/{number:03}")
}

fn write_block(client: &Client, block: usize) -> i64 {
    let put = |number| PutRequest {
        key: key(block, number).into(),
        value: key(block, number).into(),
        ..PutRequest::default()
    };
    api::put_all(client, (0..TXN_OPS).map(put).collect()).expect("a block")
}

fn compact_often(client: &Client, stop: &AtomicBool) -> usize {
    let (mut compactions, mut round) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let newest = RangeRequest { key: "none".into(), ..RangeRequest::default() };
        let newest = api::range(client, &newest).expect("a read").header;
        round += 1;
        let kept = if round % 4 == 0 { 0 } else { KEPT_REVISIONS };
        let compacted = api::compact(client, api::revision(&newest) - kept);
        compactions += usize::from(compacted.is_ok());
        std::thread::sleep(COMPACT_EVERY);
    }
    compactions
}

/// Reads everything again and again; what is refused must be by reason of a compaction.
fn read_all(server: SocketAddr, manner: Manner, refused: &AtomicUsize) -> Vec<Picture> {
    let client = Client::new(server);
    let begun = Instant::now();
    let mut pictures = Vec::new();
    while begun.elapsed() < READ_TIME {
        match read_once(&client, manner) {
            Ok(picture) => pictures.push(picture),
            Err(failure) => {
                let is_compacted = failure.code == Code::OutOfRange && failure.message == COMPACTED;
                let may_be = matches!(manner, Manner::AtRevision | Manner::InPages);
                assert!(is_compacted && may_be, "{manner:?}: {failure:?}");
                refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    pictures
}

fn read_once(client: &Client, manner: Manner) -> Result<Picture, Failure> {
    let all = RangeRequest { key: "long/".into(), range_end: "long0".into(), ..Default::default() };
    let newest = |client: &Client| {
        let reply = api::range(client, &RangeRequest { count_only: true, ..all.clone() })?;
        assert_eq!(usize::try_from(reply.count), Ok(KEYS), "a count");
        Ok::<i64, Failure>(api::revision(&reply.header))
    };
    let (request, asked) = match manner {
        Manner::Linearizable => (all, None),
        Manner::Serializable => (RangeRequest { serializable: true, ..all }, None),
        Manner::AtRevision => {
            let revision = newest(client)?;
            (RangeRequest { revision, ..all }, Some(revision))
        }
        Manner::InPages => {
            let revision = newest(client)?;
            (RangeRequest { revision, limit: PAGE_KEYS, ..all }, Some(revision))
        }
    };
    let (mut blocks, mut expected, mut request) = (vec![0; BLOCKS], 0, request);
    loop {
        let reply = api::range(client, &request)?;
        for stored in &reply.kvs {
            let kv = api::pair(stored);
            let (block, number) = (expected / TXN_OPS, expected % TXN_OPS);
            assert_eq!(kv.key, key(block, number), "{manner:?}");
            assert_eq!(kv.value, kv.key, "{manner:?}");
            if number == 0 {
                blocks[block] = kv.mod_revision;
            }
            assert_eq!(kv.mod_revision, blocks[block], "{manner:?}: half of a transaction");
            expected += 1;
        }
        let left = KEYS - (expected - reply.kvs.len());
        assert_eq!(usize::try_from(reply.count), Ok(left), "{manner:?}: a count");
        assert_eq!(reply.more, expected < KEYS, "{manner:?}: {expected} keys");
        if !reply.more {
            let revision = asked.unwrap_or_else(|| api::revision(&reply.header));
            return Ok(Picture { manner, revision, blocks });
        }
        let last = api::pair(reply.kvs.last().expect("a page has keys")).key;
        request.key = [&last[..], &[0]].concat().into();
    }
}

/// Each block is as the newest transaction up to the picture's revision left it.
fn check(picture: &Picture, history: &[BTreeSet<i64>]) {
    for (block, found) in picture.blocks.iter().enumerate() {
        let newest = history[block].range(..=picture.revision).next_back().copied();
        let (manner, revision) = (picture.manner, picture.revision);
        assert_eq!(Some(*found), newest, "{manner:?} at {revision}: block {block}");
    }
}
