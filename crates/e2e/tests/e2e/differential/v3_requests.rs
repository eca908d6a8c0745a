//! Random v3 operations: mostly sensible, on few keys, so that they meet; some of them broken.
//!
//! Left out is what Go's servers do not survive or do not agree on among themselves: sort targets out
//! of range (api-v3.md 2.2) and short leases besides their own operation, whose end has no place in
//! the order of operations.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use proto::etcdserverpb::watch_create_request::FilterType;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{
    CompactionRequest, DeleteRangeRequest, HashKvRequest, LeaseGrantRequest, LeaseLeasesRequest,
    LeaseRevokeRequest, LeaseTimeToLiveRequest, PutRequest, RangeRequest, WatchCancelRequest,
    WatchCreateRequest, WatchProgressRequest, WatchRequest,
};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::reply::Reply;
use super::run::Generator;
use super::v3::Operation;
use super::v3_txn;

const RANGE: &str = "/etcdserverpb.KV/Range";
const DELETE: &str = "/etcdserverpb.KV/DeleteRange";
const COMPACT: &str = "/etcdserverpb.KV/Compact";
const REVOKE: &str = "/etcdserverpb.Lease/LeaseRevoke";
const TIME_TO_LIVE: &str = "/etcdserverpb.Lease/LeaseTimeToLive";
const LEASES: &str = "/etcdserverpb.Lease/LeaseLeases";
const HASH_KV: &str = "/etcdserverpb.Maintenance/HashKV";

const KEYS: [&[u8]; 18] = [
    b"a",
    b"a\0",
    b"a/1",
    b"a/2",
    b"a/2/x",
    b"aa",
    b"b",
    b"b/1",
    b"b0",
    b"c",
    b"\0",
    b"\0\0",
    b"\xff",
    b"\xff\xff",
    b"\xffz",
    "\u{fc}".as_bytes(),
    b"\xc3\x28",
    b"key with spaces\n",
];
/// Watch streams that may be open at a time.
const STREAMS: u32 = 4;
const LEASE_IDS: [i64; 9] = [1, 2, 3, 4, 5, 6, 77, -8, 1 << 33];
/// Far more than a run takes.
const LONG_TTL_SECONDS: [i64; 4] = [600, 1000, 86_400, 9_000_000_000];
const VALUE_BYTES_MAX: usize = 24;
/// Above the limit of a request, and above that of a gRPC message.
const TOO_LARGE_BYTES: [usize; 3] = [1_572_864, 1_600_000, 2_200_000];

/// A watch stream as far as it has to be known.
#[derive(Default)]
struct OpenStream {
    ids: Vec<i64>,
    is_half_closed: bool,
}

/// A seeded source of operations.
pub(super) struct Requests {
    rng: StdRng,
    revision: i64,
    compacted: i64,
    streams: BTreeMap<u32, OpenStream>,
}

