//! What the transport needs from the node, and what it is started with.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use proto::raftpb::Message;
use types::{ClusterId, NodeId};

use crate::dial::{Connector, PlainConnector};

/// A boxed future, so that [`PeerApi`] can be a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Settings of one member's transport.
#[derive(Clone)]
pub struct Options {
    /// This member.
    pub local_id: NodeId,
    /// Its cluster; requests of any other are refused.
    pub cluster_id: ClusterId,
    /// `X-Server-Version`, e.g. `3.5.12`.
    pub version: String,
    /// Part of the dial timeout.
    pub election_timeout: Duration,
    /// `X-PeerURLs`: where others reach this member.
    pub local_peer_urls: Vec<String>,
    /// How connections are made; the place where TLS comes in.
    pub connector: Arc<dyn Connector>,
}

impl Options {
    /// Settings with plain connections.
    #[must_use]
    pub fn new(
        local_id: NodeId,
        cluster_id: ClusterId,
        version: impl Into<String>,
        election_timeout: Duration,
        local_peer_urls: Vec<String>,
    ) -> Self {
        let connector = Arc::new(PlainConnector);
        let version = version.into();
        Self { local_id, cluster_id, version, election_timeout, local_peer_urls, connector }
    }
}

/// Why a received message was not stepped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// The sender was removed: 403, at which a Go sender stops its process.
    #[error("cannot process message from removed member")]
    Removed,
    /// Addressed to another member: 403 likewise, so never for any other reason.
    #[error("cannot process message to mismatch member")]
    Mismatch,
    /// The inbox is full; the message was dropped.
    #[error("raft inbox is full")]
    Busy,
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// A request on a path that the node answers itself.
#[derive(Debug)]
pub struct PeerRequest {
    /// Method, URI and headers.
    pub parts: Parts,
    /// The whole body, at most [`crate::limits::EXTRA_BODY_BYTES_MAX`].
    pub body: Bytes,
}

/// An answer of [`PeerApi::extra`].
#[derive(Clone, Debug)]
pub struct PeerReply {
    /// Status code.
    pub status: StatusCode,
    /// Headers besides the ones about length and date.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// The node as the transport sees it. No method but [`PeerApi::extra`] may wait: most are called on
/// threads that serve connections, `unreachable` also on the raft thread inside `send`. From
/// `unreachable` and `snapshot_sent` no peer may be added or removed.
pub trait PeerApi: Send + Sync + 'static {
    /// Takes a received message.
    ///
    /// # Errors
    /// As [`StepError`] says; the message is then gone.
    fn raft_message(&self, message: Message) -> Result<(), StepError>;

    /// Body of `GET /members`, with its final newline.
    fn members_json(&self) -> Vec<u8>;

    /// Body of `GET /version`, without a final newline.
    fn version_json(&self) -> Vec<u8>;

    /// Whether a member was removed for good.
    fn is_removed(&self, id: NodeId) -> bool;

    /// A message to the peer was dropped or could not be delivered.
    fn unreachable(&self, id: NodeId);

    /// Nobody listens any more where the peer was connected until just now: its process has most
    /// likely ended.
    fn gone(&self, id: NodeId) {
        let _unused = id;
    }

    /// Outcome of [`crate::Transport::send_snapshot`], exactly once for each call.
    fn snapshot_sent(&self, id: NodeId, ok: bool);

    /// A peer says that this member has been removed from the cluster (410 or 403). May be called
    /// many times.
    fn removed_from_cluster(&self);

    /// Where a received database goes.
    fn receive_snapshot(&self) -> Arc<dyn SnapshotSink>;

    /// Answers `/members/hashkv`, `/members/promote/...`, `/leases`, `/leases/internal` and
    /// `/downgrade/enabled`, whose method has been checked; `None` is 404.
    fn extra(&self, request: PeerRequest) -> BoxFuture<'_, Option<PeerReply>> {
        let _unused = request;
        Box::pin(std::future::ready(None))
    }
}

/// Where received databases are stored. All calls come on blocking threads.
pub trait SnapshotSink: Send + Sync {
    /// Starts a file for the database that belongs to `message` (a `MsgSnap`).
    ///
    /// # Errors
    /// Those of the file system.
    fn begin(&self, message: &Message) -> io::Result<Box<dyn SnapshotWriter>>;
}

/// One database being received. Dropping it unfinished must leave no usable file behind.
pub trait SnapshotWriter: Send {
    /// Appends a piece of the database.
    ///
    /// # Errors
    /// Those of the file system.
    fn write(&mut self, piece: &[u8]) -> io::Result<()>;

    /// Makes the file durable under its final name.
    ///
    /// # Errors
    /// Those of the file system; the final name then does not exist.
    fn finish(self: Box<Self>) -> io::Result<()>;

    /// Removes what was written.
    fn abort(self: Box<Self>);
}

/// A database to be sent: a pinned image of known length. Read on blocking threads.
pub trait SnapshotBody: Send {
    /// Bytes in the image.
    fn len(&self) -> u64;

    /// Fills `buf` from `offset`; returns how many bytes there were.
    ///
    /// # Errors
    /// Those of the file system.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// Whether the image has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
