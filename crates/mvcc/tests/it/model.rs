//! The store against a list of all versions of all keys.
//!
//! Random puts, deletes, transactions, compactions in chunks of random size and restarts; after each
//! action ranges at random revisions, the hash and the store rebuilt from its rows are compared.

use std::collections::BTreeMap;

use bytes::Bytes;
use mvcc::{CursorStep, EventKind, Restored};
use proptest::prelude::*;
use prost::Message;
use proto::etcdserverpb::RangeRequest;
use proto::etcdserverpb::request_op::Request;
use types::{EtcdError, LeaseId, RevKey};

use crate::rows::{Fixture, delete, op, put, range, success, txn_op};

/// A version of a key: `None` is a tombstone.
type Version = (RevKey, Option<Pair>);

#[derive(Clone, Debug, PartialEq)]
struct Pair {
    create: i64,
    version: i64,
    value: String,
    lease: i64,
}

#[derive(Clone, Debug)]
struct Model {
    versions: BTreeMap<String, Vec<Version>>,
    current: i64,
    compacted: i64,
}

#[derive(Clone, Debug)]
enum Write {
    Put {
        key: String,
        value: String,
        lease: i64,
    },
    Delete {
        key: String,
        end: String,
    },
    /// The rest of the list in a nested transaction.
    Nest,
}

#[derive(Clone, Debug)]
enum Action {
    Write(Write),
    Txn(Vec<Write>),
    /// Share of the revisions between compacted and current.
    Compact(u8),
    Step(usize),
    Finish,
    Restart,
    /// Writes happen between the steps of a cursor, and a compaction whose deletions wait for it.
    Cursor(usize, Vec<Write>),
    /// As before, but the deletions do not wait.
    Overtaken(usize, Vec<Write>),
}

impl Model {
    fn new() -> Self {
        Self { versions: BTreeMap::new(), current: 1, compacted: -1 }
    }

    fn visible(&self, key: &str, at: i64) -> Option<(RevKey, &Pair)> {
        let versions = self.versions.get(key)?;
        let (revision, pair) = versions.iter().rev().find(|(revision, _)| revision.main <= at)?;
        Some((*revision, pair.as_ref()?))
    }

    /// Applies writes under one revision; returns the number of changes.
    fn apply(&mut self, writes: &[Write]) -> i64 {
        let main = self.current + 1;
        let mut sub = 0;
        for write in writes {
            match write {
                Write::Put { key, value, lease } => {
                    let old = self.visible(key, main).map(|(_, pair)| pair.clone());
                    let pair = Pair {
                        create: old.as_ref().map_or(main, |old| old.create),
                        version: old.map_or(0, |old| old.version) + 1,
                        value: value.clone(),
                        lease: *lease,
                    };
                    let version = (RevKey::new(main, sub), Some(pair));
                    self.versions.entry(key.clone()).or_default().push(version);
                    sub += 1;
                }
                Write::Delete { key, end } => {
                    for key in self.keys(key, end, main) {
                        let tombstone = (RevKey::new(main, sub), None);
                        self.versions.entry(key).or_default().push(tombstone);
                        sub += 1;
                    }
                }
                Write::Nest => {}
            }
        }
        self.current += i64::from(sub > 0);
        sub
    }

    fn keys(&self, key: &str, end: &str, at: i64) -> Vec<String> {
        let inside = |other: &str| match end {
            "" => other == key,
            "\0" => other >= key,
            _ => key <= other && other < end,
        };
        let keys = self.versions.keys().filter(|other| inside(other));
        keys.filter(|other| self.visible(other, at).is_some()).cloned().collect()
    }

    fn encode(key: &str, revision: RevKey, pair: &Pair) -> mvcc::kv::Pair {
        let message = KeyValue {
            key: key.as_bytes().to_vec(),
            create_revision: pair.create,
            mod_revision: revision.main,
            version: pair.version,
            value: pair.value.as_bytes().to_vec(),
            lease: pair.lease,
        };
        message.encode_to_vec().into()
    }

