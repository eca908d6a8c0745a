//! Static checks: what is refused before a request is proposed.
//!
//! Owns:       nothing.
//! Uses:       `types`, the request messages.
//! Never:      state; the same request is refused by every member at any time.
//! Invariants: checks are made in etcd's order, because the first that fails is what a client sees.
//! Source:     api-v3.md 2.2, 2.3 and 2.6.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest};
use types::EtcdError;

/// Checks a range.
///
/// # Errors
///
/// When the key is empty or the sort order or target has no meaning.
pub fn check_range(request: &RangeRequest) -> Result<(), EtcdError> {
    check_key(&request.key)?;
    let order = SortOrder::try_from(request.sort_order);
    let target = SortTarget::try_from(request.sort_target);
    if order.is_err() || target.is_err() {
        return Err(EtcdError::InvalidSortOption);
    }
    Ok(())
}

/// Checks a put.
///
/// # Errors
///
/// When the key is empty, or a value or lease comes with the wish to keep the old one.
pub fn check_put(request: &PutRequest) -> Result<(), EtcdError> {
    check_key(&request.key)?;
    if request.ignore_value && !request.value.is_empty() {
        return Err(EtcdError::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(EtcdError::LeaseProvided);
    }
    Ok(())
}

/// Checks a delete.
///
/// # Errors
///
/// When the key is empty.
pub fn check_delete(request: &DeleteRangeRequest) -> Result<(), EtcdError> {
    check_key(&request.key)
}

/// Checks a transaction and all that is nested in it; `ops_max` is `--max-txn-ops`.
///
/// # Errors
///
/// When there are too many operations, one of them is refused by itself, or one key would change
/// twice.
pub fn check_txn(request: &TxnRequest, ops_max: usize) -> Result<(), EtcdError> {
    check_ops(request, ops_max)?;
    Touched::of(&request.success)?;
    Touched::of(&request.failure)?;
    Ok(())
}

fn check_key(key: &[u8]) -> Result<(), EtcdError> {
    if key.is_empty() { Err(EtcdError::EmptyKey) } else { Ok(()) }
}

/// The depth of nesting is bounded: each level uses up at least one operation of the next.
fn check_ops(request: &TxnRequest, ops_max: usize) -> Result<(), EtcdError> {
    let ops = request.compare.len().max(request.success.len()).max(request.failure.len());
    let left = ops_max.checked_sub(ops).ok_or(EtcdError::TooManyOps)?;
    request.compare.iter().try_for_each(|compare| check_key(&compare.key))?;
    for op in request.success.iter().chain(&request.failure) {
        match &op.request {
            Some(Request::RequestRange(range)) => check_range(range)?,
            Some(Request::RequestPut(put)) => check_put(put)?,
            Some(Request::RequestDeleteRange(delete)) => check_delete(delete)?,
            Some(Request::RequestTxn(txn)) => check_ops(txn, left)?,
            None => return Err(EtcdError::KeyNotFound),
        }
    }
    Ok(())
}

/// Keys that a list of operations puts and ranges that it deletes.
#[derive(Default)]
struct Touched {
    puts: BTreeSet<Bytes>,
    deletes: Ranges,
}

impl Touched {
    /// Own deletes first, then what is nested, then own puts: an order that lets a put in a nested
    /// transaction pass when only a later sibling deletes its key, as in etcd.
    fn of(ops: &[RequestOp]) -> Result<Self, EtcdError> {
        let mut touched = Self::default();
        for op in ops {
            if let Some(Request::RequestDeleteRange(delete)) = &op.request {
                touched.deletes.insert(&delete.key, &delete.range_end);
            }
        }
        for op in ops {
            if let Some(Request::RequestTxn(txn)) = &op.request {
                touched.add_nested(Self::of(&txn.success)?, Self::of(&txn.failure)?)?;
            }
        }
        for op in ops {
            if let Some(Request::RequestPut(put)) = &op.request {
                touched.add_put(put.key.clone(), false)?;
            }
        }
        Ok(touched)
    }

    /// The branches exclude each other, so a key may be put in both.
    fn add_nested(&mut self, success: Self, failure: Self) -> Result<(), EtcdError> {
        for key in &success.puts {
            self.add_put(key.clone(), false)?;
        }
        for key in failure.puts {
            let put_by_success = success.puts.contains(&key);
            self.add_put(key, put_by_success)?;
        }
        self.deletes.merge(success.deletes);
        self.deletes.merge(failure.deletes);
        Ok(())
    }

    fn add_put(&mut self, key: Bytes, again_is_fine: bool) -> Result<(), EtcdError> {
        if self.deletes.contains(&key) || (!self.puts.insert(key) && !again_is_fine) {
            return Err(EtcdError::DuplicateKey);
        }
        Ok(())
    }
}

/// A set of keys as disjoint ranges: start to end, which is excluded.
#[derive(Default)]
struct Ranges(BTreeMap<Bytes, Bytes>);

impl Ranges {
    /// A `range_end` of one zero byte is taken literally, which makes the range an empty one: so
    /// do 3.4.23 and its successors, and a transaction may delete "from key" and put a key there.
    fn insert(&mut self, key: &Bytes, range_end: &Bytes) {
        let end = if range_end.is_empty() { successor(key) } else { range_end.clone() };
        self.insert_range(key.clone(), end);
    }

    fn insert_range(&mut self, mut start: Bytes, mut end: Bytes) {
        if end <= start {
            return;
        }
        let before = self.0.range(..=start.clone()).next_back();
        if let Some((other, other_end)) = before.filter(|(_, other_end)| **other_end >= start) {
            end = end.max(other_end.clone());
            start = other.clone();
        }
        while let Some((other, _)) = self.0.range(start.clone()..).next()
            && *other <= end
        {
            let other = other.clone();
            end = end.max(self.0.remove(&other).unwrap_or_default());
        }
        self.0.insert(start, end);
    }

    fn merge(&mut self, other: Self) {
        for (start, end) in other.0 {
            self.insert_range(start, end);
        }
    }

    fn contains(&self, key: &Bytes) -> bool {
        self.0.range(..=key.clone()).next_back().is_some_and(|(_, end)| key < end)
    }
}

fn successor(key: &[u8]) -> Bytes {
    Bytes::from([key, &[0]].concat())
}
