//! The raft thread: inputs in, effects carried out.
//!
//! Source:     `node::raft_thread`.

use consensus::Effect;
use proto::raftpb::{Entry, EntryType, HardState, Message};

use super::log::LogJob;
use super::{Input, Shell, Task, Turn};
use crate::config::Plant;
use crate::shell::applier::ApplyJob;
use crate::shell::flusher::Purpose;
use crate::trace::fingerprint;
use crate::turn::{LogNote, Note, Transfer};

impl Shell {
    pub(super) fn raft(&mut self, turn: &mut Turn<'_>) {
        for input in std::mem::take(&mut self.inbox) {
            self.driver.step(input);
        }
        for effect in self.driver.drain() {
            self.execute(effect, turn);
        }
    }

    fn execute(&mut self, effect: Effect, turn: &mut Turn<'_>) {
        match effect {
            Effect::Send(messages) => turn.messages.extend(messages),
            Effect::Persist { .. } => self.persist(effect, turn),
            Effect::Apply(entries) => {
                self.applier.jobs.extend(entries.into_iter().map(ApplyJob::Entry));
                turn.wake(Task::Apply);
            }
            Effect::InstallSnapshot(snapshot) => self.received = Some(snapshot),
            Effect::ConfState { index, conf_state } => {
                self.applier.answer = Some((index, conf_state));
                turn.wake(Task::Apply);
            }
            Effect::ReadReady { requests, index } => {
                self.reads.extend(requests.into_iter().map(|request| (request, index)));
                self.release_reads(turn);
            }
            Effect::ReadDropped { requests } => turn.notes.push(Note::ReadDropped(requests)),
            Effect::Rejected { requests, reason } => {
                requests.iter().for_each(|request| self.leasing.finished(*request));
                turn.notes.push(Note::Rejected(requests, reason));
            }
            Effect::Role { term, leader, role, lost_leader: _ } => {
                self.role = role;
                self.term = term;
                self.leader = leader;
                turn.notes.push(Note::Role { term: term.0, leader, role });
            }
            Effect::WantSnapshot { .. } => {
                self.flusher.captures.push(Purpose::Follower);
                turn.wake(Task::FlushTake);
            }
            Effect::SendSnapshot(message) => self.send_snapshot(message, turn),
        }
    }

    fn persist(&mut self, effect: Effect, turn: &mut Turn<'_>) {
        let Effect::Persist { number, entries, hard_state, snapshot, must_sync, then } = effect
        else {
            return;
        };
        let received = snapshot.and_then(|_| self.received.take());
        let note = LogNote {
            entries: entries.iter().map(position).collect(),
            hard_state: hard_state.map(|state| (state.term, state.vote, state.commit)),
            snapshot: received.as_ref().map(|it| (it.metadata.index, it.metadata.term)),
        };
        turn.notes.push(Note::Handed(note.clone()));
        let hard_state = hard_state.map(|state| self.as_planted(state));
        self.log.queue.push(LogJob::Persist {
            number,
            entries,
            hard_state,
            received,
            must_sync,
            then,
            note: Box::new(note),
        });
        turn.wake(Task::LogWrite);
    }

    /// What is written of a hard state.
    fn as_planted(&self, state: HardState) -> HardState {
        match self.limits.plant {
            Some(Plant::ForgottenVote) => HardState { vote: 0, term: 1, ..state },
            _ => state,
        }
    }

    fn send_snapshot(&mut self, message: Message, turn: &mut Turn<'_>) {
        let index = message.snapshot.as_ref().map_or(0, |snapshot| snapshot.metadata.index);
        match &self.pin {
            Some((pinned, view)) if *pinned == index => {
                turn.transfers.push(Transfer { message, view: view.clone() });
            }
            _ => {
                let to = types::NodeId(message.to);
                self.post(Input::SnapshotSent { to, ok: false }, turn);
            }
        }
    }

    /// Reads whose index is applied by now.
    pub(super) fn release_reads(&mut self, turn: &mut Turn<'_>) {
        let applied = self.machine.applied_index();
        self.reads.retain(|(request, index)| {
            let ready = *index <= applied;
            if ready {
                turn.notes.push(Note::ReadReady(*request));
            }
            !ready
        });
    }
}

/// Index, term and content of an entry.
pub(crate) fn position(entry: &Entry) -> (u64, u64, u64) {
    let kind = u64::from(entry.entry_type != EntryType::Normal);
    (entry.index, entry.term, fingerprint(&entry.data).wrapping_add(kind))
}
