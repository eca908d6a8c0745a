//! Reads of this member's state, in bounded holds of the read lock; what takes longer, and whatever
//! touches a file, runs on a thread for blocking work.
//!
//! Owns:       nothing.
//! Uses:       `mvcc`'s cursors, `readers`, `read_threads`.
//! Never:      an answer that is short because of a compaction; a hold of more than one chunk.
//! Invariants: everything in one answer belongs to one revision.
//! Source:     design.md 2 (readers); api-v3.md 2.2, 2.5.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use mvcc::kv::Pair;
use mvcc::{
    CursorStep, HashReply, HistoryFault, RangeCursor, RangeReply, ReadBranch, ReadTxn, TxnReply,
};
use proto::etcdserverpb::{RangeRequest, TxnRequest};
use tokio::time::timeout_at;
use types::{EtcdError, V2Error, limits};
use v2store::Event;

use crate::desk;
use crate::handle::{Handle, Inner};
use crate::shared::{OverlayHistory, Shared, SharedHistory, StopReason};

/// Keys that a transaction looks at for its compares, and then for its ranges, in its first hold of
/// the lock: together one chunk. Most of them end with that.
const READ_TXN_STEP_KEYS: usize = limits::RANGE_CHUNK_KEYS / 2;

/// How far a transaction of ranges has come in its first hold of the lock.
enum Begun {
    Compares(ReadTxn),
    Ranges(ReadBranch),
}

/// A range that is handed out in pieces, all of the revision at which it began. It keeps no revision
/// open: whoever reads it decides how long it takes, so a compaction ends it.
pub struct RangeStream {
    handle: Handle,
    /// `None` while a piece is being read, and after the last one.
    cursor: Option<RangeCursor>,
}

/// A piece of a [`RangeStream`].
#[derive(Debug)]
pub struct RangePiece {
    /// Pairs as stored.
    pub kvs: Vec<Pair>,
    /// In the last piece: what the whole range comes to, without pairs.
    pub summary: Option<RangeReply>,
}

impl Handle {
    /// Waits until this member has applied everything that was committed when the call began.
    ///
    /// # Errors
    /// Why that could not be established in time.
    pub async fn linearize(&self) -> Result<(), EtcdError> {
        let shared = &self.inner().shared;
        if shared.alone.is_up_to_date() {
            return Ok(());
        }
        let counters = &shared.counters;
        let receiver = desk::post_read(shared);
        match timeout_at(self.deadline(), receiver).await {
            Ok(Ok(result)) => result.inspect_err(|_| counters.read_indexes_failed.add(1)),
            Ok(Err(_)) => Err(EtcdError::Stopped),
            // A read has no outcome that could be unknown: etcd's words for that are not for it.
            Err(_) => {
                counters.slow_read_indexes.add(1);
                Err(EtcdError::Timeout)
            }
        }
    }

    /// Answers a range from this member's state. Linearizable only after [`Handle::linearize`].
    ///
    /// # Errors
    /// Those of the request; `Compacted` when it takes so long that a compaction overtakes it.
    pub async fn range(&self, request: RangeRequest) -> Result<(RangeReply, i64), EtcdError> {
        self.inner().shared.counters.ranges.add(1);
        let (mut cursor, open, revision) = {
            let shared = &self.inner().shared;
            let published = shared.read();
            let store = published.machine.store();
            let mut cursor = store.cursor(&request)?;
            let step = cursor.step(store, limits::RANGE_CHUNK_KEYS)?;
            let revision = store.current_revision();
            if step == CursorStep::Done && !cursor.needs_history() {
                drop(published);
                return Ok((self.settle(cursor.into_reply(&SharedHistory(shared)))?, revision));
            }
            let open = shared.readers.open(cursor.read_revision())?;
            (cursor, open, revision)
        };
        let reply = self
            .blocking(move |inner, wanted| {
                let _open = open;
                let shared = &inner.shared;
                step_to_end(shared, wanted, |store, keys| cursor.step(store, keys))?;
                settle(shared, cursor.into_reply(&SharedHistory(shared)))
            })
            .await?;
        Ok((reply, revision))
    }

