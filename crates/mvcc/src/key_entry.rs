//! What the index knows about one key: its revisions and the bytes of its latest pair.
//!
//! Generations are not stored one by one: a tombstone in the list of changes ends one, and the next
//! change begins another. Together with create revision and version of the first change this says
//! all that etcd's list of generations says.
//!
//! Owns:       the revisions of one key.
//! Uses:       `kv`, `types`.
//! Never:      values of any but the latest revision.
//! Invariants: changes ascend and there is at least one; `latest` is there if and only if the last
//!             change is a put; no tombstone follows a tombstone.
//! Source:     api-v3.md 2.1, disk-formats.md 7 (restore and compaction).

use std::collections::VecDeque;

use bytes::Bytes;
use types::RevKey;

use crate::kv::KvView;

/// Create revision and version of a key at one of its revisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) create_revision: i64,
    pub(crate) version: i64,
}

/// One put or delete of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    main: i64,
    /// Sub revision times two, plus one for a tombstone: the index holds one for each revision, so
    /// eight bytes matter.
    sub_and_kind: i64,
}

impl Change {
    /// Sub revisions above this do not fit; no transaction can have as many changes.
    pub(crate) const SUB_MAX: i64 = i64::MAX >> 1;

    pub(crate) fn new(revision: RevKey, tombstone: bool) -> Self {
        debug_assert!((0..=Self::SUB_MAX).contains(&revision.sub));
        Self { main: revision.main, sub_and_kind: revision.sub << 1 | i64::from(tombstone) }
    }

    pub(crate) fn revision(self) -> RevKey {
        RevKey::new(self.main, self.sub_and_kind >> 1)
    }

    pub(crate) fn is_tombstone(self) -> bool {
        self.sub_and_kind & 1 == 1
    }
}

/// Nearly all keys have one change after compaction, so that one is kept without a heap block.
#[derive(Clone, Debug)]
enum Changes {
    One(Change),
    Many(VecDeque<Change>),
}

#[derive(Clone, Debug)]
pub(crate) struct KeyEntry {
    /// Of the first change; zeros when that is a tombstone, whose row does not tell.
    first: Origin,
    changes: Changes,
    latest: Option<Bytes>,
}

impl KeyEntry {
    /// An entry that begins with a put; `latest` is its pair as stored.
    pub(crate) fn with_put(revision: RevKey, origin: Origin, latest: Bytes) -> Self {
        let changes = Changes::One(Change::new(revision, false));
        Self { first: origin, changes, latest: Some(latest) }
    }

    /// An entry of which compaction has left a tombstone only.
    pub(crate) fn with_tombstone(revision: RevKey) -> Self {
        let changes = Changes::One(Change::new(revision, true));
        Self { first: Origin::default(), changes, latest: None }
    }

    pub(crate) fn latest(&self) -> Option<&Bytes> {
        self.latest.as_ref()
    }

    pub(crate) fn len(&self) -> usize {
        match &self.changes {
            Changes::One(_) => 1,
            Changes::Many(changes) => changes.len(),
        }
    }

    pub(crate) fn change(&self, position: usize) -> Change {
        match &self.changes {
            Changes::One(change) => *change,
            Changes::Many(changes) => changes[position],
        }
    }

    pub(crate) fn last(&self) -> Change {
        self.change(self.len() - 1)
    }

    /// Position of the newest change at or before the main revision.
    pub(crate) fn newest_at(&self, main: i64) -> Option<usize> {
        let at_or_before = match &self.changes {
            Changes::One(change) => usize::from(change.main <= main),
            Changes::Many(changes) => match changes.back() {
                Some(last) if last.main <= main => changes.len(),
                _ => changes.partition_point(|change| change.main <= main),
            },
        };
        at_or_before.checked_sub(1)
    }

    /// Position of the pair that a reader at the main revision sees.
    pub(crate) fn visible_at(&self, main: i64) -> Option<usize> {
        self.newest_at(main).filter(|position| !self.change(*position).is_tombstone())
    }

    /// The pair's bytes if the position is that of the latest pair.
    pub(crate) fn latest_at(&self, position: usize) -> Option<&Bytes> {
        self.latest.as_ref().filter(|_| position + 1 == self.len())
    }

    /// Create revision and version of the pair at a position that holds a put.
    pub(crate) fn origin(&self, position: usize) -> Origin {
        if let Some(view) = self.latest_at(position).and_then(|bytes| KvView::parse(bytes).ok()) {
            return Origin { create_revision: view.create_revision, version: view.version };
        }
        let mut begin = position;
        while begin > 0 && !self.change(begin - 1).is_tombstone() {
            begin -= 1;
        }
        let puts_since = i64::try_from(position - begin).unwrap_or(i64::MAX);
        let base = match begin {
            0 => self.first,
            _ => Origin { create_revision: self.change(begin).main, version: 1 },
        };
        Origin { create_revision: base.create_revision, version: base.version + puts_since }
    }

