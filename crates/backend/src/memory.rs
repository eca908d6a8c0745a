//! An engine in memory, for tests and simulation: commits are instantaneous and durable.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bolt::SortedBatch;
use bytes::Bytes;
use types::Bucket;

use crate::engine::{Engine, EngineError, Sizes, View, Visit};

type Table = BTreeMap<Bytes, Bytes>;

/// The whole store as ordered maps; a view is a copy-on-write share of them.
#[derive(Clone, Debug, Default)]
pub struct MemoryEngine {
    buckets: BTreeMap<Bytes, Arc<Table>>,
}

impl MemoryEngine {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Engine for MemoryEngine {
    fn commit(&mut self, batch: &SortedBatch) -> Result<(), EngineError> {
        for (name, rows) in &batch.buckets {
            let table = Arc::make_mut(self.buckets.entry(name.clone()).or_default());
            for (key, value) in rows {
                match value {
                    Some(value) => table.insert(key.clone(), value.clone()),
                    None => table.remove(key),
                };
            }
        }
        Ok(())
    }

    fn view(&self) -> Arc<dyn View> {
        Arc::new(self.clone())
    }

    fn sizes(&self) -> Sizes {
        let rows = self.buckets.values().flat_map(|table| table.iter());
        let bytes = rows.map(|(key, value)| key.len() + value.len()).sum::<usize>() as u64;
        Sizes { total_bytes: bytes, in_use_bytes: bytes }
    }
}

impl View for MemoryEngine {
    fn get(&self, bucket: Bucket, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Ok(self.buckets.get(bucket.name()).and_then(|table| table.get(key).cloned()))
    }

    fn scan(&self, bucket: Bucket, from: &[u8], visit: Visit<'_>) -> Result<(), EngineError> {
        let Some(table) = self.buckets.get(bucket.name()) else { return Ok(()) };
        for (key, value) in table.range::<[u8], _>((Bound::Included(from), Bound::Unbounded)) {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn image_len(&self) -> u64 {
        0
    }

    fn read_image(&self, _offset: u64, _buf: &mut [u8]) -> Result<usize, EngineError> {
        Ok(0)
    }
}
