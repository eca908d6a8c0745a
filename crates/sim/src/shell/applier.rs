//! The apply thread: entries, the two steps of a configuration change, installations.
//!
//! Source:     `node::apply_thread`.

use std::collections::VecDeque;

use apply::{Applied, ConfDecision, Local, Machine, SnapshotBase};
use backend::{BoltEngine, Overlay};
use bytes::Bytes;
use node::{OverlayHistory, ViewSource};
use proto::raftpb::{ConfState, Entry, EntryType, Snapshot};
use rand::Rng;
use types::{LogIndex, RevKey, Term};

use super::{Input, Shell, Stop, Task, Turn};
use crate::config::Plant;
use crate::turn::{AppliedNote, Note};

/// Work of the thread.
pub(super) enum ApplyJob {
    Entry(Entry),
    Install(Snapshot),
    CompactRows { rows: Vec<(RevKey, bool, Bytes)>, at: i64 },
    CompactFinish(i64),
}

/// The queue, and what the thread waits for.
#[derive(Default)]
pub(super) struct Applier {
    pub(super) jobs: VecDeque<ApplyJob>,
    /// A configuration change that raft has been asked about.
    judged: Option<(Entry, ConfDecision)>,
    /// Raft's answer.
    pub(super) answer: Option<(LogIndex, ConfState)>,
    /// A snapshot whose database is in place, while the state is still the old one.
    replaced: Option<Snapshot>,
}

impl Applier {
    pub(super) fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.judged.is_none() && self.replaced.is_none()
    }

    /// Whether the database is not the one that belongs to the state.
    pub(super) fn is_installing(&self) -> bool {
        self.replaced.is_some()
    }
}

impl Shell {
    pub(super) fn apply(&mut self, turn: &mut Turn<'_>) -> Result<(), Stop> {
        if let Some(snapshot) = self.applier.replaced.take() {
            self.install_state(&snapshot, turn)?;
        } else if self.applier.judged.is_some() {
            self.finish_conf_change(turn)?;
        } else {
            self.apply_next(turn)?;
        }
        let waits = self.applier.judged.is_some() && self.applier.answer.is_none();
        if !self.applier.is_idle() && !waits {
            turn.wake(Task::Apply);
        }
        Ok(())
    }

    fn apply_next(&mut self, turn: &mut Turn<'_>) -> Result<(), Stop> {
        match self.applier.jobs.pop_front() {
            None => {}
            Some(ApplyJob::Entry(entry)) if entry.entry_type == EntryType::Normal => {
                self.normal_chunk(entry, turn)?;
            }
            Some(ApplyJob::Entry(entry)) => self.judge_conf_change(entry, turn)?,
            Some(ApplyJob::Install(snapshot)) => self.install_database(snapshot, turn)?,
            Some(ApplyJob::CompactRows { rows, at }) => {
                let ops = self.machine.compact_step(&rows, at);
                self.overlay.extend(ops);
                turn.wake(Task::Compact);
            }
            Some(ApplyJob::CompactFinish(at)) => {
                let ops = self.machine.compact_finish(at);
                self.overlay.extend(ops);
                self.compaction_done(turn);
            }
        }
        Ok(())
    }

    fn normal_chunk(&mut self, first: Entry, turn: &mut Turn<'_>) -> Result<(), Stop> {
        let more = turn.rng.random_range(0..16);
        self.apply_one(first, turn)?;
        for _ in 0..more {
            let is_next = matches!(self.applier.jobs.front(),
                Some(ApplyJob::Entry(entry)) if entry.entry_type == EntryType::Normal);
            if !is_next {
                break;
            }
            if let Some(ApplyJob::Entry(entry)) = self.applier.jobs.pop_front() {
                self.apply_one(entry, turn)?;
            }
        }
        self.progress(turn);
        Ok(())
    }

    fn apply_one(&mut self, entry: Entry, turn: &mut Turn<'_>) -> Result<(), Stop> {
        let skip = self.limits.plant == Some(Plant::SkippedApply)
            && entry.index > self.machine.consistent_index().0
            && turn.rng.random_ratio(1, 200);
        let data = if skip { Bytes::new() } else { entry.data.clone() };
        let effective = Entry { data, ..entry.clone() };
        let history = OverlayHistory { overlay: &self.overlay, view: &self.view };
        let applied = self.machine.apply(&effective, &history)?;
        self.settle(entry, applied, turn);
        Ok(())
    }

    fn judge_conf_change(&mut self, entry: Entry, turn: &mut Turn<'_>) -> Result<(), Stop> {
        let decision = self.machine.check_conf_change(&entry)?;
        let (index, change) = (LogIndex(entry.index), decision.change.clone());
        self.applier.judged = Some((entry, decision));
        self.post(Input::ConfChangeApplied { index, change }, turn);
        Ok(())
    }

