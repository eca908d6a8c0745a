//! Who waits for which outcome. Each waiter is answered exactly once, or dropped by its own clock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use apply::Reply;
use tokio::sync::oneshot;
use types::{EtcdError, LogIndex, NodeId, RequestId, Term};

use crate::desk::Desk;

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

/// What a reader is told.
pub(crate) type ReadResult = Result<(), EtcdError>;

/// Which desk an answer goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeskNumber(usize);

impl DeskNumber {
    /// Straight to whoever waits.
    pub(crate) const NONE: Self = Self(0);
}

/// An answer and who waits for it.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are of the large kind, moved in a vector"
)]
#[derive(Debug)]
pub(crate) enum Answer {
    /// To a proposer.
    Proposal(oneshot::Sender<Outcome>, Outcome),
    /// To readers.
    Reads(Vec<oneshot::Sender<ReadResult>>, ReadResult),
}

impl Answer {
    /// Tells them; whoever is gone is passed over.
    pub(crate) fn give(self) {
        match self {
            Self::Proposal(sender, outcome) => drop(sender.send(outcome)),
            Self::Reads(senders, result) => {
                for sender in senders {
                    let _ = sender.send(result);
                }
            }
        }
    }
}

/// Reads that wait at one time for a round, those of clients that are gone included; further ones are
/// refused with `too many requests`.
const READS_WAITING_MAX: usize = 65_536;

struct Proposal {
    sender: oneshot::Sender<Outcome>,
    desk: DeskNumber,
    /// Leader that it was forwarded to; this member's own ID when it led itself.
    leader: NodeId,
    /// Term in which it was proposed.
    term: Term,
}

/// Reads that wait for the same round.
struct Reads {
    senders: Vec<oneshot::Sender<ReadResult>>,
    desk: DeskNumber,
}

#[derive(Default)]
struct Tables {
    proposals: BTreeMap<RequestId, Proposal>,
    reads: BTreeMap<RequestId, Reads>,
    /// Readers in `reads`.
    reads_waiting: usize,
    /// The last number given to a group of reads.
    last_read: u64,
    /// Reads whose round is over and which wait for this index to be applied.
    parked: BTreeMap<LogIndex, Vec<RequestId>>,
    applied: LogIndex,
    /// Those with the numbers from 1 on.
    desks: Vec<Arc<Desk>>,
    stopped: bool,
}

impl Tables {
    fn take_reads(&mut self, ids: &[RequestId], result: ReadResult, into: &mut Answers) {
        for reads in ids.iter().filter_map(|id| self.reads.remove(id)) {
            self.reads_waiting -= reads.senders.len();
            into.add(reads.desk, Answer::Reads(reads.senders, result));
        }
    }

    fn take_parked(&mut self, into: &mut Answers) {
        while let Some(first) = self.parked.first_entry()
            && *first.key() <= self.applied
        {
            let ids = first.remove();
            self.take_reads(&ids, Ok(()), into);
        }
    }

    fn take_proposals(&mut self, outcomes: Vec<(RequestId, Outcome)>, into: &mut Answers) {
        for (id, outcome) in outcomes {
            if let Some(proposal) = self.proposals.remove(&id) {
                into.add(proposal.desk, Answer::Proposal(proposal.sender, outcome));
            }
        }
    }

    /// Forgets readers that are gone.
    fn prune_reads(&mut self) {
        for reads in self.reads.values_mut() {
            reads.senders.retain(|sender| !sender.is_closed());
        }
        self.reads_waiting = self.reads.values().map(|reads| reads.senders.len()).sum();
    }
}

/// Answers to be given once the tables are unlocked, by the desk that each goes over.
#[derive(Default)]
struct Answers(Vec<(DeskNumber, Vec<Answer>)>);

impl Answers {
    fn add(&mut self, desk: DeskNumber, answer: Answer) {
        match self.0.iter_mut().find(|(number, _)| *number == desk) {
            Some((_, answers)) => answers.push(answer),
            None => self.0.push((desk, vec![answer])),
        }
    }

    /// Unlocks the tables and gives the answers.
    fn give(self, tables: MutexGuard<'_, Tables>) {
        if self.0.is_empty() {
            return;
        }
        let by_desk = self.0.into_iter().map(|(number, answers)| {
            let desk = number.0.checked_sub(1).and_then(|at| tables.desks.get(at));
            (desk.cloned(), answers)
        });
        let by_desk: Vec<_> = by_desk.collect();
        drop(tables);
        for (desk, answers) in by_desk {
            match desk {
                Some(desk) => desk.hand_in(answers),
                None => answers.into_iter().for_each(Answer::give),
            }
        }
    }
}

