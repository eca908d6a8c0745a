//! One running member: what its threads do in the product, cut into steps.
//!
//! Owns:       everything of a member that a crash takes away.
//! Uses:       what `node::boot::open` returned; `node::{OverlayHistory, ViewSource}`.
//! Never:      time: the world decides when a step is done.
//! Invariants: the order of durability of the product's threads, step by step: see the modules.
//! Source:     `node`: raft_thread, wal_thread, apply_thread, flusher, checkpoint, compactor.

mod applier;
mod checkpoint;
mod compactor;
mod effects;

pub(crate) use effects::position;
pub(crate) use v2_watching::v2_poll;
pub(crate) use watching::{WatchItem, WatchedEvent};
mod flusher;
mod leasing;
mod log;
mod v2_watching;
mod watching;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use apply::{Machine, Settings};
use backend::{Engine, EngineError, Overlay, View};
use consensus::{Driver, Input, Role};
use mvcc::RangeReply;
use node::OverlayHistory;
use node::boot::Booted;
use proto::etcdserverpb::RangeRequest;
use proto::raftpb::Snapshot;
use types::{EtcdError, LogIndex, NodeId, RequestId, Term};
use wal::snap::SnapStore;
use wal::{Wal, WalError};

use crate::config::Plant;
use crate::turn::{Task, Turn};

/// Why a member cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    #[error("log: {0}")]
    Wal(#[from] WalError),
    #[error("database: {0}")]
    Engine(#[from] EngineError),
    #[error("apply: {0}")]
    Apply(#[from] apply::Fault),
    #[error("v2 tree of snapshot: {0}")]
    Tree(String),
    #[error("{0}: {1}")]
    Io(&'static str, std::io::Error),
}

/// What the steps need to know of the run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) snapshot_count: u64,
    pub(crate) catchup_entries: u64,
    pub(crate) plant: Option<Plant>,
}

/// A running member.
pub(crate) struct Shell {
    pub(crate) local: NodeId,
    pub(crate) options: node::Options,
    pub(crate) limits: Limits,
    pub(crate) driver: Driver,
    pub(crate) inbox: VecDeque<Input>,
    pub(crate) role: Role,
    term: Term,
    pub(crate) leader: NodeId,
    /// Steps that were asked for and not done yet.
    pub(crate) armed: BTreeSet<Task>,
    wal: Wal,
    snaps: SnapStore,
    log: log::LogQueue,
    received: Option<Snapshot>,
    engine: Option<Box<dyn Engine>>,
    view: Arc<dyn View>,
    machine: Machine,
    overlay: Overlay,
    settings: Settings,
    applier: applier::Applier,
    flusher: flusher::Flusher,
    checkpoint: checkpoint::Checkpoint,
    compactor: compactor::Compactor,
    /// The database pinned for a follower, by the index of its snapshot.
    pin: Option<(u64, Arc<dyn View>)>,
    build: Option<node::Capture>,
    reads: Vec<(RequestId, LogIndex)>,
    hub: watching::Hub,
    v2_hub: v2_watching::V2Hub,
    leasing: leasing::Leasing,
}

impl Shell {
    /// Starts a member from what its files hold.
    pub(crate) fn start(
        booted: Booted,
        options: node::Options,
        limits: Limits,
        turn: &mut Turn<'_>,
    ) -> Self {
        let Booted { metadata, wal, snaps, engine, machine, restored, driver, .. } = booted;
        let mut overlay = Overlay::new();
        overlay.extend(restored.ops);
        let hub = watching::Hub::new(machine.store().current_revision());
        let mut shell = Self {
            local: metadata.node_id,
            options,
            limits,
            driver,
            inbox: VecDeque::new(),
            role: Role::Follower,
            term: Term(0),
            leader: NodeId(0),
            armed: BTreeSet::new(),
            wal,
            snaps,
            log: log::LogQueue::default(),
            received: None,
            view: engine.view(),
            engine: Some(engine),
            machine,
            overlay,
            settings: booted.settings,
            applier: applier::Applier::default(),
            flusher: flusher::Flusher::default(),
            checkpoint: checkpoint::Checkpoint::new(booted.snapshot_index.0),
            compactor: compactor::Compactor::default(),
            pin: None,
            build: None,
            reads: Vec::new(),
            hub,
            v2_hub: v2_watching::V2Hub::new(),
            leasing: leasing::Leasing::new(turn.now_us),
        };
        if let Some(revision) = restored.resume_compaction {
            shell.schedule_compaction(revision, turn);
        }
        turn.wake(Task::Raft);
        turn.wake(Task::FlushTake);
        shell
    }

    /// Does one step.
    pub(crate) fn run(&mut self, task: Task, turn: &mut Turn<'_>) -> Result<(), Stop> {
        match task {
            Task::Raft => self.raft(turn),
            Task::LogWrite => self.log_write(turn)?,
            Task::LogSync => self.log_sync(turn)?,
            Task::Apply => self.apply(turn)?,
            Task::FlushTake => self.flush_take(turn),
            Task::FlushCommit => self.flush_commit(turn)?,
            Task::CheckpointSave => self.checkpoint_save(turn)?,
            Task::CheckpointRelease => self.checkpoint_release(turn)?,
            Task::SnapshotBuild => self.snapshot_build(turn),
            Task::Compact => self.compact(turn)?,
            Task::Purge => self.purge()?,
        }
        Ok(())
    }

    /// Gives the member something to think about.
    pub(crate) fn post(&mut self, input: Input, turn: &mut Turn<'_>) {
        self.inbox.push_back(input);
        turn.wake(Task::Raft);
    }

    pub(crate) fn machine(&self) -> &Machine {
        &self.machine
    }

    pub(crate) fn leads(&self) -> bool {
        self.role == Role::Leader
    }

    pub(crate) fn snaps(&self) -> &SnapStore {
        &self.snaps
    }

    /// Whether nothing is being written, applied, committed, compacted or installed.
    pub(crate) fn is_settled(&self) -> bool {
        self.applier.is_idle()
            && self.log.is_idle()
            && self.flusher.is_idle()
            && self.checkpoint.is_idle()
            && self.compactor.is_idle()
            && self.machine.store().pending_compaction().is_none()
            && self.overlay.active().ops() == 0
            && !self.machine.is_replaying()
    }

    /// Answers a range from the state as it is now.
    pub(crate) fn range(
        &self,
        request: &RangeRequest,
    ) -> Result<Result<RangeReply, EtcdError>, Stop> {
        let history = OverlayHistory { overlay: &self.overlay, view: &self.view };
        self.machine.store().range(request, &history).map_err(|fault| Stop::Apply(fault.into()))
    }

    /// Hash of the key-value history, out of the database itself.
    pub(crate) fn hash_kv(&self) -> Result<Result<mvcc::HashReply, EtcdError>, Stop> {
        let history = OverlayHistory { overlay: &self.overlay, view: &self.view };
        self.machine.store().hash_kv(0, &history).map_err(|fault| Stop::Apply(fault.into()))
    }

    /// State hash, once nothing is being replayed.
    pub(crate) fn state_hash(&self) -> Option<u64> {
        (!self.machine.is_replaying()).then(|| self.machine.state_hash())
    }

    fn purge(&mut self) -> Result<(), Stop> {
        let disk = self.options.disk.as_ref();
        wal::purge(disk, &self.options.paths.wal, 2)?;
        for suffix in [".snap", ".snap.db"] {
            wal::purge_snaps(disk, &self.options.paths.snap, suffix, 2)?;
        }
        Ok(())
    }
}
