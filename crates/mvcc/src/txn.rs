//! The interpreter of puts, deletes and transactions.
//!
//! Owns:       the changes of one request until they are handed out.
//! Uses:       `store`, `range`, `compare`, `kv`; `LeaseView` and `History` of the caller.
//! Never:      partial effects: a request that fails leaves the store as it was.
//! Invariants: one request has one main revision; sub revisions count its changes from zero.
//! Source:     api-v3.md 2.3 to 2.5, peer-protocol.md 15.

use bytes::Bytes;
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest};
use types::{Bucket, EtcdError, KeyRange, LeaseId, Op, RevKey};

use crate::history::{History, HistoryFault, LeaseView};
use crate::key_entry::{KeyEntry, Origin};
use crate::kv::{KvView, Pair, leading_key};
use crate::range::RangeReply;
use crate::store::Store;

/// What a request that writes did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Outcome<R> {
    /// Answer to the client.
    pub reply: R,
    /// Rows of the `key` bucket, in order of their revisions.
    pub ops: Vec<Op>,
    /// One event for each change, in the same order.
    pub events: Vec<Event>,
    /// Changes of lease attachment: key, old lease, new lease; zero means none.
    pub attach: Vec<(Bytes, LeaseId, LeaseId)>,
}

/// Kind of an [`Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// The key got a pair.
    Put,
    /// The key was deleted.
    Delete,
}

/// One change as watchers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Put or delete.
    pub kind: EventKind,
    /// User key.
    pub key: Bytes,
    /// `KeyValue` message: the new pair, or key and mod revision of a delete.
    pub kv: Pair,
    /// The pair before this revision, as stored.
    pub prev: Option<Pair>,
}

impl Event {
    /// The pair before the event as watchers see it: none of a key that the event created.
    #[must_use]
    pub fn previous(&self) -> Option<&Pair> {
        let creates =
            || KvView::parse(&self.kv).is_ok_and(|pair| pair.create_revision == pair.mod_revision);
        self.prev.as_ref().filter(|_| self.kind == EventKind::Delete || !creates())
    }
}

/// Answer to a put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutReply {
    /// The pair that was replaced, if asked for.
    pub prev_kv: Option<Pair>,
    /// Revision for the header.
    pub revision: i64,
}

/// Answer to a delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteReply {
    /// Number of keys deleted.
    pub deleted: i64,
    /// The pairs that were deleted, if asked for.
    pub prev_kvs: Vec<Pair>,
    /// Revision for the header.
    pub revision: i64,
}

/// Answer to a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnReply {
    /// Whether all compares held.
    pub succeeded: bool,
    /// One for each operation of the branch taken.
    pub responses: Vec<OpReply>,
    /// Revision for the header; zero in a nested transaction, whose header stays empty.
    pub revision: i64,
}

/// Answer to one operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the answer to the operation it is named after")]
pub enum OpReply {
    Range(RangeReply),
    Put(PutReply),
    DeleteRange(DeleteReply),
    Txn(TxnReply),
}

impl Store {
    /// Applies a put.
    ///
    /// # Errors
    ///
    /// When the lease does not exist, or a value or lease is to be kept of a key that does not.
    pub fn put(
        &mut self,
        request: &PutRequest,
        leases: &dyn LeaseView,
    ) -> Result<Outcome<PutReply>, EtcdError> {
        self.check_lease(request, leases)?;
        let mut writer = Writer::new(self);
        let reply = writer.put(request)?;
        Ok(writer.commit(reply))
    }

    /// Applies a delete of a range.
    pub fn delete_range(&mut self, request: &DeleteRangeRequest) -> Outcome<DeleteReply> {
        let mut writer = Writer::new(self);
        let reply = writer.delete_range(request);
        writer.commit(reply)
    }

    /// Deletes the given keys, those of a revoked lease, in the order given under one revision.
    pub fn delete_keys(&mut self, keys: &[Bytes]) -> Outcome<DeleteReply> {
        let mut writer = Writer::new(self);
        let mut deleted = 0;
        for key in keys {
            deleted += i64::from(writer.delete(key).is_some());
        }
        let revision = writer.revision();
        writer.commit(DeleteReply { deleted, prev_kvs: Vec::new(), revision })
    }

