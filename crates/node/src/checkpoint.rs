//! The order of durability at a checkpoint: commit, `.snap`, log record, then the log may shrink.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Instant;

use apply::Frozen;
use backend::View;
use bytes::Bytes;
use consensus::Input;
use proto::raftpb::{Snapshot, SnapshotMetadata};
use types::{LogIndex, limits};
use wal::snap::SnapStore;
use wal::{WalError, WalSnapshot};

use crate::counters::Counters;
use crate::shared::Shared;
use crate::wal_thread::{WalJob, WalQueue};

/// The replicated state at one entry boundary: the frozen part in memory and the pinned view of the
/// commit that ended there, which belong together.
#[derive(Clone)]
pub struct Capture {
    /// Position, configuration and v2 tree.
    pub frozen: Frozen,
    /// The database at the same position.
    pub view: Arc<dyn View>,
}

/// The raft snapshot of a capture: the v2 tree as JSON, at the capture's index.
#[must_use]
pub fn raft_snapshot(frozen: &Frozen) -> Snapshot {
    Snapshot {
        data: Bytes::from(frozen.v2.to_json()),
        metadata: SnapshotMetadata {
            conf_state: frozen.conf_state.clone(),
            index: frozen.index.0,
            term: frozen.term.0,
        },
    }
}

/// Writes the `.snap` file of a snapshot, durably.
pub(crate) fn save_snap(
    snaps: &SnapStore,
    snapshot: &Snapshot,
    counters: &Counters,
) -> Result<(), WalError> {
    let began = Instant::now();
    let encoded = wal::snap::encode_file(snapshot);
    counters.snap_encodings.observe(began.elapsed());
    let encoded_at = Instant::now();
    snaps.save_encoded(&snapshot.metadata, &encoded)?;
    counters.snap_syncs.observe(encoded_at.elapsed());
    counters.snap_saves.observe(began.elapsed());
    Ok(())
}

pub(crate) fn wal_record(snapshot: &Snapshot) -> WalSnapshot {
    WalSnapshot {
        index: snapshot.metadata.index,
        term: snapshot.metadata.term,
        conf_state: Some(snapshot.metadata.conf_state.clone()),
    }
}

/// Decides when a checkpoint is due and has it made, one at a time, off the apply thread.
pub(crate) struct Checkpoints {
    pub(crate) shared: Arc<Shared>,
    pub(crate) wal: Arc<WalQueue>,
    pub(crate) snaps: SnapStore,
    /// Applied entries between two checkpoints.
    pub(crate) every: u64,
    /// Entries kept in memory behind a checkpoint.
    pub(crate) catchup: u64,
    pub(crate) last: Arc<AtomicU64>,
    pub(crate) running: Arc<AtomicBool>,
}

impl Checkpoints {
    /// Starts a checkpoint when enough was applied since the last one, or when the log takes too
    /// much memory.
    pub(crate) fn consider(&self, applied: LogIndex) {
        let since = applied.0.saturating_sub(self.last.load(Ordering::Acquire));
        let log_bytes = self.shared.log_bytes.load(Ordering::Acquire);
        let heavy = log_bytes > limits::RAFT_LOG_MEMORY_MAX_BYTES && since > 0;
        if (since > self.every || heavy) && !self.running.swap(true, Ordering::AcqRel) {
            let maker = self.maker();
            let captured = Box::new(move |capture: Capture| {
                let make = move || maker.make(&capture);
                drop(std::thread::Builder::new().name("checkpoint".to_owned()).spawn(make));
            });
            self.shared.flush_signals(|signals| signals.captures.push(captured));
        }
    }

    /// A received snapshot counts as a checkpoint.
    pub(crate) fn installed(&self, index: LogIndex) {
        self.last.fetch_max(index.0, Ordering::AcqRel);
    }

    fn maker(&self) -> Maker {
        Maker {
            shared: Arc::clone(&self.shared),
            wal: Arc::clone(&self.wal),
            snaps: self.snaps.clone(),
            catchup: self.catchup,
            last: Arc::clone(&self.last),
            running: Arc::clone(&self.running),
        }
    }
}

struct Maker {
    shared: Arc<Shared>,
    wal: Arc<WalQueue>,
    snaps: SnapStore,
    catchup: u64,
    last: Arc<AtomicU64>,
    running: Arc<AtomicBool>,
}

impl Maker {
    fn make(&self, capture: &Capture) {
        let snapshot = raft_snapshot(&capture.frozen);
        if let Err(error) = self.record(&snapshot) {
            self.shared.stop_for_error("save snapshot", &error);
        }
        self.running.store(false, Ordering::Release);
    }

    fn record(&self, snapshot: &Snapshot) -> Result<(), WalError> {
        let index = snapshot.metadata.index;
        if index <= self.last.load(Ordering::Acquire) {
            // A received snapshot was faster.
            return Ok(());
        }
        save_snap(&self.snaps, snapshot, &self.shared.counters)?;
        let (done, durable) = mpsc::sync_channel(1);
        self.wal.push(WalJob::Checkpoint { snapshot: wal_record(snapshot), done });
        if self.shared.recv_or_stop(&durable).is_none() {
            return Ok(());
        }
        tracing::info!(index, bytes = snapshot.data.len(), "saved snapshot to disk");
        self.last.fetch_max(index, Ordering::AcqRel);
        self.wal.push(WalJob::Release(index));
        let compact = index.saturating_sub(self.catchup);
        if compact > 0 {
            self.shared.inbox.control(Input::Compact(LogIndex(compact)));
        }
        self.snaps.release_snap_dbs(index).map(drop)
    }
}
