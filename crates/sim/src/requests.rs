//! What clients ask, as they encode it, and what they are told.
//!
//! Owns:       the two enums and the bytes of the first.
//! Uses:       `proto`, `apply` for replies.
//! Never:      state.
//! Invariants: every written value is unique, so that a read tells which write it saw.

use apply::{Reply, Response};
use bytes::Bytes;
use mvcc::OpReply;
use mvcc::kv::{KvView, Pair};
use prost::Message as _;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::request_op::Request as OpRequest;
use proto::etcdserverpb::{
    CompactionRequest, Compare, DeleteRangeRequest, InternalRaftRequest, LeaseGrantRequest,
    LeaseRevokeRequest, PutRequest, RangeRequest, RequestHeader, RequestOp, TxnRequest,
};
use proto::v2_request::V2Request;
use types::RequestId;

/// Seconds that most leases last, longer than any run.
const LEASE_TTL: i64 = 100_000;
/// From this ID on leases are short.
pub(crate) const SHORT_LEASES: i64 = 1_000_000_000;

/// Seconds that a lease lasts.
pub(crate) fn lease_ttl(lease: i64) -> i64 {
    if lease < SHORT_LEASES { LEASE_TTL } else { 1 + lease % 2 }
}

/// A request of a client. Keys are small numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Put {
        key: u8,
        value: String,
        lease: i64,
    },
    Delete {
        key: u8,
    },
    /// Puts if the value is the expected one, else reads.
    Swap {
        key: u8,
        expected: String,
        value: String,
    },
    Compact {
        revision: i64,
    },
    Grant {
        lease: i64,
    },
    Revoke {
        lease: i64,
    },
    V2Set {
        key: u8,
        value: String,
    },
    V2Swap {
        key: u8,
        expected: String,
        value: String,
    },
    V2Delete {
        key: u8,
    },
    /// A node that goes away by itself; nobody reads it.
    V2Fading {
        key: u8,
        expiration: i64,
    },
    Read {
        key: u8,
    },
    /// From the member's own state, however old.
    SerializableRead {
        key: u8,
    },
    V2Read {
        key: u8,
    },
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Put {
        revision: i64,
    },
    Deleted {
        revision: i64,
        count: i64,
    },
    Swapped {
        revision: i64,
        seen: Option<Option<String>>,
    },
    Compacted,
    Granted,
    Revoked,
    V2 {
        index: u64,
        previous: Option<String>,
    },
    V2Failed {
        code: u16,
        index: u64,
    },
    Read {
        revision: i64,
        value: Option<String>,
    },
    V2Read {
        index: u64,
        value: Option<String>,
    },
    Failed(String),
    /// An answer of a form that the request cannot have.
    Strange,
}

impl Request {
    pub(crate) fn is_read(&self) -> bool {
        matches!(self, Self::Read { .. } | Self::SerializableRead { .. } | Self::V2Read { .. })
    }

    /// The bytes for the log; reads have none.
    pub(crate) fn encode(&self, id: RequestId) -> Bytes {
        match self.to_v2() {
            Some(request) => V2Request { id: id.0, ..request }.encode(),
            None => {
                let header = Some(RequestHeader { id: id.0, ..RequestHeader::default() });
                InternalRaftRequest { header, ..self.to_v3() }.encode_to_vec().into()
            }
        }
    }

    fn to_v3(&self) -> InternalRaftRequest {
        let mut request = InternalRaftRequest::default();
        match self {
            Self::Put { key, value, lease } => request.put = Some(put(*key, value, *lease)),
            Self::Delete { key } => {
                let key = v3_key(*key);
                request.delete_range =
                    Some(DeleteRangeRequest { key, ..DeleteRangeRequest::default() });
            }
            Self::Swap { key, expected, value } => request.txn = Some(swap(*key, expected, value)),
            Self::Compact { revision } => {
                request.compaction =
                    Some(CompactionRequest { revision: *revision, physical: false });
            }
            Self::Grant { lease } => {
                request.lease_grant =
                    Some(LeaseGrantRequest { ttl: lease_ttl(*lease), id: *lease });
            }
            Self::Revoke { lease } => {
                request.lease_revoke = Some(LeaseRevokeRequest { id: *lease });
            }
            _ => {}
        }
        request
    }

