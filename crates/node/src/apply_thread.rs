//! The apply thread: the only writer of the replicated state.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use apply::{Applied, Fault, Local, Machine, Settings, SnapshotBase};
use backend::{Overlay, View};
use consensus::Input;
use proto::raftpb::{ConfState, Entry, EntryType, Snapshot};
use transport::Transport;
use types::{LogIndex, NodeId, RequestId, Term, limits};
use v2store::WatcherId;
use wal::snap::SnapStore;

use crate::checkpoint::Checkpoints;
use crate::compactor::Compactor;
use crate::flusher::ReplaceRequest;
use crate::mailbox::Mailbox;
use crate::profile::{self, Stage};
use crate::shared::{OverlayHistory, Published, Shared, StopReason, ViewSource};
use crate::v2_watch::{V2Order, V2Watchers};
use crate::waiters::Outcome;

/// Longest hold of the write lock by one chunk.
const CHUNK_TIME: Duration = Duration::from_millis(1);
/// How long a removed member goes on, so that its last messages leave (peer-protocol.md 12.4).
const REMOVED_GRACE: Duration = Duration::from_secs(1);

/// Work of the thread.
pub(crate) enum ApplyJob {
    /// Committed entries.
    Entries(Vec<Entry>),
    /// A snapshot whose file and log record are durable.
    Install(Snapshot),
    /// Rows that the compactor read: those that the compaction at `at` does not keep are deleted.
    CompactRows {
        rows: Vec<(types::RevKey, bool, bytes::Bytes)>,
        at: i64,
        done: mpsc::SyncSender<()>,
    },
    /// A watcher of the v2 tree.
    V2Watch(V2Order),
    /// Its connection has ended.
    V2Leave(WatcherId),
    /// All rows of the compaction at this revision have been looked at.
    CompactFinish { at: i64, done: mpsc::SyncSender<()> },
    /// End.
    Stop,
}

/// The queue in front of the thread, and the way back from the raft thread in the middle of a
/// configuration change.
pub(crate) struct ApplyQueue {
    jobs: Mailbox<VecDeque<ApplyJob>>,
    conf_states: Mutex<Option<(LogIndex, ConfState)>>,
    conf_bell: Condvar,
}

impl ApplyQueue {
    pub(crate) fn new() -> Self {
        Self { jobs: Mailbox::default(), conf_states: Mutex::default(), conf_bell: Condvar::new() }
    }

    pub(crate) fn push(&self, job: ApplyJob) {
        self.jobs.put(|jobs| jobs.push_back(job));
    }

    pub(crate) fn install(&self, snapshot: Snapshot) {
        self.push(ApplyJob::Install(snapshot));
    }

    /// Delivers raft's answer to a configuration change.
    pub(crate) fn conf_state(&self, index: LogIndex, conf_state: ConfState) {
        let mut slot = self.conf_states.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = Some((index, conf_state));
        self.conf_bell.notify_one();
    }

    fn take(&self) -> ApplyJob {
        self.jobs.wait(None, |jobs, _| jobs.pop_front())
    }

    /// Waits for the configuration after the change at `index`; `None` when the member stops.
    fn wait_conf_state(&self, index: LogIndex, shared: &Shared) -> Option<ConfState> {
        let mut slot = self.conf_states.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match slot.take() {
                Some((answered, conf_state)) if answered == index => return Some(conf_state),
                _ if shared.stop_reason().is_some() => return None,
                _ => {}
            }
            let limit = Duration::from_millis(100);
            slot = match self.conf_bell.wait_timeout(slot, limit) {
                Ok((slot, _)) => slot,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}

/// Why the thread cannot go on.
#[derive(Debug, thiserror::Error)]
enum ApplyError {
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error("install snapshot: {0}")]
    Install(String),
}

/// The thread's state.
pub(crate) struct ApplyThread {
    pub(crate) shared: Arc<Shared>,
    pub(crate) queue: Arc<ApplyQueue>,
    pub(crate) transport: Transport,
    pub(crate) snaps: SnapStore,
    pub(crate) settings: Settings,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) compactor: Compactor,
    pub(crate) v2_watchers: V2Watchers,
    /// Time above which applying one entry is warned about.
    pub(crate) slow: Duration,
    pub(crate) propose_alarm: Box<dyn Fn() + Send>,
    pub(crate) election_timeout: Duration,
    /// Up to where raft's thread was last woken for the report.
    pub(crate) reported: LogIndex,
}

