//! The gRPC edge: services, and the texts that grpc-go itself would send.
//!
//! Owns:       dispatch by path, the size check in front of decoding.
//! Uses:       `tonic`'s generated services over `node::Handle`.
//! Never:      decides anything about state.
//! Invariants: a message is never buffered beyond the receive limit.
//! Source:     api-v3.md 1.1 and 7; design.md 6.

mod cluster;
mod kv;
mod maintenance;
mod range_stream;
mod reply;
mod size_limit;
mod status;
mod watch;

use std::time::Duration;

use ::http::{Request, Response};
use bytes::Bytes;
use hyper::body::Incoming;
use node::Handle;
use proto::etcdserverpb::cluster_server::ClusterServer;
use proto::etcdserverpb::kv_server::KvServer;
use proto::etcdserverpb::maintenance_server::MaintenanceServer;
use proto::etcdserverpb::watch_server::WatchServer;
use tonic::Status;
use tonic::body::Body;
use tower::ServiceExt;
use types::limits;

use cluster::ClusterService;
use kv::KvService;
use maintenance::MaintenanceService;
use size_limit::SizeLimit;
use watch::WatchService;

/// Settings of the gRPC edge.
#[derive(Clone, Debug)]
pub struct GrpcOptions {
    /// `--max-request-bytes`.
    pub max_request_bytes: u64,
    /// `--max-txn-ops`.
    pub max_txn_ops: usize,
    /// `--watch-progress-notify-interval`.
    pub watch_progress_notify_interval: Duration,
    /// Version told by `Status`.
    pub server_version: String,
}

/// All services of a member.
pub struct Grpc {
    kv: KvServer<KvService>,
    cluster: ClusterServer<ClusterService>,
    maintenance: MaintenanceServer<MaintenanceService>,
    watch: WatchServer<WatchService>,
    receive_limit: usize,
}

impl Grpc {
    /// The services over a member.
    #[must_use]
    pub fn new(handle: &Handle, options: &GrpcOptions) -> Self {
        let limit = options.max_request_bytes.saturating_add(limits::GRPC_OVERHEAD_BYTES);
        let kv = KvService::new(handle.clone(), options);
        let cluster = ClusterService::new(handle.clone());
        let maintenance = MaintenanceService::new(handle.clone(), options.clone());
        let watch = WatchService::new(handle.clone(), options);
        Self {
            kv: KvServer::new(kv).max_decoding_message_size(usize::MAX),
            cluster: ClusterServer::new(cluster).max_decoding_message_size(usize::MAX),
            maintenance: MaintenanceServer::new(maintenance).max_decoding_message_size(usize::MAX),
            watch: WatchServer::new(watch).max_decoding_message_size(usize::MAX),
            receive_limit: usize::try_from(limit).unwrap_or(usize::MAX),
        }
    }

    /// Answers one call.
    pub async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let Some((service, method)) = split_path(&path) else {
            return refuse(Status::unimplemented(format!("malformed method name: \"{path}\"")));
        };
        let request = request.map(|body| SizeLimit::new(body, self.receive_limit));
        let reply = match service {
            "etcdserverpb.KV" if KV_METHODS.contains(&method) => {
                self.kv.clone().oneshot(request).await
            }
            "etcdserverpb.Cluster" if CLUSTER_METHODS.contains(&method) => {
                self.cluster.clone().oneshot(request).await
            }
            "etcdserverpb.Maintenance" if MAINTENANCE_METHODS.contains(&method) => {
                self.maintenance.clone().oneshot(request).await
            }
            "etcdserverpb.Watch" if method == "Watch" => self.watch.clone().oneshot(request).await,
            "etcdserverpb.KV"
            | "etcdserverpb.Cluster"
            | "etcdserverpb.Maintenance"
            | "etcdserverpb.Watch" => {
                let text = format!("unknown method {method} for service {service}");
                return refuse(Status::unimplemented(text));
            }
            _ => return refuse(Status::unimplemented(format!("unknown service {service}"))),
        };
        reply.unwrap_or_else(|never| match never {})
    }
}

/// Methods that are served; the others of their services come with later issues and answer as
/// methods that do not exist.
const KV_METHODS: &[&str] = &["Range", "RangeStream", "Put", "DeleteRange", "Txn", "Compact"];
const CLUSTER_METHODS: &[&str] = &["MemberAdd", "MemberRemove", "MemberUpdate", "MemberList"];
const MAINTENANCE_METHODS: &[&str] = &["Status", "HashKV", "Alarm"];

fn split_path(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix('/')?.rsplit_once('/')
}

fn refuse(status: Status) -> Response<Body> {
    status.into_http()
}

/// Error type of request bodies as tonic wants it.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;
/// Data type of request bodies.
pub(crate) type BodyData = Bytes;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_split_at_the_last_slash() {
        assert_eq!(split_path("/etcdserverpb.KV/Put"), Some(("etcdserverpb.KV", "Put")));
        assert_eq!(split_path("/a/b/c"), Some(("a/b", "c")));
        assert_eq!(split_path("/nothing"), None);
    }
}
