//! The judges: each invariant in a file of its own, named after what it says.
//!
//! Owns:       what the judges remember of the run.
//! Uses:       notes of the members, never the members themselves.
//! Never:      an influence on the run.
//! Invariants: a judge that is not sure says nothing; what it says is certain.
//! Source:     the Raft paper and thesis, section by section in the files.

mod acknowledged;
mod applied_durable;
mod election_safety;
mod leader_completeness;
mod linearizable;
mod log_book;
mod log_matching;
mod model;
mod persistence;
mod state_hash;
mod state_machine_safety;
mod v2_events;
mod watched;

use consensus::Role;
use proto::raftpb::{EntryType, Message};
use types::{NodeId, RequestId};
use v2store::{Event, Watch};

use crate::Violation;
use crate::member::LogOnDisk;
use crate::requests::{self, Answer, Request};
use crate::shell::{WatchedEvent, position};
use crate::turn::{AppliedNote, LogNote};

pub(crate) use linearizable::Floor;
pub(crate) use watched::Interest;

type Verdict = Result<(), Violation>;

/// All judges.
pub(crate) struct Oracles {
    outside_only: bool,
    logs: log_book::LogBooks,
    elections: election_safety::ElectionSafety,
    matching: log_matching::LogMatching,
    committed: state_machine_safety::Committed,
    durable: applied_durable::AppliedDurable,
    memory: persistence::Persistence,
    hashes: state_hash::StateHashes,
    acknowledged: acknowledged::Acknowledged,
    history: linearizable::History,
    v2_events: v2_events::V2Events,
}

impl Oracles {
    pub(crate) fn new(outside_only: bool) -> Self {
        Self {
            outside_only,
            logs: log_book::LogBooks::default(),
            elections: election_safety::ElectionSafety::default(),
            matching: log_matching::LogMatching::default(),
            committed: state_machine_safety::Committed::default(),
            durable: applied_durable::AppliedDurable::default(),
            memory: persistence::Persistence::default(),
            hashes: state_hash::StateHashes::default(),
            acknowledged: acknowledged::Acknowledged::default(),
            history: linearizable::History::default(),
            v2_events: v2_events::V2Events::default(),
        }
    }

    /// A member has a new role.
    pub(crate) fn role(&mut self, id: NodeId, term: u64, role: Role) -> Verdict {
        if role != Role::Leader {
            return Ok(());
        }
        self.elections.leader(id, term)?;
        if self.outside_only {
            return Ok(());
        }
        leader_completeness::check(id, term, self.logs.written(id), &self.committed)
    }

    /// A member was asked to write to its log.
    pub(crate) fn handed(&mut self, id: NodeId, write: &LogNote) {
        self.logs.handed(id, write);
    }

    /// It has done so, durably.
    pub(crate) fn synced(&mut self, id: NodeId, write: &LogNote) -> Verdict {
        self.matching.synced(id, self.logs.durable(id), write)?;
        self.logs.synced(id, write);
        match write.hard_state {
            Some((term, vote, _)) if !self.outside_only => self.memory.synced(id, term, vote),
            _ => Ok(()),
        }
    }

    /// A member has applied an entry.
    pub(crate) fn applied(&mut self, id: NodeId, note: &AppliedNote) -> Verdict {
        let at = position(&note.entry);
        let is_first = self.committed.applied(id, at, note.term)?;
        if let Some(hash) = note.state_hash {
            self.hashes.check(id, at.0, hash)?;
        }
        if is_first {
            if !self.outside_only {
                self.durable.first_applied(id, note, &self.logs)?;
            }
            if note.entry.entry_type == EntryType::ConfChange {
                self.durable.changed(&note.entry, note.voters.clone());
            }
            self.acknowledged.applied(note)?;
        }
        match &note.reply {
            Some(reply) => self.acknowledged.check_reply(note.request, &requests::answer(reply)),
            None => Ok(()),
        }
    }

    /// A member's whole state was replaced or restored.
    pub(crate) fn restored(&mut self, id: NodeId, index: u64, hash: Option<u64>) -> Verdict {
        hash.map_or(Ok(()), |hash| self.hashes.check(id, index, hash))
    }

    /// A message leaves a member.
    pub(crate) fn sent(&mut self, message: &Message) -> Verdict {
        if self.outside_only {
            return Ok(());
        }
        self.memory.sent(message)
    }

    /// A member starts again with this log, term and vote.
    pub(crate) fn restarted(
        &mut self,
        id: NodeId,
        log: &LogOnDisk,
        (term, vote): (u64, u64),
    ) -> Verdict {
        if !self.outside_only {
            persistence::check_log(id, self.logs.durable(id), log)?;
            self.memory.restarted(id, term, vote)?;
        }
        self.logs.restarted(id, log);
        Ok(())
    }

    /// A client asks; what it may expect.
    pub(crate) fn invoked(&mut self, id: RequestId, request: &Request) -> Floor {
        self.acknowledged.issued(id, request);
        self.history.floor()
    }

    /// A client was told.
    pub(crate) fn answered(&mut self, id: RequestId, floor: Floor, answer: &Answer) -> Verdict {
        let request = self.acknowledged.answered(id, answer)?;
        self.history.returned(id, floor, &request, answer)
    }

    /// A member applied a v2 event; `latest_ns` is the latest that any clock shows.
    pub(crate) fn v2_event(
        &mut self,
        event: &Event,
        removed: &[String],
        latest_ns: i64,
    ) -> Verdict {
        self.v2_events.happened(event, removed, latest_ns)
    }

    /// The event that answers a registration for `since` at index `now` at once.
    pub(crate) fn v2_past(&self, watch: &Watch, since: u64, now: u64) -> Option<u64> {
        self.v2_events.past(watch, since, now)
    }

    /// The next event that a registered v2 watcher is told, and how often.
    pub(crate) fn v2_next(&self, watch: &Watch, from: u64) -> Option<(u64, usize)> {
        self.v2_events.next(watch, from)
    }

    pub(crate) fn is_v2_event(&self, index: u64, event: &Event) -> bool {
        self.v2_events.is(index, event)
    }

    /// A watcher that stands at `next` was told of events; returns where it stands then.
    pub(crate) fn watched(
        &self,
        interest: &Interest,
        next: i64,
        events: &[WatchedEvent],
    ) -> Result<i64, Violation> {
        interest.told(self.model(), next, events)
    }

    /// It was told that it knows everything up to a revision.
    pub(crate) fn progress(
        &self,
        interest: &Interest,
        next: i64,
        revision: i64,
    ) -> Result<i64, Violation> {
        interest.progress(self.model(), next, revision)
    }

    /// It was told that what it needs is compacted.
    pub(crate) fn watch_compacted(&self, next: i64, compact_revision: i64) -> Verdict {
        watched::compacted(self.model(), next, compact_revision)
    }

    /// Number of changes that it has not been told of.
    pub(crate) fn watch_missing(&self, interest: &Interest, next: i64) -> usize {
        interest.missing(self.model(), next)
    }

    /// A client was told that its request is not in the log.
    pub(crate) fn refused(&mut self, id: RequestId) -> Verdict {
        self.acknowledged.refused(id)
    }

    /// Whether a member has everything that is known to be committed, durably.
    pub(crate) fn has_all_committed(&self, id: NodeId) -> bool {
        let log = self.logs.durable(id);
        self.committed.last().is_none_or(|(index, term)| log.has(index, term))
    }

    pub(crate) fn committed_entries(&self) -> u64 {
        self.committed.count()
    }

    pub(crate) fn model(&self) -> &model::Model {
        self.acknowledged.model()
    }
}
