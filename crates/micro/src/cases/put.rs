//! Writes: the whole way of a put through a member, and the part of it that the index has.

use std::hint::black_box;

use apply::{Reply, Response};
use bytes::Bytes;
use mvcc::Store;
use prost::Message as _;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{Compare, InternalRaftRequest, PutRequest, RequestOp, TxnRequest};
use types::LeaseId;

use crate::case::Run;
use crate::input::{self, Turns, scattered};
use crate::member::Member;

/// Keys of the member.
const KEYS: u64 = 10_000;
/// Puts that arrive together.
pub(super) const BATCH: u64 = 64;
/// Requests made beforehand.
const REQUESTS: u64 = 1_024;

fn requests() -> impl Iterator<Item = Bytes> {
    (0..REQUESTS).map(|turn| input::put(scattered(turn, KEYS), turn))
}

/// Each put alone: nothing is shared with others.
pub(super) fn one_by_one() -> Run {
    let mut member = Member::with_keys(KEYS);
    let mut requests = Turns::of(requests());
    Box::new(move || assert!(!member.put(requests.next()).is_empty()))
}

/// Puts that arrive together are one message to raft and one write of the log.
pub(super) fn batch() -> Run {
    let mut member = Member::with_keys(KEYS);
    let requests: Vec<Bytes> = requests().collect();
    let size = usize::try_from(BATCH).expect("a small number");
    let mut batches = Turns::of(requests.chunks(size).map(<[Bytes]>::to_vec));
    Box::new(move || {
        let batch = batches.next();
        assert_eq!(member.puts(batch).len(), batch.len());
    })
}

/// Puts of keys that come behind all others; making the request is counted too.
pub(super) fn new_key() -> Run {
    let mut member = Member::with_keys(KEYS);
    let mut number = KEYS;
    Box::new(move || {
        number += 1;
        assert!(!member.put(&input::put(number, number)).is_empty());
    })
}

/// A transaction that puts a key if it exists.
pub(super) fn txn() -> Run {
    let mut member = Member::with_keys(KEYS);
    let mut requests = Turns::of((0..REQUESTS).map(compare_and_put));
    Box::new(move || {
        let request = TxnRequest::decode(requests.next().clone()).expect("the request is whole");
        mvcc::check_txn(&request, 128).expect("and allowed");
        black_box(apply::txn_cost(&request));
        let request = InternalRaftRequest { txn: Some(request), ..InternalRaftRequest::default() };
        let applied = member.propose(vec![request]);
        let Some(Reply::V3(Ok(Response::Txn(reply)))) = &applied[0].reply else {
            panic!("not the reply to a transaction: {applied:?}");
        };
        assert!(reply.succeeded);
        black_box(reply);
    })
}

fn compare_and_put(turn: u64) -> Bytes {
    let key = input::key(scattered(turn, KEYS));
    let compare = Compare {
        result: CompareResult::Greater.into(),
        target: CompareTarget::Create.into(),
        key: key.clone(),
        target_union: Some(TargetUnion::CreateRevision(0)),
        ..Compare::default()
    };
    let put = PutRequest { key, value: input::value(turn), ..PutRequest::default() };
    let put = RequestOp { request: Some(Request::RequestPut(put)) };
    TxnRequest { compare: vec![compare], success: vec![put], failure: Vec::new() }
        .encode_to_vec()
        .into()
}

/// A put as the store sees it, of a key that it has.
pub(super) fn index_put() -> Run {
    let mut store = Store::new();
    let mut requests = Turns::of((0..KEYS).map(|number| request(scattered(number, KEYS))));
    for _ in 0..KEYS {
        put(&mut store, requests.next());
    }
    Box::new(move || put(&mut store, requests.next()))
}

/// The same of a key that it has not.
pub(super) fn index_insert() -> Run {
    let mut store = Store::new();
    for number in 0..KEYS {
        put(&mut store, &request(2 * number));
    }
    let mut turn = 0;
    Box::new(move || {
        turn += 1;
        // Between the keys that are there, then behind them.
        let number = if turn < KEYS { 2 * scattered(turn, KEYS) + 1 } else { 2 * KEYS + turn };
        put(&mut store, &request(number));
    })
}

fn request(number: u64) -> PutRequest {
    PutRequest { key: input::key(number), value: input::value(number), ..PutRequest::default() }
}

fn put(store: &mut Store, request: &PutRequest) {
    let outcome = store.put(request, &|_: LeaseId| false).expect("a put without a lease");
    let _ = black_box(outcome);
}
