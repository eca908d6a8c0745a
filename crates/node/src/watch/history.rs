//! Pieces of history for watchers that are behind: pinned for a moment, read without a lock.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use backend::{Overlay, Rows, View};
use bytes::Bytes;
use mvcc::watch::Chunk;
use mvcc::{History, HistoryFault};
use types::{Bucket, RevKey, limits};

use crate::shared::{Shared, SharedHistory, fault};

/// Reads the events from `from` on, of as many revisions as one response holds.
pub(super) fn read_chunk(
    shared: &Shared,
    (from, to): (i64, i64),
    bytes_max: usize,
    with_previous: bool,
) -> Result<Chunk, HistoryFault> {
    let (pinned, compacted) = {
        let published = shared.read();
        let compacted = published.machine.store().compacted_revision();
        // The view is taken last, so that the two together miss no row.
        let (rows, last) = newest_rows(&published.overlay, from);
        let to = last.map_or(to, |last| to.min(last));
        (Pinned { rows, view: shared.view(), to }, compacted)
    };
    let mut chunk = Chunk::read(&pinned, from, pinned.to, compacted, bytes_max)?;
    if with_previous {
        chunk.look_up(shared.read().machine.store());
        // A row that a compaction has taken since is left out.
        chunk.fetch(&SharedHistory(shared))?;
    }
    Ok(chunk)
}

/// The rows from revision `from` on that may not be in the view yet, as many as a chunk can hold,
/// and the last revision that is whole among them if there are more.
fn newest_rows(overlay: &Overlay, from: i64) -> (BTreeMap<RevKey, (bool, Bytes)>, Option<i64>) {
    let from = RevKey::new(from, 0).to_live();
    let mut rows = BTreeMap::new();
    let (mut bytes, mut last) = (0, None);
    let parts = overlay.flushing().map(AsRef::<Rows>::as_ref).into_iter().chain([overlay.active()]);
    for (key, row) in parts
        .filter_map(|rows| rows.bucket(Bucket::Key))
        .flat_map(|rows| rows.range::<[u8], _>((Bound::Included(&from[..]), Bound::Unbounded)))
    {
        let (Some((revision, tombstone)), Some(row)) = (RevKey::parse(key), row) else { continue };
        let is_full =
            rows.len() > limits::WATCH_CATCH_UP_REVISIONS || bytes > limits::WATCH_CATCH_UP_BYTES;
        if is_full && last.is_some_and(|last| last != revision.main) {
            return (rows, last);
        }
        last = Some(revision.main);
        bytes += row.len();
        rows.insert(revision, (tombstone, row.clone()));
    }
    (rows, None)
}

/// Rows as they were at one moment.
struct Pinned {
    rows: BTreeMap<RevKey, (bool, Bytes)>,
    view: Arc<dyn View>,
    /// Above it rows may be missing.
    to: i64,
}

impl History for Pinned {
    fn value(&self, revision: RevKey) -> Result<Option<Bytes>, HistoryFault> {
        match self.rows.get(&revision) {
            Some((_, row)) => Ok(Some(row.clone())),
            None => self.view.get(Bucket::Key, &revision.to_live()).map_err(|error| fault(&error)),
        }
    }

    /// The view's rows come first: whatever it lacks is newer.
    fn scan(
        &self,
        from: RevKey,
        visit: &mut dyn FnMut(RevKey, bool, &Bytes) -> ControlFlow<()>,
    ) -> Result<(), HistoryFault> {
        let mut last = None;
        let mut flow = ControlFlow::Continue(());
        let mut malformed = None;
        self.view
            .scan(Bucket::Key, &from.to_live(), &mut |key, row| {
                let Some((revision, tombstone)) = RevKey::parse(key) else {
                    malformed = Some(format!("malformed revision key {key:x?}"));
                    return ControlFlow::Break(());
                };
                last = Some(revision);
                flow = visit(revision, tombstone, &Bytes::copy_from_slice(row));
                flow
            })
            .map_err(|error| fault(&error))?;
        if let Some(text) = malformed {
            return Err(HistoryFault(text));
        }
        let newer = self.rows.range(from..).filter(|(revision, _)| Some(**revision) > last);
        for (revision, (tombstone, row)) in newer {
            if flow.is_break() {
                break;
            }
            flow = visit(*revision, *tombstone, row);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backend::{Engine, MemoryEngine};
    use types::Op;

    /// A put of key `k` at a revision.
    fn row(main: i64, sub: i64) -> Op {
        let pair = mvcc::kv::KvView { key: b"k", mod_revision: main, ..Default::default() };
        Op::put(Bucket::Key, RevKey::new(main, sub).to_live().to_vec(), pair.encode())
    }

    fn revisions(history: &Pinned, from: i64) -> Vec<(i64, i64)> {
        let mut seen = Vec::new();
        let visit = &mut |revision: RevKey, _: bool, _: &Bytes| {
            seen.push((revision.main, revision.sub));
            ControlFlow::Continue(())
        };
        history.scan(RevKey::new(from, 0), visit).unwrap();
        seen
    }

    #[test]
    fn rows_of_view_and_overlay_come_once_and_in_order() {
        let mut engine = MemoryEngine::new();
        let mut overlay = Overlay::new();
        overlay.extend([row(2, 0), row(3, 0), row(3, 1)]);
        engine.commit(&overlay.begin_flush().to_batch()).unwrap();
        // The view is published before the overlay forgets what it holds.
        overlay.extend([row(4, 0), Op::delete(Bucket::Key, RevKey::new(2, 0).to_live().to_vec())]);
        let (rows, last) = newest_rows(&overlay, 3);
        assert_eq!(last, None);
        let pinned = Pinned { rows, view: engine.view(), to: 4 };
        assert_eq!(revisions(&pinned, 3), [(3, 0), (3, 1), (4, 0)]);
        assert_eq!(revisions(&pinned, 4), [(4, 0)]);
    }

    #[test]
    fn too_many_new_rows_are_cut_behind_a_whole_revision() {
        let mut overlay = Overlay::new();
        let many = i64::try_from(limits::WATCH_CATCH_UP_REVISIONS).unwrap();
        overlay.extend((0..=many + 5).map(|sub| row(2, sub)));
        overlay.extend([row(3, 0), row(4, 0)]);
        let (rows, last) = newest_rows(&overlay, 2);
        assert_eq!(last, Some(2));
        assert!(rows.keys().all(|revision| revision.main == 2));
        assert_eq!(rows.len() as i64, many + 6);
    }
}
