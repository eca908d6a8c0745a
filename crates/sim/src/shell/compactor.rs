//! Physical compaction: rows are read from the database and deleted through apply, batch by batch.
//!
//! Source:     `node::compactor`.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use backend::View;
use bytes::Bytes;
use types::{Bucket, RevKey};

use super::flusher::Purpose;
use super::{EngineError, Shell, Stop, Task, Turn};
use crate::shell::applier::ApplyJob;

/// Rows of one batch; few, so that crashes fall between batches.
const BATCH_ROWS: usize = 7;

type Rows = Vec<(RevKey, bool, Bytes)>;

/// The orders, first the one that is worked on.
#[derive(Default)]
pub(super) struct Compactor {
    orders: VecDeque<i64>,
    /// Where the next batch begins; `None` when all rows were looked at.
    from: Option<RevKey>,
}

impl Compactor {
    pub(super) fn is_idle(&self) -> bool {
        self.orders.is_empty()
    }
}

impl Shell {
    pub(super) fn schedule_compaction(&mut self, at: i64, turn: &mut Turn<'_>) {
        self.compactor.orders.push_back(at);
        if self.compactor.orders.len() == 1 {
            self.begin_compaction(turn);
        }
    }

    fn begin_compaction(&mut self, turn: &mut Turn<'_>) {
        self.compactor.from = Some(RevKey::new(0, 0));
        self.flusher.captures.push(Purpose::Compaction);
        turn.wake(Task::FlushTake);
    }

    pub(super) fn compact(&mut self, turn: &mut Turn<'_>) -> Result<(), Stop> {
        let Some(&at) = self.compactor.orders.front() else { return Ok(()) };
        let job = match self.compactor.from.take() {
            Some(from) => {
                let (rows, next) = read_batch(self.view.as_ref(), from, at)?;
                self.compactor.from = next;
                ApplyJob::CompactRows { rows, at }
            }
            None => ApplyJob::CompactFinish(at),
        };
        self.applier.jobs.push_back(job);
        turn.wake(Task::Apply);
        Ok(())
    }

    pub(super) fn compaction_done(&mut self, turn: &mut Turn<'_>) {
        self.compactor.orders.pop_front();
        if !self.compactor.orders.is_empty() {
            self.begin_compaction(turn);
        }
    }
}

fn read_batch(
    view: &dyn View,
    from: RevKey,
    at: i64,
) -> Result<(Rows, Option<RevKey>), EngineError> {
    let mut rows = Rows::new();
    let mut next = None;
    view.scan(Bucket::Key, &from.to_live(), &mut |key, value| {
        let Some((revision, tombstone)) = RevKey::parse(key) else {
            return ControlFlow::Continue(());
        };
        if revision.main > at {
            return ControlFlow::Break(());
        }
        if rows.len() == BATCH_ROWS {
            next = Some(revision);
            return ControlFlow::Break(());
        }
        if let Ok(user_key) = mvcc::kv::key_of(&Bytes::copy_from_slice(value)) {
            rows.push((revision, tombstone, user_key));
        }
        ControlFlow::Continue(())
    })?;
    Ok((rows, next))
}
