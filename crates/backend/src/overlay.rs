//! Changes that are applied but not yet committed to the engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use bolt::SortedBatch;
use bytes::Bytes;
use types::{Bucket, Op};

/// Rows of all buckets; `None` marks a deletion.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    buckets: BTreeMap<Bucket, BTreeMap<Bytes, Option<Bytes>>>,
    ops: usize,
    bytes: usize,
}

impl Rows {
    /// Puts one change on top.
    pub fn push(&mut self, op: Op) {
        self.ops += 1;
        self.bytes += op.key.len() + op.value.as_ref().map_or(0, Bytes::len);
        self.buckets.entry(op.bucket).or_default().insert(op.key, op.value);
    }

    /// The change of a row, if there is one.
    #[must_use]
    pub fn get(&self, bucket: Bucket, key: &[u8]) -> Option<&Option<Bytes>> {
        self.buckets.get(&bucket)?.get(key)
    }

    /// The changes of one bucket, ascending.
    #[must_use]
    pub fn bucket(&self, bucket: Bucket) -> Option<&BTreeMap<Bytes, Option<Bytes>>> {
        self.buckets.get(&bucket)
    }

    /// The batch for the engine.
    #[must_use]
    pub fn to_batch(&self) -> SortedBatch {
        let buckets = self.buckets.iter().map(|(bucket, rows)| {
            let rows = rows.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
            (Bytes::from_static(bucket.name()), rows)
        });
        SortedBatch { buckets: buckets.collect() }
    }

    /// The batch for the engine, which also creates every bucket of etcd's and ours.
    #[must_use]
    pub fn to_first_batch(&self) -> SortedBatch {
        let buckets = Bucket::ALL.map(|bucket| {
            let rows = self.buckets.get(&bucket).into_iter().flatten();
            let rows = rows.map(|(key, value)| (key.clone(), value.clone())).collect();
            (Bytes::from_static(bucket.name()), rows)
        });
        SortedBatch { buckets: buckets.into() }
    }

    /// Changes pushed since the rows were last empty.
    #[must_use]
    pub fn ops(&self) -> usize {
        self.ops
    }

    /// Key and value bytes pushed since the rows were last empty.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The active rows, and those that the flusher is committing.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    active: Rows,
    flushing: Option<Arc<Rows>>,
}

impl Overlay {
    /// An overlay without changes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds changes, newest on top.
    pub fn extend(&mut self, ops: impl IntoIterator<Item = Op>) {
        for op in ops {
            self.active.push(op);
        }
    }

    /// Rows that no flush has taken yet.
    #[must_use]
    pub fn active(&self) -> &Rows {
        &self.active
    }

    /// Rows that a flush has taken and not finished.
    #[must_use]
    pub fn flushing(&self) -> Option<&Arc<Rows>> {
        self.flushing.as_ref()
    }

    /// Moves the active rows to the flusher.
    ///
    /// # Panics
    /// When the flush before has not been finished: there is one flusher.
    pub fn begin_flush(&mut self) -> Arc<Rows> {
        assert!(self.flushing.is_none(), "one flush at a time");
        let rows = Arc::new(std::mem::take(&mut self.active));
        self.flushing = Some(Arc::clone(&rows));
        rows
    }

    /// Forgets the rows of the flush; called after the new view was published.
    pub fn finish_flush(&mut self) {
        self.flushing = None;
    }

    /// The newest change of a row, if the overlay has one.
    #[must_use]
    pub fn get(&self, bucket: Bucket, key: &[u8]) -> Option<&Option<Bytes>> {
        self.active
            .get(bucket, key)
            .or_else(|| self.flushing.as_ref().and_then(|rows| rows.get(bucket, key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &'static str, value: &'static str) -> Op {
        Op::put(Bucket::Key, key, value)
    }

    #[test]
    fn newest_change_wins_across_a_flush() {
        let mut overlay = Overlay::new();
        overlay.extend([put("a", "1"), put("b", "1")]);
        let rows = overlay.begin_flush();
        assert_eq!((rows.ops(), rows.bytes()), (2, 4));
        overlay.extend([put("a", "2"), Op::delete(Bucket::Key, "b")]);
        assert_eq!(overlay.get(Bucket::Key, b"a"), Some(&Some(Bytes::from("2"))));
        assert_eq!(overlay.get(Bucket::Key, b"b"), Some(&None));
        overlay.finish_flush();
        let batch = overlay.begin_flush().to_batch();
        assert_eq!(batch.buckets.len(), 1);
        assert_eq!(batch.buckets[0].1.len(), 2);
    }
}
