//! The compares of a transaction, evaluated against the state before it.
//!
//! Owns:       nothing.
//! Uses:       `store`, `kv`.
//! Never:      writes.
//! Invariants: the outcome depends on the pairs of one revision only.
//! Source:     api-v3.md 2.5.

use std::cmp::Ordering;

use proto::etcdserverpb::Compare;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use types::KeyRange;

use crate::history::HistoryFault;
use crate::key_entry::KeyEntry;
use crate::kv::{KvView, Pair};
use crate::store::Store;

impl Store {
    /// Whether every compare holds for every key of its range.
    pub(crate) fn compares_hold(&self, compares: &[Compare]) -> Result<bool, HistoryFault> {
        for compare in compares {
            if !self.compare_holds(compare)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn compare_holds(&self, compare: &Compare) -> Result<bool, HistoryFault> {
        let range = KeyRange::from_request(compare.key.clone(), compare.range_end.clone());
        let latest = self.entries(&range, None).filter_map(KeyEntry::latest);
        holds_for_all(compare, latest)
    }
}

/// Whether a compare holds for the pairs of its range.
pub(crate) fn holds_for_all<'a>(
    compare: &Compare,
    pairs: impl Iterator<Item = &'a Pair>,
) -> Result<bool, HistoryFault> {
    let mut absent = true;
    for pair in pairs {
        absent = false;
        let view = KvView::parse(pair).map_err(|error| HistoryFault(error.to_string()))?;
        if !holds(compare, &view) {
            return Ok(false);
        }
    }
    // An absent key has all numbers zero, but it has no value, not even an empty one.
    let compares_value = compare.target == CompareTarget::Value as i32;
    Ok(!absent || (!compares_value && holds(compare, &KvView::default())))
}

fn holds(compare: &Compare, pair: &KvView<'_>) -> bool {
    let ordering = ordering(compare, pair);
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => ordering.is_eq(),
        Ok(CompareResult::NotEqual) => ordering.is_ne(),
        Ok(CompareResult::Greater) => ordering.is_gt(),
        Ok(CompareResult::Less) => ordering.is_lt(),
        Err(_) => true,
    }
}

/// How the pair stands to the operand; an operand of another kind than the target counts as absent,
/// an absent one as zero or empty, and an unknown target is always equal.
fn ordering(compare: &Compare, pair: &KvView<'_>) -> Ordering {
    let union = compare.target_union.as_ref();
    match CompareTarget::try_from(compare.target) {
        Ok(CompareTarget::Version) => {
            let Some(TargetUnion::Version(operand)) = union else { return pair.version.cmp(&0) };
            pair.version.cmp(operand)
        }
        Ok(CompareTarget::Create) => {
            let Some(TargetUnion::CreateRevision(operand)) = union else {
                return pair.create_revision.cmp(&0);
            };
            pair.create_revision.cmp(operand)
        }
        Ok(CompareTarget::Mod) => {
            let Some(TargetUnion::ModRevision(operand)) = union else {
                return pair.mod_revision.cmp(&0);
            };
            pair.mod_revision.cmp(operand)
        }
        Ok(CompareTarget::Value) => {
            let Some(TargetUnion::Value(operand)) = union else { return pair.value.cmp(&[]) };
            pair.value.cmp(operand)
        }
        Ok(CompareTarget::Lease) => {
            let Some(TargetUnion::Lease(operand)) = union else { return pair.lease.cmp(&0) };
            pair.lease.cmp(operand)
        }
        Err(_) => Ordering::Equal,
    }
}
