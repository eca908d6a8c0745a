//! The pipeline: one `POST /raft` per message, for peers without an attached stream.
//!
//! Owns:       four workers per peer and one connection for each.
//! Uses:       `dial`.
//! Never:      keeps order; raft does not need it.
//! Invariants: a message is posted at most twice, the second time only when a kept connection
//!             turned out to be dead.
//! Source:     peer-protocol.md 5.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use hyper::body::Incoming;
use proto::raftpb::Message;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::with_causes;
use crate::dial::{Connection, DialError, PeerUrl, full, read_up_to};
use crate::peer::PeerCore;
use crate::{headers, limits};

type Queue = Arc<Mutex<mpsc::Receiver<Message>>>;

/// Starts the workers of a peer.
pub(crate) fn start(core: &Arc<PeerCore>, tasks: &mut JoinSet<()>) -> mpsc::Sender<Message> {
    let (sender, receiver) = mpsc::channel(limits::PIPELINE_QUEUE_MAX);
    let queue: Queue = Arc::new(Mutex::new(receiver));
    for _worker in 0..limits::PIPELINE_WORKERS {
        let worker = work(Arc::clone(core), Arc::clone(&queue));
        tasks.spawn_on(worker, &core.shared.runtime);
    }
    sender
}

/// Why a message was not delivered.
#[derive(Debug, thiserror::Error)]
enum PostError {
    #[error("peer has no usable URL")]
    NoUrl,
    #[error("peer says that this member has been removed")]
    Removed,
    #[error("peer answered {status}: {text}")]
    Refused { status: StatusCode, text: String },
    #[error("post message")]
    Exchange(#[from] DialError),
}

/// A connection that may serve the next message too.
struct Kept {
    connection: Connection,
    url: PeerUrl,
    used: Instant,
}

async fn work(core: Arc<PeerCore>, queue: Queue) {
    let mut kept = None;
    loop {
        let message = queue.lock().await.recv().await;
        let Some(message) = message else { return };
        let body = message.encode();
        let Some(url) = core.picker.pick() else {
            report(&core, &PostError::NoUrl);
            continue;
        };
        match post(&core, &mut kept, &url, &body).await {
            Ok(()) => {
                core.activity.activate(core.id);
                core.counters.sent_messages.add(1);
                core.counters.sent_bytes.add(body.len());
            }
            Err(error) => {
                core.failed(&url, &with_causes(&error));
                report(&core, &error);
            }
        }
    }
}

fn report(core: &PeerCore, error: &PostError) {
    tracing::debug!(peer = %core.id, %error, "message was not delivered");
    core.counters.send_failures.add(1);
    core.shared.api.unreachable(core.id);
    if matches!(error, PostError::Removed) {
        core.shared.api.removed_from_cluster();
    }
}

async fn post(
    core: &PeerCore,
    kept: &mut Option<Kept>,
    url: &PeerUrl,
    body: &Bytes,
) -> Result<(), PostError> {
    if let Some(mut reused) = kept.take()
        && reused.url == *url
        && reused.used.elapsed() < limits::PIPELINE_IDLE_MAX
    {
        // The peer may have closed it meanwhile, and stepping a message twice does no harm.
        let request = request(core, body);
        let sent = reused.connection.send_within(request, limits::PIPELINE_POST_TIMEOUT).await;
        if let Ok(response) = sent {
            return finish(response, reused.connection, url, kept).await;
        }
    }
    let mut connection = core.dial(url, limits::IO_TIMEOUT).await?;
    let request = request(core, body);
    let response = connection.send_within(request, limits::PIPELINE_POST_TIMEOUT).await?;
    finish(response, connection, url, kept).await
}

fn request(core: &PeerCore, body: &Bytes) -> Request<crate::dial::OutBody> {
    let mut request = Request::new(full(body.clone()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static("/raft");
    *request.headers_mut() = headers::request_headers(&core.shared.options);
    let protobuf = HeaderValue::from_static("application/protobuf");
    request.headers_mut().insert(header::CONTENT_TYPE, protobuf);
    request
}

/// Reads the answer; the connection is kept after a success.
async fn finish(
    response: Response<Incoming>,
    connection: Connection,
    url: &PeerUrl,
    kept: &mut Option<Kept>,
) -> Result<(), PostError> {
    let status = response.status();
    let body = read_up_to(response.into_body(), limits::ERROR_BODY_BYTES_MAX).await;
    match status {
        StatusCode::NO_CONTENT => {
            *kept = Some(Kept { connection, url: url.clone(), used: Instant::now() });
            Ok(())
        }
        StatusCode::FORBIDDEN => Err(PostError::Removed),
        _ => {
            let text = body.unwrap_or_default();
            let text = String::from_utf8_lossy(&text).trim_end().to_owned();
            Err(PostError::Refused { status, text })
        }
    }
}
