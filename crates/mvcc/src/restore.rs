//! The store rebuilt from the rows of the `key` bucket.
//!
//! Owns:       the store while it is being built.
//! Uses:       `store`, `key_entry`, `kv`.
//! Never:      trust in the rows: what is malformed is a fault, not a panic.
//! Invariants: restoring the rows of a store gives an equal store.
//! Source:     disk-formats.md 7.

use bytes::Bytes;
use types::{LeaseId, RevKey};

use crate::history::HistoryFault;
use crate::key_entry::{Change, KeyEntry, Origin};
use crate::kv::KvView;
use crate::store::{NEVER_COMPACTED, Store};

/// Rows sorted by key at a time: neighbours in the index are then built one after the other.
const CHUNK_ROWS: usize = 65_536;
/// Largest main revision accepted, so that revisions can be counted up from there.
const MAIN_MAX: i64 = i64::MAX >> 1;

/// A restored store and the lease attachments that its pairs imply.
#[derive(Clone, Debug, PartialEq)]
pub struct Restored {
    /// The store.
    pub store: Store,
    /// Lease and key of each live pair that names a lease, in key order.
    pub attachments: Vec<(LeaseId, Bytes)>,
}

/// Takes the rows in ascending order.
#[derive(Debug)]
pub struct Restorer {
    store: Store,
    last: Option<RevKey>,
    chunk: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    key: Bytes,
    revision: RevKey,
    tombstone: bool,
    pair: Bytes,
}

impl Store {
    /// Rebuilds a store from the rows of the `key` bucket in ascending order and the two marks of
    /// compaction in `meta`.
    ///
    /// The index keeps the latest pairs as they are given: they should own their memory.
    ///
    /// # Errors
    ///
    /// When a row is malformed or out of order.
    pub fn restore(
        rows: impl IntoIterator<Item = (RevKey, bool, Bytes)>,
        finished_compact: Option<i64>,
        scheduled_compact: Option<i64>,
    ) -> Result<Restored, HistoryFault> {
        let mut restorer = Restorer::new(finished_compact, scheduled_compact);
        for (revision, tombstone, pair) in rows {
            restorer.push(revision, tombstone, pair)?;
        }
        restorer.finish()
    }
}

impl Restorer {
    /// Begins with the marks of compaction.
    #[must_use]
    pub fn new(finished_compact: Option<i64>, scheduled_compact: Option<i64>) -> Self {
        let finished = finished_compact.unwrap_or(NEVER_COMPACTED);
        let compacted = finished.max(scheduled_compact.unwrap_or(NEVER_COMPACTED));
        let mut store = Store::new();
        store.finished_compaction = finished;
        store.compacted_revision = compacted;
        store.trimmed_revision = compacted;
        store.current_revision = store.current_revision.max(compacted);
        Self { store, last: None, chunk: Vec::new() }
    }

    /// Adds the next row; see [`Store::restore`].
    ///
    /// # Errors
    ///
    /// When it is malformed or does not come behind the one before.
    pub fn push(
        &mut self,
        revision: RevKey,
        tombstone: bool,
        pair: Bytes,
    ) -> Result<(), HistoryFault> {
        let in_bounds = (0..=MAIN_MAX).contains(&revision.main)
            && (0..=Change::SUB_MAX).contains(&revision.sub);
        if !in_bounds || self.last.is_some_and(|last| last >= revision) {
            let last = self.last;
            return Err(HistoryFault(format!("row {revision:?} behind {last:?}")));
        }
        let key = crate::kv::key_of(&pair)
            .map_err(|error| HistoryFault(format!("row {revision:?}: {error}")))?;
        self.last = Some(revision);
        self.chunk.push(Row { key, revision, tombstone, pair });
        if self.chunk.len() >= CHUNK_ROWS {
            self.build();
        }
        Ok(())
    }

    /// The store as of the last row.
    ///
    /// # Errors
    ///
    /// When a mark of compaction is no revision that a store can have.
    pub fn finish(mut self) -> Result<Restored, HistoryFault> {
        self.build();
        let mut store = self.store;
        if !(NEVER_COMPACTED..=MAIN_MAX).contains(&store.compacted_revision) {
            return Err(HistoryFault(format!("compacted at {}", store.compacted_revision)));
        }
        let last = self.last.map_or(0, |revision| revision.main);
        store.current_revision = store.current_revision.max(last);
        let attached = |(key, entry): (&Bytes, &KeyEntry)| {
            let lease = KvView::parse(entry.latest()?).ok()?.lease;
            (lease != 0).then(|| (LeaseId(lease), key.clone()))
        };
        let attachments = store.index.iter().filter_map(attached).collect();
        Ok(Restored { store, attachments })
    }

    fn build(&mut self) {
        self.chunk.sort_by(|a, b| a.key.cmp(&b.key).then(a.revision.cmp(&b.revision)));
        for row in self.chunk.drain(..) {
            add(&mut self.store, row);
        }
    }
}

fn add(store: &mut Store, row: Row) {
    match store.index.get_mut(&row.key) {
        // etcd warns of a tombstone without a pair before it and goes on without it.
        Some(entry) if row.tombstone && entry.latest().is_none() => {}
        Some(entry) if row.tombstone => entry.tombstone(row.revision),
        Some(entry) => entry.put(row.revision, row.pair),
        None if row.tombstone => {
            let key = Bytes::copy_from_slice(&row.key);
            store.index.insert(key, KeyEntry::with_tombstone(row.revision));
        }
        None => {
            let view = KvView::parse(&row.pair).unwrap_or_default();
            let origin = Origin { create_revision: view.create_revision, version: view.version };
            let key = Bytes::copy_from_slice(&row.key);
            store.index.insert(key, KeyEntry::with_put(row.revision, origin, row.pair));
        }
    }
}
