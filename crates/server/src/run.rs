//! From settings to a serving member, and to its end.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use config::{ClusterState, Config};
use disk::Disk;
use edge::grpc::{Grpc, GrpcOptions};
use edge::http::{Access, HttpContext};
use edge::{Limits, Router};
use nix::sys::signal::Signal;
use node::boot::{self, BootError, Booted, Founding};
use node::{CompactionBudget, Handle, Node, Options, Paths, Start, StopReason, Timing};
use osdisk::OsDisk;

use crate::bootstrap;
use crate::clients::Clients;
use crate::error::StartError;
use crate::listeners::{Bound, bind};
use crate::shutdown;

/// Threads that restore the state at a start.
const START_THREADS_MAX: usize = 8;
/// Log segment size, as etcd's.
const SEGMENT_BYTES: u64 = 64_000_000;
/// How long a lock on the data directory is waited for: a predecessor may be stopping.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
const LOCK_PAUSE: Duration = Duration::from_millis(50);
/// How long a leader that stops lets its clients finish before it hands over: the slowest of them must
/// not keep the cluster waiting for its next leader.
const HAND_OVER_AFTER: Duration = Duration::from_millis(500);
/// How often the state of the peers is looked at before the ticks are fast-forwarded.
const ADVANCE_PAUSE: Duration = Duration::from_millis(50);
/// How long that goes on.
const ADVANCE_LIMIT: Duration = Duration::from_secs(5);

/// How a server that had started ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By this signal, which the process should now die by.
    Signal(i32),
    /// Removed from the cluster: exit code 0.
    Removed,
    /// A fault that was logged: exit code 1.
    Fault(String),
}

/// Runs a server until it ends.
///
/// # Errors
/// As [`StartError`] says, when it did not get as far as serving.
pub fn run(config: Config) -> Result<Exit, StartError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("peer")
        .enable_all()
        .build()
        .map_err(|source| StartError::System { operation: "start runtime", source })?;
    let exit = runtime.block_on(serve(config));
    runtime.shutdown_timeout(Duration::from_secs(1));
    exit
}

async fn serve(config: Config) -> Result<Exit, StartError> {
    let peers: Vec<Bound> = bind_all(&config.listen_peer_urls, "peer")?;
    let clients: Vec<Bound> = bind_all(&config.listen_client_urls, "client")?;
    let options = options_of(&config);
    let (booted, peer_members) = open(&config, &options).await?;
    let v2_default = V2Default { flag: config.enable_v2, adopted: booted.adopted };
    let known = booted.machine.membership().members.len().max(peer_members.len());
    let node = Node::start(Start {
        options: options.clone(),
        booted,
        peers: peer_members,
        peer_urls: texts(&config.initial_advertise_peer_urls),
        name: config.name.clone(),
        client_urls: texts(&config.advertise_client_urls),
        v2_enabled: v2_default.flag.unwrap_or(!v2_default.adopted),
        runtime: tokio::runtime::Handle::current(),
    });
    let node = node.map_err(|source| StartError::System { operation: "start threads", source })?;
    let handle = node.handle().clone();
    for bound in peers {
        let listener = bound
            .into_peer_listener()
            .map_err(|source| StartError::System { operation: "serve peers", source })?;
        let transport = handle.transport().clone();
        tokio::spawn(async move { transport.serve(listener, std::future::pending()).await });
    }
    tokio::spawn(advance_ticks(handle.clone(), known));
    let ended = serve_clients(&config, &options, &handle, clients, v2_default).await?;
    let (exit, served) = ended;
    if let Some(served) = served {
        handle.close_streams();
        let mut stopping = pin!(served.stop(options.timing.request_timeout()));
        if tokio::time::timeout(HAND_OVER_AFTER, &mut stopping).await.is_err() {
            node.hand_over().await;
            stopping.await;
        }
    }
    let reason = node.stop().await;
    Ok(exit.unwrap_or(match reason {
        StopReason::Removed => Exit::Removed,
        StopReason::Fault(text) => Exit::Fault(text),
        StopReason::Requested => Exit::Signal(Signal::SIGTERM as i32),
    }))
}