    fn range(&self, request: &RangeRequest) -> Result<(Vec<mvcc::kv::Pair>, bool, i64), EtcdError> {
        if request.revision > self.current {
            return Err(EtcdError::FutureRev);
        }
        let at = if request.revision <= 0 { self.current } else { request.revision };
        if at < self.compacted {
            return Err(EtcdError::Compacted);
        }
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let keys = self.keys(&text(&request.key), &text(&request.range_end), at);
        let count = i64::try_from(keys.len()).unwrap();
        if request.count_only {
            return Ok((Vec::new(), false, count));
        }
        let found = keys.iter().map(|key| (key, self.visible(key, at).unwrap()));
        let mut found: Vec<_> = found
            .filter(|(_, (revision, pair))| {
                let within = |bounds: (i64, i64), number: i64| {
                    (bounds.0 == 0 || bounds.0 <= number) && (bounds.1 == 0 || number <= bounds.1)
                };
                within((request.min_mod_revision, request.max_mod_revision), revision.main)
                    && within(
                        (request.min_create_revision, request.max_create_revision),
                        pair.create,
                    )
            })
            .collect();
        let limit = usize::try_from(request.limit).ok().filter(|limit| *limit > 0);
        let bounds = [
            request.min_mod_revision,
            request.max_mod_revision,
            request.min_create_revision,
            request.max_create_revision,
        ];
        if request.sort_order == 0 && bounds == [0; 4] {
            found.truncate(limit.map_or(usize::MAX, |limit| limit + 1));
        }
        let rank = |(_, (revision, pair)): &(&String, (RevKey, &Pair))| match request.sort_target {
            1 => (pair.version, String::new()),
            2 => (pair.create, String::new()),
            3 => (revision.main, String::new()),
            4 => (0, pair.value.clone()),
            _ => (0, String::new()),
        };
        match (request.sort_order, request.sort_target) {
            (2, 0) => found.reverse(),
            (2, _) => found.sort_by_key(|item| std::cmp::Reverse(rank(item))),
            _ => found.sort_by_key(rank),
        }
        let more = limit.is_some_and(|limit| found.len() > limit);
        found.truncate(limit.unwrap_or(usize::MAX));
        let shape = |pair: &Pair| {
            let mut pair = pair.clone();
            if request.keys_only {
                pair.value.clear();
                pair.lease = if request.sort_target == 4 { pair.lease } else { 0 };
            }
            pair
        };
        let kvs = found.into_iter().map(|(key, (at, pair))| Self::encode(key, at, &shape(pair)));
        Ok((kvs.collect(), more, count))
    }

    /// The hash over what no compaction up to `compacted` may have removed.
    fn hash(&self, at: i64) -> u32 {
        let mut rows = BTreeMap::new();
        for (key, versions) in &self.versions {
            let kept = self.visible(key, at).map(|(revision, _)| revision);
            for (revision, pair) in versions {
                if revision.main > at
                    || (revision.main <= self.compacted && kept != Some(*revision))
                {
                    continue;
                }
                let row = match pair {
                    Some(pair) => (revision.to_live().to_vec(), Self::encode(key, *revision, pair)),
                    None => {
                        let key = key.as_bytes().to_vec();
                        let row = KeyValue { key, ..KeyValue::default() }.encode_to_vec();
                        (revision.to_tombstone().to_vec(), row.into())
                    }
                };
                rows.insert(*revision, row);
            }
        }
        let mut hash = crc32c::crc32c(b"key");
        for (key, value) in rows.values() {
            hash = crc32c::crc32c_append(crc32c::crc32c_append(hash, key), value);
        }
        hash
    }
}

/// The message of etcd, written down here again so that the encoding under test has a judge.
#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(int64, tag = "2")]
    create_revision: i64,
    #[prost(int64, tag = "3")]
    mod_revision: i64,
    #[prost(int64, tag = "4")]
    version: i64,
    #[prost(bytes = "vec", tag = "5")]
    value: Vec<u8>,
    #[prost(int64, tag = "6")]
    lease: i64,
}

/// Store and model side by side.
struct Pairing {
    fixture: Fixture,
    model: Model,
    /// Rows up to here have been through the running compaction.
    scanned: RevKey,
}

impl Pairing {
    fn act(&mut self, action: &Action) {
        match action {
            Action::Write(write) => self.write(write),
            Action::Txn(writes) => self.txn(writes),
            Action::Compact(share) => self.compact(*share),
            Action::Step(len) => {
                self.step(*len);
            }
            Action::Finish => {
                while self.step(1000) {}
                if let Some(at) = self.fixture.store.pending_compaction() {
                    let ops = self.fixture.store.compact_finish(at);
                    self.fixture.rows.write(&ops);
                }
            }
            Action::Restart => {
                self.fixture.store = self.fixture.rows.restore().store;
                self.scanned = RevKey::default();
            }
            Action::Cursor(chunk, writes) => self.cursor(*chunk, writes),
            Action::Overtaken(chunk, writes) => self.overtaken(*chunk, writes),
        }
        self.fixture.store.check_invariants();
        let Restored { store, attachments } = self.fixture.rows.restore();
        assert_eq!(store, self.fixture.store, "restored from its rows");
        assert_eq!(store.digest(), self.fixture.store.digest());
        assert_eq!(attachments, self.leased_pairs());
    }