    /// Applies a transaction.
    ///
    /// # Errors
    ///
    /// The inner error is the client's and nothing has changed; the outer one is a fault.
    pub fn txn(
        &mut self,
        request: &TxnRequest,
        leases: &dyn LeaseView,
        history: &dyn History,
    ) -> Result<Result<Outcome<TxnReply>, EtcdError>, HistoryFault> {
        let path = self.choose(request)?;
        let checked = self.check_path(&path, &|store, op| store.check_put_op(op, leases));
        let checked = checked.and_then(|()| self.check_path(&path, &Store::check_range_op));
        if let Err(error) = checked {
            return Ok(Err(error));
        }
        let mut writer = Writer::new(self);
        match writer.execute(&path, history) {
            Ok(responses) => {
                let revision = writer.revision();
                let reply = TxnReply { succeeded: path.succeeded, responses, revision };
                Ok(Ok(writer.commit(reply)))
            }
            Err(Abort::Result(error)) => {
                writer.roll_back();
                Ok(Err(error))
            }
            Err(Abort::Fault(fault)) => {
                writer.roll_back();
                Err(fault)
            }
        }
    }

    /// Evaluates the compares of a transaction and of those nested in the branch it takes, all
    /// against the present state.
    fn choose<'a>(&self, request: &'a TxnRequest) -> Result<Path<'a>, HistoryFault> {
        let succeeded = self.compares_hold(&request.compare)?;
        let ops = if succeeded { &request.success } else { &request.failure };
        let mut nested = Vec::new();
        for op in ops {
            if let Some(Request::RequestTxn(txn)) = &op.request {
                nested.push(self.choose(txn)?);
            }
        }
        Ok(Path { succeeded, ops, nested })
    }

    fn check_path(
        &self,
        path: &Path<'_>,
        check: &dyn Fn(&Self, &Request) -> Result<(), EtcdError>,
    ) -> Result<(), EtcdError> {
        let mut nested = path.nested.iter();
        for op in path.ops {
            match &op.request {
                Some(Request::RequestTxn(_)) => {
                    nested.next().map_or(Ok(()), |path| self.check_path(path, check))?;
                }
                Some(request) => check(self, request)?,
                None => {}
            }
        }
        Ok(())
    }

    /// Inside a transaction the key is asked for first, outside the lease.
    fn check_put_op(&self, op: &Request, leases: &dyn LeaseView) -> Result<(), EtcdError> {
        let Request::RequestPut(put) = op else { return Ok(()) };
        if (put.ignore_value || put.ignore_lease) && self.latest(&put.key).is_none() {
            return Err(EtcdError::KeyNotFound);
        }
        self.check_lease(put, leases)
    }

    fn check_lease(&self, put: &PutRequest, leases: &dyn LeaseView) -> Result<(), EtcdError> {
        let known = put.lease == 0 || leases.exists(LeaseId(put.lease));
        if known { Ok(()) } else { Err(EtcdError::LeaseNotFound) }
    }

    /// Only zero means "latest" here: a negative revision is compacted once anything is.
    pub(crate) fn check_range_op(&self, op: &Request) -> Result<(), EtcdError> {
        let Request::RequestRange(range) = op else { return Ok(()) };
        match range.revision {
            0 => Ok(()),
            revision if revision > self.current_revision => Err(EtcdError::FutureRev),
            revision if revision < self.compacted_revision => Err(EtcdError::Compacted),
            _ => Ok(()),
        }
    }
}

/// The branch that a transaction takes, with those of the transactions nested in it.
struct Path<'a> {
    succeeded: bool,
    ops: &'a [RequestOp],
    nested: Vec<Path<'a>>,
}

enum Abort {
    Result(EtcdError),
    Fault(HistoryFault),
}

impl From<EtcdError> for Abort {
    fn from(error: EtcdError) -> Self {
        Self::Result(error)
    }
}

impl From<HistoryFault> for Abort {
    fn from(fault: HistoryFault) -> Self {
        Self::Fault(fault)
    }
}