/// All waiters of a member.
#[derive(Default)]
pub(crate) struct Waiters {
    tables: Mutex<Tables>,
}

impl Waiters {
    /// Opens a desk, which stays for as long as the member.
    pub(crate) fn open_desk(&self) -> (DeskNumber, Arc<Desk>) {
        let desk = Arc::new(Desk::default());
        let mut tables = self.lock();
        tables.desks.push(Arc::clone(&desk));
        (DeskNumber(tables.desks.len()), desk)
    }

    /// Registers proposals before they are handed to raft, in a term and for its leader.
    pub(crate) fn propose(
        &self,
        desk: DeskNumber,
        leader: NodeId,
        term: Term,
        waiting: impl IntoIterator<Item = (RequestId, oneshot::Sender<Outcome>)>,
    ) {
        let mut tables = self.lock();
        if !tables.stopped {
            let proposals = waiting
                .into_iter()
                .map(|(id, sender)| (id, Proposal { sender, desk, leader, term }));
            tables.proposals.extend(proposals);
        }
    }

    /// Registers reads before their round starts, under one number. `None` when they were refused,
    /// and told so.
    pub(crate) fn read(
        &self,
        desk: DeskNumber,
        senders: Vec<oneshot::Sender<ReadResult>>,
    ) -> Option<RequestId> {
        let mut tables = self.lock();
        if tables.reads_waiting + senders.len() > READS_WAITING_MAX {
            tables.prune_reads();
        }
        let is_full = tables.reads_waiting + senders.len() > READS_WAITING_MAX;
        if tables.stopped || is_full {
            let error =
                if is_full { EtcdError::RequestTooManyRequests } else { EtcdError::Stopped };
            drop(tables);
            Answer::Reads(senders, Err(error)).give();
            return None;
        }
        tables.last_read += 1;
        tables.reads_waiting += senders.len();
        let id = RequestId(tables.last_read);
        tables.reads.insert(id, Reads { senders, desk });
        Some(id)
    }

    /// Forgets a proposal whose client is gone.
    pub(crate) fn forget(&self, id: RequestId) {
        let forgotten = self.lock().proposals.remove(&id);
        drop(forgotten);
    }

    /// Answers proposals that are certainly not in the log.
    pub(crate) fn reject(&self, ids: &[RequestId], error: EtcdError) {
        if ids.is_empty() {
            return;
        }
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
        let mut answers = Answers::default();
        if tables.applied >= index {
            tables.take_reads(&ids, Ok(()), &mut answers);
        } else {
            tables.parked.entry(index).or_default().extend(ids);
        }
        answers.give(tables);
    }

    /// Answers what was applied, whoever waits for it.
    pub(crate) fn settle(&self, outcomes: Vec<(RequestId, Outcome)>) {
        if outcomes.is_empty() {
            return;
        }
        let mut tables = self.lock();
        let mut answers = Answers::default();
        tables.take_proposals(outcomes, &mut answers);
        answers.give(tables);
    }

    /// Everything up to `index` is applied, with these outcomes.
    pub(crate) fn applied(&self, index: LogIndex, outcomes: Vec<(RequestId, Outcome)>) {
        let mut tables = self.lock();
        let mut answers = Answers::default();
        tables.take_proposals(outcomes, &mut answers);
        tables.applied = index;
        tables.take_parked(&mut answers);
        answers.give(tables);
    }

