//! Keys, values and requests of all cases: 64 bytes of key, 256 bytes of value.

use bytes::Bytes;
use prost::Message as _;
use proto::etcdserverpb::{InternalRaftRequest, PutRequest, RangeRequest, RequestHeader};
use types::{Bucket, Op, RevKey};

/// Bytes of a value.
const VALUE_BYTES: usize = 256;
/// Step from one key to the next: a prime, so that all keys have their turn and neighbours in time
/// are none in the index.
const STRIDE: u64 = 7_919;

/// The key of this number, 64 bytes.
pub(crate) fn key(number: u64) -> Bytes {
    format!("/registry/pods/default/{number:041}").into()
}

/// The end of the range of all keys.
pub(crate) fn keys_end() -> Bytes {
    Bytes::from_static(b"/registry/pods/default0")
}

/// A value that tells one write from the next.
pub(crate) fn value(number: u64) -> Bytes {
    let mut value = vec![b'v'; VALUE_BYTES];
    value[..8].copy_from_slice(&number.to_be_bytes());
    value.into()
}

/// The number of the key that comes in this turn, of so many.
pub(crate) fn scattered(turn: u64, keys: u64) -> u64 {
    turn.wrapping_mul(STRIDE) % keys
}

/// A put, as it comes from a client.
pub(crate) fn put(number: u64, turn: u64) -> Bytes {
    let put = PutRequest { key: key(number), value: value(turn), ..PutRequest::default() };
    put.encode_to_vec().into()
}

/// A get, as it comes from a client.
pub(crate) fn get(number: u64) -> RangeRequest {
    RangeRequest { key: key(number), ..RangeRequest::default() }
}

/// A range over all keys.
pub(crate) fn everything() -> RangeRequest {
    RangeRequest { key: key(0), range_end: keys_end(), ..RangeRequest::default() }
}

/// A request as it goes into the log, and its bytes there.
pub(crate) fn entry(id: u64, mut request: InternalRaftRequest) -> Bytes {
    request.header = Some(RequestHeader { id, ..RequestHeader::default() });
    request.encode_to_vec().into()
}

/// The row of a put at a revision.
pub(crate) fn row(revision: u64, number: u64) -> Op {
    let main = i64::try_from(revision).expect("revisions of cases are small");
    let pair = mvcc::kv::KvView {
        key: &key(number),
        create_revision: main,
        mod_revision: main,
        version: 1,
        value: &value(revision),
        lease: 0,
    };
    let key = Bytes::copy_from_slice(&RevKey::new(main, 0).to_live());
    Op::put(Bucket::Key, key, pair.encode())
}

/// Things that come in turn, again and again.
pub(crate) struct Turns<T> {
    items: Vec<T>,
    at: usize,
}

impl<T> Turns<T> {
    pub(crate) fn of(items: impl IntoIterator<Item = T>) -> Self {
        Self { items: items.into_iter().collect(), at: 0 }
    }

    pub(crate) fn next(&mut self) -> &T {
        self.at = (self.at + 1) % self.items.len();
        &self.items[self.at]
    }
}