impl Requests {
    pub(super) fn new(seed: u64) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        Self { rng, revision: 1, compacted: -1, streams: BTreeMap::new() }
    }

    fn one_in(&mut self, count: u32) -> bool {
        self.rng.random_range(0..count) == 0
    }

    pub(super) fn key(&mut self) -> Bytes {
        if self.one_in(60) {
            return Bytes::new();
        }
        Bytes::from_static(KEYS.choose(&mut self.rng).expect("there are keys"))
    }

    /// No end, all keys, a prefix, or any key.
    pub(super) fn end_for(&mut self, key: &Bytes) -> Bytes {
        match self.rng.random_range(0..8) {
            0..=3 => Bytes::new(),
            4 => Bytes::from_static(&[0]),
            5 | 6 => prefix_end(key),
            _ => self.key(),
        }
    }

    fn value(&mut self) -> Bytes {
        let length = self.rng.random_range(0..VALUE_BYTES_MAX);
        (0..length).map(|_| self.rng.random::<u8>()).collect()
    }

    /// One that exists, mostly.
    pub(super) fn at_revision(&mut self) -> i64 {
        match self.rng.random_range(0..12) {
            0 => self.revision + self.rng.random_range(1..4),
            1 => self.compacted - self.rng.random_range(0..3),
            2 => self.compacted,
            3 => -self.rng.random_range(1..9),
            _ => self.rng.random_range(self.compacted.max(1)..=self.revision),
        }
    }

    fn lease(&mut self) -> i64 {
        *LEASE_IDS.choose(&mut self.rng).expect("there are IDs")
    }

    pub(super) fn put(&mut self) -> PutRequest {
        let lease = if self.one_in(3) { self.lease() } else { 0 };
        let ignore_value = self.one_in(10);
        PutRequest {
            key: self.key(),
            value: if ignore_value && !self.one_in(6) { Bytes::new() } else { self.value() },
            lease: if self.one_in(200) { 123_456 } else { lease },
            prev_kv: self.one_in(2),
            ignore_value,
            ignore_lease: self.one_in(10),
        }
    }

    pub(super) fn delete(&mut self) -> DeleteRangeRequest {
        let key = self.key();
        let range_end = if self.one_in(3) { self.end_for(&key) } else { Bytes::new() };
        DeleteRangeRequest { key, range_end, prev_kv: self.one_in(2) }
    }

    pub(super) fn range(&mut self) -> RangeRequest {
        let key = self.key();
        let range_end = self.end_for(&key);
        RangeRequest {
            key,
            range_end,
            limit: if self.one_in(3) { self.rng.random_range(-1..6) } else { 0 },
            revision: if self.one_in(3) { self.at_revision() } else { 0 },
            sort_order: if self.one_in(3) { self.rng.random_range(0..3) } else { 0 },
            sort_target: 0,
            serializable: self.one_in(4),
            keys_only: self.one_in(3),
            count_only: self.one_in(8),
            ..RangeRequest::default()
        }
    }

    fn full_range(&mut self) -> RangeRequest {
        let mut range = self.range();
        if self.one_in(2) {
            range.sort_target = self.rng.random_range(0..5);
        }
        if self.one_in(100) {
            // Only of a revision that can be read: which refusal comes first is another question.
            range.revision = 0;
            range.sort_order = *[-1, 99].choose(&mut self.rng).expect("not empty");
        }
        let bound = |this: &mut Self| if this.one_in(8) { this.at_revision() } else { 0 };
        range.min_mod_revision = bound(self);
        range.max_mod_revision = bound(self);
        range.min_create_revision = bound(self);
        range.max_create_revision = bound(self);
        range
    }

    fn compaction(&mut self) -> CompactionRequest {
        let revision = match self.rng.random_range(0..10) {
            0 => self.revision + self.rng.random_range(0..3),
            1 => self.compacted,
            2 => self.compacted - 1,
            3 => -1,
            4 => 0,
            _ => {
                let oldest = self.compacted.max(1);
                self.rng.random_range(oldest..=oldest.midpoint(self.revision))
            }
        };
        CompactionRequest { revision, physical: self.one_in(2) }
    }

    fn grant(&mut self) -> LeaseGrantRequest {
        let ttl = match self.rng.random_range(0..12) {
            0 => 9_000_000_001,
            1 => i64::MAX,
            _ => *LONG_TTL_SECONDS.choose(&mut self.rng).expect("not empty"),
        };
        LeaseGrantRequest { ttl, id: if self.one_in(30) { 0 } else { self.lease() } }
    }

    fn lease_operation(&mut self) -> Operation {
        let id = match self.rng.random_range(0..10) {
            0 => 0,
            1 => 999_999,
            _ => self.lease(),
        };
        match self.rng.random_range(0..9) {
            0..=2 => call("/etcdserverpb.Lease/LeaseGrant", &self.grant()),
            3 => call(REVOKE, &LeaseRevokeRequest { id }),
            4 | 5 => call(TIME_TO_LIVE, &LeaseTimeToLiveRequest { id, keys: self.one_in(2) }),
            6 => call(LEASES, &LeaseLeasesRequest {}),
            _ => {
                let count = self.rng.random_range(0..4);
                Operation::KeepAlive { ids: (0..count).map(|_| self.lease()).chain([id]).collect() }
            }
        }
    }

    fn watch_operation(&mut self) -> Operation {
        let stream = self.rng.random_range(0..STREAMS);
        let open = self.streams.entry(stream).or_default();
        if open.is_half_closed {
            return Operation::Close { stream };
        }
        let known = open.ids.choose(&mut self.rng).copied();
        let union = match self.rng.random_range(0..20) {
            0..=9 => Some(RequestUnion::CreateRequest(self.create())),
            10 | 11 => {
                let watch_id = known.filter(|_| !self.one_in(4)).unwrap_or(1234);
                Some(RequestUnion::CancelRequest(WatchCancelRequest { watch_id }))
            }
            12..=16 => Some(RequestUnion::ProgressRequest(WatchProgressRequest {})),
            17 => None,
            18 => return Operation::HalfClose { stream },
            _ => return Operation::Close { stream },
        };
        Operation::Watch { stream, request: WatchRequest { request_union: union } }
    }

    fn create(&mut self) -> WatchCreateRequest {
        let key = self.key();
        let range_end = self.end_for(&key);
        let start_revision = if self.one_in(3) { self.start_revision() } else { 0 };
        // Before 3.4.34 and 3.5.16 a compaction at a deletion takes the deletion away, at some time.
        let is_at_compaction = start_revision != 0 && start_revision == self.compacted;
        let filters = match self.rng.random_range(0..8) {
            _ if is_at_compaction => vec![FilterType::Nodelete.into()],
            0 => vec![FilterType::Noput.into()],
            1 => vec![FilterType::Nodelete.into()],
            2 if self.one_in(3) => vec![1, 0, 1],
            _ => Vec::new(),
        };
        WatchCreateRequest {
            key,
            range_end,
            start_revision,
            progress_notify: self.one_in(4),
            filters,
            prev_kv: self.one_in(2),
            // Not -1: 3.5.1 sends nothing to a watcher of that ID.
            watch_id: if self.one_in(5) { self.choose_id() } else { 0 },
            fragment: self.one_in(4),
        }
    }

    fn choose_id(&mut self) -> i64 {
        *[-5, -2, 1, 2, 3, 5, 8, i64::MAX, i64::MIN].choose(&mut self.rng).expect("not empty")
    }

    fn start_revision(&mut self) -> i64 {
        match self.rng.random_range(0..8) {
            0 | 6 | 7 => self.revision + self.rng.random_range(1..9),
            1 if self.compacted > 1 => self.rng.random_range(1..self.compacted),
            2 => self.compacted.max(1),
            _ => self.rng.random_range(self.compacted.max(1)..=self.revision),
        }
    }

    fn broken(&mut self) -> Operation {
        let path = *["/etcdserverpb.KV/Put", RANGE, "/etcdserverpb.KV/Txn", COMPACT, REVOKE]
            .choose(&mut self.rng)
            .expect("not empty");
        let unknown = *[
            "/etcdserverpb.KV/Nothing",
            "/etcdserverpb.Nothing/Put",
            "/nothing",
            "/a/b/c",
            "/",
            "/etcdserverpb.KV/",
            "/etcdserverpb.kv/put",
            "/grpc.reflection.v1.ServerReflection/Info",
        ]
        .choose(&mut self.rng)
        .expect("not empty");
        // No groups: older releases skip them without looking at the end, newer ones refuse them.
        let byte = |byte: u8| if matches!(byte & 7, 3 | 4) { byte ^ 4 } else { byte };
        let length = self.rng.random_range(1..12);
        let random: Bytes = (0..length).map(|_| byte(self.rng.random())).collect();
        let range = RangeRequest { keys_only: false, ..self.range() };
        let proper = framed(0, &range.encode_to_vec());
        let cut = proper.slice(..self.rng.random_range(1..proper.len()));
        let raw = |path, body, content_type| Operation::Raw { path, body, content_type };
        let grpc = "application/grpc";
        match self.rng.random_range(0..10) {
            0 => Operation::Call { path, request: random },
            1 | 8 | 9 => Operation::Call { path: unknown, request: random },
            2 => raw(path, cut, grpc),
            3 => raw(path, framed(1, &random), grpc),
            4 => raw(path, framed(0x77, &random), grpc),
            5 => raw(
                RANGE,
                proper,
                *["application/grpc+proto", "application/grpc+json"]
                    .choose(&mut self.rng)
                    .expect("not empty"),
            ),
            6 => raw(path, Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff, 1]), grpc),
            _ => Operation::WatchBroken { bytes: Bytes::from_static(b"\xff\xff\xff") },
        }
    }

    fn oversized(&mut self) -> Operation {
        let length = *TOO_LARGE_BYTES.choose(&mut self.rng).expect("not empty");
        let value = vec![b'v'; length].into();
        call(
            "/etcdserverpb.KV/Put",
            &PutRequest { key: "large".into(), value, ..Default::default() },
        )
    }

    pub(super) fn rng(&mut self) -> &mut StdRng {
        &mut self.rng
    }
}