    /// Answers a transaction of ranges only (`mvcc::is_read_only`) from this member's state, all of
    /// it at one revision. Linearizable only after [`Handle::linearize`].
    ///
    /// # Errors
    /// As [`Handle::range`].
    pub async fn read_txn(&self, request: &TxnRequest) -> Result<TxnReply, EtcdError> {
        let reply = self.run_read_txn(request).await?;
        self.inner().shared.counters.txn(&reply);
        Ok(reply)
    }

    async fn run_read_txn(&self, request: &TxnRequest) -> Result<TxnReply, EtcdError> {
        let (at, open) = {
            let shared = &self.inner().shared;
            let published = shared.read();
            let store = published.machine.store();
            let mut txn = store.read_txn(request);
            let oldest = txn.oldest_revision();
            let step = txn.step(store, READ_TXN_STEP_KEYS)?;
            if step == CursorStep::More || txn.needs_history() {
                (Begun::Compares(txn), shared.readers.open(oldest)?)
            } else {
                let view = shared.view();
                let history = OverlayHistory { overlay: &published.overlay, view: &view };
                let mut branch = self.settle(txn.decide(&history))?;
                let step = branch.step(store, READ_TXN_STEP_KEYS)?;
                if step == CursorStep::Done && !branch.needs_history() {
                    drop(published);
                    return self.settle(branch.into_reply(&SharedHistory(shared)));
                }
                (Begun::Ranges(branch), shared.readers.open(oldest)?)
            }
        };
        self.blocking(move |inner, wanted| {
            let _open = open;
            let shared = &inner.shared;
            let branch = match at {
                Begun::Ranges(branch) => branch,
                Begun::Compares(mut txn) => {
                    step_to_end(shared, wanted, |store, keys| txn.step(store, keys))?;
                    settle(shared, txn.decide(&SharedHistory(shared)))?
                }
            };
            finish_branch(shared, wanted, branch)
        })
        .await
    }

    /// Reads a node of the v2 tree of this member.
    ///
    /// # Errors
    /// Those of the tree.
    pub fn v2_get(&self, path: &str, recursive: bool, sorted: bool) -> Result<Event, V2Error> {
        let found = self.with_machine(|machine| machine.v2().get(path, recursive, sorted));
        self.inner().shared.counters.v2.read(recursive, found.is_ok());
        found
    }

    /// Reads under way that keep a revision open.
    #[must_use]
    pub fn open_reads(&self) -> usize {
        self.inner().shared.readers.len()
    }

    /// Begins a range that is handed out in pieces.
    ///
    /// # Errors
    /// Those of the request.
    pub fn range_stream(&self, request: &RangeRequest) -> Result<RangeStream, EtcdError> {
        let cursor = self.with_machine(|machine| machine.store().cursor(request))?;
        Ok(RangeStream { handle: self.clone(), cursor: Some(cursor) })
    }

    /// The hash of the key-value history up to a revision; 0 means the newest.
    ///
    /// # Errors
    /// `Compacted` and `FutureRev`.
    pub async fn hash_kv(&self, revision: i64) -> Result<(HashReply, i64), EtcdError> {
        self.blocking(move |inner, _| {
            let (overlay, view, prepared, current) = {
                let published = inner.shared.read();
                let store = published.machine.store();
                let prepared = store.hash_plan(revision)?;
                let current = store.current_revision();
                (published.overlay.clone(), inner.shared.view(), prepared, current)
            };
            let history = OverlayHistory { overlay: &overlay, view: &view };
            let began = Instant::now();
            let hash = settle(&inner.shared, prepared.run(&history).map(Ok))?;
            inner.shared.counters.revision_hashes.observe(began.elapsed());
            Ok((hash, current))
        })
        .await
    }

