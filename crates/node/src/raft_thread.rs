//! The raft thread: owner of the consensus core; steps inputs, executes effects, never blocks.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use backend::View;
use consensus::{Driver, Effect, Input, RejectReason, Role};
use proto::raftpb::{Message, Snapshot};
use transport::{SnapshotBody, Transport};
use types::{EtcdError, NodeId, Term};

use crate::apply_thread::{ApplyJob, ApplyQueue};
use crate::checkpoint::{Capture, raft_snapshot};
use crate::profile::{self, Stage};
use crate::shared::{RaftView, Shared};
use crate::wal_thread::{LogWriter, WalJob, WalQueue};

/// Ticks made up for at once after the thread was held up; more would only start elections.
const LATE_TICKS_MAX: u32 = 3;

/// Databases pinned for followers, by the index of their snapshot.
pub(crate) type Pins = Arc<Mutex<BTreeMap<u64, Arc<dyn View>>>>;

/// The thread's state.
pub(crate) struct RaftThread {
    pub(crate) shared: Arc<Shared>,
    pub(crate) driver: Driver,
    pub(crate) tick: Duration,
    pub(crate) election_timeout: Duration,
    pub(crate) wal: Arc<WalQueue>,
    pub(crate) log: Arc<LogWriter>,
    pub(crate) apply: Arc<ApplyQueue>,
    pub(crate) transport: Transport,
    pub(crate) pins: Pins,
    /// Since when no leader is known, until the forwarded proposals have been answered.
    pub(crate) leaderless_since: Option<Instant>,
}

impl RaftThread {
    /// Works until the member stops.
    pub(crate) fn run(mut self) {
        let mut next_tick = Instant::now() + self.tick;
        while let Some(inputs) = self.shared.inbox.drain(next_tick) {
            for input in inputs {
                if matches!(input, Input::Propose(_)) {
                    profile::mark(Stage::Stepped);
                }
                self.driver.step(input);
            }
            self.tick_until_now(&mut next_tick);
            self.work();
            self.publish();
        }
        self.shared.alone.set_sole_term(None);
    }

    /// Executes what follows from the inputs, and from what could be written at once.
    fn work(&mut self) {
        loop {
            let effects = self.driver.drain();
            self.shared.alone.set_sole_term(self.driver.sole_term());
            let Some(written) = self.execute(effects) else { return };
            self.driver.step(Input::Persisted(written));
        }
    }

    fn tick_until_now(&mut self, next_tick: &mut Instant) {
        let now = Instant::now();
        let was_held_up = self.shared.beat.strike(now, self.tick);
        if was_held_up && self.shared.raft.borrow().is_leader {
            self.shared.counters.late_heartbeats.add(1);
        }
        let mut ticks = 0;
        while *next_tick <= now && ticks < LATE_TICKS_MAX {
            self.driver.step(Input::Tick);
            *next_tick += self.tick;
            ticks += 1;
        }
        if *next_tick <= now {
            *next_tick = now + self.tick;
        }
        if self.leaderless_since.is_some_and(|since| since.elapsed() >= self.election_timeout) {
            self.leaderless_since = None;
            self.shared.waiters.leader_lost(self.shared.local, NodeId(0));
        }
    }

    /// Returns the last write that this thread has done itself.
    fn execute(&mut self, effects: Vec<Effect>) -> Option<u64> {
        let mut received = None;
        let mut written = None;
        for effect in effects {
            match effect {
                Effect::Send(messages) => self.transport.send(messages),
                Effect::Persist { number, entries, hard_state, snapshot, must_sync, then } => {
                    if !entries.is_empty() {
                        profile::mark(Stage::Written);
                    }
                    let received = snapshot.and_then(|_| received.take());
                    let is_install = received.is_some();
                    let job =
                        WalJob::Persist { number, entries, hard_state, received, must_sync, then };
                    written = self.persist(job, is_install).or(written);
                }
                Effect::Apply(entries) => {
                    profile::mark(Stage::Committed);
                    self.apply.push(ApplyJob::Entries(entries));
                }
                Effect::InstallSnapshot(snapshot) => received = Some(snapshot),
                Effect::ConfState { index, conf_state } => self.apply.conf_state(index, conf_state),
                Effect::ReadReady { requests, index } => {
                    self.shared.waiters.reads_ready(requests, index);
                }
                Effect::ReadDropped { requests } => {
                    self.shared.waiters.reads_failed(&requests, EtcdError::RequestTooManyRequests);
                }
                Effect::Rejected { requests, reason } => {
                    self.shared.waiters.reject(&requests, reject_error(reason));
                }
                Effect::Role { term, leader, role, lost_leader } => {
                    self.role_changed(term, leader, role, lost_leader);
                }
                Effect::WantSnapshot { to } => self.want_snapshot(to),
                Effect::SendSnapshot(message) => self.send_snapshot(message),
            }
        }
        written
    }

