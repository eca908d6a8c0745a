//! The wal thread: group commit. What arrives while a sync runs forms the next group.

use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::time::Instant;

use consensus::Input;
use proto::raftpb::{Entry, HardState, Message, Snapshot};
use wal::snap::SnapStore;
use wal::{Wal, WalError, WalSnapshot};

use crate::apply_thread::ApplyQueue;
use crate::checkpoint::save_snap;
use crate::shared::Shared;

/// One thing to be made durable.
pub(crate) enum WalJob {
    /// A Ready of raft.
    Persist {
        number: u64,
        entries: Vec<Entry>,
        hard_state: Option<HardState>,
        /// A snapshot received from the leader: its file is written before the log record.
        received: Option<Snapshot>,
        must_sync: bool,
        then: Vec<Message>,
    },
    /// The record of a snapshot that this member took; `done` is told when it is durable.
    Checkpoint { snapshot: WalSnapshot, done: mpsc::SyncSender<()> },
    /// Segments wholly before this index may go.
    Release(u64),
    /// Write what is queued and end.
    Stop,
}

/// The queue in front of the thread. Its length is bounded by what raft keeps in flight: a Ready is
/// made only of new entries, and those are bounded by the uncommitted size.
#[derive(Default)]
pub(crate) struct WalQueue {
    jobs: Mutex<Vec<WalJob>>,
    bell: Condvar,
}

impl WalQueue {
    pub(crate) fn push(&self, job: WalJob) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).push(job);
        self.bell.notify_one();
    }

    fn take(&self) -> Vec<WalJob> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let mut jobs = self
            .bell
            .wait_while(jobs, |jobs| jobs.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *jobs)
    }
}

/// The thread's state.
pub(crate) struct WalThread {
    pub(crate) shared: Arc<Shared>,
    pub(crate) queue: Arc<WalQueue>,
    pub(crate) wal: Wal,
    pub(crate) snaps: SnapStore,
    pub(crate) apply: Arc<ApplyQueue>,
    /// Where messages go that had to wait for the sync.
    pub(crate) send: Box<dyn Fn(Vec<Message>) + Send>,
}

/// What a group owes once it is durable.
#[derive(Default)]
struct Debts {
    must_sync: bool,
    persisted: Option<u64>,
    messages: Vec<Message>,
    checkpoints: Vec<mpsc::SyncSender<()>>,
    installs: Vec<Snapshot>,
    release: Option<u64>,
    stop: bool,
}

impl WalThread {
    /// Writes groups until it is stopped or fails. A failed write is never retried.
    pub(crate) fn run(mut self) {
        loop {
            let jobs = self.queue.take();
            match self.write_group(jobs) {
                Ok(debts) => {
                    let stop = debts.stop;
                    self.settle(debts);
                    if stop {
                        return;
                    }
                }
                Err(error) => {
                    self.shared.stop_for_error("write log", &error);
                    return;
                }
            }
        }
    }

    fn write_group(&mut self, jobs: Vec<WalJob>) -> Result<Debts, WalError> {
        let mut debts = Debts::default();
        for job in jobs {
            match job {
                WalJob::Persist { number, entries, hard_state, received, must_sync, then } => {
                    if let Some(snapshot) = received {
                        self.save_received(&snapshot)?;
                        debts.installs.push(snapshot);
                    }
                    self.wal.append(&entries, hard_state.as_ref())?;
                    debts.must_sync |= must_sync;
                    debts.persisted = Some(number);
                    debts.messages.extend(then);
                }
                WalJob::Checkpoint { snapshot, done } => {
                    self.wal.save_snapshot(&snapshot)?;
                    debts.checkpoints.push(done);
                }
                WalJob::Release(index) => debts.release = Some(index),
                WalJob::Stop => debts.stop = true,
            }
        }
        self.flush(debts.must_sync)?;
        if let Some(index) = debts.release {
            self.wal.release_to(index)?;
        }
        Ok(debts)
    }

    /// Writes what the group queued and, if asked, syncs it; both are timed.
    fn flush(&mut self, must_sync: bool) -> Result<(), WalError> {
        let counters = &self.shared.counters;
        let began = Instant::now();
        self.wal.flush(false)?;
        counters.wal_writes.observe(began.elapsed());
        if must_sync {
            let began = Instant::now();
            self.wal.flush(true)?;
            counters.wal_syncs.observe(began.elapsed());
        }
        counters.wal_bytes.set(self.wal.written_bytes());
        Ok(())
    }

    /// The `.snap` file first, then the record that makes it valid (design.md 5).
    fn save_received(&mut self, snapshot: &Snapshot) -> Result<(), WalError> {
        save_snap(&self.snaps, snapshot, &self.shared.counters)?;
        self.wal.save_snapshot(&WalSnapshot {
            index: snapshot.metadata.index,
            term: snapshot.metadata.term,
            conf_state: Some(snapshot.metadata.conf_state.clone()),
        })
    }

    fn settle(&mut self, debts: Debts) {
        if !debts.messages.is_empty() {
            (self.send)(debts.messages);
        }
        if let Some(number) = debts.persisted {
            self.shared.inbox.control(Input::Persisted(number));
        }
        for done in debts.checkpoints {
            let _ = done.send(());
        }
        for snapshot in debts.installs {
            self.apply.install(snapshot);
        }
    }
}
