//! The wal thread: group commit, written in one step and synced in another.
//!
//! Source:     `node::wal_thread`.

use proto::raftpb::{Entry, HardState, Message, Snapshot};
use wal::WalSnapshot;

use super::{Input, Shell, Stop, Task, Turn};
use crate::config::Plant;
use crate::shell::applier::ApplyJob;
use crate::turn::{LogNote, Note};

/// One thing to be made durable.
pub(super) enum LogJob {
    Persist {
        number: u64,
        entries: Vec<Entry>,
        hard_state: Option<HardState>,
        received: Option<Snapshot>,
        must_sync: bool,
        then: Vec<Message>,
        note: Box<LogNote>,
    },
    Checkpoint(WalSnapshot),
    Release(u64),
}

/// What waits to be written, and the group that is being written.
#[derive(Default)]
pub(super) struct LogQueue {
    pub(super) queue: Vec<LogJob>,
    group: Option<Debts>,
}

impl LogQueue {
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.group.is_none()
    }
}

/// What a group owes once it is durable.
#[derive(Default)]
struct Debts {
    must_sync: bool,
    messages: Vec<Message>,
    persisted: Option<u64>,
    checkpoint: Option<u64>,
    release: Option<u64>,
    installs: Vec<Snapshot>,
    notes: Vec<LogNote>,
}

impl Shell {
    pub(super) fn log_write(&mut self, turn: &mut Turn<'_>) -> Result<(), Stop> {
        if self.log.group.is_some() || self.log.queue.is_empty() {
            return Ok(());
        }
        let mut debts = Debts::default();
        for job in std::mem::take(&mut self.log.queue) {
            self.write_job(job, &mut debts)?;
        }
        self.wal.flush(false)?;
        if self.limits.plant == Some(Plant::EarlyAck) {
            self.acknowledge(&mut debts, turn);
        }
        self.log.group = Some(debts);
        turn.wake(Task::LogSync);
        Ok(())
    }

    fn write_job(&mut self, job: LogJob, debts: &mut Debts) -> Result<(), Stop> {
        match job {
            LogJob::Persist { number, entries, hard_state, received, must_sync, then, note } => {
                if let Some(snapshot) = received {
                    self.snaps.save(&snapshot)?;
                    self.wal.save_snapshot(&wal_record(&snapshot))?;
                    debts.installs.push(snapshot);
                }
                self.wal.append(&entries, hard_state.as_ref())?;
                debts.must_sync |= must_sync;
                debts.persisted = Some(number);
                debts.messages.extend(then);
                debts.notes.push(*note);
            }
            LogJob::Checkpoint(record) => {
                self.wal.save_snapshot(&record)?;
                debts.checkpoint = Some(record.index);
            }
            LogJob::Release(index) => debts.release = Some(index),
        }
        Ok(())
    }

    pub(super) fn log_sync(&mut self, turn: &mut Turn<'_>) -> Result<(), Stop> {
        let Some(mut debts) = self.log.group.take() else { return Ok(()) };
        self.wal.flush(debts.must_sync)?;
        if let Some(index) = debts.release {
            self.wal.release_to(index)?;
        }
        turn.notes.extend(debts.notes.drain(..).map(Note::Synced));
        self.acknowledge(&mut debts, turn);
        if let Some(index) = debts.checkpoint {
            turn.notes.push(Note::Checkpoint(index));
            turn.wake(Task::CheckpointRelease);
        }
        if !debts.installs.is_empty() {
            self.applier.jobs.extend(debts.installs.into_iter().map(ApplyJob::Install));
            turn.wake(Task::Apply);
        }
        if !self.log.queue.is_empty() {
            turn.wake(Task::LogWrite);
        }
        Ok(())
    }

    /// Tells raft and the others that the group is durable.
    fn acknowledge(&mut self, debts: &mut Debts, turn: &mut Turn<'_>) {
        turn.messages.append(&mut debts.messages);
        if let Some(number) = debts.persisted.take() {
            self.post(Input::Persisted(number), turn);
        }
    }
}

pub(super) fn wal_record(snapshot: &Snapshot) -> WalSnapshot {
    WalSnapshot {
        index: snapshot.metadata.index,
        term: snapshot.metadata.term,
        conf_state: Some(snapshot.metadata.conf_state.clone()),
    }
}
