//! Group commit: what arrives while a sync runs forms the next group.
//!
//! Owns:       the open log, what its next group is made of.
//! Uses:       `wal`.
//! Never:      two writers at once; a second try of a failed write.
//! Invariants: what is queued is written in the order in which it was queued, and nothing overtakes
//!             it; what a group owes is settled after its sync.
//! Source:     design.md 2; decision 0023.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Instant;

use consensus::Input;
use proto::raftpb::{Entry, HardState, Message, Snapshot};
use wal::snap::SnapStore;
use wal::{Wal, WalError, WalSnapshot};

use crate::apply_thread::ApplyQueue;
use crate::checkpoint::save_snap;
use crate::mailbox::Mailbox;
use crate::profile::{self, Stage};
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
pub(crate) struct WalQueue(Mailbox<Vec<WalJob>>);

impl WalQueue {
    pub(crate) fn push(&self, job: WalJob) {
        self.0.put(|jobs| jobs.push(job));
    }

    fn wait(&self) {
        self.0.wait(None, |jobs, _| (!jobs.is_empty()).then_some(()));
    }

    fn take(&self) -> Vec<WalJob> {
        self.0.leave(std::mem::take)
    }

    fn is_empty(&self) -> bool {
        self.0.leave(|jobs| jobs.is_empty())
    }
}

/// The log, for the thread that writes what is queued, and for whoever may write at once.
pub(crate) struct LogWriter {
    queue: Arc<WalQueue>,
    /// Held from taking what is queued until what it owes is settled.
    state: Mutex<WriterState>,
}

/// What it takes to write.
pub(crate) struct WriterState {
    pub(crate) shared: Arc<Shared>,
    pub(crate) wal: Wal,
    pub(crate) snaps: SnapStore,
    pub(crate) apply: Arc<ApplyQueue>,
    /// Where messages go that had to wait for the sync.
    pub(crate) send: Box<dyn Fn(Vec<Message>) + Send>,
}

impl LogWriter {
    pub(crate) fn new(queue: Arc<WalQueue>, state: WriterState) -> Self {
        Self { queue, state: Mutex::new(state) }
    }

    /// The wal thread: writes groups until it is stopped or fails.
    pub(crate) fn run(&self) {
        loop {
            self.queue.wait();
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let jobs = self.queue.take();
            let Some(debts) = state.write(jobs) else { return };
            let stop = debts.stop;
            if let Some(number) = state.settle(debts) {
                state.shared.inbox.control(Input::Persisted(number));
            }
            if stop {
                return;
            }
        }
    }

    /// Writes a Ready on the calling thread, which waits for the disk, if nothing else is being
    /// written or waits to be; else leaves it to the wal thread. Returns the number of the write if it
    /// is done.
    pub(crate) fn write_now(&self, job: WalJob) -> Option<u64> {
        // Under the lock, or what is queued meanwhile could have to come first.
        if let Ok(mut state) = self.state.try_lock()
            && self.queue.is_empty()
        {
            let debts = state.write(vec![job])?;
            return state.settle(debts);
        }
        self.queue.push(job);
        None
    }
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

impl WriterState {
    /// Writes a group; `None` when that failed and the member stops.
    fn write(&mut self, jobs: Vec<WalJob>) -> Option<Debts> {
        match self.write_group(jobs) {
            Ok(debts) => Some(debts),
            Err(error) => {
                self.shared.stop_for_error("write log", &error);
                None
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
        let written = Instant::now();
        counters.wal_writes.observe(written - began);
        if must_sync {
            self.wal.flush(true)?;
            profile::mark(Stage::Durable);
            counters.wal_syncs.observe(written.elapsed());
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

    /// Does what had to wait; returns what raft is to be told.
    fn settle(&self, debts: Debts) -> Option<u64> {
        if !debts.messages.is_empty() {
            (self.send)(debts.messages);
        }
        for done in debts.checkpoints {
            let _ = done.send(());
        }
        for snapshot in debts.installs {
            self.apply.install(snapshot);
        }
        debts.persisted
    }
}
