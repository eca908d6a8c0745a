//! What the index knows about one key: its revisions and the bytes of its latest pair.
//!
//! Nearly all keys have one put and no more once history is compacted. Of such a key the index keeps
//! the stored pair and nothing else: key, revisions and version are read out of it.
//!
//! Generations are not stored one by one: a tombstone in the list of changes ends one, and the next
//! change begins another. Together with create revision and version of the first change this says
//! all that etcd's list of generations says.
//!
//! Owns:       the revisions of one key.
//! Uses:       `changes`, `kv`, `types`.
//! Never:      values of any but the latest revision; a part of a buffer that someone else owns.
//! Invariants: changes ascend and there is at least one; `latest` is there if and only if the last
//!             change is a put; no tombstone follows a tombstone; an entry that can be `Single` is.
//! Source:     api-v3.md 2.1, disk-formats.md 7 (restore and compaction).

use types::RevKey;

use crate::changes::{Change, Changes};
use crate::kv::{KvView, Pair, leading_key};
use crate::tree;

/// Create revision and version of a key at one of its revisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) create_revision: i64,
    pub(crate) version: i64,
}

impl Origin {
    pub(crate) fn of(view: &KvView<'_>) -> Self {
        Self { create_revision: view.create_revision, version: view.version }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum KeyEntry {
    /// One put with sub revision zero, whose pair begins with its key.
    Single(Pair),
    Chain(Box<Chain>),
}

#[derive(Clone, Debug)]
pub(crate) struct Chain {
    /// `None` when `latest` begins with it.
    key: Option<Box<[u8]>>,
    /// Of the first change; zeros when that is a tombstone, whose row does not tell.
    first: Origin,
    changes: Changes,
    latest: Option<Pair>,
}

impl tree::Entry for KeyEntry {
    #[inline]
    fn key(&self) -> &[u8] {
        match self {
            Self::Single(pair) => leading_key(pair).unwrap_or_default(),
            Self::Chain(chain) => chain.key(),
        }
    }

    #[inline]
    fn is_live(&self) -> bool {
        self.latest().is_some()
    }
}

impl KeyEntry {
    /// An entry that begins with a put; `latest` is its pair as stored.
    pub(crate) fn with_put(key: &[u8], revision: RevKey, latest: Pair) -> Self {
        let view = KvView::parse(&latest).unwrap_or_default();
        let change = Change::new(revision, false);
        if leading_key(&latest) == Some(key) && says_all(&view, key, change) {
            return Self::Single(latest);
        }
        // A pair that is none has no numbers; etcd restores it as well.
        let (first, changes) = (Origin::of(&view), Changes::one(change));
        let mut chain = Chain { key: None, first, changes, latest: None };
        chain.set_latest(key, Some(latest));
        Self::Chain(Box::new(chain))
    }

    /// An entry of which compaction has left a tombstone only.
    pub(crate) fn with_tombstone(key: &[u8], revision: RevKey) -> Self {
        let changes = Changes::one(Change::new(revision, true));
        let key = Some(Box::from(key));
        Self::Chain(Box::new(Chain { key, first: Origin::default(), changes, latest: None }))
    }

    pub(crate) fn key(&self) -> &[u8] {
        tree::Entry::key(self)
    }

    #[inline]
    pub(crate) fn latest(&self) -> Option<&Pair> {
        match self {
            Self::Single(pair) => Some(pair),
            Self::Chain(chain) => chain.latest.as_ref(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Single(_) => 1,
            Self::Chain(chain) => chain.changes.len(),
        }
    }

    pub(crate) fn change(&self, position: usize) -> Change {
        match self {
            Self::Single(pair) => only_change(pair),
            Self::Chain(chain) => chain.changes.at(position),
        }
    }

    pub(crate) fn last(&self) -> Change {
        match self {
            Self::Single(pair) => only_change(pair),
            Self::Chain(chain) => chain.changes.last(),
        }
    }

    /// Position of the newest change at or before the main revision.
    pub(crate) fn newest_at(&self, main: i64) -> Option<usize> {
        match self {
            Self::Single(pair) => (only_change(pair).main <= main).then_some(0),
            Self::Chain(chain) => chain.changes.at_or_before(main).checked_sub(1),
        }
    }

    /// Position of the pair that a reader at the main revision sees.
    pub(crate) fn visible_at(&self, main: i64) -> Option<usize> {
        self.newest_at(main).filter(|position| !self.change(*position).is_tombstone())
    }

    /// The pair's bytes if the position is that of the latest pair.
    pub(crate) fn latest_at(&self, position: usize) -> Option<&Pair> {
        self.latest().filter(|_| position + 1 == self.len())
    }

    /// Create revision and version of the pair at a position that holds a put.
    pub(crate) fn origin(&self, position: usize) -> Origin {
        if let Some(view) = self.latest_at(position).and_then(|bytes| KvView::parse(bytes).ok()) {
            return Origin::of(&view);
        }
        match self {
            Self::Single(_) => Origin::default(),
            Self::Chain(chain) => chain.counted_origin(position),
        }
    }

    /// Appends a put whose pair is `latest`.
    pub(crate) fn put(&mut self, revision: RevKey, latest: Pair) {
        let change = Change::new(revision, false);
        match self {
            Self::Single(pair) => {
                let mut chain = Chain::of(pair);
                chain.push(change, Some(latest));
                *self = Self::Chain(Box::new(chain));
            }
            Self::Chain(chain) => chain.push(change, Some(latest)),
        }
    }

    /// Appends a tombstone.
    pub(crate) fn tombstone(&mut self, revision: RevKey) {
        let change = Change::new(revision, true);
        match self {
            Self::Single(pair) => {
                let mut chain = Chain::of(pair);
                chain.push(change, None);
                *self = Self::Chain(Box::new(chain));
            }
            Self::Chain(chain) => chain.push(change, None),
        }
    }

    /// Takes back the last change; `latest` is what it replaced. `false`, and nothing done, if it is
    /// the only one.
    pub(crate) fn undo(&mut self, latest: Option<Pair>) -> bool {
        let Self::Chain(chain) = self else { return false };
        if !chain.changes.pop_last() {
            return false;
        }
        let key = Box::from(chain.key());
        chain.set_latest(&key, latest);
        self.normalise();
        true
    }

    /// The revision of this key that a compaction at `at` keeps, if any: the newest at or before it
    /// unless that is a tombstone from before `at`.
    pub(crate) fn kept_by_compaction(&self, at: i64) -> Option<RevKey> {
        let change = self.change(self.newest_at(at)?);
        (!change.is_tombstone() || change.main == at).then(|| change.revision())
    }

    /// Forgets all changes up to a revision; `false` if none would be left: then the entry is to go.
    pub(crate) fn forget(&mut self, through: RevKey) -> bool {
        if self.last().revision() <= through {
            return false;
        }
        if let Self::Chain(chain) = self {
            while chain.changes.at(0).revision() <= through && chain.drop_first() {}
        }
        self.normalise();
        true
    }

    /// Puts the changes of an entry of the same key in front: `older` ends before this begins.
    ///
    /// etcd warns of a tombstone without a pair before it and goes on without it.
    pub(crate) fn append_to(self, mut older: Self) -> Self {
        let chain = match self {
            Self::Single(pair) => {
                older.put(only_change(&pair).revision(), pair);
                return older;
            }
            Self::Chain(chain) => chain,
        };
        let Chain { changes, latest, .. } = *chain;
        let mut into = match older {
            Self::Single(pair) => Box::new(Chain::of(&pair)),
            Self::Chain(chain) => chain,
        };
        for change in (0..changes.len()).map(|position| changes.at(position)) {
            if !(change.is_tombstone() && into.changes.last().is_tombstone()) {
                into.changes.push(change);
            }
        }
        let key = Box::from(into.key());
        into.set_latest(&key, latest);
        Self::Chain(into)
    }

    /// Drops what a chain costs where the pair says it all.
    fn normalise(&mut self) {
        let Self::Chain(chain) = self else { return };
        if let Some(pair) = chain.single() {
            *self = Self::Single(pair.clone());
        }
    }
}

/// Whether a pair that begins with its key tells the only change of it.
fn says_all(view: &KvView<'_>, key: &[u8], only: Change) -> bool {
    view.key == key && only == Change::new(RevKey::new(view.mod_revision, 0), false)
}

/// The change of an entry that is a pair and nothing else.
fn only_change(pair: &Pair) -> Change {
    let main = KvView::parse(pair).map_or(0, |view| view.mod_revision);
    Change::new(RevKey::new(main, 0), false)
}

impl Chain {
    fn of(pair: &Pair) -> Self {
        let view = KvView::parse(pair).unwrap_or_default();
        let change = Change::new(RevKey::new(view.mod_revision, 0), false);
        let (first, changes) = (Origin::of(&view), Changes::one(change));
        Self { key: None, first, changes, latest: Some(pair.clone()) }
    }

    fn key(&self) -> &[u8] {
        match (&self.key, &self.latest) {
            (Some(key), _) => key,
            (None, Some(pair)) => leading_key(pair).unwrap_or_default(),
            (None, None) => &[],
        }
    }

    /// The latest pair, if it says everything that is known of the key.
    fn single(&self) -> Option<&Pair> {
        let pair = self.latest.as_ref()?;
        let only = (self.key.is_none() && self.changes.len() == 1).then(|| self.changes.last())?;
        let view = KvView::parse(pair).ok()?;
        let key = leading_key(pair)?;
        (self.first == Origin::of(&view) && says_all(&view, key, only)).then_some(pair)
    }

    fn push(&mut self, change: Change, latest: Option<Pair>) {
        self.changes.push(change);
        if let (None, Some(pair)) = (&self.key, &latest)
            && leading_key(pair) == Some(self.key())
        {
            self.latest = latest;
            return;
        }
        let key = Box::from(self.key());
        self.set_latest(&key, latest);
    }

    fn set_latest(&mut self, key: &[u8], latest: Option<Pair>) {
        let begins_with_key = latest.as_ref().is_some_and(|pair| leading_key(pair) == Some(key));
        self.key = (!begins_with_key).then(|| Box::from(key));
        self.latest = latest;
    }

    /// Forgets the first change; `false`, and nothing done, if it is the only one.
    fn drop_first(&mut self) -> bool {
        let Some(dropped) = self.changes.pop_first() else { return false };
        let next = self.changes.at(0);
        self.first = if next.is_tombstone() {
            Origin::default()
        } else if dropped.is_tombstone() {
            Origin { create_revision: next.main, version: 1 }
        } else {
            Origin { version: self.first.version + 1, ..self.first }
        };
        true
    }

    /// What the list of changes says about create revision and version at a position with a put.
    fn counted_origin(&self, position: usize) -> Origin {
        let mut begin = position;
        while begin > 0 && !self.changes.at(begin - 1).is_tombstone() {
            begin -= 1;
        }
        let puts_since = i64::try_from(position - begin).unwrap_or(i64::MAX);
        let base = match begin {
            0 => self.first,
            _ => Origin { create_revision: self.changes.at(begin).main, version: 1 },
        };
        Origin { create_revision: base.create_revision, version: base.version + puts_since }
    }
}

impl PartialEq for KeyEntry {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Single(pair), Self::Single(other)) => pair == other,
            (Self::Chain(chain), Self::Chain(other)) => {
                let (changes, others) = (&chain.changes, &other.changes);
                chain.key() == other.key()
                    && chain.first == other.first
                    && chain.latest == other.latest
                    && changes.len() == others.len()
                    && (0..changes.len())
                        .all(|position| changes.at(position) == others.at(position))
            }
            (Self::Single(_), Self::Chain(_)) | (Self::Chain(_), Self::Single(_)) => false,
        }
    }
}