    fn write(&mut self, write: &Write) {
        let changes = self.model.apply(std::slice::from_ref(write));
        let events = match write {
            Write::Put { key, value, lease } => {
                let request = put(key, value);
                let request = proto::etcdserverpb::PutRequest { lease: *lease, ..request };
                let outcome = self.fixture.put_request(&request).unwrap();
                assert_eq!(outcome.reply.revision, self.model.current);
                outcome.events
            }
            Write::Delete { key, end } => {
                let outcome = self.fixture.delete(key, end);
                assert_eq!(outcome.reply.deleted, changes);
                assert_eq!(outcome.reply.revision, self.model.current);
                outcome.events
            }
            Write::Nest => return,
        };
        self.check_events(&events, changes);
    }

    fn txn(&mut self, writes: &[Write]) {
        let changes = self.model.apply(writes);
        let mut ops = Vec::new();
        for write in writes.iter().rev() {
            match write {
                Write::Put { key, value, lease } => {
                    let request = put(key, value);
                    let request = proto::etcdserverpb::PutRequest { lease: *lease, ..request };
                    ops.insert(0, op(Request::RequestPut(request)));
                }
                Write::Delete { key, end } => {
                    ops.insert(0, op(Request::RequestDeleteRange(delete(key, end))));
                }
                Write::Nest => ops = vec![txn_op(success(std::mem::take(&mut ops)))],
            }
        }
        let outcome = self.fixture.txn(&success(ops)).unwrap();
        assert_eq!(outcome.reply.revision, self.model.current);
        self.check_events(&outcome.events, changes);
    }

    fn check_events(&self, events: &[mvcc::Event], changes: i64) {
        assert_eq!(i64::try_from(events.len()).unwrap(), changes);
        for (event, sub) in events.iter().zip(0..) {
            let key = String::from_utf8(event.key.to_vec()).unwrap();
            let main = self.model.current;
            let at = RevKey::new(main, sub);
            let versions = &self.model.versions[&key];
            let version = versions.iter().find(|(revision, _)| *revision == at).unwrap();
            let kv = match &version.1 {
                Some(pair) => Model::encode(&key, at, pair),
                None => {
                    let key = key.as_bytes().to_vec();
                    KeyValue { key, mod_revision: main, ..KeyValue::default() }
                        .encode_to_vec()
                        .into()
                }
            };
            assert_eq!(event.kind == EventKind::Put, version.1.is_some());
            assert_eq!(event.kv, kv);
            let prev = self.model.visible(&key, main - 1);
            let prev = prev.map(|(revision, pair)| Model::encode(&key, revision, pair));
            assert_eq!(event.prev, prev, "{key} at {at:?}");
        }
    }

    fn compact(&mut self, share: u8) {
        let oldest = self.model.compacted.max(0);
        let at = oldest + (self.model.current - oldest) * i64::from(share) / 255;
        let expected = if at <= self.model.compacted { Err(EtcdError::Compacted) } else { Ok(()) };
        assert_eq!(self.fixture.compact(at), expected);
        if expected.is_ok() {
            self.model.compacted = at;
            self.scanned = RevKey::default();
        }
    }

    /// Whether there was anything left to scan.
    fn step(&mut self, len: usize) -> bool {
        let at = self.model.compacted;
        let batch = self.fixture.rows.batch(self.scanned, at, len);
        let ops = self.fixture.store.compact_step(&batch, at);
        self.fixture.rows.write(&ops);
        let Some((last, ..)) = batch.last() else { return false };
        self.scanned = *last;
        true
    }

    fn cursor(&mut self, chunk: usize, writes: &[Write]) {
        let request = range("a", "\0");
        let expected = self.model.range(&request).unwrap();
        let revision = self.model.current;
        let mut cursor = self.fixture.store.cursor(&request).unwrap();
        let mut writes = writes.iter();
        while cursor.step(&self.fixture.store, chunk).unwrap() == CursorStep::More {
            if let Some(write) = writes.next() {
                self.write(write);
            }
            self.compact(255);
        }
        let reply = cursor.into_reply(&self.fixture.rows).unwrap().unwrap();
        assert_eq!((reply.kvs, reply.more, reply.count), expected);
        assert_eq!(reply.revision, revision);
    }

