//! Short words for requests.

use bytes::Bytes;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::response_op::Response;
use proto::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RangeResponse, RequestOp, TxnRequest,
    TxnResponse,
};

pub(crate) const NO_KEY: &str = "etcdserver: key is not provided";
pub(crate) const FUTURE: &str = "etcdserver: mvcc: required revision is a future revision";
pub(crate) const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";
pub(crate) const NO_LEASE: &str = "etcdserver: requested lease not found";
pub(crate) const TOO_MANY_OPS: &str = "etcdserver: too many operations in txn request";
pub(crate) const DUPLICATE: &str = "etcdserver: duplicate key given in txn request";

pub(crate) fn put(key: Bytes, value: &'static str) -> PutRequest {
    PutRequest { key, value: Bytes::from_static(value.as_bytes()), ..PutRequest::default() }
}

pub(crate) fn get(key: Bytes) -> RangeRequest {
    RangeRequest { key, ..RangeRequest::default() }
}

pub(crate) fn between(key: Bytes, range_end: Bytes) -> RangeRequest {
    RangeRequest { key, range_end, ..RangeRequest::default() }
}

pub(crate) fn delete(key: Bytes) -> DeleteRangeRequest {
    DeleteRangeRequest { key, ..DeleteRangeRequest::default() }
}

pub(crate) fn delete_between(key: Bytes, range_end: Bytes) -> DeleteRangeRequest {
    DeleteRangeRequest { key, range_end, ..DeleteRangeRequest::default() }
}

/// A transaction without conditions.
pub(crate) fn all_of(success: Vec<RequestOp>) -> TxnRequest {
    TxnRequest { success, ..TxnRequest::default() }
}

/// Two branches under a condition.
pub(crate) fn when(
    compare: Compare,
    success: Vec<RequestOp>,
    failure: Vec<RequestOp>,
) -> TxnRequest {
    TxnRequest { compare: vec![compare], success, failure }
}

/// Something that can be a part of a transaction.
pub(crate) trait Part {
    fn op(self) -> RequestOp;
}

impl Part for PutRequest {
    fn op(self) -> RequestOp {
        RequestOp { request: Some(Request::RequestPut(self)) }
    }
}

impl Part for RangeRequest {
    fn op(self) -> RequestOp {
        RequestOp { request: Some(Request::RequestRange(self)) }
    }
}

impl Part for DeleteRangeRequest {
    fn op(self) -> RequestOp {
        RequestOp { request: Some(Request::RequestDeleteRange(self)) }
    }
}

impl Part for TxnRequest {
    fn op(self) -> RequestOp {
        RequestOp { request: Some(Request::RequestTxn(self)) }
    }
}

pub(crate) fn compare(key: Bytes, result: CompareResult, target: TargetUnion) -> Compare {
    let kind = match target {
        TargetUnion::Version(_) => CompareTarget::Version,
        TargetUnion::CreateRevision(_) => CompareTarget::Create,
        TargetUnion::ModRevision(_) => CompareTarget::Mod,
        TargetUnion::Value(_) => CompareTarget::Value,
        TargetUnion::Lease(_) => CompareTarget::Lease,
    };
    Compare {
        result: result.into(),
        target: kind.into(),
        key,
        range_end: Bytes::new(),
        target_union: Some(target),
    }
}

/// Whether a key has a version.
pub(crate) fn has_version(key: Bytes, version: i64) -> Compare {
    compare(key, CompareResult::Equal, TargetUnion::Version(version))
}

/// Whether a key has a value.
pub(crate) fn has_value(key: Bytes, value: &'static str) -> Compare {
    let value = Bytes::from_static(value.as_bytes());
    compare(key, CompareResult::Equal, TargetUnion::Value(value))
}

/// The range that answered a part of a transaction.
#[track_caller]
pub(crate) fn range_of(answer: &TxnResponse, part: usize) -> &RangeResponse {
    match &answer.responses[part].response {
        Some(Response::ResponseRange(range)) => range,
        other => panic!("a range was expected: {other:?}"),
    }
}