impl KeyEntry {
    /// Asserts what the module header promises, and that `latest` says what the changes say.
    pub(crate) fn check_invariants(&self, current_revision: i64) {
        let (key, last) = (self.key(), self.last());
        assert!(self.len() > 0, "key {key:?} has no change");
        assert!(last.main <= current_revision, "key {key:?} changed at {last:?} in the future");
        let Self::Chain(chain) = self else {
            let pair = self.latest().expect("a single entry is a pair");
            let view = KvView::parse(pair).expect("only well-formed pairs stand alone");
            assert_eq!(view.key, key, "key of the only pair");
            return;
        };
        for position in 1..self.len() {
            let (before, after) = (self.change(position - 1), self.change(position));
            assert!(before.revision() < after.revision(), "key {key:?}: {before:?} {after:?}");
            let twice = before.is_tombstone() && after.is_tombstone();
            assert!(!twice, "key {key:?} deleted twice: {before:?} {after:?}");
        }
        assert!(chain.single().is_none(), "key {key:?} is one pair, kept as a chain");
        assert_eq!(chain.latest.is_none(), last.is_tombstone(), "latest pair of key {key:?}");
        if self.change(0).is_tombstone() {
            assert_eq!(chain.first, Origin::default(), "origin of tombstone of key {key:?}");
        }
        // A revision bumped by a restore has a row without content (disk-formats.md 7).
        let Some(latest) = chain.latest.as_ref().filter(|latest| !latest.is_empty()) else {
            return;
        };
        let view = KvView::parse(latest).expect("only well-formed pairs enter the index");
        assert_eq!(view.key, key, "key of the latest pair");
        assert_eq!(view.mod_revision, last.main, "mod revision of key {key:?}");
        let counted = chain.counted_origin(self.len() - 1);
        assert_eq!(counted, Origin::of(&view), "origin of key {key:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The index has one for each key, beside the pair itself.
    #[test]
    fn an_entry_is_two_words() {
        assert_eq!(size_of::<KeyEntry>(), 16);
    }
}
