//! Who waits for which outcome. Each waiter is answered exactly once, or dropped by its own clock.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use apply::Reply;
use tokio::sync::oneshot;
use types::{EtcdError, LogIndex, NodeId, RequestId, Term};

/// What a proposer is told.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The result of applying the entry, or why that is unknown or did not happen.
    pub(crate) reply: Result<Reply, EtcdError>,
    /// Store revision after it.
    pub(crate) revision: i64,
    /// Position of the entry.
    pub(crate) index: LogIndex,
    /// Term of the entry.
    pub(crate) term: Term,
}

impl Outcome {
    /// Of a proposal that was never handed to raft; it may be tried again.
    pub(crate) fn not_taken() -> Self {
        Self::failure(EtcdError::NoLeader)
    }

    fn failure(error: EtcdError) -> Self {
        Self { reply: Err(error), revision: 0, index: LogIndex(0), term: Term(0) }
    }
}

struct Proposal {
    sender: oneshot::Sender<Outcome>,
    /// Leader that it was forwarded to; this member's own ID when it led itself.
    leader: NodeId,
    /// Term in which it was proposed.
    term: Term,
}

#[derive(Default)]
struct Tables {
    proposals: BTreeMap<RequestId, Proposal>,
    reads: BTreeMap<RequestId, oneshot::Sender<Result<(), EtcdError>>>,
    /// Reads whose round is over and which wait for this index to be applied.
    parked: BTreeMap<LogIndex, Vec<RequestId>>,
    applied: LogIndex,
    stopped: bool,
}

impl Tables {
    fn answer_reads(&mut self, ids: &[RequestId], result: Result<(), EtcdError>) {
        for sender in ids.iter().filter_map(|id| self.reads.remove(id)).collect::<Vec<_>>() {
            let _ = sender.send(result);
        }
    }
}

/// All waiters of a member.
#[derive(Default)]
pub(crate) struct Waiters {
    tables: Mutex<Tables>,
}

impl Waiters {
    /// Registers a proposal before it is handed to raft.
    pub(crate) fn propose(
        &self,
        id: RequestId,
        leader: NodeId,
        term: Term,
    ) -> oneshot::Receiver<Outcome> {
        let (sender, receiver) = oneshot::channel();
        let mut tables = self.lock();
        if !tables.stopped {
            tables.proposals.insert(id, Proposal { sender, leader, term });
        }
        receiver
    }

    /// Registers a read before its round starts.
    pub(crate) fn read(&self, id: RequestId) -> oneshot::Receiver<Result<(), EtcdError>> {
        let (sender, receiver) = oneshot::channel();
        let mut tables = self.lock();
        if !tables.stopped {
            tables.reads.insert(id, sender);
        }
        receiver
    }

    /// Whether anybody waits for this proposal.
    pub(crate) fn take(&self, id: RequestId) -> Option<oneshot::Sender<Outcome>> {
        self.lock().proposals.remove(&id).map(|proposal| proposal.sender)
    }

    /// Forgets a request whose client is gone.
    pub(crate) fn forget(&self, id: RequestId) {
        let mut tables = self.lock();
        tables.proposals.remove(&id);
        tables.reads.remove(&id);
    }

    /// Answers proposals that are certainly not in the log.
    pub(crate) fn reject(&self, ids: &[RequestId], error: EtcdError) {
        let mut tables = self.lock();
        for id in ids {
            if let Some(proposal) = tables.proposals.remove(id) {
                drop(proposal.sender.send(Outcome::failure(error)));
            }
        }
    }

    /// The round of these reads is over: answers them once `index` is applied.
    pub(crate) fn reads_ready(&self, ids: Vec<RequestId>, index: LogIndex) {
        let mut tables = self.lock();
        if tables.applied >= index {
            tables.answer_reads(&ids, Ok(()));
        } else {
            tables.parked.entry(index).or_default().extend(ids);
        }
    }

    /// Everything up to `index` is applied.
    pub(crate) fn applied(&self, index: LogIndex) {
        let mut tables = self.lock();
        tables.applied = index;
        while let Some(first) = tables.parked.first_entry()
            && *first.key() <= index
        {
            let ids = first.remove();
            tables.answer_reads(&ids, Ok(()));
        }
    }

