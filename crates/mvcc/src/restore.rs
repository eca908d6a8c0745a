//! The store rebuilt from the rows of the `key` bucket.
//!
//! ```text
//! rows by revision -> chunks, sorted by key, one entry for each key  \
//! rows by revision -> chunks ...                                      -> merged -> tree in one go
//!     a run each; several may be made at a time                      /
//! ```
//!
//! Owns:       the store while it is being built.
//! Uses:       `store`, `tree`, `key_entry`, `kv`.
//! Never:      trust in the rows: what is malformed is a fault, not a panic. Threads: who has some
//!             gives each a [`Run`].
//! Invariants: restoring the rows of a store gives an equal store, however they are cut into runs.
//! Source:     disk-formats.md 7.

use bytes::Bytes;
use types::{LeaseId, RevKey};

use crate::changes::Change;
use crate::history::HistoryFault;
use crate::key_entry::KeyEntry;
use crate::kv::{KvView, Pair};
use crate::store::{NEVER_COMPACTED, Store};
use crate::tree::Tree;

/// Rows of a run that are sorted at a time: pairs that are not the latest of their keys are given
/// back after so many.
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
    runs: Vec<Run>,
}

/// Consecutive rows, sorted by key as far as they go.
#[derive(Debug, Default)]
pub struct Run {
    bounds: Option<(RevKey, RevKey)>,
    /// Sorted chunks, then what is not sorted yet.
    items: Vec<Item>,
    sorted: usize,
    /// What all keys begin with.
    prefix: Option<Vec<u8>>,
    /// Length of the prefix when heads were cut last.
    skipped: usize,
    names_leases: bool,
}

/// An entry with the first bytes of its key that tell keys apart: sorting hardly looks further.
#[derive(Debug)]
struct Item {
    head: u128,
    entry: KeyEntry,
}

impl Store {
    /// Rebuilds a store from the rows of the `key` bucket in ascending order and the two marks of
    /// compaction in `meta`.
    ///
    /// # Errors
    ///
    /// When a row is malformed or out of order.
    pub fn restore(
        rows: impl IntoIterator<Item = (RevKey, bool, Bytes)>,
        finished_compact: Option<i64>,
        scheduled_compact: Option<i64>,
    ) -> Result<Restored, HistoryFault> {
        let mut run = Run::default();
        for (revision, tombstone, row) in rows {
            run.push(revision, tombstone, &row)?;
        }
        let mut restorer = Restorer::new(finished_compact, scheduled_compact);
        restorer.add(run)?;
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
        Self { store, runs: Vec::new() }
    }

    /// Adds the rows behind those of the run before.
    ///
    /// # Errors
    ///
    /// When they are not behind them.
    pub fn add(&mut self, run: Run) -> Result<(), HistoryFault> {
        let Some((first, last)) = run.bounds else { return Ok(()) };
        let before = self.runs.last().and_then(|run| run.bounds).map(|(_, last)| last);
        if before.is_some_and(|before| before >= first) {
            return Err(out_of_order(first, before));
        }
        self.store.current_revision = self.store.current_revision.max(last.main);
        self.runs.push(run);
        Ok(())
    }

    /// The store as of the last row.
    ///
    /// # Errors
    ///
    /// When a mark of compaction is no revision that a store can have.
    pub fn finish(self) -> Result<Restored, HistoryFault> {
        let mut store = self.store;
        if !(NEVER_COMPACTED..=MAIN_MAX).contains(&store.compacted_revision) {
            return Err(HistoryFault(format!("compacted at {}", store.compacted_revision)));
        }
        let names_leases = self.runs.iter().any(|run| run.names_leases);
        let items = merge_runs(self.runs);
        store.index = Tree::from_sorted(items.into_iter().map(|item| item.entry));
        let attached = |entry: &KeyEntry| {
            let lease = KvView::parse(entry.latest()?).ok()?.lease;
            (lease != 0).then(|| (LeaseId(lease), Bytes::copy_from_slice(entry.key())))
        };
        let attachments = match names_leases {
            true => store.index.iter().filter_map(attached).collect(),
            false => Vec::new(),
        };
        Ok(Restored { store, attachments })
    }
}

