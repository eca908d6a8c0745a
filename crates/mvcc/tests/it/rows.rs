//! The rows that a store writes, kept in memory, and short ways to make requests.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;
use mvcc::kv::{KvView, Pair, key_of};
use mvcc::{History, HistoryFault, Outcome, RangeReply, Restored, Restorer, Run, Store, TxnReply};
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest};
use types::{Bucket, EtcdError, LeaseId, Op, RevKey};

/// The `key` bucket and the marks of compaction.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rows {
    pub(crate) key: BTreeMap<RevKey, (bool, Bytes)>,
    pub(crate) scheduled: Option<i64>,
    pub(crate) finished: Option<i64>,
}

impl Rows {
    pub(crate) fn write(&mut self, ops: &[Op]) {
        for op in ops {
            let revision = |bytes: &[u8]| RevKey::parse(bytes).expect("a revision");
            match (op.bucket, &op.value) {
                (Bucket::Key, Some(value)) => {
                    let (at, tombstone) = revision(&op.key);
                    assert_eq!(self.key.insert(at, (tombstone, value.clone())), None, "{at:?}");
                }
                (Bucket::Key, None) => {
                    let (at, tombstone) = revision(&op.key);
                    let removed = self.key.remove(&at);
                    assert_eq!(removed.map(|(kind, _)| kind), Some(tombstone), "{at:?}");
                }
                (Bucket::Meta, Some(value)) if op.key == "scheduledCompactRev" => {
                    self.scheduled = Some(revision(value).0.main);
                }
                (Bucket::Meta, Some(value)) if op.key == "finishedCompactRev" => {
                    self.finished = Some(revision(value).0.main);
                }
                _ => panic!("{op:?}"),
            }
        }
    }

    pub(crate) fn restore(&self) -> Restored {
        let rows = self.key.iter().map(|(at, (kind, pair))| (*at, *kind, pair.clone()));
        let restored = Store::restore(rows, self.finished, self.scheduled).unwrap();
        restored.store.check_invariants();
        for (run_len, chunk_len) in [(1, 1), (3, 2), (7, 3)] {
            assert_eq!(self.restore_in_runs(run_len, chunk_len), restored);
        }
        restored
    }

    /// As several threads would, and with chunks that are sorted before the run is complete.
    fn restore_in_runs(&self, run_len: usize, chunk_len: usize) -> Restored {
        let mut restorer = Restorer::new(self.finished, self.scheduled);
        let rows: Vec<_> = self.key.iter().collect();
        for rows in rows.chunks(run_len) {
            let mut run = Run::default();
            for chunk in rows.chunks(chunk_len) {
                for (at, (kind, pair)) in chunk {
                    run.push(**at, *kind, pair).unwrap();
                }
                run.sort();
            }
            restorer.add(run).unwrap();
        }
        restorer.finish().unwrap()
    }

    /// At most `len` rows behind `after` up to main revision `at`, with their user keys.
    pub(crate) fn batch(&self, after: RevKey, at: i64, len: usize) -> Vec<(RevKey, bool, Bytes)> {
        let due = self.key.iter().filter(|(row, _)| **row > after && row.main <= at);
        due.take(len).map(|(row, (kind, pair))| (*row, *kind, key_of(pair).unwrap())).collect()
    }
}

impl History for Rows {
    fn value(&self, revision: RevKey) -> Result<Option<Bytes>, HistoryFault> {
        Ok(self.key.get(&revision).filter(|(tombstone, _)| !tombstone).map(|row| row.1.clone()))
    }