    /// Answers reads that were not taken.
    pub(crate) fn reads_failed(&self, ids: &[RequestId], error: EtcdError) {
        let mut tables = self.lock();
        let mut answers = Answers::default();
        tables.take_reads(ids, Err(error), &mut answers);
        answers.give(tables);
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
        tables.reads_waiting = 0;
        for (_, reads) in std::mem::take(&mut tables.reads) {
            Answer::Reads(reads.senders, Err(EtcdError::Stopped)).give();
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

    fn propose(waiters: &Waiters, id: u64, leader: u64, term: u64) -> oneshot::Receiver<Outcome> {
        let (sender, receiver) = oneshot::channel();
        let waiting = [(RequestId(id), sender)];
        waiters.propose(DeskNumber::NONE, NodeId(leader), Term(term), waiting);
        receiver
    }

    fn read(waiters: &Waiters) -> (RequestId, oneshot::Receiver<ReadResult>) {
        let (sender, receiver) = oneshot::channel();
        (waiters.read(DeskNumber::NONE, vec![sender]).unwrap(), receiver)
    }

    fn outcome(index: u64) -> Outcome {
        let reply = Err(EtcdError::NoSpace);
        Outcome { reply, revision: 0, index: LogIndex(index), term: Term(1) }
    }

    #[test]
    fn losing_the_leader_fails_only_what_was_forwarded_to_it() {
        let waiters = Waiters::default();
        let mut own = propose(&waiters, 1, 1, 2);
        let mut forwarded = propose(&waiters, 2, 2, 2);
        waiters.leader_lost(NodeId(1), NodeId(0));
        assert_eq!(error_of(&mut own), None);
        assert_eq!(error_of(&mut forwarded), Some(EtcdError::TimeoutDueToLeaderFail));
        waiters.term_began(Term(3));
        assert_eq!(error_of(&mut own), Some(EtcdError::TimeoutDueToLeaderFail));
    }

    #[test]
    fn a_snapshot_ends_the_wait_for_entries_that_it_holds() {
        let waiters = Waiters::default();
        let mut proposal = propose(&waiters, 1, 2, 2);
        let (_, mut read) = read(&waiters);
        waiters.overtaken();
        assert_eq!(error_of(&mut proposal), Some(EtcdError::TimeoutDueToConnectionLost));
        assert!(read.try_recv().is_err());
    }

    #[test]
    fn reads_wait_for_their_index_to_be_applied() {
        let waiters = Waiters::default();
        let (early_id, mut early) = read(&waiters);
        let (late_id, mut late) = read(&waiters);
        waiters.applied(LogIndex(5), Vec::new());
        waiters.reads_ready(vec![early_id], LogIndex(5));
        waiters.reads_ready(vec![late_id], LogIndex(6));
        assert_eq!(early.try_recv(), Ok(Ok(())));
        assert!(late.try_recv().is_err());
        waiters.applied(LogIndex(7), Vec::new());
        assert_eq!(late.try_recv(), Ok(Ok(())));
    }

    #[test]
    fn each_outcome_goes_to_its_proposer_over_its_desk() {
        let waiters = Waiters::default();
        let (number, desk) = waiters.open_desk();
        let mut direct = propose(&waiters, 1, 1, 1);
        let (sender, mut over_desk) = oneshot::channel();
        waiters.propose(number, NodeId(1), Term(1), [(RequestId(2), sender)]);
        let of_others = (RequestId(9), outcome(12));
        let outcomes = vec![(RequestId(1), outcome(10)), (RequestId(2), outcome(11)), of_others];
        waiters.applied(LogIndex(12), outcomes);
        assert_eq!(direct.try_recv().unwrap().index, LogIndex(10));
        assert!(over_desk.try_recv().is_err());
        desk.hand_out();
        assert_eq!(over_desk.try_recv().unwrap().index, LogIndex(11));
    }

    #[test]
    fn reads_are_bounded_and_those_of_gone_clients_give_room() {
        let waiters = Waiters::default();
        let many = || (0..READS_WAITING_MAX).map(|_| oneshot::channel());
        let (senders, receivers): (Vec<_>, Vec<_>) = many().unzip();
        assert!(waiters.read(DeskNumber::NONE, senders).is_some());
        let (sender, mut receiver) = oneshot::channel();
        assert_eq!(waiters.read(DeskNumber::NONE, vec![sender]), None);
        assert_eq!(receiver.try_recv(), Ok(Err(EtcdError::RequestTooManyRequests)));
        drop(receivers);
        let (id, mut again) = read(&waiters);
        waiters.reads_ready(vec![id], LogIndex(0));
        assert_eq!(again.try_recv(), Ok(Ok(())));
    }

    #[test]
    fn stopping_answers_everybody() {
        let waiters = Waiters::default();
        let mut early = propose(&waiters, 1, 1, 2);
        let (_, mut reading) = read(&waiters);
        waiters.stop();
        assert_eq!(error_of(&mut early), Some(EtcdError::Stopped));
        assert_eq!(reading.try_recv(), Ok(Err(EtcdError::Stopped)));
        assert!(propose(&waiters, 2, 1, 2).try_recv().is_err());
    }
}
