//! `/leases` and `/leases/internal` on the peer port: what other members forward to the leader.
//!
//! Source: peer-protocol.md 2.5; etcd's `leasehttp`.

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use prost::Message as _;
use proto::etcdserverpb as pb;
use proto::leasepb::{LeaseInternalRequest, LeaseInternalResponse};
use transport::PeerReply;
use types::{EtcdError, LeaseId};

use crate::handle::Handle;
use crate::hash_peer::text;

const UNREADABLE: &str = "error unmarshalling request";
const APPLY_IS_LATE: &str = "waiting for node to catch up its applied index has timed out";
/// Members take it for final: they tell their client.
const NOT_FOUND: &str = "lease not found";
/// Members ask again after this.
const NOT_LEADING: &str = "not a primary lessor";

/// Renews a lease. An empty body asks for lease 0, which does not exist.
pub(crate) async fn renew(handle: &Handle, body: &Bytes) -> PeerReply {
    let Ok(request) = pb::LeaseKeepAliveRequest::decode(body.clone()) else {
        return text(StatusCode::BAD_REQUEST, UNREADABLE);
    };
    let renewed = match handle.wait_applied().await {
        Ok(()) => handle.renew_here(LeaseId(request.id), handle.deadline()).await,
        Err(error) => Err(error),
    };
    match renewed {
        Ok(Some(ttl)) => {
            let answer = pb::LeaseKeepAliveResponse { header: None, id: request.id, ttl };
            protobuf(answer.encode_to_vec())
        }
        Ok(None) => text(StatusCode::BAD_REQUEST, NOT_LEADING),
        Err(error) => refusal(error),
    }
}

/// Tells what is left of a lease. Go drops the connection when the inner message is missing; here
/// that is an unreadable request.
pub(crate) async fn time_to_live(handle: &Handle, body: &Bytes) -> PeerReply {
    let request = LeaseInternalRequest::decode(body.clone()).ok();
    let Some(request) = request.and_then(|request| request.lease_time_to_live_request) else {
        return text(StatusCode::BAD_REQUEST, UNREADABLE);
    };
    let found = match handle.wait_applied().await {
        Ok(()) => handle.time_to_live_here(LeaseId(request.id), request.keys),
        Err(error) => Err(error),
    };
    match found {
        Ok(found) => {
            let answer = pb::LeaseTimeToLiveResponse {
                header: Some(pb::ResponseHeader::default()),
                id: request.id,
                ttl: found.ttl_seconds,
                granted_ttl: found.granted_ttl_seconds,
                keys: found.keys,
            };
            let answer = LeaseInternalResponse { lease_time_to_live_response: Some(answer) };
            protobuf(answer.encode_to_vec())
        }
        Err(EtcdError::LeaderChanged) => text(StatusCode::INTERNAL_SERVER_ERROR, NOT_LEADING),
        Err(error) => refusal(error),
    }
}

fn refusal(error: EtcdError) -> PeerReply {
    match error {
        EtcdError::LeaseNotFound => text(StatusCode::NOT_FOUND, NOT_FOUND),
        EtcdError::TimeoutWaitAppliedIndex => text(StatusCode::REQUEST_TIMEOUT, APPLY_IS_LATE),
        other => text(StatusCode::BAD_REQUEST, other.text()),
    }
}

fn protobuf(body: Vec<u8>) -> PeerReply {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/protobuf"));
    PeerReply { status: StatusCode::OK, headers, body: body.into() }
}
