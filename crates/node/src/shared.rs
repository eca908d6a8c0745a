//! What the threads of one member share: the published state, the queues and the stop switch.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::sync::{RwLockWriteGuard, mpsc};
use std::time::{Duration, Instant};

use apply::Machine;
use backend::{EngineError, Overlay, Reader, Sizes, View};
use bytes::Bytes;
use mvcc::{History, HistoryFault};
use tokio::sync::watch;
use types::{Bucket, LogIndex, NodeId, RevKey, Term};

use crate::alone::Alone;
use crate::beat::Beat;
use crate::counters::Counters;
use crate::inbox::Inbox;
use crate::leasing::Leasing;
use crate::readers::Readers;
use crate::waiters::Waiters;
use crate::watch::WatchHub;

/// How often a thread that waits for another looks whether the member has stopped.
const STOP_POLL: Duration = Duration::from_millis(100);

/// Why a member stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// It was asked to.
    Requested,
    /// It has been removed from the cluster.
    Removed,
    /// Something it cannot go on after: disk, engine, or a state that contradicts itself.
    Fault(String),
}

/// The replicated state and the changes of it that are not in the database file yet.
pub(crate) struct Published {
    pub(crate) machine: Machine,
    pub(crate) overlay: Overlay,
}

/// What raft last told about itself.
#[derive(Clone, Debug)]
pub(crate) struct RaftView {
    pub(crate) term: Term,
    pub(crate) leader: NodeId,
    pub(crate) is_leader: bool,
}

/// The shared part of one member.
pub(crate) struct Shared {
    pub(crate) local: NodeId,
    published: RwLock<Published>,
    view: RwLock<Arc<dyn View>>,
    /// The two numbers of `Sizes`, for whoever asks with each write.
    total_bytes: AtomicU64,
    in_use_bytes: AtomicU64,
    pub(crate) inbox: Inbox,
    pub(crate) waiters: Waiters,
    pub(crate) readers: Arc<Readers>,
    pub(crate) watch: WatchHub,
    pub(crate) counters: Arc<Counters>,
    /// Deadlines of leases while this member leads.
    pub(crate) leasing: Leasing,
    /// The raft thread's pulse.
    pub(crate) beat: Beat,
    pub(crate) raft: watch::Sender<RaftView>,
    leader_elected: Mutex<Option<Instant>>,
    pub(crate) status: Mutex<Option<consensus::Status>>,
    pub(crate) commit: AtomicU64,
    pub(crate) applied: AtomicU64,
    pub(crate) log_bytes: AtomicU64,
    pub(crate) alone: Alone,
    /// Whether this member is a learner, kept beside the machine for whoever cannot wait for a lock.
    pub(crate) is_learner: AtomicBool,
    /// Whether this member has published itself since it was started.
    pub(crate) published_self: watch::Sender<bool>,
    /// Revision of the last compaction whose rows are gone.
    pub(crate) compacted: watch::Sender<i64>,
    /// Whether streams to clients have to end: a server that stops waits for them.
    pub(crate) closing: watch::Sender<bool>,
    /// Watchers of the v2 tree, for their limit.
    pub(crate) v2_watchers: Arc<AtomicUsize>,
    stop: watch::Sender<Option<StopReason>>,
    flush: Mutex<FlushSignals>,
    flush_bell: Condvar,
    space_bell: Condvar,
}

/// What the flusher is asked for between two of its regular commits.
#[derive(Default)]
pub(crate) struct FlushSignals {
    pub(crate) hurry: bool,
    pub(crate) captures: Vec<crate::flusher::CaptureRequest>,
    pub(crate) replace: Option<crate::flusher::ReplaceRequest>,
    pub(crate) stop: bool,
}

