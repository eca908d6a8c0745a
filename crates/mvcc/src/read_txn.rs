//! Transactions that only read, carried out in steps at one revision, without the log.
//!
//! ```text
//! read_txn -> ReadTxn: steps through the compares -> decide -> ReadBranch: steps through the ranges
//!                                                                          -> into_reply
//! ```
//!
//! Owns:       the progress of one transaction.
//! Uses:       `range`, `compare`, `txn` for the rules that both kinds share.
//! Never:      writes; a walk over more keys than a step may visit.
//! Invariants: compares and ranges see one revision, however many steps they take; the reply is that
//!             of [`Store::txn`] at that revision.
//! Source:     api-v3.md 2.5.

use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{Compare, RangeRequest, RequestOp, TxnRequest};
use types::EtcdError;

use crate::compare::holds_for_all;
use crate::history::{History, HistoryFault};
use crate::range::{CursorStep, RangeCursor};
use crate::store::Store;
use crate::txn::{OpReply, TxnReply};

/// Whether a transaction has nothing but ranges in both of its branches; a nested one counts as a
/// write, as in etcd.
#[must_use]
pub fn is_read_only(request: &TxnRequest) -> bool {
    ranges_of(request).all(|range| range.is_some())
}

/// Whether a transaction asks for no more than this member's own state: all its operations are
/// serializable ranges.
#[must_use]
pub fn is_serializable(request: &TxnRequest) -> bool {
    ranges_of(request).all(|range| range.is_some_and(|range| range.serializable))
}

fn ranges_of(request: &TxnRequest) -> impl Iterator<Item = Option<&RangeRequest>> {
    request.success.iter().chain(&request.failure).map(range_of)
}

fn range_of(op: &RequestOp) -> Option<&RangeRequest> {
    match &op.request {
        Some(Request::RequestRange(range)) => Some(range),
        _ => None,
    }
}

/// The compares of a transaction under way, and the branches it may take.
#[derive(Clone, Debug)]
pub struct ReadTxn {
    revision: i64,
    oldest_revision: i64,
    compares: Vec<Compare>,
    cursors: Cursors,
    success: Vec<Planned>,
    failure: Vec<Planned>,
}

/// A range of a branch: refused, if the branch is taken, when its revision cannot be read.
type Planned = Result<RangeCursor, EtcdError>;

impl Store {
    /// Begins a transaction of ranges only, at the current revision. Operations of other kinds are
    /// left out: ask [`is_read_only`] first.
    #[must_use]
    pub fn read_txn(&self, request: &TxnRequest) -> ReadTxn {
        let revision = self.current_revision;
        let compares = request.compare.iter().filter_map(|compare| {
            let range = RangeRequest {
                key: compare.key.clone(),
                range_end: compare.range_end.clone(),
                ..RangeRequest::default()
            };
            self.cursor_at(&range, revision).ok()
        });
        let (success, failure) = (self.plan(&request.success), self.plan(&request.failure));
        let planned = success.iter().chain(&failure).flatten();
        let oldest = planned.map(RangeCursor::read_revision).min();
        ReadTxn {
            revision,
            oldest_revision: oldest.map_or(revision, |oldest| oldest.min(revision)),
            compares: request.compare.clone(),
            cursors: Cursors::new(compares.collect()),
            success,
            failure,
        }
    }

    fn plan(&self, ops: &[RequestOp]) -> Vec<Planned> {
        let plan = |op: &RequestOp| {
            let request = op.request.as_ref()?;
            let range = range_of(op)?;
            let checked = self.check_range_op(request);
            Some(checked.and_then(|()| self.cursor_at(range, self.current_revision)))
        };
        ops.iter().filter_map(plan).collect()
    }
}

impl ReadTxn {
    /// The oldest revision that is read; register it to keep deletions away while this lives.
    #[must_use]
    pub fn oldest_revision(&self) -> i64 {
        self.oldest_revision
    }

