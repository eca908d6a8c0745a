//! The input of a commit and its rules.
//!
//! Owns:       the batch type.
//! Uses:       `page` for the size limits.
//! Never:      pages.
//! Invariants: what `validate` accepts can be written.

use bytes::Bytes;

use crate::error::BoltError;
use crate::page::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

/// Changes of one bucket: keys ascending, `None` deletes.
pub type Ops = Vec<(Bytes, Option<Bytes>)>;

/// Changes of one commit, sorted by bucket name and by key, without repetition.
///
/// A bucket that is named but missing is created, with or without changes in it.
#[derive(Clone, Debug, Default)]
pub struct SortedBatch {
    /// Bucket name and the changes in it.
    pub buckets: Vec<(Bytes, Ops)>,
}

impl SortedBatch {
    /// Checks order, uniqueness and sizes.
    pub(crate) fn validate(&self) -> Result<(), BoltError> {
        require_ascending("bucket names ascend", self.buckets.iter().map(|(name, _)| name))?;
        for (name, ops) in &self.buckets {
            require_key(name)?;
            require_ascending("keys of a bucket ascend", ops.iter().map(|(key, _)| key))?;
            for (key, value) in ops {
                require_key(key)?;
                let value_bytes = value.as_ref().map_or(0, Bytes::len);
                require_at_most("value bytes", VALUE_BYTES_MAX, value_bytes)?;
            }
        }
        Ok(())
    }
}

/// Checks the size of a key or of a bucket name.
pub(crate) fn require_key(key: &[u8]) -> Result<(), BoltError> {
    if key.is_empty() {
        return Err(BoltError::Limit { what: "key bytes, at least", limit: 1, found: 0 });
    }
    require_at_most("key bytes", KEY_BYTES_MAX, key.len())
}

/// Checks the size of a value.
pub(crate) fn require_value(value: &[u8]) -> Result<(), BoltError> {
    require_at_most("value bytes", VALUE_BYTES_MAX, value.len())
}

fn require_at_most(what: &'static str, limit: usize, found: usize) -> Result<(), BoltError> {
    if found <= limit {
        return Ok(());
    }
    Err(BoltError::Limit { what, limit: limit as u64, found: found as u64 })
}

fn require_ascending<'a>(
    what: &'static str,
    keys: impl Iterator<Item = &'a Bytes>,
) -> Result<(), BoltError> {
    let mut last: Option<&Bytes> = None;
    for (position, key) in keys.enumerate() {
        if last.is_some_and(|last| last >= key) {
            return Err(BoltError::Limit { what, limit: 0, found: position as u64 });
        }
        last = Some(key);
    }
    Ok(())
}
