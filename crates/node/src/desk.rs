//! The desk of a client runtime: what its requests hand to raft goes out in one piece per turn of the
//! runtime, and what they get back comes in one piece, with one wake-up for all.
//!
//! ```text
//!  request -- post --> outbox --\                         /--> Waiters, Inbox   (one lock each)
//!                                >-- the desk's task ----<
//!  apply, raft -- hand_in --> returns (one wake-up) --/   \--> oneshot of each request (no wake-up
//!                                                              of the thread: it is this one)
//! ```
//!
//! Owns:       what was posted and not handed on, what came back and was not handed out.
//! Uses:       `waiters`, `inbox`.
//! Never:      waits; keeps anything over a turn of its runtime.
//! Invariants: a proposal is registered before raft can see it; what nobody waits for any more when
//!             its turn comes is not proposed.
//! Source:     design.md 2 and 6; decision 0023.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use consensus::Input;
use tokio::sync::Notify;
use tokio::sync::oneshot::{self, Receiver, Sender};
use types::{EtcdError, NodeId, RequestId};

use crate::profile::{self, Stage};
use crate::shared::Shared;
use crate::waiters::{Answer, DeskNumber, Outcome, ReadResult};

/// Posted requests that are handed on at once, even if the turn goes on: raft may begin with them.
const POSTED_MAX: usize = 256;

thread_local! {
    /// The desk of this thread's runtime, if it has one.
    static OUTBOX: RefCell<Option<Outbox>> = const { RefCell::new(None) };
}

/// The part of a desk that other threads see.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    returns: Mutex<Vec<Answer>>,
    /// Rung for what was posted and for what came back.
    bell: Notify,
}

impl Desk {
    /// Takes answers for requests of this desk's runtime.
    pub(crate) fn hand_in(&self, answers: Vec<Answer>) {
        let mut returns = self.returns.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = returns.is_empty();
        returns.extend(answers);
        drop(returns);
        if is_first {
            self.bell.notify_one();
        }
    }

    /// Gives what was handed in to whoever waits on this runtime.
    pub(crate) fn hand_out(&self) {
        let mut returns = self.returns.lock().unwrap_or_else(PoisonError::into_inner);
        let answers = std::mem::take(&mut *returns);
        drop(returns);
        answers.into_iter().for_each(Answer::give);
    }
}

/// A proposal on its way out.
struct Posted {
    id: RequestId,
    /// Who led when it was posted.
    leader: NodeId,
    data: Bytes,
    sender: Sender<Outcome>,
}

struct Outbox {
    shared: Arc<Shared>,
    desk: Arc<Desk>,
    number: DeskNumber,
    proposals: Vec<Posted>,
    reads: Vec<Sender<ReadResult>>,
}

impl Outbox {
    fn len(&self) -> usize {
        self.proposals.len() + self.reads.len()
    }

    /// After something was posted.
    fn posted(&mut self) {
        match self.len() {
            1 => self.desk.bell.notify_one(),
            POSTED_MAX.. => self.hand_on(),
            _ => {}
        }
    }

    fn hand_on(&mut self) {
        if !self.proposals.is_empty() {
            let number = self.number;
            propose(&self.shared, number, self.proposals.drain(..));
        }
        if !self.reads.is_empty() {
            read(&self.shared, self.number, std::mem::take(&mut self.reads));
        }
    }
}

/// Works at the desk of the runtime that runs this, which must have one thread only, for as long as
/// the runtime lives.
pub(crate) async fn work(shared: Arc<Shared>) {
    let _open = Open::new(shared);
    let Some(desk) = with_outbox(|outbox| Arc::clone(&outbox.desk)) else { return };
    loop {
        desk.bell.notified().await;
        desk.hand_out();
        with_outbox(Outbox::hand_on);
    }
}

/// A desk that is closed with its runtime.
struct Open;

impl Open {
    fn new(shared: Arc<Shared>) -> Self {
        let (number, desk) = shared.waiters.open_desk();
        let outbox = Outbox { shared, desk, number, proposals: Vec::new(), reads: Vec::new() };
        OUTBOX.with_borrow_mut(|open| *open = Some(outbox));
        Self
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // At the end of the thread its locals may be gone already, and the outbox with them.
        let _ = OUTBOX.try_with(|open| open.take());
    }
}

fn with_outbox<R>(work: impl FnOnce(&mut Outbox) -> R) -> Option<R> {
    OUTBOX.with_borrow_mut(|open| open.as_mut().map(work))
}

/// Hands a proposal to raft, over the desk of this thread if it has one.
pub(crate) fn post_proposal(
    shared: &Arc<Shared>,
    id: RequestId,
    leader: NodeId,
    data: Bytes,
) -> Receiver<Outcome> {
    let (sender, receiver) = oneshot::channel();
    let posted = Posted { id, leader, data, sender };
    OUTBOX.with_borrow_mut(|open| match open {
        Some(outbox) if Arc::ptr_eq(&outbox.shared, shared) => {
            outbox.proposals.push(posted);
            outbox.posted();
        }
        _ => propose(shared, DeskNumber::NONE, std::iter::once(posted)),
    });
    receiver
}

/// Starts or joins a round for a linearizable read.
pub(crate) fn post_read(shared: &Arc<Shared>) -> Receiver<ReadResult> {
    let (sender, receiver) = oneshot::channel();
    OUTBOX.with_borrow_mut(|open| match open {
        Some(outbox) if Arc::ptr_eq(&outbox.shared, shared) => {
            outbox.reads.push(sender);
            outbox.posted();
        }
        _ => read(shared, DeskNumber::NONE, vec![sender]),
    });
    receiver
}

fn propose(shared: &Shared, desk: DeskNumber, posted: impl Iterator<Item = Posted>) {
    let (leader, term) = {
        let view = shared.raft.borrow();
        (view.leader, view.term)
    };
    let wanted = posted.filter(|posted| !posted.sender.is_closed());
    let mut proposals = Vec::with_capacity(wanted.size_hint().1.unwrap_or(0));
    let mut waiting = Vec::with_capacity(proposals.capacity());
    for Posted { id, leader: chosen, data, sender } in wanted {
        if chosen == leader {
            proposals.push((id, data));
            waiting.push((id, sender));
        } else {
            let _ = sender.send(Outcome::not_taken());
        }
    }
    shared.waiters.propose(desk, leader, term, waiting);
    // A leader lost between the look at it and the registration has been reported already.
    if shared.raft.borrow().leader != leader {
        let ids: Vec<RequestId> = proposals.iter().map(|(id, _)| *id).collect();
        return shared.waiters.reject(&ids, EtcdError::NoLeader);
    }
    profile::mark(Stage::Posted);
    let refused = shared.inbox.propose(proposals);
    shared.waiters.reject(&refused, EtcdError::RequestTooManyRequests);
}

fn read(shared: &Shared, desk: DeskNumber, senders: Vec<Sender<ReadResult>>) {
    let Some(id) = shared.waiters.read(desk, senders) else { return };
    if shared.inbox.client(Input::ReadIndex(vec![id])).is_err() {
        shared.waiters.reads_failed(&[id], EtcdError::RequestTooManyRequests);
    }
}