impl Generator for Requests {
    type Operation = Operation;

    fn next(&mut self) -> Operation {
        match self.rng.random_range(0..1000) {
            0..240 => call("/etcdserverpb.KV/Put", &self.put()),
            240..450 => call(RANGE, &self.full_range()),
            450..530 => call(DELETE, &self.delete()),
            530..680 => call("/etcdserverpb.KV/Txn", &v3_txn::txn(self, 0)),
            680..695 => call(COMPACT, &self.compaction()),
            695..800 => self.lease_operation(),
            920..945 if self.compacted < 0 => {
                call(HASH_KV, &HashKvRequest { revision: self.at_revision() })
            }
            800..945 => self.watch_operation(),
            945..990 => self.broken(),
            990..993 => self.oversized(),
            995 | 996 if self.compacted > 1 => {
                let start_revision = -self.rng.random_range(1..9);
                let range_end = Bytes::new();
                let create = WatchCreateRequest { start_revision, range_end, ..self.create() };
                Operation::WatchRefused { create }
            }
            993..998 => {
                let ttl = self.rng.random_range(-1..3);
                Operation::Expiry {
                    id: 1_000_000 + i64::from(self.rng.random::<u16>()),
                    ttl,
                    key: self.key(),
                }
            }
            _ => call(LEASES, &LeaseLeasesRequest {}),
        }
    }

