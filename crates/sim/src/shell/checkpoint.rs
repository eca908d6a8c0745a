//! Checkpoints and snapshots for followers, both out of a capture.
//!
//! Source:     `node::checkpoint`; design.md 5 (order of durability).

use apply::Frozen;
use node::raft_snapshot;
use proto::raftpb::Snapshot;
use types::LogIndex;

use super::log::{LogJob, wal_record};
use super::{Input, Shell, Stop, Task, Turn};
use crate::config::Plant;
use crate::shell::flusher::Purpose;

/// The checkpoint being made, and the last one.
pub(super) struct Checkpoint {
    last: u64,
    running: bool,
    snapshot: Option<Snapshot>,
}

impl Checkpoint {
    pub(super) fn new(last: u64) -> Self {
        Self { last, running: false, snapshot: None }
    }

    pub(super) fn is_idle(&self) -> bool {
        !self.running
    }

    /// A received snapshot counts as a checkpoint.
    pub(super) fn installed(&mut self, index: u64) {
        self.last = self.last.max(index);
    }
}

impl Shell {
    pub(super) fn consider_checkpoint(&mut self, applied: u64, turn: &mut Turn<'_>) {
        let due = applied.saturating_sub(self.checkpoint.last) > self.limits.snapshot_count;
        if !due || self.checkpoint.running {
            return;
        }
        self.checkpoint.running = true;
        match self.machine.freeze() {
            Some(frozen) if self.limits.plant == Some(Plant::EarlyCut) => {
                self.begin_checkpoint(&frozen, turn);
            }
            _ => {
                self.flusher.captures.push(Purpose::Checkpoint);
                turn.wake(Task::FlushTake);
            }
        }
    }

    pub(super) fn begin_checkpoint(&mut self, frozen: &Frozen, turn: &mut Turn<'_>) {
        self.checkpoint.snapshot = Some(raft_snapshot(frozen));
        turn.wake(Task::CheckpointSave);
    }

    pub(super) fn checkpoint_save(&mut self, turn: &mut Turn<'_>) -> Result<(), Stop> {
        let Some(snapshot) = &self.checkpoint.snapshot else { return Ok(()) };
        if snapshot.metadata.index <= self.checkpoint.last {
            // A received snapshot was faster.
            self.checkpoint.snapshot = None;
            self.checkpoint.running = false;
            return Ok(());
        }
        self.snaps.save(snapshot)?;
        self.log.queue.push(LogJob::Checkpoint(wal_record(snapshot)));
        turn.wake(Task::LogWrite);
        Ok(())
    }

    pub(super) fn checkpoint_release(&mut self, turn: &mut Turn<'_>) -> Result<(), Stop> {
        let Some(snapshot) = self.checkpoint.snapshot.take() else { return Ok(()) };
        let index = snapshot.metadata.index;
        self.checkpoint.installed(index);
        self.log.queue.push(LogJob::Release(index));
        turn.wake(Task::LogWrite);
        let compact = index.saturating_sub(self.limits.catchup_entries);
        if compact > 0 {
            self.post(Input::Compact(LogIndex(compact)), turn);
        }
        self.snaps.release_snap_dbs(index)?;
        self.checkpoint.running = false;
        Ok(())
    }

    pub(super) fn snapshot_build(&mut self, turn: &mut Turn<'_>) {
        let Some(capture) = self.build.take() else { return };
        let snapshot = raft_snapshot(&capture.frozen);
        self.pin = Some((snapshot.metadata.index, capture.view));
        self.post(Input::SnapshotReady(snapshot), turn);
    }
}