    /// Hands a write to the wal thread. Only a leader that is the sole member does it itself: nobody
    /// waits for its heartbeats, there is no replication to overlap with, and each hand-over to another
    /// thread and back takes about as long as a third of a sync (decision 0023).
    fn persist(&self, job: WalJob, is_install: bool) -> Option<u64> {
        let is_alone = self.driver.sole_term().is_some() && !self.driver.has_peers();
        if is_alone && !is_install {
            return self.log.write_now(job);
        }
        self.wal.push(job);
        None
    }

    fn role_changed(&mut self, term: Term, leader: NodeId, role: Role, lost_leader: bool) {
        let local = self.shared.local;
        let view = RaftView { term, leader, is_leader: role == Role::Leader };
        let before = self.shared.raft.send_replace(view).leader;
        if leader == NodeId(0) {
            if before != leader {
                tracing::info!(%local, %term, lost = %before, "lost the leader");
            }
            self.leaderless_since.get_or_insert_with(Instant::now);
            return;
        }
        self.leaderless_since = None;
        if leader != before {
            tracing::info!(%local, %term, %leader, "leader elected");
            self.shared.leader_found();
        }
        if lost_leader || leader != before {
            self.shared.waiters.leader_lost(local, leader);
        }
    }

    /// Asks the flusher for the state of its next commit. The JSON of the v2 tree is made on a
    /// thread of its own: neither raft nor the flusher waits for it.
    fn want_snapshot(&self, to: NodeId) {
        tracing::info!(%to, "preparing snapshot for follower");
        let shared = Arc::clone(&self.shared);
        let pins = Arc::clone(&self.pins);
        let captured = Box::new(move |capture: Capture| {
            let build = move || {
                let snapshot = raft_snapshot(&capture.frozen);
                let mut pins = pins.lock().unwrap_or_else(PoisonError::into_inner);
                pins.clear();
                pins.insert(snapshot.metadata.index, capture.view);
                drop(pins);
                shared.inbox.control(Input::SnapshotReady(snapshot));
            };
            drop(std::thread::Builder::new().name("snapshot".to_owned()).spawn(build));
        });
        self.shared.flush_signals(|signals| signals.captures.push(captured));
    }

    fn send_snapshot(&self, message: Message) {
        let to = NodeId(message.to);
        let index =
            message.snapshot.as_ref().map_or(0, |snapshot: &Snapshot| snapshot.metadata.index);
        let pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        match pins.get(&index) {
            Some(view) => {
                tracing::info!(%to, index, bytes = view.image_len(), "sending snapshot");
                self.transport.send_snapshot(message, Box::new(self.pinned_body(view)));
            }
            None => self.shared.inbox.control(Input::SnapshotSent { to, ok: false }),
        }
    }

    fn pinned_body(&self, view: &Arc<dyn View>) -> PinnedBody {
        let shared = Arc::clone(&self.shared);
        PinnedBody { view: Arc::clone(view), shared, began: Instant::now() }
    }

    fn publish(&self) {
        let status = self.driver.status();
        self.shared.commit.store(status.commit.0, Ordering::Release);
        self.shared.log_bytes.store(self.driver.log_bytes(), Ordering::Release);
        *self.shared.status.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
    }
}

fn reject_error(reason: RejectReason) -> EtcdError {
    match reason {
        RejectReason::NoLeader => EtcdError::NoLeader,
        RejectReason::NotLeading => EtcdError::NotLeader,
        RejectReason::Dropped | RejectReason::TooMany => EtcdError::RequestTooManyRequests,
        RejectReason::Removed => EtcdError::Stopped,
        RejectReason::Invalid => EtcdError::Unhealthy,
    }
}

/// The database as it goes to another member.
struct PinnedBody {
    view: Arc<dyn View>,
    shared: Arc<Shared>,
    began: Instant,
}

impl Drop for PinnedBody {
    fn drop(&mut self) {
        self.shared.counters.database_reads.observe(self.began.elapsed());
    }
}

impl SnapshotBody for PinnedBody {
    fn len(&self) -> u64 {
        self.view.image_len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<usize> {
        self.view.read_image(offset, buf).map_err(std::io::Error::other)
    }
}