impl ApplyThread {
    /// Applies until the member stops.
    pub(crate) fn run(mut self) {
        loop {
            let result = match self.queue.take() {
                ApplyJob::Entries(entries) => self.entries(entries),
                ApplyJob::Install(snapshot) => {
                    self.shared.counters.snapshot_installs.set(1);
                    let installed = self.install(&snapshot);
                    self.shared.counters.snapshot_installs.set(0);
                    installed
                }
                ApplyJob::CompactRows { rows, at, done } => {
                    self.compact_rows(&rows, at);
                    let _ = done.send(());
                    Ok(())
                }
                ApplyJob::V2Watch(order) => {
                    self.shared.counters.v2.watch_requests.add(1);
                    self.v2_watchers.serve(self.shared.read().machine.v2(), order);
                    Ok(())
                }
                ApplyJob::V2Leave(id) => {
                    self.v2_watchers.leave(id);
                    Ok(())
                }
                ApplyJob::CompactFinish { at, done } => {
                    let published = &mut *self.shared.write();
                    published.overlay.extend(published.machine.compact_finish(at));
                    self.shared.counters.compaction_last.set(unix_seconds());
                    let _ = done.send(());
                    Ok(())
                }
                ApplyJob::Stop => return,
            };
            if let Err(fault) = result {
                self.shared.stop_for(StopReason::Fault(format!("apply: {fault}")));
                return;
            }
            if self.shared.stop_reason().is_some() {
                return;
            }
        }
    }

    fn entries(&mut self, entries: Vec<Entry>) -> Result<(), ApplyError> {
        profile::mark(Stage::Applying);
        let mut rest = entries.as_slice();
        while let Some(first) = rest.first() {
            let taken = match first.entry_type {
                EntryType::Normal => self.normal_chunk(rest)?,
                EntryType::ConfChange | EntryType::ConfChangeV2 => {
                    if !self.conf_change(first)? {
                        return Ok(());
                    }
                    1
                }
            };
            rest = &rest[taken..];
        }
        Ok(())
    }

    /// Applies normal entries under one hold of the write lock; returns how many.
    fn normal_chunk(&mut self, entries: &[Entry]) -> Result<usize, ApplyError> {
        self.shared.wait_for_space(overlay_full);
        let view = self.shared.view();
        let mut done = Vec::with_capacity(entries.len().min(limits::APPLY_CHUNK_ENTRIES));
        {
            let published = &mut *self.shared.write();
            published.machine.observe_time(unix_ns());
            let v2_before = published.machine.v2().stats();
            let began = Instant::now();
            let mut started = began;
            for entry in entries.iter().take(limits::APPLY_CHUNK_ENTRIES) {
                if entry.entry_type != EntryType::Normal || started - began > CHUNK_TIME {
                    break;
                }
                let applied = apply_one(published, entry, &view)?;
                // One look at the clock for each entry.
                let ended = Instant::now();
                let took = ended - started;
                started = ended;
                self.watch_time(entry, took);
                self.shared.leasing.applied(&self.shared.raft, &applied.local);
                self.shared.counters.applied(&applied, took);
                done.push(applied);
            }
            self.shared.counters.v2.wrote(&v2_before, &published.machine.v2().stats());
        }
        let count = done.len();
        // After an election raft takes no change of the configuration before.
        let begins_term = |applied: &Applied| applied.local.contains(&Local::FirstEntryOfTerm);
        let urgent = done.iter().any(begins_term);
        self.settle(done, urgent);
        Ok(count)
    }

    /// Warns of an entry that took long, in etcd's words.
    fn watch_time(&self, entry: &Entry, took: Duration) {
        if took > self.slow {
            self.shared.counters.slow_applies.add(1);
            let expected_duration = self.slow;
            let (index, size) = (entry.index, entry.data.len());
            tracing::warn!(?took, ?expected_duration, index, size, "apply request took too long");
        }
    }

    /// The two steps of a configuration change with raft's answer between them; `false` when the
    /// member stopped meanwhile.
    fn conf_change(&mut self, entry: &Entry) -> Result<bool, ApplyError> {
        let decision = self.shared.read().machine.check_conf_change(entry)?;
        let index = LogIndex(entry.index);
        let change = decision.change.clone();
        self.shared.inbox.control(Input::ConfChangeApplied { index, change });
        let Some(conf_state) = self.queue.wait_conf_state(index, &self.shared) else {
            return Ok(false);
        };
        let applied = {
            let published = &mut *self.shared.write();
            let v2_before = published.machine.v2().stats();
            let mut applied = published.machine.apply_conf_change(entry, decision, &conf_state)?;
            self.shared.counters.v2.wrote(&v2_before, &published.machine.v2().stats());
            published.overlay.extend(std::mem::take(&mut applied.ops));
            applied
        };
        self.shared.membership_changed();
        // Raft takes no other change before.
        self.settle(vec![applied], true);
        Ok(true)
    }

