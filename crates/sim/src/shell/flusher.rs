//! The flusher: takes the rows at an entry boundary in one step, commits them in another.
//!
//! Source:     `node::flusher`.

use std::sync::Arc;

use apply::Frozen;
use backend::Rows;
use node::Capture;
use types::LogIndex;

use super::{Shell, Stop, Task, Turn};

/// What a capture is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Checkpoint,
    Follower,
    /// The compactor waits for the commit of the schedule.
    Compaction,
}

/// The flusher's state.
pub(super) struct Flusher {
    pub(super) captures: Vec<Purpose>,
    committing: Option<(Arc<Rows>, Option<Frozen>, Vec<Purpose>)>,
    flushed: LogIndex,
    fresh: bool,
}

impl Default for Flusher {
    fn default() -> Self {
        Self { captures: Vec::new(), committing: None, flushed: LogIndex(0), fresh: true }
    }
}

impl Flusher {
    pub(super) fn is_committing(&self) -> bool {
        self.committing.is_some()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.captures.is_empty() && self.committing.is_none() && !self.fresh
    }

    /// Starts over on another file.
    pub(super) fn restart(&mut self) {
        self.flushed = LogIndex(0);
        self.fresh = true;
    }
}

impl Shell {
    pub(super) fn flush_take(&mut self, turn: &mut Turn<'_>) {
        turn.wake(Task::FlushTake);
        if self.flusher.is_committing() || self.applier.is_installing() {
            return;
        }
        let applied = self.machine.consistent_index();
        let idle = self.overlay.active().ops() == 0 && applied == self.flusher.flushed;
        if idle && self.flusher.captures.is_empty() && !self.flusher.fresh {
            return;
        }
        self.flusher.flushed = applied;
        self.overlay.extend(self.machine.meta_ops());
        let captures = std::mem::take(&mut self.flusher.captures);
        let frozen = if captures.is_empty() { None } else { self.machine.freeze() };
        let rows = self.overlay.begin_flush();
        self.flusher.committing = Some((rows, frozen, captures));
        turn.wake(Task::FlushCommit);
    }

    pub(super) fn flush_commit(&mut self, turn: &mut Turn<'_>) -> Result<(), Stop> {
        let Some((rows, frozen, captures)) = self.flusher.committing.take() else { return Ok(()) };
        let Some(engine) = self.engine.as_mut() else { return Ok(()) };
        let batch = if self.flusher.fresh { rows.to_first_batch() } else { rows.to_batch() };
        engine.commit(&batch)?;
        self.flusher.fresh = false;
        self.view = engine.view();
        self.overlay.finish_flush();
        self.machine.set_storage_bytes(engine.sizes().total_bytes);
        let Some(frozen) = frozen else {
            // Entries are being replayed: the parts of the state stand at different positions.
            self.flusher.captures.extend(captures);
            return Ok(());
        };
        let capture = Capture { frozen, view: Arc::clone(&self.view) };
        for purpose in captures {
            match purpose {
                Purpose::Checkpoint => self.begin_checkpoint(&capture.frozen, turn),
                Purpose::Follower => {
                    self.build = Some(capture.clone());
                    turn.wake(Task::SnapshotBuild);
                }
                Purpose::Compaction => turn.wake(Task::Compact),
            }
        }
        Ok(())
    }
}
