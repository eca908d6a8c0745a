//! Ten thousand watchers that wait: each costs little and gets its event.

use std::collections::BTreeSet;

use e2e::v3::{Client, Stream};
use proto::etcdserverpb::{PutRequest, WatchResponse};

use super::api::{self, TXN_OPS, WATCH};
use super::{Place, assert_no_panic};

/// Watchers, all streams together, and streams on each connection.
const WATCHERS: usize = 10_000;
const STREAMS: usize = 8;
const CONNECTIONS: usize = 2;
/// What an idle watcher may cost in the server.
const WATCHER_BYTES: u64 = 4096;

#[test]
fn ten_thousand_idle_watches_get_their_event() {
    let place = Place::new("idle");
    let etcd = place.single("i").start();
    let clients: Vec<Client> = (0..CONNECTIONS).map(|_| Client::new(etcd.client())).collect();
    let before = etcd.resident_bytes();
    let mut streams: Vec<Stream> = (0..STREAMS)
        .map(|number| {
            let stream = clients[number % CONNECTIONS].stream(WATCH, &[]);
            for key in keys_of(number) {
                stream.send(&api::create(key, "", 0));
            }
            stream
        })
        .collect();
    for (number, stream) in streams.iter_mut().enumerate() {
        for id in 0..keys_of(number).count() {
            let created: WatchResponse = stream.next();
            assert!(created.created && !created.canceled, "{created:?}");
            assert_eq!(usize::try_from(created.watch_id), Ok(id));
        }
    }
    let grown = etcd.resident_bytes().saturating_sub(before);
    let each = grown / WATCHERS as u64;
    println!("{WATCHERS} idle watchers: {each} bytes each");
    assert!(each < WATCHER_BYTES, "{each} bytes each");
    let keys: Vec<String> = (0..WATCHERS).map(|number| format!("idle/{number:05}")).collect();
    for part in keys.chunks(TXN_OPS) {
        let put = |key: &String| PutRequest { key: key.clone().into(), ..PutRequest::default() };
        api::put_all(&clients[0], part.iter().map(put).collect()).expect("a txn");
    }
    for (number, stream) in streams.iter_mut().enumerate() {
        let expected: Vec<String> = keys_of(number).collect();
        let mut told = BTreeSet::new();
        while told.len() < expected.len() {
            let response: WatchResponse = stream.next();
            assert_eq!(response.events.len(), 1, "{response:?}");
            let kv = api::pair(response.events[0].kv.as_ref().expect("a pair"));
            let id = usize::try_from(response.watch_id).expect("one of ours");
            assert_eq!(kv.key, expected[id], "watcher {id}");
            assert!(told.insert(id), "watcher {id} was told twice");
        }
    }
    assert_no_panic(&etcd.log());
}

/// Keys that one stream watches; IDs are their places.
fn keys_of(stream: usize) -> impl Iterator<Item = String> {
    (stream..WATCHERS).step_by(STREAMS).map(|number| format!("idle/{number:05}"))
}
