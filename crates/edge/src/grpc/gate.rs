//! What every call passes before its method: the interceptors of etcd, for all services alike.
//!
//! Source:     api-v3.md 1.1 (request metadata) and 9.4; etcd `server/etcdserver/api/v3rpc/interceptor.go`.

use ::http::HeaderMap;
use node::Handle;
use tonic::Status;
use types::{EtcdError, NodeId};

use super::methods::{Method, OnLearner, Shape};
use super::outgoing::Cut;
use super::status::status;
use super::tally::Tally;

/// A call that may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Passed {
    /// Whether the client wants to be told when the leader is lost.
    pub(super) needs_leader: bool,
}

/// Lets a call pass or says why not.
pub(super) fn pass(
    handle: &Handle,
    tally: &Tally,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Passed, EtcdError> {
    if method.on_learner == OnLearner::Refused && handle.is_learner() {
        return Err(EtcdError::NotSupportedForLearner);
    }
    let version = match headers.get("client-api-version") {
        None => "unknown",
        Some(value) => {
            std::str::from_utf8(value.as_bytes()).map_err(|_| EtcdError::InvalidClientAPIVersion)?
        }
    };
    let kind = if method.shape == Shape::Unary { "unary" } else { "stream" };
    tally.version(kind, version);
    let needs_leader = headers.get("hasleader").is_some_and(|value| value == "true");
    if needs_leader && handle.leader() == NodeId(0) {
        return Err(EtcdError::NoLeader);
    }
    Ok(Passed { needs_leader })
}

/// When a stream has to end from outside: its time is up, its leader is lost, or the server stops.
/// `None` for a call that ends by itself.
pub(super) fn cut(
    handle: &Handle,
    method: &Method,
    passed: Passed,
    deadline: Option<tokio::time::Instant>,
) -> Option<Cut> {
    if method.shape == Shape::Unary {
        return None;
    }
    let handle = handle.clone();
    // A stream in both directions ends by itself when the server stops: it has a last word to say.
    let one_way = method.shape == Shape::ServerStream;
    Some(Box::pin(async move {
        tokio::select! {
            () = sleep_until(deadline) => deadline_exceeded(),
            () = handle.leader_lost(), if passed.needs_leader => status(EtcdError::NoLeader),
            () = handle.streams_closing(), if one_way => status(EtcdError::Stopped),
        }
    }))
}

/// The answer when the time that the client gave has passed.
pub(super) fn deadline_exceeded() -> Status {
    Status::deadline_exceeded(types::grpc_text::DEADLINE_EXCEEDED)
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
