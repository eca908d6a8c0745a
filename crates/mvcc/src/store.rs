//! The store: key index and revisions, and the two changes everything else is made of.
//!
//! Owns:       the index, the current and the compacted revision.
//! Uses:       `key_entry`, `kv`, `types`.
//! Never:      rows; they leave as [`Op`]s of the request that caused them.
//! Invariants: see the crate header.
//! Source:     api-v3.md 2.1, design.md 5 (layout).

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use types::{KeyRange, RevKey};

use crate::key_entry::{KeyEntry, Origin};
use crate::kv::KvView;

/// Revision of a store that holds nothing.
const FIRST_REVISION: i64 = 1;
/// Compacted and finished revision of a store that was never compacted.
pub(crate) const NEVER_COMPACTED: i64 = -1;

/// The key-value store as every member holds it in memory.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) index: BTreeMap<Bytes, KeyEntry>,
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
        self.index == other.index
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
            index: BTreeMap::new(),
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
    pub fn latest(&self, key: &[u8]) -> Option<&Bytes> {
        self.index.get(key)?.latest()
    }

    /// CRC-32C over both revisions and all live pairs: equal on members that applied the same
    /// entries, however far their compactions have come.
    #[must_use]
    pub fn digest(&self) -> u32 {
        let mut digest = crc32c::crc32c(&self.current_revision.to_be_bytes());
        digest = crc32c::crc32c_append(digest, &self.compacted_revision.to_be_bytes());
        for pair in self.index.values().filter_map(KeyEntry::latest) {
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
        for (key, entry) in &self.index {
            entry.check_invariants(key, self.current_revision);
        }
    }

    /// Keys of a range behind `after`, in order.
    pub(crate) fn entries(
        &self,
        range: &KeyRange,
        after: Option<&Bytes>,
    ) -> impl Iterator<Item = (&Bytes, &KeyEntry)> {
        let lower = match after {
            Some(key) => Bound::Excluded(&key[..]),
            None => Bound::Included(&range.start()[..]),
        };
        let upper = match range {
            KeyRange::One(key) => Bound::Included(&key[..]),
            KeyRange::Interval(_, end) => Bound::Excluded(&end[..]),
            KeyRange::From(_) => Bound::Unbounded,
        };
        is_ascending(lower, upper)
            .then(|| self.index.range::<[u8], _>((lower, upper)))
            .into_iter()
            .flatten()
    }

    /// Writes a pair at a revision; returns its bytes.
    pub(crate) fn put_pair(
        &mut self,
        key: &Bytes,
        value: &[u8],
        lease: i64,
        revision: RevKey,
    ) -> Bytes {
        let entry = self.index.get_mut(key);
        let live = entry.as_deref().and_then(KeyEntry::live_origin);
        let origin = match live {
            Some(Origin { create_revision, version }) => {
                Origin { create_revision, version: version.saturating_add(1) }
            }
            None => Origin { create_revision: revision.main, version: 1 },
        };
        let pair = KvView {
            key,
            create_revision: origin.create_revision,
            mod_revision: revision.main,
            version: origin.version,
            value,
            lease,
        }
        .encode();
        match entry {
            Some(entry) => entry.put(revision, pair.clone()),
            None => {
                // The key is a part of a raft entry: a copy, or the index would hold all of it.
                let key = Bytes::copy_from_slice(key);
                self.index.insert(key, KeyEntry::with_put(revision, origin, pair.clone()));
            }
        }
        pair
    }
}

/// `BTreeMap::range` panics on bounds the wrong way round; a client may send them.
fn is_ascending(lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> bool {
    match (lower, upper) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => true,
        (Bound::Included(low), Bound::Included(high)) => low <= high,
        (
            Bound::Included(low) | Bound::Excluded(low),
            Bound::Included(high) | Bound::Excluded(high),
        ) => low < high,
    }
}
