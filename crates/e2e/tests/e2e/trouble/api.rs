//! Calls of the v3 API in short.

use std::time::Duration;

use bytes::Bytes;
use e2e::v3::{Client, Failure, Received, Stream};
use prost::Message as _;
use proto::StoredKeyValue;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, LeaseGrantRequest, LeaseGrantResponse, PutRequest,
    PutResponse, RangeRequest, RangeResponse, RequestOp, ResponseHeader, TxnRequest, TxnResponse,
    WatchCreateRequest, WatchRequest, WatchResponse, request_op,
};
use proto::mvccpb::KeyValue;

pub(super) const WATCH: &str = "/etcdserverpb.Watch/Watch";
pub(super) const KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";
pub(super) const PUT: &str = "/etcdserverpb.KV/Put";
/// Operations of one transaction at most.
pub(super) const TXN_OPS: usize = 128;

/// Puts; returns the revision.
pub(super) fn put(
    client: &Client,
    key: impl Into<Bytes>,
    value: impl Into<Bytes>,
) -> Result<i64, Failure> {
    let request = PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() };
    Ok(revision(&client.unary::<PutResponse>(PUT, &request)?.header))
}

/// Puts many at once; returns the revision.
pub(super) fn put_all(client: &Client, puts: Vec<PutRequest>) -> Result<i64, Failure> {
    let op = |put| RequestOp { request: Some(request_op::Request::RequestPut(put)) };
    let request =
        TxnRequest { success: puts.into_iter().map(op).collect(), ..TxnRequest::default() };
    Ok(revision(&client.unary::<TxnResponse>("/etcdserverpb.KV/Txn", &request)?.header))
}

pub(super) fn range(client: &Client, request: &RangeRequest) -> Result<RangeResponse, Failure> {
    client.unary("/etcdserverpb.KV/Range", request)
}

pub(super) fn compact(client: &Client, revision: i64) -> Result<(), Failure> {
    let request = CompactionRequest { revision, physical: false };
    client.unary::<CompactionResponse>("/etcdserverpb.KV/Compact", &request).map(drop)
}

/// A lease; its ID is chosen by the server.
pub(super) fn grant(client: &Client, ttl: i64) -> Result<i64, Failure> {
    let request = LeaseGrantRequest { ttl, id: 0 };
    let reply: LeaseGrantResponse = client.unary("/etcdserverpb.Lease/LeaseGrant", &request)?;
    Ok(reply.id)
}

/// Asks for a watcher of `key..end`.
pub(super) fn create(
    key: impl Into<Bytes>,
    end: impl Into<Bytes>,
    start_revision: i64,
) -> WatchRequest {
    let create = WatchCreateRequest {
        key: key.into(),
        range_end: end.into(),
        start_revision,
        ..WatchCreateRequest::default()
    };
    WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
}

/// A stream with one watcher, which exists when this returns.
#[track_caller]
pub(super) fn watch(
    client: &Client,
    key: impl Into<Bytes>,
    end: impl Into<Bytes>,
    start_revision: i64,
) -> Stream {
    let mut stream = client.stream(WATCH, &[]);
    stream.send(&create(key, end, start_revision));
    let created: WatchResponse = stream.next();
    assert!(created.created && !created.canceled, "{created:?}");
    stream
}

/// The next events: deletions without, puts with a value.
#[track_caller]
pub(super) fn events(stream: &mut Stream) -> Vec<KeyValue> {
    let response: WatchResponse = stream.next();
    assert!(!response.canceled && !response.created, "{response:?}");
    response.events.iter().map(|event| pair(event.kv.as_ref().expect("a pair"))).collect()
}

/// Whatever comes next on a watch, if anything does.
#[track_caller]
pub(super) fn response_within(stream: &mut Stream, patience: Duration) -> Option<WatchResponse> {
    match stream.receive(patience) {
        Received::Message(bytes) => Some(WatchResponse::decode(bytes).expect("a response")),
        Received::Silence => None,
        Received::End(end) => panic!("the stream ended: {end:?}"),
    }
}

pub(super) fn pair(stored: &StoredKeyValue) -> KeyValue {
    KeyValue::decode(&stored.0[..]).expect("a pair")
}

pub(super) fn revision(header: &Option<ResponseHeader>) -> i64 {
    header.as_ref().expect("a header").revision
}

/// The first key behind all that begin with `prefix`; a zero byte when there is none.
pub(super) fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}
