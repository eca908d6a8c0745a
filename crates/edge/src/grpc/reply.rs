//! From the core's replies to messages: stored pairs are passed on as they are.

use apply::Response;
use mvcc::{DeleteReply, OpReply, PutReply, RangeReply, TxnReply};
use node::Handle;
use proto::StoredKeyValue;
use proto::etcdserverpb::response_op::Response as Op;
use proto::etcdserverpb::{
    DeleteRangeResponse, PutResponse, RangeResponse, ResponseHeader, ResponseOp, TxnResponse,
};
use tonic::Status;
use types::Term;

/// The header of a reply at a revision.
pub(crate) fn header(handle: &Handle, revision: i64, term: Term) -> ResponseHeader {
    ResponseHeader {
        cluster_id: handle.cluster_id().0,
        member_id: handle.local().0,
        revision,
        raft_term: term.0,
    }
}

pub(crate) fn range(header: ResponseHeader, reply: RangeReply) -> RangeResponse {
    RangeResponse {
        header: Some(header),
        kvs: reply.kvs.into_iter().map(StoredKeyValue).collect(),
        more: reply.more,
        count: reply.count,
    }
}

pub(crate) fn put(header: ResponseHeader, reply: PutReply) -> PutResponse {
    PutResponse { header: Some(header), prev_kv: reply.prev_kv.map(StoredKeyValue) }
}

pub(crate) fn delete(header: ResponseHeader, reply: DeleteReply) -> DeleteRangeResponse {
    DeleteRangeResponse {
        header: Some(header),
        deleted: reply.deleted,
        prev_kvs: reply.prev_kvs.into_iter().map(StoredKeyValue).collect(),
    }
}

pub(crate) fn txn(header: ResponseHeader, reply: TxnReply) -> TxnResponse {
    TxnResponse {
        header: Some(header),
        succeeded: reply.succeeded,
        responses: reply.responses.into_iter().map(op).collect(),
    }
}

/// Replies inside a transaction have headers that name a revision and nothing else.
fn op(reply: OpReply) -> ResponseOp {
    let response = match reply {
        OpReply::Range(reply) => Op::ResponseRange(range(inner_header(reply.revision), reply)),
        OpReply::Put(reply) => Op::ResponsePut(put(inner_header(reply.revision), reply)),
        OpReply::DeleteRange(reply) => {
            Op::ResponseDeleteRange(delete(inner_header(reply.revision), reply))
        }
        OpReply::Txn(reply) => Op::ResponseTxn(txn(inner_header(reply.revision), reply)),
    };
    ResponseOp { response: Some(response) }
}

fn inner_header(revision: i64) -> ResponseHeader {
    ResponseHeader { revision, ..ResponseHeader::default() }
}

/// A response of another kind than its request: a bug, reported as such.
pub(crate) fn mismatch(response: &Response) -> Status {
    let kind = format!("{response:?}");
    Status::internal(format!(
        "unexpected result of apply: {}",
        kind.split('(').next().unwrap_or("")
    ))
}
