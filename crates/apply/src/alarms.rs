//! The set of raised alarms and what they forbid.
//!
//! Owns:       the rows of the `alarm` bucket.
//! Uses:       `proto` for the row and request shapes.
//! Never:      raises an alarm by itself.
//! Invariants: the set equals the bucket; order is by kind, then member.
//! Source:     peer-protocol.md 15.3 and 15.11; api-v3.md 6.1 and 9.3.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message as _;
use proto::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmType, PutRequest, RequestOp, TxnRequest, request_op,
};
use types::{Bucket, EtcdError, Op};

/// Bytes that one key costs besides its key and value (etcd's estimate).
const PUT_OVERHEAD_BYTES: i64 = 256;
/// Bytes that one lease costs (etcd's estimate).
const LEASE_COST_BYTES: i64 = 64;
/// `AlarmRequest.action`: list.
const ACTION_GET: i32 = 0;
/// `AlarmRequest.action`: raise.
const ACTION_ACTIVATE: i32 = 1;
/// `AlarmRequest.action`: disarm.
const ACTION_DEACTIVATE: i32 = 2;

/// The raised alarms as (kind, member).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alarms {
    raised: BTreeSet<(i32, u64)>,
}

impl Alarms {
    /// Adds the alarm of a row of the bucket; `None` when the key is no `AlarmMember`.
    pub(crate) fn restore(&mut self, key: &[u8]) -> Option<()> {
        let member = AlarmMember::decode(key).ok()?;
        self.raised.insert((member.alarm, member.member_id));
        Some(())
    }

    /// All alarms, by kind, then member.
    pub fn iter(&self) -> impl Iterator<Item = AlarmMember> + '_ {
        self.raised.iter().map(|&(alarm, member_id)| AlarmMember { member_id, alarm })
    }

    /// Whether any member raised this kind.
    #[must_use]
    pub fn is_raised(&self, kind: AlarmType) -> bool {
        let kind = kind as i32;
        self.raised.range((kind, 0)..=(kind, u64::MAX)).next().is_some()
    }

    /// Carries out an alarm request: the alarms it is about, and the rows that change.
    pub(crate) fn apply(&mut self, request: &AlarmRequest) -> (Vec<AlarmMember>, Vec<Op>) {
        let member = AlarmMember { member_id: request.member_id, alarm: request.alarm };
        let entry = (request.alarm, request.member_id);
        match request.action {
            ACTION_GET => (self.of_kind(request.alarm), Vec::new()),
            ACTION_ACTIVATE if request.alarm == AlarmType::None as i32 => (Vec::new(), Vec::new()),
            ACTION_ACTIVATE if self.raised.insert(entry) => (vec![member], vec![put_row(&member)]),
            ACTION_ACTIVATE => (vec![member], Vec::new()),
            ACTION_DEACTIVATE if self.raised.remove(&entry) => {
                (vec![member], vec![Op::delete(Bucket::Alarm, row_key(&member))])
            }
            // An unknown action passes through Go's switch without effect.
            _ => (Vec::new(), Vec::new()),
        }
    }

    fn of_kind(&self, kind: i32) -> Vec<AlarmMember> {
        self.iter()
            .filter(|member| kind == AlarmType::None as i32 || member.alarm == kind)
            .collect()
    }

    /// What the CORRUPT alarm forbids.
    pub(crate) fn check_corrupt(&self) -> Result<(), EtcdError> {
        if self.is_raised(AlarmType::Corrupt) { Err(EtcdError::Corrupt) } else { Ok(()) }
    }

    /// What the alarms forbid for a request that would add `cost` bytes.
    pub(crate) fn check_write(&self, cost: impl FnOnce() -> i64) -> Result<(), EtcdError> {
        if self.raised.is_empty() {
            return Ok(());
        }
        self.check_corrupt()?;
        if self.is_raised(AlarmType::Nospace) && cost() > 0 {
            return Err(EtcdError::NoSpace);
        }
        Ok(())
    }
}

fn put_row(member: &AlarmMember) -> Op {
    Op::put(Bucket::Alarm, row_key(member), Bytes::new())
}

fn row_key(member: &AlarmMember) -> Bytes {
    member.encode_to_vec().into()
}

/// Bytes that a put is reckoned to add.
#[must_use]
pub fn put_cost(request: &PutRequest) -> i64 {
    let bytes = request.key.len() + request.value.len();
    PUT_OVERHEAD_BYTES.saturating_add(i64::try_from(bytes).unwrap_or(i64::MAX))
}

/// Bytes that a transaction is reckoned to add: the dearer branch, nested ones included.
#[must_use]
pub fn txn_cost(request: &TxnRequest) -> i64 {
    branch_cost(&request.success).max(branch_cost(&request.failure))
}

/// Bytes that a lease grant is reckoned to add.
#[must_use]
pub fn lease_cost() -> i64 {
    LEASE_COST_BYTES
}

fn branch_cost(branch: &[RequestOp]) -> i64 {
    branch.iter().map(op_cost).fold(0, i64::saturating_add)
}

fn op_cost(op: &RequestOp) -> i64 {
    match &op.request {
        Some(request_op::Request::RequestPut(put)) => put_cost(put),
        Some(request_op::Request::RequestTxn(txn)) => txn_cost(txn),
        Some(request_op::Request::RequestRange(_) | request_op::Request::RequestDeleteRange(_))
        | None => 0,
    }
}

#[cfg(test)]
mod tests;
