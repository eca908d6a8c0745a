//! Keys and values of every byte, as keys, ends of ranges, prefixes and watched ranges.

use std::collections::BTreeMap;

use e2e::v3::{Client, Stream};
use proto::etcdserverpb::{DeleteRangeRequest, DeleteRangeResponse, RangeRequest, WatchResponse};

use super::api::{self, WATCH, prefix_end};
use super::{Place, assert_no_panic};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// Keys of one to three bytes in which every byte is first, in the middle and last.
fn odd_keys() -> Vec<Vec<u8>> {
    let of = |byte: u8| {
        [vec![byte], vec![byte, byte], vec![b'p', byte], vec![byte, b'p'], vec![b'p', byte, 0xff]]
    };
    let mut keys: Vec<Vec<u8>> = (0..=0xff).flat_map(of).collect();
    keys.extend([vec![0xff; 3], vec![0; 3], vec![0xff, 0], vec![0, 0xff]]);
    keys.sort();
    keys.dedup();
    keys
}

/// A value in which its key's bytes are, and all others.
fn value_of(key: &[u8]) -> Vec<u8> {
    let mut value: Vec<u8> = (0..=0xff).collect();
    value.extend(key);
    value
}

/// Ranges as `(key, end)`, and what is in them.
fn ranges() -> Vec<(Vec<u8>, Vec<u8>)> {
    let prefix = |prefix: Vec<u8>| {
        let end = prefix_end(&prefix);
        (prefix, end)
    };
    let mut ranges: Vec<_> = (0..=0xff).map(|byte| prefix(vec![byte])).collect();
    ranges.extend([0, 1, 0x7f, 0x80, 0xfe, 0xff].map(|byte| prefix(vec![b'p', byte])));
    ranges.extend([0, 1, 0x7f, 0x80, 0xfe, 0xff].map(|byte| (vec![byte], Vec::new())));
    ranges.extend([
        (vec![0xff], vec![0]),
        (vec![0], vec![0]),
        (vec![0x7f], vec![0x80, 0]),
        (vec![0xff], vec![0xff, 0xff]),
        (vec![0, 0], vec![0, 1]),
        (vec![0xff, 0xff, 0xff], vec![0xff, 0xff, 0xff, 0]),
    ]);
    ranges
}

fn is_in((key, end): &(Vec<u8>, Vec<u8>), found: &[u8]) -> bool {
    match end.as_slice() {
        [] => found == key,
        [0] => found >= key.as_slice(),
        end => found >= key.as_slice() && found < end,
    }
}

#[test]
fn every_byte_is_a_key_a_value_and_an_end() {
    let place = Place::new("odd-keys");
    let etcd = place.single("o").start();
    let client = Client::new(etcd.client());
    let ranges = ranges();
    let mut watches = watch_all(&client, &ranges);
    let mut model = Model::new();
    for key in odd_keys() {
        api::put(&client, key.clone(), value_of(&key)).unwrap_or_else(|e| panic!("{key:?}: {e:?}"));
        model.insert(key.clone(), value_of(&key));
    }
    for range in &ranges {
        let (key, range_end) = (range.0.clone().into(), range.1.clone().into());
        let request = RangeRequest { key, range_end, ..RangeRequest::default() };
        let reply = api::range(&client, &request).unwrap_or_else(|e| panic!("{range:?}: {e:?}"));
        let found: Model =
            reply.kvs.iter().map(api::pair).map(|kv| (kv.key.into(), kv.value.into())).collect();
        let expected: Model = model
            .iter()
            .filter(|(key, _)| is_in(range, key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        assert_eq!(found, expected, "{range:?}");
        assert_eq!(reply.count, i64::try_from(expected.len()).expect("few"));
    }
    check_events(&mut watches, &ranges, &model.keys().cloned().collect::<Vec<_>>());
    // Whole, from the end, byte by byte.
    for byte in (0..=0xff).rev() {
        let (key, range_end) = (vec![byte], prefix_end(&[byte]));
        let request = DeleteRangeRequest {
            key: key.clone().into(),
            range_end: range_end.clone().into(),
            ..DeleteRangeRequest::default()
        };
        let reply: DeleteRangeResponse =
            client.unary("/etcdserverpb.KV/DeleteRange", &request).expect("delete");
        let expected = model.keys().filter(|found| is_in(&(key.clone(), range_end.clone()), found));
        assert_eq!(reply.deleted, i64::try_from(expected.count()).expect("few"), "{byte}");
        model.retain(|found, _| !is_in(&(key.clone(), range_end.clone()), found));
    }
    check_events(&mut watches, &ranges, &{
        let mut keys = odd_keys();
        // Last byte first, as they were deleted; in a range by key.
        keys.sort_by(|a, b| b[0].cmp(&a[0]).then_with(|| a.cmp(b)));
        keys
    });
    assert_no_panic(&etcd.log());
}

/// One stream of watchers, whose IDs are the places of their ranges.
fn watch_all(client: &Client, ranges: &[(Vec<u8>, Vec<u8>)]) -> Stream {
    let mut stream = client.stream(WATCH, &[]);
    for (number, (key, end)) in ranges.iter().enumerate() {
        stream.send(&api::create(key.clone(), end.clone(), 0));
        let created: WatchResponse = stream.next();
        assert!(created.created && !created.canceled, "{key:?} {end:?}: {created:?}");
        assert_eq!(created.watch_id, i64::try_from(number).expect("few"));
    }
    stream
}

/// Each watcher gets the events of its range, in this order.
#[track_caller]
fn check_events(stream: &mut Stream, ranges: &[(Vec<u8>, Vec<u8>)], keys: &[Vec<u8>]) {
    let mut expected: Vec<Vec<&Vec<u8>>> = ranges
        .iter()
        .map(|range| keys.iter().filter(|key| is_in(range, key)).rev().collect())
        .collect();
    while expected.iter().any(|keys| !keys.is_empty()) {
        let response: WatchResponse = stream.next();
        let watcher = usize::try_from(response.watch_id).expect("one of ours");
        for event in &response.events {
            let kv = api::pair(event.kv.as_ref().expect("a pair"));
            let next = expected[watcher].pop();
            assert_eq!(next.map(Vec::as_slice), Some(kv.key.as_ref()), "{:?}", ranges[watcher]);
        }
    }
}