impl Shared {
    pub(crate) fn new(local: NodeId, machine: Machine, view: Arc<dyn View>, sizes: Sizes) -> Self {
        let raft = RaftView { term: Term(0), leader: NodeId(0), is_leader: false };
        let watch = WatchHub::new(machine.store().current_revision());
        let is_learner = AtomicBool::new(is_learner(&machine, local));
        Self {
            local,
            published: RwLock::new(Published { machine, overlay: Overlay::new() }),
            view: RwLock::new(view),
            total_bytes: AtomicU64::new(sizes.total_bytes),
            in_use_bytes: AtomicU64::new(sizes.in_use_bytes),
            inbox: Inbox::default(),
            waiters: Waiters::default(),
            readers: Arc::default(),
            watch,
            counters: Arc::default(),
            leasing: Leasing::new(),
            beat: Beat::new(),
            raft: watch::Sender::new(raft),
            leader_elected: Mutex::new(None),
            status: Mutex::new(None),
            commit: AtomicU64::new(0),
            applied: AtomicU64::new(0),
            log_bytes: AtomicU64::new(0),
            alone: Alone::default(),
            is_learner,
            published_self: watch::Sender::new(false),
            compacted: watch::Sender::new(0),
            closing: watch::Sender::new(false),
            v2_watchers: Arc::default(),
            stop: watch::Sender::new(None),
            flush: Mutex::new(FlushSignals::default()),
            flush_bell: Condvar::new(),
            space_bell: Condvar::new(),
        }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Published> {
        self.published.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Published> {
        self.published.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// When this member came to know its present leader.
    pub(crate) fn leader_elected(&self) -> Option<Instant> {
        *self.leader_elected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A leader has been elected just now.
    pub(crate) fn leader_found(&self) {
        let now = Some(Instant::now());
        *self.leader_elected.lock().unwrap_or_else(PoisonError::into_inner) = now;
        self.counters.leader_changes.add(1);
    }

    /// Looks at the membership again, which has changed.
    pub(crate) fn membership_changed(&self) {
        let is_learner = is_learner(&self.read().machine, self.local);
        self.is_learner.store(is_learner, Ordering::Relaxed);
    }

    /// The view of the newest commit.
    pub(crate) fn view(&self) -> Arc<dyn View> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Publishes the view of a commit; before the overlay forgets the rows of that commit.
    pub(crate) fn set_view(&self, view: Arc<dyn View>, sizes: Sizes) {
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = view;
        self.total_bytes.store(sizes.total_bytes, Ordering::Relaxed);
        self.in_use_bytes.store(sizes.in_use_bytes, Ordering::Relaxed);
    }

    pub(crate) fn sizes(&self) -> Sizes {
        Sizes {
            total_bytes: self.total_bytes.load(Ordering::Relaxed),
            in_use_bytes: self.in_use_bytes.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn applied(&self) -> LogIndex {
        LogIndex(self.applied.load(Ordering::Acquire))
    }

    pub(crate) fn committed(&self) -> LogIndex {
        LogIndex(self.commit.load(Ordering::Acquire))
    }

    /// Stops the member for a fault: what was tried, and the error with all that caused it.
    pub(crate) fn stop_for_error(&self, operation: &str, error: &dyn std::error::Error) {
        let mut text = format!("{operation}: {error}");
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        self.stop_for(StopReason::Fault(text));
    }

    /// Stops the member for this reason; the first reason stays.
    pub(crate) fn stop_for(&self, reason: StopReason) {
        self.stop.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                match &reason {
                    StopReason::Fault(text) => tracing::error!(error = %text, "member failed"),
                    other => tracing::info!(reason = ?other, "member stops"),
                }
                *current = Some(reason);
            }
            first
        });
        self.closing.send_replace(true);
        self.waiters.stop();
        self.watch.stop();
        self.inbox.stop();
        self.flush_signals(|signals| signals.stop = true);
        self.space_bell.notify_all();
    }

    /// Receives from a thread of this member; `None` when it, or the member, has ended.
    pub(crate) fn recv_or_stop<T>(&self, receiver: &mpsc::Receiver<T>) -> Option<T> {
        loop {
            match receiver.recv_timeout(STOP_POLL) {
                Ok(value) => return Some(value),
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
                Err(mpsc::RecvTimeoutError::Timeout) if self.stop_reason().is_some() => {
                    return None;
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Sleeps; `None` when the member stops before the end.
    pub(crate) fn pause_or_stop(&self, pause: Duration) -> Option<()> {
        let mut left = pause;
        while self.stop_reason().is_none() {
            let slice = left.min(STOP_POLL);
            if slice.is_zero() {
                return Some(());
            }
            std::thread::sleep(slice);
            left -= slice;
        }
        None
    }

    pub(crate) fn stop_reason(&self) -> Option<StopReason> {
        self.stop.borrow().clone()
    }

    pub(crate) fn watch_stop(&self) -> watch::Receiver<Option<StopReason>> {
        self.stop.subscribe()
    }

    /// Changes the flusher's orders and wakes it.
    pub(crate) fn flush_signals(&self, change: impl FnOnce(&mut FlushSignals)) {
        change(&mut self.lock_flush());
        self.flush_bell.notify_all();
    }

    /// Waits for orders, at most `limit`, and takes them.
    pub(crate) fn take_flush_signals(&self, limit: Duration) -> FlushSignals {
        let mut signals = self.lock_flush();
        let quiet = |signals: &FlushSignals| {
            !signals.hurry
                && !signals.stop
                && signals.captures.is_empty()
                && signals.replace.is_none()
        };
        if quiet(&signals) {
            signals = match self.flush_bell.wait_timeout(signals, limit) {
                Ok((signals, _)) => signals,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        let stop = signals.stop;
        let taken = std::mem::take(&mut *signals);
        signals.stop = stop;
        taken
    }

    /// Tells apply that the overlay has room again.
    pub(crate) fn flushed(&self) {
        drop(self.lock_flush());
        self.space_bell.notify_all();
    }

    /// Waits while `full` holds, woken by each flush; ends early when the member stops.
    pub(crate) fn wait_for_space(&self, full: impl Fn(&Overlay) -> bool) {
        loop {
            let signals = self.lock_flush();
            if signals.stop || !full(&self.read().overlay) {
                return;
            }
            drop(self.space_bell.wait_timeout(signals, STOP_POLL));
        }
    }

    fn lock_flush(&self) -> MutexGuard<'_, FlushSignals> {
        self.flush.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_learner(machine: &Machine, local: NodeId) -> bool {
    machine.membership().members.get(&local).is_some_and(|member| member.is_learner)
}

/// Values by revision for whoever holds no lock: overlay first, then the newest view.
pub(crate) struct SharedHistory<'a>(pub(crate) &'a Shared);

impl History for SharedHistory<'_> {
    fn value(&self, revision: RevKey) -> Result<Option<Bytes>, HistoryFault> {
        let key = revision.to_live();
        let change = self.0.read().overlay.get(Bucket::Key, &key).cloned();
        match change {
            Some(change) => Ok(change),
            None => self.0.view().get(Bucket::Key, &key).map_err(|error| fault(&error)),
        }
    }

    fn scan(
        &self,
        from: RevKey,
        visit: &mut dyn FnMut(RevKey, bool, &Bytes) -> ControlFlow<()>,
    ) -> Result<(), HistoryFault> {
        let (overlay, view) = {
            let published = self.0.read();
            (published.overlay.clone(), self.0.view())
        };
        OverlayHistory { overlay: &overlay, view: &view }.scan(from, visit)
    }
}

/// Values by revision for the apply thread, which holds the state.
pub struct OverlayHistory<'a> {
    /// Changes that the view does not hold yet.
    pub overlay: &'a Overlay,
    /// Taken no earlier than the overlay was looked at.
    pub view: &'a Arc<dyn View>,
}

impl History for OverlayHistory<'_> {
    fn value(&self, revision: RevKey) -> Result<Option<Bytes>, HistoryFault> {
        let reader = Reader::new(self.overlay, self.view);
        reader.get(Bucket::Key, &revision.to_live()).map_err(|error| fault(&error))
    }

    fn scan(
        &self,
        from: RevKey,
        visit: &mut dyn FnMut(RevKey, bool, &Bytes) -> ControlFlow<()>,
    ) -> Result<(), HistoryFault> {
        let mut malformed = None;
        let reader = Reader::new(self.overlay, self.view);
        let scanned = reader.scan(Bucket::Key, &from.to_live(), &mut |key, value| {
            let Some((revision, tombstone)) = RevKey::parse(key) else {
                malformed = Some(format!("malformed revision key {key:x?}"));
                return ControlFlow::Break(());
            };
            visit(revision, tombstone, &Bytes::copy_from_slice(value))
        });
        scanned.map_err(|error| fault(&error))?;
        malformed.map_or(Ok(()), |text| Err(HistoryFault(text)))
    }
}

/// Rows of a view as the source that a machine is restored from.
pub struct ViewSource<'a> {
    /// The rows.
    pub view: &'a dyn View,
    /// Threads among which the rows of bucket `key` are split; with one, no other is started.
    pub threads: usize,
}

impl apply::Source for ViewSource<'_> {
    fn get(&self, bucket: Bucket, key: &[u8]) -> Result<Option<Bytes>, HistoryFault> {
        self.view.get(bucket, key).map_err(|error| fault(&error))
    }

    fn scan(
        &self,
        bucket: Bucket,
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), HistoryFault> {
        self.view.scan(bucket, from, visit).map_err(|error| fault(&error))
    }

    fn key_runs(&self) -> Result<Vec<mvcc::Run>, apply::Fault> {
        if self.threads <= 1 {
            return Ok(vec![apply::read_run(self, b"", None)?]);
        }
        let cuts = self.view.split(Bucket::Key, self.threads).map_err(|error| fault(&error))?;
        let starts = std::iter::once(Bytes::new()).chain(cuts.iter().cloned());
        let ends = cuts.iter().map(Some).chain([None]);
        std::thread::scope(|scope| {
            let read = |(from, below): (Bytes, Option<&'_ Bytes>)| {
                let below = below.cloned();
                scope.spawn(move || apply::read_run(self, &from, below.as_deref()))
            };
            let reading: Vec<_> = starts.zip(ends).map(read).collect();
            let runs = reading.into_iter().map(std::thread::ScopedJoinHandle::join);
            runs.map(|run| run.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        })
    }
}

pub(crate) fn fault(error: &EngineError) -> HistoryFault {
    HistoryFault(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use apply::Source as _;
    use backend::{BoltEngine, Engine as _};
    use mvcc::Restorer;
    use prost::Message as _;
    use types::Op;

    use super::*;

    #[test]
    fn rows_read_by_several_threads_restore_the_same_store() {
        let disk = simdisk::SimDisk::new(1).disk();
        let mut engine = BoltEngine::open(disk.as_ref(), Path::new("/db"), true).unwrap();
        let mut overlay = Overlay::new();
        overlay.extend((2..5_000).map(|main| {
            let pair = proto::mvccpb::KeyValue {
                key: format!("key-{}", main * 7919 % 1_000).into_bytes().into(),
                create_revision: main,
                mod_revision: main,
                version: 1,
                value: vec![7; 200].into(),
                ..Default::default()
            };
            Op::put(Bucket::Key, RevKey::new(main, 0).to_live().to_vec(), pair.encode_to_vec())
        }));
        engine.commit(&overlay.begin_flush().to_batch()).unwrap();
        let view = engine.view();
        let restored = |threads| {
            let runs = ViewSource { view: view.as_ref(), threads }.key_runs().unwrap();
            let count = runs.len();
            let mut restorer = Restorer::new(None, None);
            runs.into_iter().for_each(|run| restorer.add(run).unwrap());
            (count, restorer.finish().unwrap())
        };
        let (one, expected) = restored(1);
        let (several, found) = restored(4);
        assert_eq!((one, several), (1, 4));
        assert!(expected == found);
    }
}