impl Run {
    /// Adds the next row: its revision, whether it is a tombstone, and its value.
    ///
    /// # Errors
    ///
    /// When it is malformed or does not come behind the one before.
    pub fn push(
        &mut self,
        revision: RevKey,
        tombstone: bool,
        row: &[u8],
    ) -> Result<(), HistoryFault> {
        let in_bounds = (0..=MAIN_MAX).contains(&revision.main)
            && (0..=Change::SUB_MAX).contains(&revision.sub);
        let last = self.bounds.map(|(_, last)| last);
        if !in_bounds || last.is_some_and(|last| last >= revision) {
            return Err(out_of_order(revision, last));
        }
        let view = KvView::parse(row)
            .map_err(|error| HistoryFault(format!("row {revision:?}: {error}")))?;
        let first = self.bounds.map_or(revision, |(first, _)| first);
        self.bounds = Some((first, revision));
        self.names_leases |= view.lease != 0;
        match &mut self.prefix {
            Some(prefix) => prefix.truncate(common(prefix, view.key)),
            None => self.prefix = Some(view.key.to_vec()),
        }
        let entry = match tombstone {
            true => KeyEntry::with_tombstone(view.key, revision),
            false => KeyEntry::with_put(view.key, revision, Pair::from(row)),
        };
        self.items.push(Item { head: 0, entry });
        if self.items.len() - self.sorted >= CHUNK_ROWS {
            self.sort_chunk();
        }
        Ok(())
    }

    /// Sorts what was added since the last time. [`Restorer::finish`] does it as well, but where runs
    /// are made by several threads each is better sorted by its own.
    pub fn sort(&mut self) {
        if self.sorted < self.items.len() {
            self.sort_chunk();
        }
    }

    fn sort_chunk(&mut self) {
        let prefix_len = self.prefix.as_ref().map_or(0, Vec::len);
        let mut chunk = self.items.split_off(self.sorted);
        if prefix_len != self.skipped {
            cut_heads(&mut self.items, prefix_len);
            self.skipped = prefix_len;
        }
        cut_heads(&mut chunk, prefix_len);
        self.items.extend(merge(chunk));
        self.sorted = self.items.len();
    }
}

/// All entries of the runs in the order of their keys.
fn merge_runs(mut runs: Vec<Run>) -> Vec<Item> {
    runs.iter_mut().for_each(Run::sort);
    let mut prefixes = runs.iter().filter_map(|run| run.prefix.as_deref());
    let first = prefixes.next().unwrap_or_default();
    let prefix_len = prefixes.fold(first.len(), |len, other| len.min(common(first, other)));
    let mut all = Vec::new();
    for mut run in runs {
        if run.skipped != prefix_len {
            cut_heads(&mut run.items, prefix_len);
        }
        if all.is_empty() {
            all = run.items;
        } else {
            all.append(&mut run.items);
        }
    }
    merge(all)
}

/// Sorts entries and puts those of one key together. They come in the order of revisions, which a
/// stable sort keeps; it also finds the chunks that are sorted already.
fn merge(mut items: Vec<Item>) -> Vec<Item> {
    items.sort_by(|a, b| a.head.cmp(&b.head).then_with(|| a.entry.key().cmp(b.entry.key())));
    let mut merged: Vec<Item> = Vec::with_capacity(items.len());
    for item in items {
        match merged.pop() {
            Some(before) if before.is_same_key(&item) => {
                let entry = item.entry.append_to(before.entry);
                merged.push(Item { entry, ..before });
            }
            before => merged.extend(before.into_iter().chain([item])),
        }
    }
    merged
}

impl Item {
    fn is_same_key(&self, other: &Self) -> bool {
        self.head == other.head && self.entry.key() == other.entry.key()
    }
}

/// Fills in the heads: what follows `skip` bytes that all keys have in common.
fn cut_heads(items: &mut [Item], skip: usize) {
    for item in items {
        let rest = item.entry.key().get(skip..).unwrap_or_default();
        let mut head = [0; size_of::<u128>()];
        for (to, from) in head.iter_mut().zip(rest) {
            *to = *from;
        }
        item.head = u128::from_be_bytes(head);
    }
}

fn common(left: &[u8], right: &[u8]) -> usize {
    left.iter().zip(right).take_while(|(a, b)| a == b).count()
}

fn out_of_order(revision: RevKey, last: Option<RevKey>) -> HistoryFault {
    HistoryFault(format!("row {revision:?} behind {last:?}"))
}