    fn finish_conf_change(&mut self, turn: &mut Turn<'_>) -> Result<(), Stop> {
        let Some((index, conf_state)) = self.applier.answer.take() else { return Ok(()) };
        let Some((entry, decision)) = self.applier.judged.take() else { return Ok(()) };
        if index.0 != entry.index {
            self.applier.judged = Some((entry, decision));
            return Ok(());
        }
        let applied = self.machine.apply_conf_change(&entry, decision, &conf_state)?;
        self.settle(entry, applied, turn);
        self.progress(turn);
        Ok(())
    }

    fn settle(&mut self, entry: Entry, applied: Applied, turn: &mut Turn<'_>) {
        self.overlay.extend(applied.ops);
        self.leasing.finished(applied.request_id);
        for local in applied.local {
            self.lease_applied(&local, applied.term, turn.now_us);
            match local {
                Local::SelfRemoved => turn.notes.push(Note::SelfRemoved),
                Local::CompactionScheduled(revision) => self.schedule_compaction(revision, turn),
                Local::V2RowsDiffer => panic!("v2 rows are not those that the log leads to"),
                _ => {}
            }
        }
        for (event, removed) in applied.v2_events.into_iter().zip(applied.v2_removed) {
            self.v2_notify(&event, &removed);
            turn.notes.push(Note::V2Event(Box::new(event), removed));
        }
        if !applied.events.is_empty() {
            self.hub.publish(applied.revision, applied.events);
        }
        turn.notes.push(Note::Applied(Box::new(AppliedNote {
            entry,
            revision: applied.revision,
            request: applied.request_id,
            reply: applied.reply,
            state_hash: self.state_hash(),
            term: self.driver.status().term.0,
            voters: self.machine.conf_state().voters.clone(),
        })));
    }

    fn progress(&mut self, turn: &mut Turn<'_>) {
        let applied = self.machine.applied_index();
        self.release_reads(turn);
        self.post(Input::Applied(applied), turn);
        self.consider_checkpoint(applied.0, turn);
    }

    /// First step of an installation: the received file takes the name `db`.
    fn install_database(&mut self, snapshot: Snapshot, turn: &mut Turn<'_>) -> Result<(), Stop> {
        if self.flusher.is_committing() {
            // The flusher finishes what it is doing before it looks at the order.
            self.applier.jobs.push_front(ApplyJob::Install(snapshot));
            turn.wake(Task::Apply);
            return Ok(());
        }
        self.engine = None;
        let received = self.snaps.db_snapshot_path(snapshot.metadata.index);
        let disk = &self.options.disk;
        let db = self.options.paths.db();
        disk.rename(&received, &db).map_err(|error| Stop::Io("rename received database", error))?;
        disk.sync_dir(&self.options.paths.snap)
            .map_err(|error| Stop::Io("sync snapshot directory", error))?;
        self.engine = Some(Box::new(BoltEngine::open(disk.as_ref(), &db, false)?));
        self.flusher.restart();
        self.applier.replaced = Some(snapshot);
        Ok(())
    }

    /// Second step: the state that belongs to it.
    fn install_state(&mut self, snapshot: &Snapshot, turn: &mut Turn<'_>) -> Result<(), Stop> {
        let Some(engine) = &self.engine else { return Ok(()) };
        let metadata = &snapshot.metadata;
        let v2 = v2store::Store::from_json(&snapshot.data)
            .map_err(|error| Stop::Tree(error.to_string()))?;
        let base = SnapshotBase {
            index: LogIndex(metadata.index),
            term: Term(metadata.term),
            v2: Some(v2),
            conf_state: metadata.conf_state.clone(),
        };
        self.view = engine.view();
        let source = ViewSource { view: self.view.as_ref(), threads: 1 };
        let (machine, restored) = Machine::restore(&source, self.settings.clone(), base)?;
        assert!(!restored.notes.iter().any(|note| note == apply::V2_ROWS_DIFFER), "v2 rows");
        let before = std::mem::replace(&mut self.machine, machine);
        self.v2_hub.jumped(before.v2(), self.machine.v2());
        self.overlay = Overlay::new();
        self.overlay.extend(restored.ops);
        self.hub.skip(self.machine.store().current_revision());
        if let Some(revision) = restored.resume_compaction {
            self.schedule_compaction(revision, turn);
        }
        let state_hash = self.state_hash();
        turn.notes.push(Note::Installed { index: metadata.index, state_hash });
        self.post(Input::SnapshotInstalled(metadata.clone()), turn);
        self.checkpoint.installed(metadata.index);
        self.release_reads(turn);
        Ok(())
    }
}
