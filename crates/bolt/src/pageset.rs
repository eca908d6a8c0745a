//! A set of page numbers as a bitmap.
//!
//! Owns:       nothing beyond its bits.
//! Uses:       nothing.
//! Never:      pages at or above its bound.
//! Invariants: `count` is the number of set bits.

use crate::page::PageId;

/// Pages below a fixed bound.
#[derive(Clone, Debug)]
pub(crate) struct PageSet {
    words: Vec<u64>,
    bound: PageId,
    count: u64,
}

impl PageSet {
    /// An empty set for pages below `bound`.
    pub(crate) fn new(bound: PageId) -> PageSet {
        let words = usize::try_from(bound.div_ceil(64)).unwrap_or(0);
        PageSet { words: vec![0; words], bound, count: 0 }
    }

    fn place(page: PageId) -> (usize, u64) {
        (usize::try_from(page / 64).unwrap_or(usize::MAX), 1 << (page % 64))
    }

    pub(crate) fn contains(&self, page: PageId) -> bool {
        let (word, bit) = PageSet::place(page);
        self.words.get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// Adds a page; `false` when it was there or is out of bounds.
    pub(crate) fn insert(&mut self, page: PageId) -> bool {
        let (word, bit) = PageSet::place(page);
        let Some(bits) = self.words.get_mut(word) else { return false };
        let new = page < self.bound && *bits & bit == 0;
        if new {
            *bits |= bit;
            self.count += 1;
        }
        new
    }

    /// Number of pages in the set.
    pub(crate) fn len(&self) -> u64 {
        self.count
    }

    /// Runs (first page, number of pages) for which `wanted` holds.
    pub(crate) fn runs(bound: PageId, wanted: impl Fn(PageId) -> bool) -> Vec<(PageId, u64)> {
        let mut runs: Vec<(PageId, u64)> = Vec::new();
        for page in (0..bound).filter(|page| wanted(*page)) {
            match runs.last_mut() {
                Some((start, count)) if *start + *count == page => *count += 1,
                _ => runs.push((page, 1)),
            }
        }
        runs
    }
}
