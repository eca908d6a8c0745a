//! `POST /raft` and `GET /raft/stream/...`: checks in etcd's order, with its texts.
//!
//! Source: peer-protocol.md 2.8, 3-5.

use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use proto::raftpb::{Message, MessageType};
use types::NodeId;

use super::reply::{self, Reply};
use super::requests::{closing, read_body, with_cluster_id};
use crate::api::{Options, StepError};
use crate::headers;
use crate::limits;
use crate::peer::StreamKind;
use crate::stream_writer::StreamBody;
use crate::transport::Transport;
use crate::url_picker::parse_urls;

/// Answers a message sent by itself.
pub(crate) async fn pipeline(transport: &Transport, request: Request<Incoming>) -> Reply {
    if request.method() != Method::POST {
        return reply::wrong_method(Some("POST"));
    }
    let reply = match incompatible(transport, request.headers()) {
        Some(refusal) => refusal,
        None => step_one(transport, request).await,
    };
    with_cluster_id(transport, reply)
}

/// The answer to a request of another cluster or an incompatible version.
pub(crate) fn incompatible(transport: &Transport, received: &HeaderMap) -> Option<Reply> {
    let Options { version, cluster_id, .. } = &transport.shared().options;
    let refused = headers::check_compatible(received, version, *cluster_id).err()?;
    let from = headers::text(received, &headers::SERVER_FROM);
    tracing::warn!(from, reason = refused, "refused a request of a peer");
    Some(reply::error(StatusCode::PRECONDITION_FAILED, refused))
}

/// Remembers where the sender of a request can be reached. Membership may not know it yet here.
pub(crate) fn remember_sender(transport: &Transport, received: &HeaderMap) {
    if let Some(from) = headers::parse_id(&headers::text(received, &headers::SERVER_FROM)) {
        remember(transport, received, from);
    }
}

fn remember(transport: &Transport, received: &HeaderMap, from: NodeId) {
    let urls = headers::text(received, &headers::PEER_URLS);
    let urls: Vec<String> = urls.split(',').map(str::to_owned).collect();
    if !parse_urls(&urls).is_empty() {
        transport.add_remote(from, &urls);
    }
}

async fn step_one(transport: &Transport, request: Request<Incoming>) -> Reply {
    remember_sender(transport, request.headers());
    let Ok(body) = read_body(request.into_body(), limits::MESSAGE_BYTES_MAX).await else {
        return closing(reply::error(StatusCode::BAD_REQUEST, "error reading raft message"));
    };
    let length = body.len();
    let Ok(message) = Message::decode(body) else {
        return reply::error(StatusCode::BAD_REQUEST, "error unmarshalling raft message");
    };
    let counters = transport.shared().counters.find(NodeId(message.from));
    counters.received_bytes.add(length);
    if message.message_type == MessageType::Snap {
        // Its database did not come along, so the node could never install it.
        counters.receive_failures.add(1);
        return reply::error(StatusCode::BAD_REQUEST, "wrong raft message type");
    }
    counters.received_messages.add(1);
    match transport.shared().api.raft_message(message) {
        Ok(()) => reply::empty(StatusCode::NO_CONTENT),
        Err(error) => {
            match error {
                StepError::Busy => counters.dropped_incoming.add(1),
                _ => counters.receive_failures.add(1),
            }
            refused(&error)
                .unwrap_or_else(|| closing(error_processing("error processing raft message")))
        }
    }
}

pub(crate) fn error_processing(text: &str) -> Reply {
    reply::error(StatusCode::INTERNAL_SERVER_ERROR, text)
}

/// The answers that stop a Go sender for good; no other error may become a 403.
pub(crate) fn refused(error: &StepError) -> Option<Reply> {
    match error {
        StepError::Removed | StepError::Mismatch => {
            Some(reply::json_error(StatusCode::FORBIDDEN, &error.to_string()))
        }
        StepError::Busy | StepError::Other(_) => None,
    }
}

/// Answers a peer that wants to receive: attaches the stream or says why not.
pub(crate) fn stream(transport: &Transport, request: &Request<Incoming>) -> Reply {
    if request.method() != Method::GET {
        return reply::wrong_method(Some("GET"));
    }
    let mut reply = match incompatible(transport, request.headers()) {
        Some(refusal) => refusal,
        None => attach(transport, request).unwrap_or_else(|refusal| *refusal),
    };
    let version = headers::value(&transport.shared().options.version);
    reply.headers_mut().insert(headers::SERVER_VERSION, version);
    with_cluster_id(transport, reply)
}

fn attach(transport: &Transport, request: &Request<Incoming>) -> Result<Reply, Box<Reply>> {
    let refuse = |status, text| Err(Box::new(reply::error(status, text)));
    let path = request.uri().path();
    let (dir, from) = path.rsplit_once('/').unwrap_or_default();
    let kind = match dir.strip_prefix("/raft/stream/") {
        Some("message") => StreamKind::Message,
        Some("msgapp") => StreamKind::Append,
        _ => return refuse(StatusCode::NOT_FOUND, "invalid path"),
    };
    let Some(from) = headers::parse_id(from) else {
        return refuse(StatusCode::NOT_FOUND, "invalid from");
    };
    let shared = transport.shared();
    if shared.api.is_removed(from) {
        return refuse(StatusCode::GONE, "removed member");
    }
    let Some(core) = transport.peer_core(from) else {
        remember(transport, request.headers(), from);
        tracing::warn!(from = %from, "refused a stream of an unknown member");
        return refuse(StatusCode::NOT_FOUND, "error sender not found");
    };
    let to = headers::text(request.headers(), &headers::RAFT_TO);
    if to != shared.options.local_id.to_string() {
        return refuse(StatusCode::PRECONDITION_FAILED, "to field mismatch");
    }
    Ok(Response::new(StreamBody::attach(&core, kind).boxed_unsync()))
}
