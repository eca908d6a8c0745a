//! Rows as a reader sees them: overlay first, then the engine.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use bytes::Bytes;
use types::Bucket;

use crate::engine::{EngineError, View, Visit};
use crate::overlay::{Overlay, Rows};

/// A merged, read-only picture of overlay and view.
///
/// The view must have been taken no earlier than the overlay was looked at (see the crate header).
pub struct Reader<'a> {
    overlay: &'a Overlay,
    view: &'a Arc<dyn View>,
}

impl<'a> Reader<'a> {
    /// Joins the two.
    #[must_use]
    pub fn new(overlay: &'a Overlay, view: &'a Arc<dyn View>) -> Self {
        Self { overlay, view }
    }

    /// One row.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn get(&self, bucket: Bucket, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        match self.overlay.get(bucket, key) {
            Some(change) => Ok(change.clone()),
            None => self.view.get(bucket, key),
        }
    }

    /// The rows at and behind `from`, ascending, until `visit` breaks.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn scan(&self, bucket: Bucket, from: &[u8], visit: Visit<'_>) -> Result<(), EngineError> {
        let mut changes = self.changes_from(bucket, from).into_iter().peekable();
        let mut stopped = false;
        self.view.scan(bucket, from, &mut |key, value| {
            while let Some((changed, change)) =
                changes.next_if(|(changed, _)| changed.as_ref() < key)
            {
                if let Some(new) = change
                    && visit(&changed, &new).is_break()
                {
                    stopped = true;
                    return ControlFlow::Break(());
                }
            }
            let flow = match changes.next_if(|(changed, _)| changed.as_ref() == key) {
                Some((_, None)) => ControlFlow::Continue(()),
                Some((_, Some(new))) => visit(key, &new),
                None => visit(key, value),
            };
            stopped = flow.is_break();
            flow
        })?;
        if stopped {
            return Ok(());
        }
        for (key, change) in changes {
            if let Some(new) = change
                && visit(&key, &new).is_break()
            {
                break;
            }
        }
        Ok(())
    }

    fn changes_from(&self, bucket: Bucket, from: &[u8]) -> BTreeMap<Bytes, Option<Bytes>> {
        let mut merged = BTreeMap::new();
        let older = self.overlay.flushing().map(AsRef::<Rows>::as_ref);
        for rows in older.into_iter().chain([self.overlay.active()]) {
            let Some(table) = rows.bucket(bucket) else { continue };
            let range = table.range::<[u8], _>((Bound::Included(from), Bound::Unbounded));
            merged.extend(range.map(|(key, change)| (key.clone(), change.clone())));
        }
        merged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;
    use crate::memory::MemoryEngine;
    use types::Op;

    fn rows_seen(reader: &Reader<'_>, from: &[u8]) -> Vec<(String, String)> {
        let mut seen = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        reader
            .scan(Bucket::Key, from, &mut |key, value| {
                seen.push((text(key), text(value)));
                ControlFlow::Continue(())
            })
            .unwrap();
        seen
    }

    #[test]
    fn scan_merges_overlay_and_view() {
        let mut engine = MemoryEngine::new();
        let mut overlay = Overlay::new();
        overlay.extend(["b", "d", "f"].map(|key| Op::put(Bucket::Key, key, "old")));
        engine.commit(&overlay.begin_flush().to_batch()).unwrap();
        overlay.finish_flush();
        overlay.extend([Op::put(Bucket::Key, "a", "new"), Op::delete(Bucket::Key, "b")]);
        overlay.begin_flush();
        overlay.extend([Op::put(Bucket::Key, "d", "new"), Op::put(Bucket::Key, "g", "new")]);
        let view = engine.view();
        let reader = Reader::new(&overlay, &view);
        let expected = [("a", "new"), ("d", "new"), ("f", "old"), ("g", "new")];
        let expected: Vec<_> = expected.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec();
        assert_eq!(rows_seen(&reader, b""), expected);
        assert_eq!(rows_seen(&reader, b"e"), expected[2..].to_vec());
        assert_eq!(reader.get(Bucket::Key, b"b").unwrap(), None);
        assert_eq!(reader.get(Bucket::Key, b"f").unwrap(), Some(Bytes::from("old")));
    }
}