/// The changes of one request: made in the index at once, so that later operations see them, and
/// taken back if the request fails.
struct Writer<'a> {
    store: &'a mut Store,
    main: i64,
    ops: Vec<Op>,
    events: Vec<Event>,
    attach: Vec<(Bytes, LeaseId, LeaseId)>,
    /// Key and what was its latest pair, for each change.
    replaced: Vec<(Bytes, Option<Pair>)>,
}

impl<'a> Writer<'a> {
    fn new(store: &'a mut Store) -> Self {
        let main = store.current_revision + 1;
        Self {
            store,
            main,
            ops: Vec::new(),
            events: Vec::new(),
            attach: Vec::new(),
            replaced: Vec::new(),
        }
    }

    /// The revision as this request sees it: the next one once it has changed something.
    fn revision(&self) -> i64 {
        if self.replaced.is_empty() { self.main - 1 } else { self.main }
    }

    fn commit<R>(self, reply: R) -> Outcome<R> {
        self.store.current_revision = self.revision();
        Outcome { reply, ops: self.ops, events: self.events, attach: self.attach }
    }

    fn roll_back(self) {
        for (key, latest) in self.replaced.into_iter().rev() {
            self.store.index.retain(&key, |entry| entry.undo(latest));
        }
    }

    fn execute(&mut self, path: &Path<'_>, history: &dyn History) -> Result<Vec<OpReply>, Abort> {
        let mut nested = path.nested.iter();
        let mut replies = Vec::with_capacity(path.ops.len());
        for op in path.ops {
            let reply = match &op.request {
                Some(Request::RequestRange(range)) => OpReply::Range(self.range(range, history)?),
                Some(Request::RequestPut(put)) => OpReply::Put(self.put(put)?),
                Some(Request::RequestDeleteRange(delete)) => {
                    OpReply::DeleteRange(self.delete_range(delete))
                }
                Some(Request::RequestTxn(_)) => {
                    let Some(path) = nested.next() else { continue };
                    let responses = self.execute(path, history)?;
                    OpReply::Txn(TxnReply { succeeded: path.succeeded, responses, revision: 0 })
                }
                // Refused before it is proposed, by every release.
                None => continue,
            };
            replies.push(reply);
        }
        Ok(replies)
    }

    fn range(&self, range: &RangeRequest, history: &dyn History) -> Result<RangeReply, Abort> {
        Ok(self.store.range_at(range, self.revision(), history)??)
    }

    fn put(&mut self, request: &PutRequest) -> Result<PutReply, EtcdError> {
        let revision = self.next_revision();
        let write = |slot: Option<&mut KeyEntry>| match replace(slot, request, revision) {
            Ok((entry, written)) => (entry, Ok(written)),
            Err(error) => (None, Err(error)),
        };
        let Written { previous, pair, lease } = self.store.index.upsert(&request.key, write)?;
        let old_lease = previous.as_deref().map_or(0, lease_of);
        let prev_kv = previous.clone().filter(|_| request.prev_kv);
        let row = Bytes::from_owner(pair.clone());
        // The pair holds a copy of the key already: share it.
        let key = leading_key(&row).map(|key| row.slice_ref(key)).unwrap_or_default();
        self.ops.push(Op::put(Bucket::Key, revision.to_live().to_vec(), row));
        self.record(EventKind::Put, key, pair, previous, (old_lease, lease));
        Ok(PutReply { prev_kv, revision: self.main })
    }

    fn delete_range(&mut self, request: &DeleteRangeRequest) -> DeleteReply {
        let range = KeyRange::from_request(request.key.clone(), request.range_end.clone());
        let live = self.store.entries(&range, None).filter(|entry| entry.latest().is_some());
        let keys: Vec<Bytes> = live.map(|entry| Bytes::copy_from_slice(entry.key())).collect();
        let pairs: Vec<Pair> = keys.iter().filter_map(|key| self.delete(key)).collect();
        let deleted = i64::try_from(pairs.len()).unwrap_or(i64::MAX);
        let prev_kvs = if request.prev_kv { pairs } else { Vec::new() };
        DeleteReply { deleted, prev_kvs, revision: self.revision() }
    }

