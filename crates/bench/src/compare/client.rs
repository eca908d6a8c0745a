//! What the runner itself asks servers, beside the loads of the generator.
//!
//! Owns:       one connection per [`Client`], made when first used and again when it breaks.
//! Never:      measured load: whatever is compared per request comes from `bench load`.

use std::time::Duration;

use bytes::Bytes;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{
    CompactionRequest, PutRequest, RangeRequest, RequestOp, SnapshotRequest, StatusRequest,
    StatusResponse, TxnRequest,
};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// How long a reply may take: longer than a member waits for the outcome of a request.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a compaction may take.
const COMPACTION_PATIENCE: Duration = Duration::from_secs(300);
/// How long connecting may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);

/// A client of one member.
#[derive(Clone, Debug)]
pub(super) struct Client {
    channel: Channel,
}

impl Client {
    /// For `http://host:port`; must be called within a runtime.
    ///
    /// # Errors
    /// When the URL is none.
    pub(super) fn new(endpoint: &str) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(endpoint.to_owned())?;
        Ok(Self { channel: endpoint.connect_timeout(CONNECT_PATIENCE).connect_lazy() })
    }

    /// A linearizable read of a key that need not be there; returns the revision.
    pub(super) async fn linearize(&self) -> Result<i64, Status> {
        let request = RangeRequest { key: "none".into(), ..RangeRequest::default() };
        let reply = within(PATIENCE, self.kv().range(request)).await?;
        Ok(reply.into_inner().header.map_or(0, |header| header.revision))
    }

    /// Puts a key.
    pub(super) async fn put(&self, key: String, value: Bytes) -> Result<(), Status> {
        let request = PutRequest { key: key.into(), value, ..PutRequest::default() };
        within(PATIENCE, self.kv().put(request)).await.map(drop)
    }

    /// Puts several keys as one request.
    pub(super) async fn put_all(&self, keys: Vec<String>, value: &Bytes) -> Result<(), Status> {
        let put = |key: String| {
            let put = PutRequest { key: key.into(), value: value.clone(), ..PutRequest::default() };
            RequestOp { request: Some(Request::RequestPut(put)) }
        };
        let success = keys.into_iter().map(put).collect();
        let request = TxnRequest { success, ..TxnRequest::default() };
        within(PATIENCE, self.kv().txn(request)).await.map(drop)
    }

    /// Lets history before a revision go; returns when it is gone from the database.
    pub(super) async fn compact(&self, revision: i64) -> Result<(), Status> {
        let request = CompactionRequest { revision, physical: true };
        within(COMPACTION_PATIENCE, self.kv().compact(request)).await.map(drop)
    }

    /// Reads a snapshot of the database to its end; returns its size in bytes.
    pub(super) async fn snapshot(&self) -> Result<usize, Status> {
        let mut stream = self.maintenance().snapshot(SnapshotRequest {}).await?.into_inner();
        let mut size = 0;
        while let Some(piece) = stream.message().await? {
            size += piece.blob.len();
        }
        Ok(size)
    }

    /// What the member says about itself.
    pub(super) async fn status(&self) -> Result<StatusResponse, Status> {
        let reply = within(PATIENCE, async { self.maintenance().status(StatusRequest {}).await });
        reply.await.map(tonic::Response::into_inner)
    }

    fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone())
    }

    fn maintenance(&self) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(self.channel.clone())
    }
}

async fn within<T>(
    patience: Duration,
    reply: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    let late = || Status::deadline_exceeded(format!("no answer within {patience:?}"));
    tokio::time::timeout(patience, reply).await.map_err(|_| late())?
}