    /// The right answer or an error, whatever has been deleted meanwhile.
    fn overtaken(&mut self, chunk: usize, writes: &[Write]) {
        let request = range("a", "\0");
        let expected = self.model.range(&request).unwrap();
        let mut cursor = self.fixture.store.cursor(&request).unwrap();
        let mut writes = writes.iter();
        loop {
            match cursor.step(&self.fixture.store, chunk) {
                Ok(CursorStep::More) => {}
                Ok(CursorStep::Done) => break,
                Err(error) => return assert_eq!(error, EtcdError::Compacted),
            }
            if let Some(write) = writes.next() {
                self.write(write);
            }
            self.compact(255);
            self.step(2);
        }
        self.compact(255);
        while self.step(3) {}
        match cursor.into_reply(&self.fixture.rows).unwrap() {
            Ok(reply) => assert_eq!((reply.kvs, reply.more, reply.count), expected),
            Err(error) => assert_eq!(error, EtcdError::Compacted),
        }
    }

    fn leased_pairs(&self) -> Vec<(LeaseId, Bytes)> {
        let live = |key: &String| {
            let lease = self.model.visible(key, self.model.current)?.1.lease;
            (lease != 0).then(|| (LeaseId(lease), Bytes::from(key.clone())))
        };
        self.model.versions.keys().filter_map(live).collect()
    }

    fn check_reads(&self, request: &RangeRequest) {
        let got = self.fixture.range(request);
        let got = got.map(|reply| {
            assert_eq!(reply.revision, self.model.current);
            (reply.kvs, reply.more, reply.count)
        });
        assert_eq!(got, self.model.range(request), "{request:?}");
        let at = request.revision.clamp(self.model.compacted.max(1), self.model.current);
        let hash = self.fixture.store.hash_kv(at, &self.fixture.rows).unwrap().unwrap();
        assert_eq!((hash.hash_revision, hash.compact_revision), (at, self.model.compacted));
        assert_eq!(hash.hash, self.model.hash(at), "hash at {at}");
    }
}

fn key() -> impl Strategy<Value = String> {
    "[abc][12]?"
}

fn interval() -> impl Strategy<Value = (String, String)> {
    let end = prop_oneof![3 => Just(String::new()), 1 => Just("\0".to_owned()), 4 => "[abcd]"];
    (key(), end)
}

fn write() -> impl Strategy<Value = Write> {
    let lease = prop_oneof![3 => Just(0), 1 => -2..3_i64];
    prop_oneof![
        3 => (key(), "[xyz]{0,2}", lease)
            .prop_map(|(key, value, lease)| Write::Put { key, value, lease }),
        2 => interval().prop_map(|(key, end)| Write::Delete { key, end }),
    ]
}

fn writes() -> impl Strategy<Value = Vec<Write>> {
    proptest::collection::vec(prop_oneof![5 => write(), 1 => Just(Write::Nest)], 0..6)
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => write().prop_map(Action::Write),
        4 => writes().prop_map(Action::Txn),
        2 => any::<u8>().prop_map(Action::Compact),
        1 => Just(Action::Compact(255)),
        4 => (1..6_usize).prop_map(Action::Step),
        1 => Just(Action::Finish),
        1 => Just(Action::Restart),
        1 => (1..4_usize, proptest::collection::vec(write(), 0..4))
            .prop_map(|(chunk, writes)| Action::Cursor(chunk, writes)),
        1 => (1..4_usize, proptest::collection::vec(write(), 0..4))
            .prop_map(|(chunk, writes)| Action::Overtaken(chunk, writes)),
    ]
}

fn read() -> impl Strategy<Value = RangeRequest> {
    let bounds = (0..4_i64, 0..30_i64, 0..4_i64, 0..30_i64);
    let bounds = prop_oneof![2 => Just((0, 0, 0, 0)), 1 => bounds];
    let sort = prop_oneof![2 => Just((0, 0)), 3 => (0..3_i32, 0..5_i32)];
    let flags = (proptest::bool::weighted(0.3), proptest::bool::weighted(0.1));
    (interval(), -1..40_i64, -1..4_i64, sort, flags, bounds).prop_map(
        |((key, end), revision, limit, (order, target), (keys_only, count_only), bounds)| {
            RangeRequest {
                revision,
                limit,
                sort_order: order,
                sort_target: target,
                keys_only,
                count_only,
                min_mod_revision: bounds.0,
                max_mod_revision: bounds.1,
                min_create_revision: bounds.2,
                max_create_revision: bounds.3,
                ..range(&key, &end)
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn store_equals_the_list_of_all_versions(
        steps in proptest::collection::vec((action(), read()), 1..50)
    ) {
        let fixture = Fixture::default();
        let mut pairing = Pairing { fixture, model: Model::new(), scanned: RevKey::default() };
        for (action, read) in &steps {
            pairing.act(action);
            pairing.check_reads(read);
        }
    }
}