    /// Runs work that may take long or read files; it is told when nobody waits for it any more.
    async fn blocking<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner, &AtomicBool) -> Result<R, EtcdError> + Send + 'static,
    ) -> Result<R, EtcdError> {
        let inner = Arc::clone(self.inner());
        self.inner().read_threads.run(move |wanted| work(&inner, wanted)).await
    }

    fn settle<T>(&self, read: Result<Result<T, EtcdError>, HistoryFault>) -> Result<T, EtcdError> {
        settle(&self.inner().shared, read)
    }
}

impl RangeStream {
    /// Reads the next piece of at most `pairs_max` pairs, which ends with the pair that brings it to
    /// `bytes_max`; `None` behind the last one.
    ///
    /// # Errors
    /// `Compacted` when a compaction has passed the revision that is read.
    pub async fn next(
        &mut self,
        pairs_max: usize,
        bytes_max: usize,
    ) -> Result<Option<RangePiece>, EtcdError> {
        let Some(mut cursor) = self.cursor.take() else { return Ok(None) };
        let read = self.handle.blocking(move |inner, wanted| {
            let shared = &inner.shared;
            let step = step_piece(shared, wanted, &mut cursor, pairs_max.max(1))?;
            let kvs = settle(shared, cursor.drain(bytes_max, &SharedHistory(shared)))?;
            let is_last = step == CursorStep::Done && cursor.pending() == 0;
            let summary = is_last.then(|| cursor.summary());
            Ok((RangePiece { kvs, summary }, cursor))
        });
        let (piece, cursor) = read.await?;
        self.cursor = piece.summary.is_none().then_some(cursor);
        Ok(Some(piece))
    }
}

/// Steps until enough pairs are there or the range ends.
fn step_piece(
    shared: &Shared,
    wanted: &AtomicBool,
    cursor: &mut RangeCursor,
    pairs_max: usize,
) -> Result<CursorStep, EtcdError> {
    loop {
        check_wanted(wanted)?;
        let published = shared.read();
        let store = published.machine.store();
        if cursor.read_revision() < store.compacted_revision() {
            return Err(EtcdError::Compacted);
        }
        let step = cursor.step_piece(store, pairs_max, limits::RANGE_CHUNK_KEYS)?;
        if step == CursorStep::Done || cursor.pending() >= pairs_max {
            return Ok(step);
        }
    }
}

fn finish_branch(
    shared: &Shared,
    wanted: &AtomicBool,
    mut branch: ReadBranch,
) -> Result<TxnReply, EtcdError> {
    step_to_end(shared, wanted, |store, keys| branch.step(store, keys))?;
    settle(shared, branch.into_reply(&SharedHistory(shared)))
}

fn step_to_end(
    shared: &Shared,
    wanted: &AtomicBool,
    mut step: impl FnMut(&mvcc::Store, usize) -> Result<CursorStep, EtcdError>,
) -> Result<(), EtcdError> {
    loop {
        check_wanted(wanted)?;
        let published = shared.read();
        if step(published.machine.store(), limits::RANGE_CHUNK_KEYS)? == CursorStep::Done {
            return Ok(());
        }
    }
}

/// Ends work whose client is gone.
fn check_wanted(wanted: &AtomicBool) -> Result<(), EtcdError> {
    if wanted.load(Ordering::Relaxed) { Ok(()) } else { Err(EtcdError::Canceled) }
}

/// A database that cannot be read is a fault of this member, not an answer.
fn settle<T>(
    shared: &Shared,
    read: Result<Result<T, EtcdError>, HistoryFault>,
) -> Result<T, EtcdError> {
    read.unwrap_or_else(|fault| {
        shared.stop_for(StopReason::Fault(format!("read database: {fault}")));
        Err(EtcdError::Stopped)
    })
}
