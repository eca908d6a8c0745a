//! Range, put, delete, transaction and compaction entries.
//!
//! Owns:       nothing.
//! Uses:       `mvcc`, the gates of `alarms`.
//! Never:      static checks; what reaches the log was checked by its proposer.
//! Invariants: order from outside in: corrupt, no space, quota, store.
//! Source:     peer-protocol.md 15.3, 15.5 to 15.9; api-v3.md 9.3.

use bytes::Bytes;
use mvcc::{History, Outcome};
use proto::etcdserverpb::{
    CompactionRequest, InternalRaftRequest, PutRequest, RangeRequest, TxnRequest,
};
use types::{EtcdError, LeaseId};

use crate::alarms::{put_cost, txn_cost};
use crate::contract::{Applied, Fault, Local, Response};
use crate::machine::Machine;

/// What every member answers alike.
pub(crate) type V3Result = Result<Response, EtcdError>;

impl Machine {
    /// Carries out a request of the key-value store; `None` when it is of another kind.
    pub(crate) fn apply_kv(
        &mut self,
        request: &InternalRaftRequest,
        history: &dyn History,
        applied: &mut Applied,
    ) -> Result<Option<V3Result>, Fault> {
        let reply = if let Some(range) = &request.range {
            self.range_entry(range, history)?
        } else if let Some(put) = &request.put {
            self.put_entry(put, applied)
        } else if let Some(delete) = &request.delete_range {
            self.alarms.check_corrupt().map(|()| {
                let outcome = self.kv.delete_range(delete);
                Response::DeleteRange(self.absorb(outcome, applied))
            })
        } else if let Some(txn) = &request.txn {
            self.txn_entry(txn, history, applied)?
        } else if let Some(compaction) = &request.compaction {
            self.compaction_entry(compaction, applied)
        } else {
            return Ok(None);
        };
        Ok(Some(reply))
    }

    fn range_entry(
        &self,
        request: &RangeRequest,
        history: &dyn History,
    ) -> Result<V3Result, Fault> {
        if let Err(error) = self.alarms.check_corrupt() {
            return Ok(Err(error));
        }
        Ok(self.kv.range(request, history)?.map(Response::Range))
    }

    fn put_entry(&mut self, request: &PutRequest, applied: &mut Applied) -> V3Result {
        let cost = put_cost(request);
        self.alarms.check_write(|| cost)?;
        let over_quota = self.is_over_quota(cost);
        let leases = &self.leases;
        let outcome = self.kv.put(request, &|id: LeaseId| leases.exists(id))?;
        let reply = self.absorb(outcome, applied);
        within_quota(over_quota, Response::Put(reply), applied)
    }

    fn txn_entry(
        &mut self,
        request: &TxnRequest,
        history: &dyn History,
        applied: &mut Applied,
    ) -> Result<V3Result, Fault> {
        if let Err(error) = self.alarms.check_write(|| txn_cost(request)) {
            return Ok(Err(error));
        }
        let over_quota = self.is_over_quota(txn_cost(request));
        let leases = &self.leases;
        let outcome = self.kv.txn(request, &|id: LeaseId| leases.exists(id), history)?;
        Ok(outcome.and_then(|outcome| {
            let reply = self.absorb(outcome, applied);
            within_quota(over_quota, Response::Txn(reply), applied)
        }))
    }

    fn compaction_entry(&mut self, request: &CompactionRequest, applied: &mut Applied) -> V3Result {
        self.alarms.check_corrupt()?;
        let ops = self.kv.compact(request.revision)?;
        applied.ops.extend(ops);
        applied.local.push(Local::CompactionScheduled(request.revision));
        Ok(Response::Compaction)
    }

    /// Takes over what a write did, all but its reply.
    pub(crate) fn absorb<R>(&mut self, outcome: Outcome<R>, applied: &mut Applied) -> R {
        let Outcome { reply, ops, events, attach } = outcome;
        for (key, old, new) in attach {
            self.leases.detach(old, &key);
            // A copy: the key is a part of the whole pair, which the table would keep alive.
            self.leases.attach(new, Bytes::copy_from_slice(&key));
        }
        append(&mut applied.ops, ops);
        append(&mut applied.events, events);
        reply
    }

    /// Deletes the keys of a revoked lease as one request.
    pub(crate) fn delete_lease_keys(&mut self, keys: &[Bytes], applied: &mut Applied) {
        let outcome = self.kv.delete_keys(keys);
        let _ = self.absorb(outcome, applied);
    }

    /// Whether a request of this cost passes the quota of this member. The size is a local fact, so
    /// it decides about the reply only, never about the data.
    pub(crate) fn is_over_quota(&self, cost: i64) -> bool {
        let quota = self.settings.quota_bytes;
        quota > 0 && cost > 0 && self.storage_bytes.saturating_add(cost) >= quota
    }
}

/// The reply to a write that was carried out: no space, if it passed the quota.
pub(crate) fn within_quota(
    over_quota: bool,
    response: Response,
    applied: &mut Applied,
) -> V3Result {
    if over_quota {
        applied.local.push(Local::ProposeNoSpaceAlarm);
        return Err(EtcdError::NoSpace);
    }
    Ok(response)
}

/// Moves a list behind another one, without copying in the usual case of an empty one.
fn append<T>(into: &mut Vec<T>, mut from: Vec<T>) {
    if into.is_empty() {
        *into = from;
    } else {
        into.append(&mut from);
    }
}