    fn to_v2(&self) -> Option<V2Request> {
        let base = |method: &str, path: String| V2Request {
            method: method.to_owned(),
            path,
            ..V2Request::default()
        };
        Some(match self {
            Self::V2Set { key, value } => {
                V2Request { val: value.clone(), ..base("PUT", v2_path(*key)) }
            }
            Self::V2Swap { key, expected, value } => V2Request {
                val: value.clone(),
                prev_value: expected.clone(),
                ..base("PUT", v2_path(*key))
            },
            Self::V2Delete { key } => base("DELETE", v2_path(*key)),
            Self::V2Fading { key, expiration } => V2Request {
                val: if refreshes(*expiration) { String::new() } else { "fading".to_owned() },
                refresh: refreshes(*expiration).then_some(true),
                prev_exist: refreshes(*expiration).then_some(true),
                expiration: *expiration,
                ..base("PUT", format!("/1/fading/{key}"))
            },
            _ => return None,
        })
    }
}

/// Whether a write of a node that fades only makes it live longer: every third one.
fn refreshes(expiration: i64) -> bool {
    expiration / 1_000 % 3 == 0
}

pub(crate) fn v3_key(key: u8) -> Bytes {
    Bytes::from(format!("key/{key}"))
}

pub(crate) fn v2_path(key: u8) -> String {
    format!("/1/keys/{key}")
}

/// A range of one key.
pub(crate) fn range(key: u8) -> RangeRequest {
    RangeRequest { key: v3_key(key), ..RangeRequest::default() }
}

fn put(key: u8, value: &str, lease: i64) -> PutRequest {
    PutRequest {
        key: v3_key(key),
        value: Bytes::copy_from_slice(value.as_bytes()),
        lease,
        ..PutRequest::default()
    }
}

fn swap(key: u8, expected: &str, value: &str) -> TxnRequest {
    let compare = Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Value.into(),
        key: v3_key(key),
        range_end: Bytes::new(),
        target_union: Some(TargetUnion::Value(Bytes::copy_from_slice(expected.as_bytes()))),
    };
    let op = |request| RequestOp { request: Some(request) };
    TxnRequest {
        compare: vec![compare],
        success: vec![op(OpRequest::RequestPut(put(key, value, 0)))],
        failure: vec![op(OpRequest::RequestRange(range(key)))],
    }
}

/// The value of a stored pair.
pub(crate) fn value_of(kvs: &[Pair]) -> Option<String> {
    let view = KvView::parse(kvs.first()?).ok()?;
    Some(String::from_utf8_lossy(view.value).into_owned())
}

/// What a reply means to a client.
pub(crate) fn answer(reply: &Reply) -> Answer {
    match reply {
        Reply::V3(Ok(response)) => v3_answer(response),
        Reply::V3(Err(error)) => Answer::Failed(error.to_string()),
        Reply::V2(Ok(event)) => Answer::V2 {
            index: event.node.modified_index,
            previous: event.prev_node.as_ref().and_then(|node| node.value.clone()),
        },
        Reply::V2(Err(error)) => Answer::V2Failed { code: error.code.number(), index: error.index },
        Reply::Members(_) => Answer::Strange,
    }
}

fn v3_answer(response: &Response) -> Answer {
    match response {
        Response::Put(reply) => Answer::Put { revision: reply.revision },
        Response::DeleteRange(reply) => {
            Answer::Deleted { revision: reply.revision, count: reply.deleted }
        }
        Response::Txn(reply) => {
            let seen = match reply.responses.as_slice() {
                [OpReply::Put(_)] if reply.succeeded => None,
                [OpReply::Range(range)] if !reply.succeeded => Some(value_of(&range.kvs)),
                _ => return Answer::Strange,
            };
            Answer::Swapped { revision: reply.revision, seen }
        }
        Response::Compaction => Answer::Compacted,
        Response::LeaseGrant { .. } => Answer::Granted,
        Response::LeaseRevoke => Answer::Revoked,
        _ => Answer::Strange,
    }
}
