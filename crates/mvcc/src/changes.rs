//! The revisions of one key, oldest first.
//!
//! Owns:       nothing but the list.
//! Uses:       `types`.
//! Never:      a pause that grows with the list: it is kept in blocks, so neither a push nor the
//!             removal of the first moves more than one block.
//! Invariants: there is at least one change; all blocks of `older` are full.
//! Source:     api-v3.md 2.1.

use std::collections::VecDeque;

use types::RevKey;

/// Changes of a block: what moves at once is 16 KiB at most.
const BLOCK: usize = 1024;

/// One put or delete of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) main: i64,
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

/// Changes of one key in ascending order.
#[derive(Clone, Debug)]
pub(crate) struct Changes {
    last: Change,
    /// Those before the last one and behind `older`.
    newer: VecDeque<Change>,
    older: Option<Box<Older>>,
}

/// Full blocks, of which some of the first changes are gone.
#[derive(Clone, Debug, Default)]
struct Older {
    gone: usize,
    blocks: VecDeque<VecDeque<Change>>,
}

impl Changes {
    pub(crate) fn one(change: Change) -> Self {
        Self { last: change, newer: VecDeque::new(), older: None }
    }

    pub(crate) fn len(&self) -> usize {
        self.older_len() + self.newer.len() + 1
    }

    pub(crate) fn last(&self) -> Change {
        self.last
    }

    /// The change at a position below [`Changes::len`].
    pub(crate) fn at(&self, position: usize) -> Change {
        let older_len = self.older_len();
        match &self.older {
            Some(older) if position < older_len => {
                let place = older.gone + position;
                older.blocks[place / BLOCK][place % BLOCK]
            }
            _ => self.newer.get(position - older_len).copied().unwrap_or(self.last),
        }
    }

    /// Changes at or before the main revision.
    pub(crate) fn at_or_before(&self, main: i64) -> usize {
        let (mut low, mut high) = (0, self.len());
        if self.last.main <= main {
            return high;
        }
        while low < high {
            let middle = low.midpoint(high);
            if self.at(middle).main <= main {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    pub(crate) fn push(&mut self, change: Change) {
        if self.newer.len() == BLOCK {
            let full = std::mem::take(&mut self.newer);
            self.older.get_or_insert_default().blocks.push_back(full);
        }
        self.newer.push_back(std::mem::replace(&mut self.last, change));
    }

    /// Removes the last change of several; `false`, and nothing done, if it is the only one.
    pub(crate) fn pop_last(&mut self) -> bool {
        if self.newer.is_empty()
            && let Some(older) = &mut self.older
        {
            self.newer = older.blocks.pop_back().unwrap_or_default();
            if older.blocks.is_empty() {
                self.newer.drain(..older.gone);
                self.older = None;
            }
        }
        let Some(before) = self.newer.pop_back() else { return false };
        self.last = before;
        true
    }

    /// Removes the first change of several and returns it.
    pub(crate) fn pop_first(&mut self) -> Option<Change> {
        let Some(older) = &mut self.older else {
            let first = self.newer.pop_front();
            if self.newer.is_empty() {
                self.newer = VecDeque::new();
            }
            return first;
        };
        let first = *older.blocks.front()?.get(older.gone)?;
        older.gone += 1;
        if older.gone == BLOCK {
            older.gone = 0;
            older.blocks.pop_front();
            if older.blocks.is_empty() {
                self.older = None;
            }
        }
        Some(first)
    }

    fn older_len(&self) -> usize {
        self.older.as_ref().map_or(0, |older| older.blocks.len() * BLOCK - older.gone)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn change(main: i64) -> Change {
        Change::new(RevKey::new(main, main % 3), main % 5 == 0)
    }

    fn check(changes: &Changes, model: &VecDeque<Change>) {
        assert_eq!(changes.len(), model.len());
        assert_eq!(Some(&changes.last()), model.back());
        let step = (model.len() / 50).max(1);
        for position in (0..model.len()).step_by(step) {
            assert_eq!(changes.at(position), model[position], "at {position}");
            let main = model[position].main;
            assert_eq!(changes.at_or_before(main), position + 1);
            assert_eq!(changes.at_or_before(main - 1), position);
        }
        assert_eq!(changes.at_or_before(i64::MAX), model.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Runs of pushes, removals of the first and of the last, against a plain list.
        #[test]
        fn changes_are_a_list(runs in prop::collection::vec((0..3u8, 1..3 * BLOCK), 1..20)) {
            let (mut changes, mut main) = (Changes::one(change(0)), 0);
            let mut model = VecDeque::from([change(0)]);
            for (kind, len) in runs {
                for _ in 0..len {
                    match kind {
                        0 => {
                            main += 1;
                            changes.push(change(main));
                            model.push_back(change(main));
                        }
                        1 => {
                            let first = (model.len() > 1).then(|| model.pop_front()).flatten();
                            assert_eq!(changes.pop_first(), first);
                        }
                        _ => {
                            let is_popped = model.len() > 1 && model.pop_back().is_some();
                            assert_eq!(changes.pop_last(), is_popped);
                        }
                    }
                }
                check(&changes, &model);
            }
        }
    }

    #[test]
    fn a_long_list_shrinks_to_nothing_and_gives_its_memory_back() {
        let mut changes = Changes::one(change(0));
        (1..100_000).for_each(|main| changes.push(change(main)));
        assert_eq!(changes.len(), 100_000);
        (0..99_999).for_each(|main| assert_eq!(changes.pop_first(), Some(change(main))));
        assert_eq!((changes.len(), changes.pop_first()), (1, None));
        assert!(changes.older.is_none());
        assert_eq!(changes.newer.capacity(), 0);
    }
}