    /// Deletes a key; its pair if it had one.
    fn delete(&mut self, key: &Bytes) -> Option<Pair> {
        let revision = self.next_revision();
        let previous = self.store.index.upsert(key, |slot| {
            let previous = slot.and_then(|entry| {
                let previous = entry.latest().cloned()?;
                entry.tombstone(revision);
                Some(previous)
            });
            (None, previous)
        })?;
        let old_lease = lease_of(&previous);
        let row = KvView { key, ..KvView::default() }.encode();
        let kv = KvView { key, mod_revision: self.main, ..KvView::default() }.encode_pair();
        self.ops.push(Op::put(Bucket::Key, revision.to_tombstone().to_vec(), row));
        self.record(EventKind::Delete, key.clone(), kv, Some(previous.clone()), (old_lease, 0));
        Some(previous)
    }

    fn next_revision(&self) -> RevKey {
        RevKey::new(self.main, i64::try_from(self.replaced.len()).unwrap_or(i64::MAX))
    }

    fn record(
        &mut self,
        kind: EventKind,
        key: Bytes,
        kv: Pair,
        latest: Option<Pair>,
        (old, new): (i64, i64),
    ) {
        if old != new {
            self.attach.push((key.clone(), LeaseId(old), LeaseId(new)));
        }
        let prev = self.before_request(&key, latest.as_ref());
        self.replaced.push((key.clone(), latest));
        self.events.push(Event { kind, key, kv, prev });
    }

    /// What watchers get as the previous pair: that of the revision before. It differs from the
    /// pair just replaced where sibling transactions put and delete one key (api-v3.md 2.6).
    fn before_request(&self, key: &Bytes, latest: Option<&Pair>) -> Option<Pair> {
        if self.replaced.is_empty() {
            return latest.cloned();
        }
        let mod_revision = |pair: &Pair| KvView::parse(pair).map_or(0, |view| view.mod_revision);
        let changed_before = match latest {
            Some(pair) => mod_revision(pair) == self.main,
            None => self.is_deleted_by_this(key),
        };
        if !changed_before {
            return latest.cloned();
        }
        let first = self.replaced.iter().find(|(changed, _)| changed == key);
        first.and_then(|(_, replaced)| replaced.clone())
    }

    /// Whether an earlier operation of the request deleted the key that is now put again.
    fn is_deleted_by_this(&self, key: &Bytes) -> bool {
        let changes_of = |entry: &KeyEntry| {
            let before = entry.len().checked_sub(2)?;
            Some(entry.change(before).revision().main == self.main)
        };
        self.store.index.get(key).and_then(changes_of).unwrap_or(false)
    }
}

/// What a put did to the index.
struct Written {
    previous: Option<Pair>,
    pair: Pair,
    lease: i64,
}

/// Puts into the entry of a key, or makes one for a key without.
fn replace(
    entry: Option<&mut KeyEntry>,
    request: &PutRequest,
    revision: RevKey,
) -> Result<(Option<KeyEntry>, Written), EtcdError> {
    let previous = entry.as_deref().and_then(KeyEntry::latest).cloned();
    if (request.ignore_value || request.ignore_lease) && previous.is_none() {
        return Err(EtcdError::KeyNotFound);
    }
    // What is in the index was parsed when it got there.
    let old = previous.as_deref().and_then(|pair| KvView::parse(pair).ok()).unwrap_or_default();
    let origin = match (&entry, &previous) {
        (Some(entry), Some(_)) => {
            let Origin { create_revision, version } = entry.origin(entry.len() - 1);
            Origin { create_revision, version: version.saturating_add(1) }
        }
        _ => Origin { create_revision: revision.main, version: 1 },
    };
    let lease = if request.ignore_lease { old.lease } else { request.lease };
    let pair = KvView {
        key: &request.key,
        create_revision: origin.create_revision,
        mod_revision: revision.main,
        version: origin.version,
        value: if request.ignore_value { old.value } else { &request.value },
        lease,
    }
    .encode_pair();
    let written = Written { previous: previous.clone(), pair: pair.clone(), lease };
    let new = match entry {
        Some(entry) => {
            entry.put(revision, pair);
            None
        }
        None => Some(KeyEntry::with_put(&request.key, revision, pair)),
    };
    Ok((new, written))
}

fn lease_of(pair: &[u8]) -> i64 {
    KvView::parse(pair).map_or(0, |view| view.lease)
}
