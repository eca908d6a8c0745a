//! The thread of a connection: HTTP/2, gRPC, the handler, over a pipe in memory.
//!
//! Owns:       a whole member of one, whose own threads are not counted: callgrind collects in the
//!             thread that runs the case.
//! Uses:       `edge` and `node` as `server` does; tonic's client, which is counted too.
//! Never:      sockets, a disk.
//! Invariants: one request is under way at a time, so that wake-ups are the same each time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use edge::grpc::{Grpc, GrpcOptions};
use edge::http::HttpContext;
use edge::{Limits, Router, serve_connection};
use hyper_util::rt::TokioIo;
use node::boot::{self, Founding};
use node::{CompactionBudget, Handle, Node, Options, Paths, Start, Timing};
use proto::etcdserverpb::PutRequest;
use proto::etcdserverpb::kv_client::KvClient;
use simdisk::SimDisk;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};
use types::limits;

use crate::case::Run;
use crate::input;

/// Bytes on their way in the connection.
const PIPE_BYTES: usize = 64 * 1024;
/// Long, because ticks and housekeeping are nothing that is measured.
const TICK: Duration = Duration::from_secs(1);
const PEER_URL: &str = "http://127.0.0.9:2380";
const CLIENT_URL: &str = "http://127.0.0.9:2379";
const CLIENT: ([u8; 4], u16) = ([127, 0, 0, 7], 40_000);

/// A member, a client with a connection to it, and the thread that runs both ends.
struct Served {
    runtime: Runtime,
    client: KvClient<Channel>,
    _node: Node,
    /// Closes the connection when it goes.
    _stop: watch::Sender<bool>,
}

impl Served {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("make a runtime");
        let stop = watch::Sender::new(false);
        let (node, client) = runtime.block_on(async {
            let node = start();
            node.handle().advance_ticks(10);
            node.handle().published().await;
            let client = connect(node.handle(), &stop).await;
            (node, client)
        });
        let mut served = Self { runtime, client, _node: node, _stop: stop };
        served.put(0);
        served
    }

    fn put(&mut self, turn: u64) {
        let put =
            PutRequest { key: input::key(0), value: input::value(turn), ..PutRequest::default() };
        let reply = self.runtime.block_on(self.client.put(put)).expect("a put succeeds");
        assert!(reply.into_inner().header.is_some_and(|header| header.revision > 1));
    }

    fn get(&mut self, serializable: bool) {
        let mut request = input::get(0);
        request.serializable = serializable;
        let reply = self.runtime.block_on(self.client.range(request)).expect("a get succeeds");
        assert_eq!(reply.into_inner().count, 1);
    }
}

pub(super) fn put() -> Run {
    let mut served = Served::new();
    let mut turn = 0;
    Box::new(move || {
        turn += 1;
        served.put(turn);
    })
}

pub(super) fn get_linearizable() -> Run {
    let mut served = Served::new();
    Box::new(move || served.get(false))
}

pub(super) fn get_serializable() -> Run {
    let mut served = Served::new();
    Box::new(move || served.get(true))
}

fn start() -> Node {
    let disk = SimDisk::new(1);
    let options = Options {
        disk: disk.disk(),
        paths: Paths::new(Path::new("/data"), None),
        timing: Timing { tick: TICK, election_ticks: 10 },
        pre_vote: true,
        tick_advance: true,
        snapshot_count: 100_000,
        catchup_entries: 5_000,
        max_wals: 5,
        max_snapshots: 5,
        quota_bytes: 2 << 30,
        max_request_bytes: limits::REQUEST_SIZE_MAX_BYTES,
        warning_apply_duration: Duration::from_secs(60),
        compaction: CompactionBudget::default(),
        max_learners: 1,
        no_sync: false,
        strict_reconfig_check: true,
        force_new_cluster: false,
        server_version: "3.5.12".to_owned(),
        seed: 1,
        segment_bytes: 4 << 20,
        start_threads: 1,
    };
    let named = BTreeMap::from([("a".to_owned(), vec![PEER_URL.to_owned()])]);
    let (members, cluster_id) =
        membership::bootstrap::initial_members(&named, "micro").expect("one member is a cluster");
    let local = members.first().map(|member| member.id).expect("one member is there");
    let founding = Founding { local, cluster_id, members: members.clone() };
    let booted = boot::open(&options, Some(&founding)).expect("an empty disk can be booted from");
    let start = Start {
        options,
        booted,
        peers: members,
        peer_urls: vec![PEER_URL.to_owned()],
        name: "a".to_owned(),
        client_urls: vec![CLIENT_URL.to_owned()],
        v2_enabled: true,
        runtime: tokio::runtime::Handle::current(),
    };
    Node::start(start).expect("a member starts")
}

async fn connect(handle: &Handle, stop: &watch::Sender<bool>) -> KvClient<Channel> {
    let options = GrpcOptions {
        max_request_bytes: limits::REQUEST_SIZE_MAX_BYTES,
        max_txn_ops: 128,
        watch_progress_notify_interval: Duration::from_secs(600),
        extensive_metrics: false,
        warning_unary_request_duration: Duration::from_secs(60),
        server_version: "3.5.12".to_owned(),
    };
    let grpc = Grpc::new(handle, &options);
    let context = HttpContext::new(handle, true);
    let router = Router::new(handle.clone(), grpc, context);
    let router = router.for_client(Some(SocketAddr::from(CLIENT)));
    let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
    tokio::spawn(serve_connection(theirs, router, Limits::default(), stop.subscribe()));
    let mut stream = Some(TokioIo::new(ours));
    let connector = tower::service_fn(move |_| {
        let stream = stream.take();
        async move { stream.ok_or_else(|| std::io::Error::other("one connection only")) }
    });
    let channel = Endpoint::from_static("http://member").connect_with_connector(connector).await;
    KvClient::new(channel.expect("a pipe can be connected"))
}
