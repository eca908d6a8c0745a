//! The flusher thread: owner of the engine, the only one that commits to the database file.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use backend::{BoltEngine, Engine, EngineError, View};
use disk::Disk;
use types::LogIndex;

use crate::checkpoint::Capture;
use crate::shared::Shared;

/// Longest time a change stays out of the file, as etcd's `--backend-batch-interval`.
const INTERVAL: Duration = Duration::from_millis(100);

/// Asks for the state of the next commit, pinned.
pub(crate) type CaptureRequest = Box<dyn FnOnce(Capture) + Send>;

/// Orders the engine to be replaced by a received database file.
pub(crate) struct ReplaceRequest {
    /// The received file, whole and durable.
    pub(crate) received: PathBuf,
    /// Gets the first view of the new engine.
    pub(crate) reply: mpsc::SyncSender<Result<Arc<dyn View>, EngineError>>,
    /// Told, or dropped, when the state that belongs to the new engine is in place: until then
    /// nothing is committed, for it would be the old state.
    pub(crate) resumed: mpsc::Receiver<()>,
}

/// The thread's state.
pub(crate) struct Flusher {
    shared: Arc<Shared>,
    engine: Option<Box<dyn Engine>>,
    disk: Arc<dyn Disk>,
    db: PathBuf,
    no_sync: bool,
    flushed: LogIndex,
    /// Whether the file may lack buckets: the next commit creates them all.
    fresh: bool,
    /// Captures asked for while entries are being replayed: the parts of the state then stand at
    /// different positions.
    deferred: Vec<CaptureRequest>,
}

impl Flusher {
    pub(crate) fn new(
        shared: Arc<Shared>,
        engine: Box<dyn Engine>,
        disk: Arc<dyn Disk>,
        db: PathBuf,
        no_sync: bool,
    ) -> Self {
        Self {
            shared,
            engine: Some(engine),
            disk,
            db,
            no_sync,
            flushed: LogIndex(0),
            fresh: true,
            deferred: Vec::new(),
        }
    }

    /// Commits until the member stops, once more then.
    pub(crate) fn run(mut self) {
        loop {
            let signals = self.shared.take_flush_signals(INTERVAL);
            if let Some(request) = signals.replace {
                // Who waits for the state of the next commit gets the one after the replacement.
                self.shared.flush_signals(|later| later.captures.extend(signals.captures));
                self.replace(request);
                continue;
            }
            if let Err(error) = self.flush(signals.captures) {
                self.shared.stop_for_error("commit database", &error);
                return;
            }
            if signals.stop {
                return;
            }
        }
    }

    /// One commit, on an entry boundary: raft hands out only entries that the local log has synced,
    /// so the file never gets ahead of the log.
    fn flush(&mut self, captures: Vec<CaptureRequest>) -> Result<(), EngineError> {
        self.deferred.extend(captures);
        let Some(engine) = self.engine.as_mut() else { return Ok(()) };
        let (rows, frozen) = {
            let mut published = self.shared.write();
            let applied = published.machine.consistent_index();
            let wanted = !self.deferred.is_empty() && !published.machine.is_replaying();
            let idle = published.overlay.active().ops() == 0 && applied == self.flushed;
            if idle && !wanted && !self.fresh {
                return Ok(());
            }
            self.flushed = applied;
            let meta = published.machine.meta_ops();
            published.overlay.extend(meta);
            let frozen = if wanted { published.machine.freeze() } else { None };
            (published.overlay.begin_flush(), frozen)
        };
        let batch = if self.fresh { rows.to_first_batch() } else { rows.to_batch() };
        let began = Instant::now();
        engine.commit(&batch)?;
        self.shared.counters.commits.observe(began.elapsed());
        self.fresh = false;
        let view = engine.view();
        self.shared.set_view(Arc::clone(&view), engine.sizes());
        {
            let mut published = self.shared.write();
            published.overlay.finish_flush();
            published.machine.set_storage_bytes(engine.sizes().total_bytes);
        }
        self.shared.flushed();
        if let Some(frozen) = frozen {
            let capture = Capture { frozen, view };
            self.deferred.drain(..).for_each(|done| done(capture.clone()));
        }
        Ok(())
    }

    /// Swaps the database file. The old engine is dropped first, its lock with it; the name `db`
    /// changes in one rename, so that a crash finds either file whole.
    fn replace(&mut self, request: ReplaceRequest) {
        self.engine = None;
        let result = self.open_replacement(&request.received).map(|engine| {
            let view = engine.view();
            self.engine = Some(Box::new(engine));
            view
        });
        self.flushed = LogIndex(0);
        self.fresh = true;
        drop(request.reply.send(result));
        // Without the new state in place, a commit would write the old one into the new file.
        if request.resumed.recv().is_err() {
            self.engine = None;
        }
    }

    fn open_replacement(&self, received: &std::path::Path) -> Result<BoltEngine, EngineError> {
        let io = |source| bolt::BoltError::Io { path: received.to_path_buf(), source };
        self.disk.rename(received, &self.db).map_err(io)?;
        if let Some(dir) = self.db.parent() {
            self.disk.sync_dir(dir).map_err(io)?;
        }
        BoltEngine::open(self.disk.as_ref(), &self.db, self.no_sync)
    }
}
