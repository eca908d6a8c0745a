//! A running member: its threads, started in order and stopped in the reverse.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use apply::Settings;
use backend::Engine;
use consensus::Input;
use membership::Member;
use prost::Message as _;
use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::{AlarmRequest, AlarmType, InternalRaftRequest, RequestHeader};
use transport::{CallPool, Transport};
use types::{ClusterId, LogIndex, NodeId};
use wal::Wal;
use wal::snap::SnapStore;

use crate::apply_thread::{ApplyJob, ApplyQueue, ApplyThread};
use crate::boot::Booted;
use crate::checkpoint::Checkpoints;
use crate::compactor::Compactor;
use crate::duties_task;
use crate::expiry_task;
use crate::flusher::Flusher;
use crate::handle::{Handle, Inner};
use crate::housekeeping;
use crate::options::Options;
use crate::peer_api::NodeApi;
use crate::profile;
use crate::raft_thread::{Pins, RaftThread};
use crate::read_threads::ReadThreads;
use crate::request_id::RequestIds;
use crate::shared::{Shared, StopReason};
use crate::v2_watch::V2Watchers;
use crate::wal_thread::{LogWriter, WalJob, WalQueue, WriterState};

/// Every how many writes over the quota the alarm is proposed.
const ALARM_EVERY: u64 = 64;
/// How long a stopping leader waits for another member to take over.
const TRANSFER_POLL: Duration = Duration::from_millis(10);

/// What a member is started from besides its files.
pub struct Start {
    /// Settings.
    pub options: Options,
    /// What [`crate::boot::open`] found.
    pub booted: Booted,
    /// Members known before the log tells them: those of a bootstrap or of a running cluster.
    pub peers: Vec<Member>,
    /// Peer URLs that this member tells others.
    pub peer_urls: Vec<String>,
    /// This member's name and client URLs, published through the log.
    pub name: String,
    /// See above.
    pub client_urls: Vec<String>,
    /// Whether v2 requests may be logged.
    pub v2_enabled: bool,
    /// Where the asynchronous parts run.
    pub runtime: tokio::runtime::Handle,
}

/// A running member.
pub struct Node {
    handle: Handle,
    shared: Arc<Shared>,
    apply: Arc<ApplyQueue>,
    wal: Arc<WalQueue>,
    threads: Vec<JoinHandle<()>>,
}