    fn learn(&mut self, operation: &Operation, reply: &Reply) {
        self.revision = self.revision.max(reply.number("header.revision"));
        match operation {
            Operation::Call { path, request }
                if *path == COMPACT && reply.get("code") == Some("Ok") =>
            {
                let request = CompactionRequest::decode(request.clone()).unwrap_or_default();
                self.compacted = self.compacted.max(request.revision);
            }
            Operation::Watch { stream, request } => {
                let open = self.streams.entry(*stream).or_default();
                if let Some(RequestUnion::CreateRequest(_)) = &request.request_union {
                    open.ids.push(reply.number("answer[0].watch_id"));
                }
            }
            Operation::HalfClose { stream } => {
                self.streams.entry(*stream).or_default().is_half_closed = true;
            }
            Operation::Close { stream } => drop(self.streams.remove(stream)),
            Operation::Expiry { .. } => {
                self.revision = self.revision.max(reply.number("expire event.header.revision"));
            }
            Operation::Call { .. }
            | Operation::Raw { .. }
            | Operation::KeepAlive { .. }
            | Operation::WatchRefused { .. }
            | Operation::WatchBroken { .. } => {}
        }
    }
}

pub(super) fn call(path: &'static str, request: &impl Message) -> Operation {
    Operation::Call { path, request: request.encode_to_vec().into() }
}

/// A message behind the five bytes of gRPC.
fn framed(flag: u8, message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).expect("small").to_be_bytes();
    [&[flag], &length[..], message].concat().into()
}

/// The first key behind all that begin with `key`.
fn prefix_end(key: &Bytes) -> Bytes {
    let mut end = key.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end.into();
        }
    }
    Bytes::from_static(&[0])
}
