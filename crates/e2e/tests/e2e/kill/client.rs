//! One member as a gRPC client sees it.

use std::collections::BTreeMap;
use std::time::Duration;

use prost::Message as _;
use proto::etcdserverpb::cluster_client::ClusterClient;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::lease_client::LeaseClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::etcdserverpb::watch_client::WatchClient;
use proto::etcdserverpb::{
    CompactionRequest, HashKvRequest, LeaseGrantRequest, LeaseKeepAliveRequest,
    LeaseKeepAliveResponse, MemberAddRequest, MemberListRequest, MemberRemoveRequest, PutRequest,
    RangeRequest, StatusRequest, StatusResponse, WatchRequest,
};
use proto::mvccpb::KeyValue;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tonic::Streaming;
use tonic::codegen::tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::{Channel, Endpoint};

use super::watchers::WatchStreams;

/// How long a client waits for a reply: longer than a member does for the outcome of a request.
const CLIENT_PATIENCE: Duration = Duration::from_secs(20);
/// How long connecting may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);
/// Keys per page when all are read.
const PAGE_KEYS: i64 = 5000;

/// A client of one member, on a connection of its own that is made again when it breaks.
#[derive(Clone)]
pub(super) struct Client {
    channel: Channel,
}

/// A key as a member has it.
pub(super) struct Row {
    pub(super) value: bytes::Bytes,
    pub(super) mod_revision: i64,
}

impl Client {
    pub(super) fn new(endpoint: &str) -> Self {
        let endpoint = Endpoint::from_shared(endpoint.to_owned())
            .expect("a URL")
            .timeout(CLIENT_PATIENCE)
            .connect_timeout(CONNECT_PATIENCE);
        Self { channel: endpoint.connect_lazy() }
    }

    /// Puts `key` with itself as value; returns the revision.
    pub(super) async fn put(&self, key: &str) -> Result<i64, tonic::Status> {
        self.put_value(key, key.as_bytes().to_vec()).await
    }

    pub(super) async fn put_value(&self, key: &str, value: Vec<u8>) -> Result<i64, tonic::Status> {
        let key = key.to_owned().into();
        let request = PutRequest { key, value: value.into(), ..PutRequest::default() };
        let reply = self.kv().put(request).await?.into_inner();
        Ok(reply.header.map_or(0, |header| header.revision))
    }

    /// Puts a key that goes with a lease.
    pub(super) async fn put_leased(&self, key: &str, lease: i64) -> Result<(), tonic::Status> {
        let key: bytes::Bytes = key.to_owned().into();
        let request = PutRequest { value: key.clone(), key, lease, ..PutRequest::default() };
        self.kv().put(request).await.map(drop)
    }

    /// A lease of so many seconds; returns its ID.
    pub(super) async fn grant(&self, ttl: i64) -> Result<i64, tonic::Status> {
        let mut leases = LeaseClient::new(self.channel.clone());
        Ok(leases.lease_grant(LeaseGrantRequest { ttl, id: 0 }).await?.into_inner().id)
    }

    /// Opens a stream of renewals.
    pub(super) async fn keep_alive(&self) -> Result<KeepAlive, tonic::Status> {
        let (requests, outgoing) = unbounded_channel();
        let mut leases = LeaseClient::new(self.channel.clone());
        let replies = leases.lease_keep_alive(UnboundedReceiverStream::new(outgoing)).await?;
        Ok(KeepAlive { requests, replies: replies.into_inner() })
    }

    /// Opens a stream of watchers with the first request.
    pub(super) async fn watch(&self, first: WatchRequest) -> Result<WatchStreams, tonic::Status> {
        let (requests, outgoing) = unbounded_channel();
        drop(requests.send(first));
        let mut watch = WatchClient::new(self.channel.clone());
        let replies = watch.watch(UnboundedReceiverStream::new(outgoing)).await?;
        Ok((requests, replies.into_inner()))
    }

    /// Lets history before a revision go.
    pub(super) async fn compact(&self, revision: i64) -> Result<(), tonic::Status> {
        let request = CompactionRequest { revision, physical: false };
        self.kv().compact(request).await.map(drop)
    }

    /// The term of the leader that a linearizable read is confirmed by.
    pub(super) async fn leader_term(&self) -> Result<u64, tonic::Status> {
        let request = RangeRequest { key: "none".into(), ..RangeRequest::default() };
        let reply = self.kv().range(request).await?.into_inner();
        Ok(reply.header.map_or(0, |header| header.raft_term))
    }

