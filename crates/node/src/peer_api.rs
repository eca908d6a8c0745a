//! What the transport asks of a member.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use consensus::Input;
use disk::{BlockFile, Disk, OpenMode};
use http::{HeaderMap, StatusCode};
use membership::json::members_to_json;
use proto::raftpb::Message;
use transport::{
    BoxFuture, PeerApi, PeerReply, PeerRequest, SnapshotSink, SnapshotWriter, StepError,
};
use types::NodeId;
use wal::snap::SnapStore;

use crate::handle::Handle;
use crate::hash_peer;
use crate::options::Options;
use crate::shared::{Shared, StopReason};

/// The member as its peers see it.
pub(crate) struct NodeApi {
    shared: Arc<Shared>,
    snaps: SnapStore,
    disk: Arc<dyn Disk>,
    server_version: String,
    handle: OnceLock<Handle>,
}

impl NodeApi {
    pub(crate) fn new(shared: Arc<Shared>, snaps: SnapStore, options: &Options) -> Self {
        Self {
            shared,
            snaps,
            disk: Arc::clone(&options.disk),
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

    fn snapshot_sent(&self, id: NodeId, ok: bool) {
        self.shared.inbox.control(Input::SnapshotSent { to: id, ok });
    }

    fn removed_from_cluster(&self) {
        self.shared.stop_for(StopReason::Removed);
    }

    fn receive_snapshot(&self) -> Arc<dyn SnapshotSink> {
        Arc::new(Sink { snaps: self.snaps.clone(), disk: Arc::clone(&self.disk) })
    }

    fn extra(&self, request: PeerRequest) -> BoxFuture<'_, Option<PeerReply>> {
        Box::pin(async move {
            let handle = self.handle.get()?;
            Some(hash_peer::answer(handle, request).await.unwrap_or_else(not_yet))
        })
    }
}

/// For the paths of features that do not exist yet. Not 404: Go's members take that for "lease not
/// found" or "member not found" and tell the client; after any other failure they ask again.
fn not_yet() -> PeerReply {
    let body = Bytes::from_static(b"not implemented\n");
    PeerReply { status: StatusCode::NOT_IMPLEMENTED, headers: HeaderMap::new(), body }
}

/// Body of `/version`: without a final newline, `not_decided` before the first version entry.
#[must_use]
pub fn version_json(server: &str, cluster: Option<String>) -> Vec<u8> {
    let cluster = cluster.unwrap_or_else(|| "not_decided".to_owned());
    format!(r#"{{"etcdserver":"{server}","etcdcluster":"{cluster}"}}"#).into_bytes()
}

/// Stores received databases in the snapshot directory.
struct Sink {
    snaps: SnapStore,
    disk: Arc<dyn Disk>,
}

impl SnapshotSink for Sink {
    fn begin(&self, message: &Message) -> io::Result<Box<dyn SnapshotWriter>> {
        let index = message.snapshot.as_ref().map_or(0, |snapshot| snapshot.metadata.index);
        let target = self.snaps.db_snapshot_path(index);
        let from = message.from;
        let temporary = target.with_file_name(format!("tmp{from:x}-{index:x}"));
        if self.disk.exists(&temporary)? {
            self.disk.remove_file(&temporary)?;
        }
        let file = self.disk.open(&temporary, OpenMode::CreateNew)?;
        Ok(Box::new(Receiving { disk: Arc::clone(&self.disk), file, temporary, target, at: 0 }))
    }
}

struct Receiving {
    disk: Arc<dyn Disk>,
    file: Arc<dyn BlockFile>,
    temporary: PathBuf,
    target: PathBuf,
    at: u64,
}

impl SnapshotWriter for Receiving {
    fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.file.write_at(self.at, piece)?;
        self.at += piece.len() as u64;
        Ok(())
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        self.file.sync_data()?;
        self.disk.rename(&self.temporary, &self.target)?;
        match self.target.parent() {
            Some(dir) => self.disk.sync_dir(dir),
            None => Ok(()),
        }
    }

    fn abort(self: Box<Self>) {
        drop(self.disk.remove_file(&self.temporary));
    }
}
