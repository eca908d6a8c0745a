//! What the transport asks of a member.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use consensus::Input;
use http::{HeaderMap, StatusCode};
use membership::json::members_to_json;
use proto::raftpb::Message;
use transport::sink::DiskSink;
use transport::{BoxFuture, PeerApi, PeerReply, PeerRequest, SnapshotSink, StepError};
use types::NodeId;

use crate::handle::Handle;
use crate::hash_peer;
use crate::lease_peer;
use crate::options::Options;
use crate::shared::{Shared, StopReason};
use crate::timed_sink::TimedSink;

/// The member as its peers see it.
pub(crate) struct NodeApi {
    shared: Arc<Shared>,
    sink: Arc<TimedSink>,
    server_version: String,
    handle: OnceLock<Handle>,
}

impl NodeApi {
    pub(crate) fn new(shared: Arc<Shared>, options: &Options) -> Self {
        let sink = DiskSink::new(Arc::clone(&options.disk), &options.paths.snap);
        let sink = TimedSink { sink, counters: Arc::clone(&shared.counters) };
        Self {
            shared,
            sink: Arc::new(sink),
            server_version: options.server_version.clone(),
            handle: OnceLock::new(),
        }
    }

    /// Completes the circle: the handle needs the transport, which needs this.
    pub(crate) fn attach(&self, handle: Handle) {
        drop(self.handle.set(handle));
    }
}

impl PeerApi for NodeApi {
    fn raft_message(&self, message: Message) -> Result<(), StepError> {
        if message.to != self.shared.local.0 {
            return Err(StepError::Mismatch);
        }
        if self.is_removed(NodeId(message.from)) {
            return Err(StepError::Removed);
        }
        self.shared.inbox.peer(Input::Message(message)).map_err(|_| StepError::Busy)
    }

    fn members_json(&self) -> Vec<u8> {
        let published = self.shared.read();
        let mut body = members_to_json(published.machine.membership().members.values()).to_vec();
        body.push(b'\n');
        body
    }

    fn version_json(&self) -> Vec<u8> {
        let cluster = self.shared.read().machine.cluster_version();
        version_json(&self.server_version, cluster.map(|version| version.to_string()))
    }

    fn is_removed(&self, id: NodeId) -> bool {
        self.shared.read().machine.membership().removed.contains(&id)
    }

    fn unreachable(&self, id: NodeId) {
        self.shared.inbox.report(Input::Unreachable(id));
    }

    fn gone(&self, id: NodeId) {
        self.shared.inbox.report(Input::PeerGone(id));
    }

    fn snapshot_sent(&self, id: NodeId, ok: bool) {
        self.shared.inbox.control(Input::SnapshotSent { to: id, ok });
    }

    fn removed_from_cluster(&self) {
        self.shared.stop_for(StopReason::Removed);
    }

    fn receive_snapshot(&self) -> Arc<dyn SnapshotSink> {
        Arc::clone(&self.sink) as _
    }

    fn extra(&self, request: PeerRequest) -> BoxFuture<'_, Option<PeerReply>> {
        Box::pin(async move {
            let handle = self.handle.get()?;
            Some(match request.parts.uri.path() {
                "/leases" => lease_peer::renew(handle, &request.body).await,
                "/leases/internal" => lease_peer::time_to_live(handle, &request.body).await,
                _ => hash_peer::answer(handle, request).await.unwrap_or_else(not_yet),
            })
        })
    }
}

/// For the paths of features that do not exist yet. Not 404: Go's members take that for "lease not
/// found" or "member not found" and tell the client; after any other failure they ask again.
fn not_yet() -> PeerReply {
    let body = Bytes::from_static(b"not supported\n");
    PeerReply { status: StatusCode::NOT_IMPLEMENTED, headers: HeaderMap::new(), body }
}

/// Body of `/version`: without a final newline, `not_decided` before the first version entry.
#[must_use]
pub fn version_json(server: &str, cluster: Option<String>) -> Vec<u8> {
    let cluster = cluster.unwrap_or_else(|| "not_decided".to_owned());
    format!(r#"{{"etcdserver":"{server}","etcdcluster":"{cluster}"}}"#).into_bytes()
}
