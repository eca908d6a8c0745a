//! Reads of a store, from the bytes of the request to those of the reply.

use std::sync::Arc;

use backend::{Engine, MemoryEngine, Overlay, View};
use bytes::Bytes;
use mvcc::Store;
use node::OverlayHistory;
use prost::Message as _;
use proto::etcdserverpb::{PutRequest, RangeRequest, ResponseHeader};
use types::{LeaseId, RevKey};

use crate::case::Run;
use crate::input::{self, Turns, scattered};
use crate::member::{Member, answer};

/// Keys of the stores.
const KEYS: u64 = 10_000;
/// Keys of the stores that are counted or read in pages.
const MANY_KEYS: u64 = 100_000;
/// Revisions of the key that was written often: enough for a search to show, by its logarithm.
const OLD_REVISIONS: u64 = 50_000;
/// Pairs of a page.
const PAGE: i64 = 500;
/// Requests made beforehand.
const REQUESTS: u64 = 1_024;

/// A store and where its old values would come from; no case asks for one.
struct Bulk {
    store: Store,
    overlay: Overlay,
    view: Arc<dyn View>,
}

impl Bulk {
    fn with_keys(keys: u64) -> Self {
        let rows = (0..keys).map(|turn| {
            let op = input::row(turn + 2, scattered(turn, keys));
            let (revision, tombstone) = RevKey::parse(&op.key).expect("a row has a revision");
            (revision, tombstone, op.value.expect("a put has a value"))
        });
        let restored = Store::restore(rows, None, None).expect("the rows are in order");
        Self { store: restored.store, overlay: Overlay::new(), view: MemoryEngine::new().view() }
    }

    fn answer(&self, request: &Bytes) -> Vec<u8> {
        let history = OverlayHistory { overlay: &self.overlay, view: &self.view };
        answer(&self.store, &history, ResponseHeader::default(), request)
    }

    /// Runs one request whose answer is longer than this.
    fn run(self, request: &RangeRequest, bytes_min: usize) -> Run {
        let request = Bytes::from(request.encode_to_vec());
        Box::new(move || assert!(self.answer(&request).len() > bytes_min))
    }
}

/// With the round that makes a get linearizable.
pub(super) fn linearizable() -> Run {
    let mut member = Member::with_keys(KEYS);
    let mut requests = Turns::of(gets());
    Box::new(move || {
        member.linearize();
        assert!(member.range(requests.next()).len() > 300);
    })
}

fn gets() -> impl Iterator<Item = Bytes> {
    (0..REQUESTS).map(|turn| input::get(scattered(turn, KEYS)).encode_to_vec().into())
}

/// A key that was written once.
pub(super) fn fresh() -> Run {
    get_after(1)
}

/// A key that was written very often.
pub(super) fn old_revisions() -> Run {
    get_after(OLD_REVISIONS)
}

/// The same key among the same keys, whose value is the same; only its past differs.
fn get_after(puts: u64) -> Run {
    let mut bulk = Bulk::with_keys(KEYS);
    let number = KEYS / 2;
    let put =
        PutRequest { key: input::key(number), value: input::value(0), ..PutRequest::default() };
    for _ in 0..puts {
        let outcome = bulk.store.put(&put, &|_: LeaseId| false).expect("a put without a lease");
        drop(outcome);
    }
    bulk.run(&input::get(number), 300)
}

pub(super) fn thousand() -> Run {
    let request = RangeRequest { range_end: input::key(1_000), ..input::everything() };
    Bulk::with_keys(KEYS).run(&request, 1_000 * 300)
}

pub(super) fn keys_only() -> Run {
    let request =
        RangeRequest { range_end: input::key(1_000), keys_only: true, ..input::everything() };
    Bulk::with_keys(KEYS).run(&request, 1_000 * 60)
}

/// The first page of many keys.
pub(super) fn page() -> Run {
    let request = RangeRequest { limit: PAGE, ..input::everything() };
    Bulk::with_keys(MANY_KEYS).run(&request, 500 * 300)
}

/// The number of many keys.
pub(super) fn count() -> Run {
    let request = RangeRequest { count_only: true, ..input::everything() };
    Bulk::with_keys(MANY_KEYS).run(&request, 0)
}
