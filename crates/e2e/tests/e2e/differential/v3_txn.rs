//! Random transactions: all compares, all operations, nested up to three deep, sometimes too many.

use bytes::Bytes;
use proto::etcdserverpb::compare::TargetUnion;
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{Compare, PutRequest, RequestOp, TxnRequest};
use rand::Rng;

use super::v3_requests::Requests;

const DEPTH_MAX: u32 = 2;
/// One more than a transaction may have.
const TOO_MANY: usize = 129;

pub(super) fn txn(from: &mut Requests, depth: u32) -> TxnRequest {
    if from.rng().random_range(0..60) == 0 {
        return large(from.rng().random_range(TOO_MANY - 2..=TOO_MANY));
    }
    let compares = from.rng().random_range(0..4) / 2;
    let compare = (0..compares).map(|_| compare(from)).collect();
    let operations = |from: &mut Requests| {
        let count = from.rng().random_range(0..5);
        (0..count).map(|_| operation(from, depth)).collect()
    };
    TxnRequest { compare, success: operations(from), failure: operations(from) }
}

fn large(count: usize) -> TxnRequest {
    let put = |number: usize| {
        let put = PutRequest { key: format!("many/{number}").into(), ..PutRequest::default() };
        RequestOp { request: Some(Request::RequestPut(put)) }
    };
    TxnRequest { success: (0..count).map(put).collect(), ..TxnRequest::default() }
}

fn operation(from: &mut Requests, depth: u32) -> RequestOp {
    let request = match from.rng().random_range(0..40) {
        0..16 => Some(Request::RequestPut(from.put())),
        16..28 => Some(Request::RequestRange(from.range())),
        28..35 => Some(Request::RequestDeleteRange(from.delete())),
        35..39 if depth < DEPTH_MAX => Some(Request::RequestTxn(txn(from, depth + 1))),
        35..39 => Some(Request::RequestRange(from.range())),
        _ => None,
    };
    RequestOp { request }
}

fn compare(from: &mut Requests) -> Compare {
    let key = from.key();
    let range_end =
        if from.rng().random_range(0..5) == 0 { from.end_for(&key) } else { Bytes::new() };
    let number = match from.rng().random_range(0..3) {
        0 => 0,
        1 => from.rng().random_range(0..4),
        _ => from.at_revision(),
    };
    let value = Bytes::from(if number == 0 { "" } else { "m" });
    let target = from.rng().random_range(0..5);
    let mut target_union = match target {
        0 => Some(TargetUnion::Version(number)),
        1 => Some(TargetUnion::CreateRevision(number)),
        2 => Some(TargetUnion::ModRevision(number)),
        3 => Some(TargetUnion::Value(value)),
        _ => Some(TargetUnion::Lease(number)),
    };
    match from.rng().random_range(0..20) {
        0 => target_union = None,
        1 => target_union = Some(TargetUnion::Version(1)),
        _ => {}
    }
    let result = from.rng().random_range(0..40);
    let result = if result == 39 { 17 } else { result % 4 };
    Compare { result, target, key, range_end, target_union }
}