/// What decides whether v2 is served.
#[derive(Clone, Copy, Debug)]
struct V2Default {
    flag: Option<bool>,
    adopted: bool,
}

impl V2Default {
    /// The flag; without it, on for a directory of our own and, for one that was adopted, if it
    /// holds v2 keys. Asked once the log has been replayed.
    fn decide(self, handle: &Handle) -> bool {
        let has_keys = || {
            handle.with_machine(|machine| {
                let root = machine.v2().get("/1", false, false);
                root.is_ok_and(|event| event.node.nodes.is_some_and(|nodes| !nodes.is_empty()))
            })
        };
        self.flag.unwrap_or_else(|| !self.adopted || has_keys())
    }
}

type Ended = (Option<Exit>, Option<Clients>);

/// Serves clients once the member is published, until a signal comes or the member stops.
async fn serve_clients(
    config: &Config,
    options: &Options,
    handle: &Handle,
    listeners: Vec<Bound>,
    v2_default: V2Default,
) -> Result<Ended, StartError> {
    let signal = shutdown::requested();
    tokio::pin!(signal);
    tokio::select! {
        () = handle.published() => {}
        signal = &mut signal => return Ok((Some(Exit::Signal(signal as i32)), None)),
        _ = handle.stopped() => return Ok((None, None)),
    }
    let grpc = Grpc::new(handle, &grpc_options(config, options));
    let mut context = HttpContext::new(handle, v2_default.decide(handle));
    context.access =
        Access { hosts: config.serving.hosts.clone(), origins: config.serving.origins.clone() };
    let router = Router::new(handle.clone(), grpc, context);
    let system = |source| StartError::System { operation: "serve clients", source };
    let clients = Clients::start(handle, &router, limits_of(config)).map_err(system)?;
    for bound in listeners {
        tokio::spawn(clients.accept(bound).map_err(system)?);
    }
    tracing::info!("ready to serve client requests");
    for url in &config.listen_client_urls {
        tracing::info!(
            address = url.address(),
            "serving client traffic insecurely; this is strongly discouraged!"
        );
    }
    notify_ready();
    let exit = tokio::select! {
        signal = &mut signal => {
            tracing::info!(signal = %signal, "received signal; shutting down");
            Some(Exit::Signal(signal as i32))
        }
        _ = handle.stopped() => None,
    };
    Ok((exit, Some(clients)))
}

fn bind_all(urls: &[config::EndpointUrl], kind: &str) -> Result<Vec<Bound>, StartError> {
    let bound: Result<Vec<Bound>, StartError> = urls.iter().map(bind).collect();
    if bound.is_ok() {
        tracing::info!(kind, urls = ?texts(urls), "configured listeners");
    }
    bound
}

async fn open(
    config: &Config,
    options: &Options,
) -> Result<(Booted, Vec<membership::Member>), StartError> {
    let has_log = boot::has_log(options)
        .map_err(|source| StartError::System { operation: "look for log", source })?;
    if has_log {
        let booted = open_with(options, None).await?;
        let cut_short = booted.unfounded && config.initial_cluster_state == ClusterState::New;
        if !cut_short {
            return Ok((booted, Vec::new()));
        }
    }
    let plan = bootstrap::plan(config, options.cluster_version_max()).await?;
    Ok((open_with(options, Some(plan.founding)).await?, plan.peers))
}

async fn open_with(options: &Options, founding: Option<Founding>) -> Result<Booted, StartError> {
    let options = options.clone();
    let opened = tokio::task::spawn_blocking(move || patient_open(&options, founding.as_ref()));
    let booted = opened.await.map_err(|error| StartError::System {
        operation: "open data directory",
        source: std::io::Error::other(error),
    })??;
    Ok(booted)
}

/// Opens the data directory; while another process has it, tries again for a while.
fn patient_open(options: &Options, founding: Option<&Founding>) -> Result<Booted, BootError> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    let mut warned = false;
    loop {
        match boot::open(options, founding) {
            Err(BootError::InUse { path }) if Instant::now() < deadline => {
                if !warned {
                    warned = true;
                    tracing::warn!(path = %path.display(), "db file is flocked by another process");
                }
                std::thread::sleep(LOCK_PAUSE);
            }
            result => return result,
        }
    }
}