    /// What follows once the lock is released: locals, replies, progress, of which raft is told at once
    /// if that is `urgent`.
    fn settle(&mut self, applied: Vec<Applied>, urgent: bool) {
        let Some(last) = applied.last().map(|applied| (applied.index, applied.term)) else {
            return;
        };
        self.shared.applied.store(last.0.0, Ordering::Release);
        let mut outcomes = Vec::with_capacity(applied.len());
        for one in applied {
            self.settle_one(one, &mut outcomes);
        }
        profile::mark(Stage::Applied);
        self.shared.waiters.applied(last.0, outcomes);
        self.report(last.0, urgent);
        if overlay_due(&self.shared.read().overlay) {
            self.shared.flush_signals(|signals| signals.hurry = true);
        }
        self.checkpoints.consider(last.0);
    }

    /// Tells raft how far this thread is. What raft has to know at once wakes its thread, and so does
    /// half of the window that it hands entries out in; else it learns it with the next thing to do.
    fn report(&mut self, index: LogIndex, urgent: bool) {
        let urgent =
            urgent || index.0.saturating_sub(self.reported.0) >= limits::APPLIED_LAG_MAX / 2;
        if urgent {
            self.reported = index;
        }
        self.shared.inbox.applied(index, urgent);
    }

    fn settle_one(&mut self, applied: Applied, outcomes: &mut Vec<(RequestId, Outcome)>) {
        if applied.local.contains(&Local::FirstEntryOfTerm) {
            // It ends the wait for what was proposed before, which these were.
            self.shared.waiters.settle(std::mem::take(outcomes));
        }
        for local in applied.local {
            self.local(local, applied.term);
        }
        self.v2_watchers.notify(applied.v2_events.into_iter().zip(&applied.v2_removed));
        if !applied.events.is_empty() {
            self.shared.watch.publish(applied.revision, applied.events);
        }
        if applied.request_id.0 == 0 {
            return;
        }
        if let Some(reply) = applied.reply {
            let Applied { request_id, revision, index, term, .. } = applied;
            outcomes.push((request_id, Outcome { reply: Ok(reply), revision, index, term }));
        }
    }

    fn local(&mut self, local: Local, term: Term) {
        match local {
            Local::MemberAdded(member) => {
                if member.id != self.shared.local {
                    self.transport.add_peer(member.id, &member.peer_urls);
                }
            }
            Local::MemberUpdated(member) => {
                if member.id != self.shared.local {
                    self.transport.update_peer(member.id, &member.peer_urls);
                }
            }
            Local::MemberRemoved(id) => {
                if id != self.shared.local {
                    self.transport.remove_peer(id);
                }
            }
            Local::SelfRemoved => self.leave(),
            Local::ProposeNoSpaceAlarm => (self.propose_alarm)(),
            Local::CompactionScheduled(revision) => self.compactor.schedule(revision),
            Local::FirstEntryOfTerm => self.term_began(term),
            // Told to the deadlines under the lock, together with the table.
            Local::LeaseGranted { .. } | Local::LeaseRevoked(_) => {}
            Local::ClusterVersionSet(version) => {
                tracing::info!(%version, "updated cluster version");
            }
            Local::V2RowsDiffer => tracing::warn!("{}", apply::V2_ROWS_DIFFER),
            Local::AlarmsChanged => tracing::warn!("the set of alarms changed"),
        }
    }

    /// A leader expires no lease before this: until then its table may lack what its predecessors
    /// have acknowledged.
    fn term_began(&self, term: Term) {
        self.shared.waiters.term_began(term);
        self.shared.alone.term_begun(term);
        let published = self.shared.read();
        let table = published.machine.leases();
        self.shared.leasing.promote(&self.shared.raft, term, table, self.election_timeout);
    }

    fn leave(&self) {
        tracing::warn!("the member has been permanently removed from the cluster");
        let shared = Arc::clone(&self.shared);
        let later = move || {
            std::thread::sleep(REMOVED_GRACE);
            shared.stop_for(StopReason::Removed);
        };
        drop(std::thread::Builder::new().name("leave".to_owned()).spawn(later));
    }