    fn scan(
        &self,
        from: RevKey,
        visit: &mut dyn FnMut(RevKey, bool, &Bytes) -> ControlFlow<()>,
    ) -> Result<(), HistoryFault> {
        for (revision, (tombstone, value)) in self.key.range(from..) {
            if visit(*revision, *tombstone, value).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// A store together with its rows; every lease exists except number 99.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fixture {
    pub(crate) store: Store,
    pub(crate) rows: Rows,
}

pub(crate) fn any_lease(id: LeaseId) -> bool {
    id != LeaseId(99)
}

impl Fixture {
    fn took<R>(&mut self, outcome: Outcome<R>) -> Outcome<R> {
        self.rows.write(&outcome.ops);
        assert_eq!(outcome.ops.len(), outcome.events.len());
        self.store.check_invariants();
        outcome
    }

    pub(crate) fn put_request(
        &mut self,
        request: &PutRequest,
    ) -> Result<Outcome<mvcc::PutReply>, EtcdError> {
        let outcome = self.store.put(request, &any_lease)?;
        Ok(self.took(outcome))
    }

    pub(crate) fn put(&mut self, key: &'static str, value: &'static str) -> i64 {
        self.put_request(&put(key, value)).unwrap().reply.revision
    }

    pub(crate) fn delete(&mut self, key: &str, end: &str) -> Outcome<mvcc::DeleteReply> {
        self.delete_request(&delete(key, end))
    }

    pub(crate) fn delete_request(
        &mut self,
        request: &DeleteRangeRequest,
    ) -> Outcome<mvcc::DeleteReply> {
        let outcome = self.store.delete_range(request);
        self.took(outcome)
    }

    pub(crate) fn delete_keys(&mut self, keys: &[Bytes]) -> Outcome<mvcc::DeleteReply> {
        let outcome = self.store.delete_keys(keys);
        self.took(outcome)
    }

    pub(crate) fn txn(&mut self, request: &TxnRequest) -> Result<Outcome<TxnReply>, EtcdError> {
        let before = self.store.clone();
        match self.store.txn(request, &any_lease, &self.rows).unwrap() {
            Ok(outcome) => Ok(self.took(outcome)),
            Err(error) => {
                assert_eq!(self.store, before, "a failed transaction leaves no trace");
                Err(error)
            }
        }
    }

    pub(crate) fn range(&self, request: &RangeRequest) -> Result<RangeReply, EtcdError> {
        self.store.range(request, &self.rows).unwrap()
    }

    pub(crate) fn compact(&mut self, at: i64) -> Result<(), EtcdError> {
        let ops = self.store.compact(at)?;
        self.rows.write(&ops);
        Ok(())
    }

    /// Carries a compaction out at once.
    pub(crate) fn compact_fully(&mut self, at: i64) {
        self.compact(at).unwrap();
        let batch = self.rows.batch(RevKey::default(), at, usize::MAX);
        let ops = self.store.compact_step(&batch, at);
        self.rows.write(&ops);
        let ops = self.store.compact_finish(at);
        self.rows.write(&ops);
        self.store.check_invariants();
        assert_eq!(self.rows.restore().store, self.store);
    }
}

pub(crate) fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(crate) fn put(key: &str, value: &str) -> PutRequest {
    PutRequest { key: bytes(key), value: bytes(value), ..PutRequest::default() }
}

pub(crate) fn delete(key: &str, end: &str) -> DeleteRangeRequest {
    DeleteRangeRequest { key: bytes(key), range_end: bytes(end), prev_kv: false }
}

pub(crate) fn range(key: &str, end: &str) -> RangeRequest {
    RangeRequest { key: bytes(key), range_end: bytes(end), ..RangeRequest::default() }
}

pub(crate) fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

pub(crate) fn put_op(key: &str, value: &str) -> RequestOp {
    op(Request::RequestPut(put(key, value)))
}

pub(crate) fn delete_op(key: &str, end: &str) -> RequestOp {
    op(Request::RequestDeleteRange(delete(key, end)))
}

pub(crate) fn range_op(key: &str, end: &str) -> RequestOp {
    op(Request::RequestRange(range(key, end)))
}

pub(crate) fn txn_op(txn: TxnRequest) -> RequestOp {
    op(Request::RequestTxn(txn))
}

pub(crate) fn success(ops: Vec<RequestOp>) -> TxnRequest {
    TxnRequest { success: ops, ..TxnRequest::default() }
}

/// A pair in one line: `key=value create/mod/version lease`.
pub(crate) fn show(pair: impl AsRef<[u8]>) -> String {
    let pair = pair.as_ref();
    let view = KvView::parse(pair).unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (key, value) = (text(view.key), text(view.value));
    let (create, modified, version) = (view.create_revision, view.mod_revision, view.version);
    let lease = if view.lease == 0 { String::new() } else { format!(" lease {}", view.lease) };
    format!("{key}={value} {create}/{modified}/{version}{lease}")
}

pub(crate) fn show_all(pairs: &[Pair]) -> Vec<String> {
    pairs.iter().map(show).collect()
}