fn options_of(config: &Config) -> Options {
    let ticks = usize::try_from(config.election_ticks()).unwrap_or(usize::MAX);
    let timing = Timing { tick: Duration::from_millis(config.heartbeat_ms), election_ticks: ticks };
    Options {
        disk: Arc::new(OsDisk) as Arc<dyn Disk>,
        paths: Paths::new(Path::new(&config.data_dir), config.wal_dir.as_deref()),
        timing,
        pre_vote: config.pre_vote,
        tick_advance: config.initial_election_tick_advance,
        snapshot_count: config.snapshot_count,
        catchup_entries: config.snapshot_catchup_entries,
        max_wals: config.max_wals,
        max_snapshots: config.max_snapshots,
        quota_bytes: config
            .quota_limit_bytes()
            .map_or(0, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        max_request_bytes: config.max_request_bytes,
        warning_apply_duration: config.serving.warning_apply_duration,
        compaction: CompactionBudget {
            batch_rows: config.serving.compaction_batch_rows,
            pause: config.serving.compaction_pause,
        },
        max_learners: usize::try_from(config.max_learners).unwrap_or(usize::MAX),
        no_sync: config.unsafe_no_fsync,
        strict_reconfig_check: config.strict_reconfig_check,
        force_new_cluster: config.force_new_cluster,
        server_version: config::version::SERVER.to_owned(),
        seed: seed(),
        segment_bytes: SEGMENT_BYTES,
        start_threads: start_threads(),
    }
}

fn grpc_options(config: &Config, options: &Options) -> GrpcOptions {
    GrpcOptions {
        max_request_bytes: config.max_request_bytes,
        max_txn_ops: usize::try_from(config.max_txn_ops).unwrap_or(usize::MAX),
        extensive_metrics: config.serving.extensive_metrics,
        warning_unary_request_duration: config.serving.warning_unary_request_duration,
        watch_progress_notify_interval: config.serving.watch_progress_notify_interval,
        server_version: options.server_version.clone(),
    }
}

fn limits_of(config: &Config) -> Limits {
    Limits {
        streams: config.serving.max_concurrent_streams,
        ping_min_time: config.serving.keepalive_min_time,
        ping_interval: config.serving.keepalive_interval,
        ping_timeout: config.serving.keepalive_timeout,
        ..Limits::default()
    }
}

/// As many as there are processors, up to a number beyond which the sorted parts cost more to merge.
fn start_threads() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    processors.min(START_THREADS_MAX)
}

/// Members that start at the same moment must not draw the same election jitter.
fn seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let nanos = u64::try_from(now.as_nanos() & u128::from(u64::MAX)).unwrap_or(0);
    nanos ^ (u64::from(std::process::id()) << 32)
}

/// Shortens the first wait for an election (peer-protocol.md 8) by all but two ticks once peers are
/// connected, whose leader would make itself heard. A lone voter does not wait at all.
async fn advance_ticks(handle: Handle, members: usize) {
    let ticks = handle.options().timing.election_ticks;
    if members == 1 || !handle.options().tick_advance {
        return;
    }
    let deadline = tokio::time::Instant::now() + ADVANCE_LIMIT;
    while tokio::time::Instant::now() < deadline {
        if handle.leader() != types::NodeId(0) {
            return;
        }
        if handle.transport().connected_peers().len() > 1 {
            handle.advance_ticks(ticks.saturating_sub(2));
            return;
        }
        tokio::time::sleep(ADVANCE_PAUSE).await;
    }
}

/// Tells a supervisor that asked for it (`$NOTIFY_SOCKET`) that the server is ready.
fn notify_ready() {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let sent = std::os::unix::net::UnixDatagram::unbound()
        .and_then(|socket| socket.send_to(b"READY=1", Path::new(&path)));
    if let Err(error) = sent {
        tracing::warn!(%error, "failed to notify the supervisor");
    }
}

fn texts(urls: &[config::EndpointUrl]) -> Vec<String> {
    urls.iter().map(|url| url.as_str().to_owned()).collect()
}
