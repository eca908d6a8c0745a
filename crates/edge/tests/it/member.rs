//! A member of a cluster of one, served over in-memory connections.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use edge::grpc::{Grpc, GrpcOptions};
use edge::http::HttpContext;
use edge::{Limits, Router, serve_connection};
use hyper_util::rt::TokioIo;
use node::boot::{self, Founding};
use node::{CompactionBudget, Node, Options, Paths, Start, Timing};
use simdisk::SimDisk;
use tokio::io::DuplexStream;
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

/// Bytes on their way in an in-memory connection.
const PIPE_BYTES: usize = 64 * 1024;
const PEER_URL: &str = "http://127.0.0.9:2380";

/// Where clients seem to be.
pub(crate) const CLIENT: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 7)), 40_000);

/// What the tests may change.
pub(crate) struct Setup {
    pub(crate) options: Options,
    pub(crate) grpc: GrpcOptions,
    pub(crate) limits: Limits,
}

/// A running member.
pub(crate) struct Member {
    pub(crate) node: Node,
    router: Router,
    limits: Limits,
    stop: watch::Sender<bool>,
}

impl Setup {
    pub(crate) fn new() -> Self {
        let disk = SimDisk::new(1);
        let options = Options {
            disk: disk.disk(),
            paths: Paths::new(Path::new("/data"), None),
            timing: Timing { tick: Duration::from_millis(10), election_ticks: 10 },
            pre_vote: true,
            tick_advance: true,
            snapshot_count: 10_000,
            catchup_entries: 5_000,
            max_wals: 5,
            max_snapshots: 5,
            quota_bytes: 2 << 30,
            max_request_bytes: types::limits::REQUEST_SIZE_MAX_BYTES,
            warning_apply_duration: Duration::from_secs(60),
            compaction: CompactionBudget::default(),
            max_learners: 1,
            no_sync: false,
            strict_reconfig_check: true,
            force_new_cluster: false,
            server_version: "3.5.12".to_owned(),
            seed: 1,
            segment_bytes: 4 << 20,
            start_threads: 2,
        };
        let grpc = GrpcOptions {
            max_request_bytes: types::limits::REQUEST_SIZE_MAX_BYTES,
            max_txn_ops: 128,
            watch_progress_notify_interval: Duration::from_secs(600),
            extensive_metrics: false,
            warning_unary_request_duration: Duration::from_secs(60),
            server_version: options.server_version.clone(),
        };
        Self { options, grpc, limits: Limits::default() }
    }

    /// Starts the member and waits until it serves.
    pub(crate) async fn start(self) -> Member {
        let node = self.start_node();
        let handle = node.handle().clone();
        handle.advance_ticks(self.options.timing.election_ticks);
        handle.published().await;
        let grpc = Grpc::new(&handle, &self.grpc);
        let context = HttpContext::new(&handle, true);
        let router = Router::new(handle, grpc, context);
        Member { node, router, limits: self.limits, stop: watch::Sender::new(false) }
    }

    /// Starts a member that waits for another one: it never has a leader.
    pub(crate) fn start_without_quorum(self) -> Member {
        let node = self.start_founding(&["a", "b"]);
        let handle = node.handle().clone();
        let grpc = Grpc::new(&handle, &self.grpc);
        let context = HttpContext::new(&handle, true);
        let router = Router::new(handle, grpc, context);
        Member { node, router, limits: self.limits, stop: watch::Sender::new(false) }
    }

    fn start_node(&self) -> Node {
        self.start_founding(&["a"])
    }

    fn start_founding(&self, names: &[&str]) -> Node {
        let named: BTreeMap<String, Vec<String>> = names
            .iter()
            .enumerate()
            .map(|(at, name)| ((*name).to_owned(), vec![PEER_URL.replace('9', &at.to_string())]))
            .collect();
        let (members, cluster_id) = membership::bootstrap::initial_members(&named, "test").unwrap();
        let local = members.iter().find(|member| member.name == "a").unwrap().id;
        let founding = Founding { local, cluster_id, members: members.clone() };
        let booted = boot::open(&self.options, Some(&founding)).unwrap();
        Node::start(Start {
            options: self.options.clone(),
            booted,
            peers: members,
            peer_urls: vec![PEER_URL.to_owned()],
            name: "a".to_owned(),
            client_urls: vec!["http://127.0.0.9:2379".to_owned()],
            v2_enabled: true,
            runtime: tokio::runtime::Handle::current(),
        })
        .unwrap()
    }
}

impl Member {
    /// The client's end of a new connection.
    pub(crate) fn connect(&self) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        let router = self.router.for_client(Some(CLIENT));
        let (limits, stop) = (self.limits, self.stop.subscribe());
        tokio::spawn(serve_connection(theirs, router, limits, stop));
        ours
    }

    /// A gRPC channel over a connection of its own.
    pub(crate) async fn channel(&self) -> Channel {
        let mut stream = Some(self.connect());
        let connector = tower::service_fn(move |_| {
            let stream = stream.take().map(TokioIo::new);
            async move { stream.ok_or_else(|| std::io::Error::other("one connection only")) }
        });
        Endpoint::from_static("http://member").connect_with_connector(connector).await.unwrap()
    }
}