    /// Visits at most `keys_max` further keys for the compares.
    ///
    /// # Errors
    ///
    /// When a compaction past the revision that is read has begun to delete.
    pub fn step(&mut self, store: &Store, keys_max: usize) -> Result<CursorStep, EtcdError> {
        self.cursors.step(store, keys_max)
    }

    /// Whether [`ReadTxn::decide`] will have to fetch values by revision.
    #[must_use]
    pub fn needs_history(&self) -> bool {
        self.cursors.need_history()
    }

    /// Evaluates the compares and takes a branch.
    ///
    /// # Errors
    ///
    /// The inner error is the client's: the branch has a range at a compacted or a future revision,
    /// or a row has gone because of a compaction. The outer one is a fault.
    pub fn decide(
        self,
        history: &dyn History,
    ) -> Result<Result<ReadBranch, EtcdError>, HistoryFault> {
        let mut succeeded = true;
        for (compare, cursor) in self.compares.iter().zip(self.cursors.all) {
            match cursor.into_reply(history)? {
                Ok(reply) if holds_for_all(compare, reply.kvs.iter())? => {}
                Ok(_) => {
                    succeeded = false;
                    break;
                }
                Err(error) => return Ok(Err(error)),
            }
        }
        let planned = if succeeded { self.success } else { self.failure };
        let cursors: Result<Vec<RangeCursor>, EtcdError> = planned.into_iter().collect();
        Ok(cursors.map(|cursors| ReadBranch {
            succeeded,
            revision: self.revision,
            cursors: Cursors::new(cursors),
        }))
    }
}

/// The ranges of the branch that a transaction takes.
#[derive(Clone, Debug)]
pub struct ReadBranch {
    succeeded: bool,
    revision: i64,
    cursors: Cursors,
}

impl ReadBranch {
    /// Visits at most `keys_max` further keys for the ranges.
    ///
    /// # Errors
    ///
    /// When a compaction past the oldest revision that is read has begun to delete.
    pub fn step(&mut self, store: &Store, keys_max: usize) -> Result<CursorStep, EtcdError> {
        self.cursors.step(store, keys_max)
    }

    /// Whether [`ReadBranch::into_reply`] will have to fetch values by revision.
    #[must_use]
    pub fn needs_history(&self) -> bool {
        self.cursors.need_history()
    }

    /// Fetches what must be fetched by revision and makes the reply.
    ///
    /// # Errors
    ///
    /// As [`RangeCursor::into_reply`].
    pub fn into_reply(
        self,
        history: &dyn History,
    ) -> Result<Result<TxnReply, EtcdError>, HistoryFault> {
        let mut responses = Vec::with_capacity(self.cursors.all.len());
        for cursor in self.cursors.all {
            match cursor.into_reply(history)? {
                Ok(reply) => responses.push(OpReply::Range(reply)),
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(TxnReply { succeeded: self.succeeded, responses, revision: self.revision }))
    }
}

/// Several ranges, stepped through one after the other.
#[derive(Clone, Debug)]
struct Cursors {
    all: Vec<RangeCursor>,
    finished: usize,
}

impl Cursors {
    fn new(all: Vec<RangeCursor>) -> Self {
        Self { all, finished: 0 }
    }

    fn step(&mut self, store: &Store, keys_max: usize) -> Result<CursorStep, EtcdError> {
        let mut left = keys_max;
        while let Some(cursor) = self.all.get_mut(self.finished) {
            if left == 0 {
                return Ok(CursorStep::More);
            }
            let (step, visited) = cursor.advance(store, left)?;
            // A range without a key has a price too.
            left -= visited.max(1).min(left);
            if step == CursorStep::Done {
                self.finished += 1;
            }
        }
        Ok(CursorStep::Done)
    }

    fn need_history(&self) -> bool {
        self.all.iter().any(RangeCursor::needs_history)
    }
}