impl Node {
    /// Starts the threads of a member.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn start(start: Start) -> std::io::Result<Self> {
        let Start { options, booted, peers, peer_urls, name, client_urls, v2_enabled, runtime } =
            start;
        let Booted { metadata, wal, snaps, engine, machine, restored, driver, .. } = booted;
        for note in &restored.notes {
            tracing::info!(note, "restored");
        }
        let known: Vec<Member> = machine.membership().members.values().cloned().collect();
        let shared =
            Arc::new(Shared::new(metadata.node_id, machine, engine.view(), engine.sizes()));
        shared.write().overlay.extend(restored.ops);
        let apply = Arc::new(ApplyQueue::new());
        let place = (metadata.cluster_id, peer_urls);
        let handle = connect(&shared, &apply, &options, place, &runtime);
        for peer in known.iter().chain(&peers).filter(|peer| peer.id != metadata.node_id) {
            handle.transport().add_peer(peer.id, &peer.peer_urls);
        }
        let parts = Parts {
            shared: &shared,
            options: &options,
            handle: &handle,
            apply: &apply,
            wal: &Arc::new(WalQueue::default()),
        };
        let (compactor, compactor_thread) =
            Compactor::start(Arc::clone(&shared), Arc::clone(parts.apply), options.compaction)?;
        if let Some(revision) = restored.resume_compaction {
            compactor.schedule(revision);
        }
        let checkpoints = parts.checkpoints(&snaps, booted.snapshot_index.0);
        let log = parts.log_writer(wal, snaps.clone());
        let threads = vec![
            parts.spawn_flusher(engine)?,
            parts.spawn_wal(&log)?,
            compactor_thread,
            parts.spawn_watch()?,
            parts.spawn_watch_catch_up()?,
            parts.spawn_apply(snaps, booted.settings, checkpoints, compactor)?,
            parts.spawn_raft(driver, log)?,
        ];
        let wal = Arc::clone(parts.wal);
        runtime.spawn(housekeeping::purge_files(Arc::clone(&shared), options));
        runtime.spawn(duties_task::run(handle.clone(), v2_enabled));
        runtime.spawn(expiry_task::run(handle.clone()));
        runtime.spawn(duties_task::publish(handle.clone(), name, client_urls));
        Ok(Self { handle, shared, apply, wal, threads })
    }

    /// The handle for the edges.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Hands over the leadership if this member has it, then stops the threads and writes what they
    /// hold. Returns why the member stopped.
    pub async fn stop(mut self) -> StopReason {
        if self.shared.stop_reason().is_none() {
            self.hand_over().await;
        }
        self.shared.stop_for(StopReason::Requested);
        self.apply.push(ApplyJob::Stop);
        self.wal.push(WalJob::Stop);
        let threads = std::mem::take(&mut self.threads);
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                drop(thread.join());
            }
        });
        drop(joined.await);
        profile::report();
        self.handle.transport().stop().await;
        self.shared.stop_reason().unwrap_or(StopReason::Requested)
    }

    /// Transfers the leadership, if this member has it, to the voter that has been connected the
    /// longest, and waits for it for at most the request time-out.
    pub async fn hand_over(&self) {
        let local = self.shared.local;
        if !self.shared.raft.borrow().is_leader {
            return;
        }
        let voters: Vec<NodeId> = self.handle.with_machine(|machine| {
            machine.membership().voters().map(|member| member.id).collect()
        });
        let transport = self.handle.transport();
        let connected = voters.into_iter().filter(|id| *id != local);
        let oldest = connected
            .filter_map(|id| transport.active_since(id).map(|since| (since, id)))
            .min()
            .map(|(_, id)| id);
        let Some(target) = oldest else { return };
        tracing::info!(%local, %target, "leadership transfer starting");
        self.shared.inbox.control(Input::TransferLeader(target));
        let limit = Instant::now() + self.handle.options().timing.request_timeout();
        let mut raft = self.shared.raft.subscribe();
        while Instant::now() < limit {
            let moved = raft.wait_for(|view| !view.is_leader && view.leader != NodeId(0));
            match tokio::time::timeout(TRANSFER_POLL, moved).await {
                Ok(_) => break,
                Err(_) if self.shared.stop_reason().is_some() => break,
                Err(_) => {}
            }
        }
        tracing::info!(%local, "leadership transfer finished");
    }
}

/// Starts the transport and ties it and the handle together.
fn connect(
    shared: &Arc<Shared>,
    apply: &Arc<ApplyQueue>,
    options: &Options,
    (cluster_id, peer_urls): (ClusterId, Vec<String>),
    runtime: &tokio::runtime::Handle,
) -> Handle {
    let transport_options = transport::Options::new(
        shared.local,
        cluster_id,
        options.server_version.clone(),
        options.timing.election_timeout(),
        peer_urls,
    );
    let calls = CallPool::new(Arc::clone(&transport_options.connector));
    let api = Arc::new(NodeApi::new(Arc::clone(shared), options));
    let transport = Transport::start(transport_options, Arc::clone(&api) as _, runtime);
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let handle = Handle::new(Arc::new(Inner {
        shared: Arc::clone(shared),
        cluster_id,
        options: options.clone(),
        ids: RequestIds::new(shared.local, since_epoch),
        pending: AtomicUsize::new(0),
        apply: Arc::clone(apply),
        transport,
        calls,
        read_threads: ReadThreads::new(),
        started: Instant::now(),
    }));
    api.attach(handle.clone());
    handle
}

struct Parts<'a> {
    shared: &'a Arc<Shared>,
    options: &'a Options,
    handle: &'a Handle,
    apply: &'a Arc<ApplyQueue>,
    wal: &'a Arc<WalQueue>,
}