    fn compact_rows(&mut self, rows: &[(types::RevKey, bool, bytes::Bytes)], at: i64) {
        self.shared.wait_for_space(overlay_full);
        let counters = &self.shared.counters;
        let published = &mut *self.shared.write();
        let began = Instant::now();
        let ops = published.machine.compact_step(rows, at);
        counters.compacted_rows.add(ops.len() as u64);
        published.overlay.extend(ops);
        let pause = began.elapsed();
        counters.index_pauses.observe(pause);
        counters.compaction_pauses.observe(pause);
    }

    /// Replaces the whole state by a received snapshot. Its `.snap` file and log record are durable,
    /// so a crash in here is finished by the restart (disk-formats.md 4.4).
    fn install(&mut self, snapshot: &Snapshot) -> Result<(), ApplyError> {
        let meta = snapshot.metadata.clone();
        tracing::info!(index = meta.index, term = meta.term, "installing snapshot");
        let (reply, view) = mpsc::sync_channel(1);
        let (resume, resumed) = mpsc::sync_channel(1);
        let received = self.snaps.db_snapshot_path(meta.index);
        let order = ReplaceRequest { received, reply, resumed };
        self.shared.flush_signals(|signals| signals.replace = Some(order));
        let view: Arc<dyn View> = match self.shared.recv_or_stop(&view) {
            Some(Ok(view)) => view,
            Some(Err(error)) => {
                return Err(ApplyError::Install(format!("open received database: {error}")));
            }
            None => return Err(ApplyError::Install("flusher has stopped".to_owned())),
        };
        let v2 = v2store::Store::from_json(&snapshot.data)
            .map_err(|error| ApplyError::Install(format!("v2 tree of snapshot: {error}")))?;
        let base = SnapshotBase {
            index: LogIndex(meta.index),
            term: Term(meta.term),
            v2: Some(v2),
            conf_state: meta.conf_state.clone(),
        };
        let source = ViewSource { view: view.as_ref(), threads: 1 };
        let (machine, restored) = Machine::restore(&source, self.settings.clone(), base)?;
        let mut overlay = Overlay::new();
        overlay.extend(restored.ops);
        let peers = machine.membership().members.values();
        let peers = peers
            .filter(|member| member.id != self.shared.local && member.id != NodeId(0))
            .map(|member| (member.id, member.peer_urls.clone()))
            .collect();
        let revision = machine.store().current_revision();
        let before = {
            let mut published = self.shared.write();
            self.shared.set_view(view, self.shared.sizes());
            std::mem::replace(&mut *published, Published { machine, overlay })
        };
        self.v2_watchers.jumped(before.machine.v2(), self.shared.read().machine.v2());
        drop(before);
        self.shared.membership_changed();
        self.shared.watch.skip_to(revision);
        self.checkpoints.installed(LogIndex(meta.index));
        let _ = resume.send(());
        if let Some(revision) = restored.resume_compaction {
            // The sender was in the middle of it.
            self.compactor.schedule(revision);
        }
        self.transport.set_peers(&peers);
        self.shared.applied.store(meta.index, Ordering::Release);
        self.reported = LogIndex(meta.index);
        self.shared.waiters.applied(self.reported, Vec::new());
        self.shared.waiters.overtaken();
        self.shared.inbox.control(Input::SnapshotInstalled(meta.clone()));
        Ok(())
    }
}

/// Wall clock for the `ttl` that v2 events show; it never decides what an entry does.
fn unix_ns() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn apply_one(
    published: &mut Published,
    entry: &Entry,
    view: &Arc<dyn View>,
) -> Result<Applied, Fault> {
    let Published { machine, overlay } = published;
    let mut applied = machine.apply(entry, &OverlayHistory { overlay, view })?;
    overlay.extend(std::mem::take(&mut applied.ops));
    Ok(applied)
}

/// Above this apply waits for the flusher: the only back-pressure between the two.
fn overlay_full(overlay: &Overlay) -> bool {
    let active = overlay.active();
    active.ops() > 2 * limits::OVERLAY_OPS_MAX || active.bytes() > 2 * limits::OVERLAY_BYTES_MAX
}

fn overlay_due(overlay: &Overlay) -> bool {
    let active = overlay.active();
    active.ops() >= limits::OVERLAY_OPS_MAX || active.bytes() >= limits::OVERLAY_BYTES_MAX
}
