//! Physical compaction: old revisions leave the database in revision order, a batch at a time.

use std::ops::ControlFlow;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use backend::{EngineError, View};
use bytes::Bytes;
use types::{Bucket, RevKey};

use crate::apply_thread::{ApplyJob, ApplyQueue};
use crate::shared::Shared;

/// How much a compaction may do at a time.
#[derive(Clone, Copy, Debug)]
pub struct CompactionBudget {
    /// Rows looked at in one batch, `--compaction-batch-limit`; above 0.
    pub batch_rows: usize,
    /// Pause between two batches, `--compaction-sleep-interval`.
    pub pause: Duration,
}

/// etcd's defaults.
impl Default for CompactionBudget {
    fn default() -> Self {
        Self { batch_rows: 1000, pause: Duration::from_millis(10) }
    }
}

/// Starts the deletion of what a compaction allows to go.
pub(crate) struct Compactor {
    orders: mpsc::Sender<i64>,
}

impl Compactor {
    /// A compactor with its thread, which ends with the last sender.
    pub(crate) fn start(
        shared: Arc<Shared>,
        apply: Arc<ApplyQueue>,
        budget: CompactionBudget,
    ) -> std::io::Result<(Self, std::thread::JoinHandle<()>)> {
        let (orders, received) = mpsc::channel();
        let work = move || {
            for at in received {
                if let Err(error) = compact(&shared, &apply, at, budget) {
                    shared.stop_for_error("compact database", &error);
                }
            }
        };
        let thread = std::thread::Builder::new().name("compactor".to_owned()).spawn(work)?;
        Ok((Self { orders }, thread))
    }

    /// Orders the deletion for the compaction at this revision; it starts once the batch that
    /// scheduled it is durable.
    pub(crate) fn schedule(&self, at: i64) {
        let _ = self.orders.send(at);
    }
}

fn compact(
    shared: &Arc<Shared>,
    apply: &Arc<ApplyQueue>,
    at: i64,
    budget: CompactionBudget,
) -> Result<(), EngineError> {
    if !wait_for_commit(shared) {
        return Ok(());
    }
    if !shared.readers.wait_below(at, &|| shared.stop_reason().is_some()) {
        return Ok(());
    }
    let began = Instant::now();
    let mut from = RevKey::new(0, 0);
    loop {
        let (rows, next) = read_batch(shared.view().as_ref(), from, at, budget.batch_rows)?;
        if !rows.is_empty() {
            let (done, finished) = mpsc::sync_channel(1);
            apply.push(ApplyJob::CompactRows { rows, at, done });
            if shared.recv_or_stop(&finished).is_none() {
                return Ok(());
            }
        }
        match next {
            Some(next) => from = next,
            None => break,
        }
        if shared.pause_or_stop(budget.pause).is_none() {
            return Ok(());
        }
    }
    let (done, finished) = mpsc::sync_channel(1);
    apply.push(ApplyJob::CompactFinish { at, done });
    // Whoever asked for a physical compaction is told once it would not be resumed after a crash.
    if shared.recv_or_stop(&finished).is_none() || !wait_for_commit(shared) {
        return Ok(());
    }
    shared.counters.compactions.observe(began.elapsed());
    shared.compacted.send_replace(at);
    tracing::info!(revision = at, "finished compaction");
    Ok(())
}

/// Waits for a commit that holds everything applied by now; `false` when the member stops first.
fn wait_for_commit(shared: &Arc<Shared>) -> bool {
    let (done, committed) = mpsc::sync_channel(1);
    let captured = Box::new(move |_| {
        let _ = done.send(());
    });
    shared.flush_signals(|signals| signals.captures.push(captured));
    shared.recv_or_stop(&committed).is_some()
}

type Rows = Vec<(RevKey, bool, Bytes)>;

/// The next rows at or below the compacted revision, and where to go on.
fn read_batch(
    view: &dyn View,
    from: RevKey,
    at: i64,
    rows_max: usize,
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
        if rows.len() == rows_max {
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