    /// Create revision and version of the latest pair.
    pub(crate) fn live_origin(&self) -> Option<Origin> {
        self.latest.as_ref().map(|_| self.origin(self.len() - 1))
    }

    /// Appends a put whose pair is `latest`.
    pub(crate) fn put(&mut self, revision: RevKey, latest: Bytes) {
        self.push(Change::new(revision, false));
        self.latest = Some(latest);
    }

    /// Appends a tombstone.
    pub(crate) fn tombstone(&mut self, revision: RevKey) {
        self.push(Change::new(revision, true));
        self.latest = None;
    }

    /// Takes back the last change of several; `latest` is what it replaced.
    pub(crate) fn undo(&mut self, latest: Option<Bytes>) {
        if let Changes::Many(changes) = &mut self.changes {
            changes.pop_back();
            self.latest = latest;
            self.normalise();
        }
    }

    /// The revision of this key that a compaction at `at` keeps, if any: the newest at or before it
    /// unless that is a tombstone from before `at`.
    pub(crate) fn kept_by_compaction(&self, at: i64) -> Option<RevKey> {
        let change = self.change(self.newest_at(at)?);
        (!change.is_tombstone() || change.main == at).then(|| change.revision())
    }

    /// Forgets the first change; `false`, and nothing done, if it is the only one.
    pub(crate) fn drop_first(&mut self) -> bool {
        let Changes::Many(changes) = &mut self.changes else { return false };
        let Some(dropped) = changes.pop_front() else { return false };
        let Some(next) = changes.front() else { return false };
        self.first = if next.is_tombstone() {
            Origin::default()
        } else if dropped.is_tombstone() {
            Origin { create_revision: next.main, version: 1 }
        } else {
            Origin { version: self.first.version + 1, ..self.first }
        };
        self.normalise();
        true
    }

    fn push(&mut self, change: Change) {
        match &mut self.changes {
            Changes::One(first) => {
                self.changes = Changes::Many(VecDeque::from([*first, change]));
            }
            Changes::Many(changes) => changes.push_back(change),
        }
    }

    fn normalise(&mut self) {
        let Changes::Many(changes) = &mut self.changes else { return };
        match changes.front() {
            Some(only) if changes.len() == 1 => self.changes = Changes::One(*only),
            _ if changes.capacity() > 4 * changes.len() + 16 => {
                changes.shrink_to(2 * changes.len())
            }
            _ => {}
        }
    }
}

impl PartialEq for KeyEntry {
    fn eq(&self, other: &Self) -> bool {
        self.first == other.first
            && self.latest == other.latest
            && self.len() == other.len()
            && (0..self.len()).all(|position| self.change(position) == other.change(position))
    }
}

impl KeyEntry {
    /// Asserts what the module header promises, and that `latest` says what the changes say.
    pub(crate) fn check_invariants(&self, key: &[u8], current_revision: i64) {
        let last = self.last();
        assert!(self.len() > 0, "key {key:?} has no change");
        assert!(last.main <= current_revision, "key {key:?} changed at {last:?} in the future");
        for position in 1..self.len() {
            let (before, after) = (self.change(position - 1), self.change(position));
            assert!(before.revision() < after.revision(), "key {key:?}: {before:?} {after:?}");
            let twice = before.is_tombstone() && after.is_tombstone();
            assert!(!twice, "key {key:?} deleted twice: {before:?} {after:?}");
        }
        assert_eq!(self.latest.is_none(), last.is_tombstone(), "latest pair of key {key:?}");
        if self.change(0).is_tombstone() {
            assert_eq!(self.first, Origin::default(), "origin of tombstone of key {key:?}");
        }
        // A revision bumped by a restore has a row without content (disk-formats.md 7).
        let Some(latest) = self.latest.as_ref().filter(|latest| !latest.is_empty()) else { return };
        let view = KvView::parse(latest).expect("only well-formed pairs enter the index");
        assert_eq!(view.key, key, "key of the latest pair");
        assert_eq!(view.mod_revision, last.main, "mod revision of key {key:?}");
        let origin = Origin { create_revision: view.create_revision, version: view.version };
        let counted = Self { latest: None, ..self.clone() }.origin(self.len() - 1);
        assert_eq!(counted, origin, "origin of key {key:?}");
    }
}