    /// Waits until the member has everything that was acknowledged before; returns its revision.
    pub(super) async fn linearize(&self) -> Result<i64, tonic::Status> {
        let request = RangeRequest { key: "none".into(), ..RangeRequest::default() };
        let reply = self.kv().range(request).await?.into_inner();
        Ok(reply.header.map_or(0, |header| header.revision))
    }

    /// Whether the key is there, by a linearizable read.
    pub(super) async fn has(&self, key: &str) -> Result<bool, tonic::Status> {
        let request = RangeRequest { key: key.to_owned().into(), ..RangeRequest::default() };
        Ok(self.kv().range(request).await?.into_inner().count == 1)
    }

    /// All keys `prefix/...` as this member alone has them at a revision.
    pub(super) async fn rows(
        &self,
        prefix: &str,
        revision: i64,
    ) -> Result<BTreeMap<String, Row>, tonic::Status> {
        let mut rows = BTreeMap::new();
        let mut from = format!("{prefix}/");
        loop {
            let request = RangeRequest {
                key: from.into(),
                range_end: format!("{prefix}0").into(),
                limit: PAGE_KEYS,
                revision,
                serializable: true,
                ..RangeRequest::default()
            };
            let reply = self.kv().range(request).await?.into_inner();
            for stored in reply.kvs {
                let kv = KeyValue::decode(&stored.0[..])
                    .map_err(|error| tonic::Status::data_loss(error.to_string()))?;
                let row = Row { value: kv.value, mod_revision: kv.mod_revision };
                rows.insert(String::from_utf8_lossy(&kv.key).into_owned(), row);
            }
            match rows.last_key_value() {
                Some((last, _)) if reply.more => from = format!("{last}\0"),
                _ => return Ok(rows),
            }
        }
    }

    pub(super) async fn status(&self) -> Result<StatusResponse, tonic::Status> {
        let mut maintenance = MaintenanceClient::new(self.channel.clone());
        Ok(maintenance.status(StatusRequest {}).await?.into_inner())
    }

    pub(super) async fn hash_kv(&self, revision: i64) -> Result<u32, tonic::Status> {
        let mut maintenance = MaintenanceClient::new(self.channel.clone());
        Ok(maintenance.hash_kv(HashKvRequest { revision }).await?.into_inner().hash)
    }

    /// ID of the member that has this peer URL.
    pub(super) async fn member_with(&self, peer_url: &str) -> Result<u64, tonic::Status> {
        let request = MemberListRequest { linearizable: true };
        let members = self.cluster().member_list(request).await?.into_inner().members;
        let found =
            members.iter().find(|member| member.peer_urls.iter().any(|url| url == peer_url));
        found.map(|member| member.id).ok_or_else(|| tonic::Status::not_found("no such member"))
    }

    pub(super) async fn remove_member(&self, id: u64) -> Result<(), tonic::Status> {
        self.cluster().member_remove(MemberRemoveRequest { id }).await.map(drop)
    }

    pub(super) async fn add_member(&self, peer_url: &str) -> Result<u64, tonic::Status> {
        let request =
            MemberAddRequest { peer_urls: vec![peer_url.to_owned()], ..Default::default() };
        let reply = self.cluster().member_add(request).await?.into_inner();
        Ok(reply.member.map_or(0, |member| member.id))
    }

    fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone())
    }

    fn cluster(&self) -> ClusterClient<Channel> {
        ClusterClient::new(self.channel.clone())
    }
}

/// A stream of renewals.
pub(super) struct KeepAlive {
    requests: UnboundedSender<LeaseKeepAliveRequest>,
    replies: Streaming<LeaseKeepAliveResponse>,
}

impl KeepAlive {
    /// Renews; returns the seconds that the lease has from now on, 0 when it is gone.
    pub(super) async fn renew(&mut self, id: i64) -> Result<i64, tonic::Status> {
        let ended = || tonic::Status::unavailable("the stream has ended");
        self.requests.send(LeaseKeepAliveRequest { id }).map_err(|_| ended())?;
        Ok(self.replies.message().await?.ok_or_else(ended)?.ttl)
    }
}

/// The member that sent this.
pub(super) fn member_id(status: &StatusResponse) -> u64 {
    status.header.as_ref().map_or(0, |header| header.member_id)
}
