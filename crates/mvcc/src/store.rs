//! The store: key index and revisions, and the two changes everything else is made of.
//!
//! Owns:       the index, the current and the compacted revision.
//! Uses:       `tree`, `key_entry`, `kv`, `types`.
//! Never:      rows; they leave as [`Op`]s of the request that caused them.
//! Invariants: see the crate header.
//! Source:     api-v3.md 2.1, design.md 5 (layout).

use std::ops::Bound;

use types::KeyRange;

use crate::key_entry::KeyEntry;
use crate::kv::Pair;
use crate::tree::Tree;

/// Revision of a store that holds nothing.
const FIRST_REVISION: i64 = 1;
/// Compacted and finished revision of a store that was never compacted.
pub(crate) const NEVER_COMPACTED: i64 = -1;

/// The key-value store as every member holds it in memory.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) index: Tree<KeyEntry>,
    pub(crate) current_revision: i64,
    pub(crate) compacted_revision: i64,
    pub(crate) finished_compaction: i64,
    /// Revision of the last compaction that began to delete: what is visible at it or later is still
    /// all there, which a read that began before the compaction relies on.
    pub(crate) trimmed_revision: i64,
}

/// Compares what the rows say; how far a compaction has come is not part of it.
impl PartialEq for Store {
    fn eq(&self, other: &Self) -> bool {
        self.index.iter().eq(other.index.iter())
            && self.current_revision == other.current_revision
            && self.compacted_revision == other.compacted_revision
            && self.finished_compaction == other.finished_compaction
    }
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

impl Store {
    /// An empty store at revision 1.
    #[must_use]
    pub fn new() -> Self {
        Self {
            index: Tree::default(),
            current_revision: FIRST_REVISION,
            compacted_revision: NEVER_COMPACTED,
            finished_compaction: NEVER_COMPACTED,
            trimmed_revision: NEVER_COMPACTED,
        }
    }

    /// Main revision of the last change.
    #[must_use]
    pub fn current_revision(&self) -> i64 {
        self.current_revision
    }

    /// Oldest revision that can be read, -1 when nothing was ever compacted.
    #[must_use]
    pub fn compacted_revision(&self) -> i64 {
        self.compacted_revision
    }

    /// Number of keys in the index, deleted ones with history included.
    #[must_use]
    pub fn index_len(&self) -> usize {
        self.index.len()
    }

    /// The latest pair of a key as it is stored.
    #[must_use]
    pub fn latest(&self, key: &[u8]) -> Option<&Pair> {
        self.index.get(key)?.latest()
    }

    /// CRC-32C over both revisions and all live pairs: equal on members that applied the same
    /// entries, however far their compactions have come.
    #[must_use]
    pub fn digest(&self) -> u32 {
        let mut digest = crc32c::crc32c(&self.current_revision.to_be_bytes());
        digest = crc32c::crc32c_append(digest, &self.compacted_revision.to_be_bytes());
        for pair in self.index.iter().filter_map(KeyEntry::latest) {
            digest = crc32c::crc32c_append(digest, &(pair.len() as u64).to_be_bytes());
            digest = crc32c::crc32c_append(digest, pair);
        }
        digest
    }

    /// Asserts what always holds between calls.
    ///
    /// # Panics
    ///
    /// When it does not hold.
    pub fn check_invariants(&self) {
        assert!(self.current_revision >= FIRST_REVISION, "revision {}", self.current_revision);
        assert!(
            self.compacted_revision <= self.current_revision,
            "compacted {} of {}",
            self.compacted_revision,
            self.current_revision
        );
        assert!(
            self.finished_compaction <= self.compacted_revision,
            "finished {} of {}",
            self.finished_compaction,
            self.compacted_revision
        );
        assert!(
            self.trimmed_revision <= self.compacted_revision,
            "trimmed {} of {}",
            self.trimmed_revision,
            self.compacted_revision
        );
        self.index.check_invariants();
        for entry in self.index.iter() {
            entry.check_invariants(self.current_revision);
        }
    }

    /// Keys of a range behind `after`, in order.
    pub(crate) fn entries<'a>(
        &'a self,
        range: &'a KeyRange,
        after: Option<&[u8]>,
    ) -> impl Iterator<Item = &'a KeyEntry> + use<'a> {
        let one = match range {
            KeyRange::One(key) if after.is_none() => self.index.get(key),
            KeyRange::One(_) | KeyRange::Interval(..) | KeyRange::From(_) => None,
        };
        let several = bounds(range)
            .map(|(lower, upper)| self.index.range(after.map_or(lower, Bound::Excluded), upper));
        one.into_iter().chain(several.into_iter().flatten())
    }

    /// How many keys of a range have a pair at the current revision.
    pub(crate) fn count_live(&self, range: &KeyRange) -> usize {
        match (range, bounds(range)) {
            (_, Some((lower, upper))) => self.index.count(lower, upper).live,
            (range, None) => usize::from(self.latest(range.start()).is_some()),
        }
    }
}

type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// The bounds of a range of more than one key.
fn bounds(range: &KeyRange) -> Option<Bounds<'_>> {
    match range {
        KeyRange::One(_) => None,
        KeyRange::Interval(start, end) => Some((Bound::Included(start), Bound::Excluded(end))),
        KeyRange::From(start) => Some((Bound::Included(start), Bound::Unbounded)),
    }
}