    /// Answers reads that were not taken.
    pub(crate) fn reads_failed(&self, ids: &[RequestId], error: EtcdError) {
        self.lock().answer_reads(ids, Err(error));
    }

    /// A leader was lost or replaced: what was forwarded to another than `leader` has an unknown
    /// outcome and is never proposed again (design.md 2).
    pub(crate) fn leader_lost(&self, local: NodeId, leader: NodeId) {
        self.fail_where(EtcdError::TimeoutDueToLeaderFail, |proposal| {
            proposal.leader != local && proposal.leader != leader
        });
    }

    /// The first entry of `term` was applied: whatever was proposed in an older term and is not
    /// applied by now was not in the new leader's log.
    pub(crate) fn term_began(&self, term: Term) {
        self.fail_where(EtcdError::TimeoutDueToLeaderFail, |proposal| proposal.term < term);
    }

    /// A snapshot took the place of entries that this member never saw: no reply will come for what
    /// they held, so whatever was proposed before has an unknown outcome.
    pub(crate) fn overtaken(&self) {
        self.fail_where(EtcdError::TimeoutDueToConnectionLost, |_| true);
    }

    /// Answers everybody and refuses newcomers.
    pub(crate) fn stop(&self) {
        let mut tables = self.lock();
        tables.stopped = true;
        for (_, proposal) in std::mem::take(&mut tables.proposals) {
            drop(proposal.sender.send(Outcome::failure(EtcdError::Stopped)));
        }
        for (_, sender) in std::mem::take(&mut tables.reads) {
            let _ = sender.send(Err(EtcdError::Stopped));
        }
    }

    fn fail_where(&self, error: EtcdError, lost: impl Fn(&Proposal) -> bool) {
        let mut tables = self.lock();
        let ids: Vec<RequestId> = tables
            .proposals
            .iter()
            .filter(|(_, proposal)| lost(proposal))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            if let Some(proposal) = tables.proposals.remove(&id) {
                drop(proposal.sender.send(Outcome::failure(error)));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(receiver: &mut oneshot::Receiver<Outcome>) -> Option<EtcdError> {
        receiver.try_recv().ok().and_then(|outcome| outcome.reply.err())
    }

    #[test]
    fn losing_the_leader_fails_only_what_was_forwarded_to_it() {
        let waiters = Waiters::default();
        let mut own = waiters.propose(RequestId(1), NodeId(1), Term(2));
        let mut forwarded = waiters.propose(RequestId(2), NodeId(2), Term(2));
        waiters.leader_lost(NodeId(1), NodeId(0));
        assert_eq!(error_of(&mut own), None);
        assert_eq!(error_of(&mut forwarded), Some(EtcdError::TimeoutDueToLeaderFail));
        waiters.term_began(Term(3));
        assert_eq!(error_of(&mut own), Some(EtcdError::TimeoutDueToLeaderFail));
    }

    #[test]
    fn a_snapshot_ends_the_wait_for_entries_that_it_holds() {
        let waiters = Waiters::default();
        let mut proposal = waiters.propose(RequestId(1), NodeId(2), Term(2));
        let mut read = waiters.read(RequestId(2));
        waiters.overtaken();
        assert_eq!(error_of(&mut proposal), Some(EtcdError::TimeoutDueToConnectionLost));
        assert!(read.try_recv().is_err());
    }

    #[test]
    fn reads_wait_for_their_index_to_be_applied() {
        let waiters = Waiters::default();
        let mut early = waiters.read(RequestId(1));
        let mut late = waiters.read(RequestId(2));
        waiters.applied(LogIndex(5));
        waiters.reads_ready(vec![RequestId(1)], LogIndex(5));
        waiters.reads_ready(vec![RequestId(2)], LogIndex(6));
        assert_eq!(early.try_recv(), Ok(Ok(())));
        assert!(late.try_recv().is_err());
        waiters.applied(LogIndex(7));
        assert_eq!(late.try_recv(), Ok(Ok(())));
    }

    #[test]
    fn stopping_answers_everybody() {
        let waiters = Waiters::default();
        let mut early = waiters.propose(RequestId(1), NodeId(1), Term(2));
        waiters.stop();
        assert_eq!(error_of(&mut early), Some(EtcdError::Stopped));
        assert!(waiters.propose(RequestId(2), NodeId(1), Term(2)).try_recv().is_err());
    }
}