impl Parts<'_> {
    fn spawn_flusher(&self, engine: Box<dyn Engine>) -> std::io::Result<JoinHandle<()>> {
        let flusher = Flusher::new(
            Arc::clone(self.shared),
            engine,
            Arc::clone(&self.options.disk),
            self.options.paths.db(),
            self.options.no_sync,
        );
        spawn("flusher", move || flusher.run())
    }

    fn spawn_apply(
        &self,
        snaps: SnapStore,
        settings: Settings,
        checkpoints: Checkpoints,
        compactor: Compactor,
    ) -> std::io::Result<JoinHandle<()>> {
        let thread = ApplyThread {
            shared: Arc::clone(self.shared),
            queue: Arc::clone(self.apply),
            transport: self.handle.transport().clone(),
            snaps,
            settings,
            checkpoints,
            compactor,
            v2_watchers: v2_watchers(self.shared, self.apply),
            slow: self.options.warning_apply_duration,
            propose_alarm: no_space_alarm(self.handle.clone()),
            election_timeout: self.options.timing.election_timeout(),
            reported: LogIndex(0),
        };
        spawn("apply", move || thread.run())
    }

    fn spawn_watch(&self) -> std::io::Result<JoinHandle<()>> {
        let shared = Arc::clone(self.shared);
        spawn("watch", move || shared.watch.run_publisher())
    }

    fn spawn_watch_catch_up(&self) -> std::io::Result<JoinHandle<()>> {
        let shared = Arc::clone(self.shared);
        spawn("watch-catch-up", move || shared.watch.run_catch_up(&shared))
    }

    fn log_writer(&self, wal: Wal, snaps: SnapStore) -> Arc<LogWriter> {
        let transport = self.handle.transport().clone();
        let state = WriterState {
            shared: Arc::clone(self.shared),
            wal,
            snaps,
            apply: Arc::clone(self.apply),
            send: Box::new(move |messages| transport.send(messages)),
        };
        Arc::new(LogWriter::new(Arc::clone(self.wal), state))
    }

    fn spawn_wal(&self, log: &Arc<LogWriter>) -> std::io::Result<JoinHandle<()>> {
        let log = Arc::clone(log);
        spawn("wal", move || log.run())
    }

    fn spawn_raft(
        &self,
        driver: consensus::Driver,
        log: Arc<LogWriter>,
    ) -> std::io::Result<JoinHandle<()>> {
        let thread = RaftThread {
            shared: Arc::clone(self.shared),
            driver,
            tick: self.options.timing.tick,
            election_timeout: self.options.timing.election_timeout(),
            wal: Arc::clone(self.wal),
            log,
            apply: Arc::clone(self.apply),
            transport: self.handle.transport().clone(),
            pins: Pins::new(Mutex::default()),
            leaderless_since: None,
        };
        spawn("raft", move || thread.run())
    }

    fn checkpoints(&self, snaps: &SnapStore, last: u64) -> Checkpoints {
        Checkpoints {
            shared: Arc::clone(self.shared),
            wal: Arc::clone(self.wal),
            snaps: snaps.clone(),
            every: self.options.snapshot_count,
            catchup: self.options.catchup_entries,
            last: Arc::new(AtomicU64::new(last)),
            running: Arc::new(AtomicBool::new(false)),
        }
    }
}

/// The registry of v2 watchers; those whose connection ends come back through the apply queue.
fn v2_watchers(shared: &Shared, apply: &Arc<ApplyQueue>) -> V2Watchers {
    let apply = Arc::clone(apply);
    let leave = Arc::new(move |id| apply.push(ApplyJob::V2Leave(id)));
    V2Watchers::new(leave, shared.closing.subscribe())
}

/// Proposes the alarm without waiting for it: the next write over the quota proposes it again.
fn no_space_alarm(handle: Handle) -> Box<dyn Fn() + Send> {
    let quiet = AtomicU64::new(0);
    Box::new(move || {
        if !quiet.fetch_add(1, Ordering::Relaxed).is_multiple_of(ALARM_EVERY) {
            return;
        }
        tracing::warn!("alarm raised: database space exceeded");
        let alarm = AlarmRequest {
            action: AlarmAction::Activate.into(),
            member_id: handle.local().0,
            alarm: AlarmType::Nospace.into(),
        };
        handle.submit_quietly(|id| {
            let request = InternalRaftRequest {
                header: Some(RequestHeader { id: id.0, ..RequestHeader::default() }),
                alarm: Some(alarm),
                ..InternalRaftRequest::default()
            };
            request.encode_to_vec().into()
        });
    })
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work)
}
