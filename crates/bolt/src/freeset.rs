//! Runs of free pages.
//!
//! Owns:       the set of pages that the next commit may write.
//! Uses:       nothing.
//! Never:      the reason why a page is free (`space`).
//! Invariants: runs do not touch or overlap; `by_start` and `by_len` hold the same runs.

use std::collections::{BTreeMap, BTreeSet};

use crate::page::PageId;

/// Free runs, found by place and by length.
#[derive(Clone, Debug, Default)]
pub(crate) struct FreeSet {
    by_start: BTreeMap<PageId, u64>,
    by_len: BTreeSet<(u64, PageId)>,
    pages: u64,
}

/// Which of several sufficient runs to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Single pages from the lowest run, longer ones from the tightest.
    Quick,
    /// The lowest run, at the price of a search.
    Lowest,
}

impl FreeSet {
    /// Number of free pages.
    pub(crate) fn pages(&self) -> u64 {
        self.pages
    }

    /// Number of free pages below `bound`.
    pub(crate) fn pages_below(&self, bound: PageId) -> u64 {
        self.by_start.range(..bound).map(|(start, count)| (*count).min(bound - start)).sum()
    }

    /// Adds a run; `false`, and nothing done, when part of it is free already.
    #[must_use]
    pub(crate) fn insert(&mut self, start: PageId, count: u64) -> bool {
        let before = self.by_start.range(..start).next_back().map(|(page, len)| (*page, *len));
        let after = self.by_start.range(start..).next().map(|(page, len)| (*page, *len));
        let overlaps = before.is_some_and(|(page, len)| page + len > start)
            || after.is_some_and(|(page, _)| page < start + count);
        if overlaps || count == 0 {
            return count == 0;
        }
        let (mut first, mut total) = (start, count);
        if let Some((page, len)) = before
            && page + len == start
        {
            self.remove_run(page, len);
            first = page;
            total += len;
        }
        if let Some((page, len)) = after
            && page == start + count
        {
            self.remove_run(page, len);
            total += len;
        }
        self.add_run(first, total);
        true
    }

    /// Takes `count` adjacent pages.
    pub(crate) fn take(&mut self, count: u64, choice: Choice) -> Option<PageId> {
        let lowest = count == 1 || choice == Choice::Lowest;
        let (start, len) = if lowest {
            let run = self.by_start.iter().find(|(_, len)| **len >= count)?;
            (*run.0, *run.1)
        } else {
            let (len, start) = self.by_len.range((count, 0)..).next()?;
            (*start, *len)
        };
        self.remove_run(start, len);
        if len > count {
            self.add_run(start + count, len - count);
        }
        Some(start)
    }

    /// Takes the run that ends at `end`, if there is one; returns its first page.
    pub(crate) fn take_tail(&mut self, end: PageId) -> Option<PageId> {
        let (start, len) = self.by_start.range(..end).next_back()?;
        let (start, len) = (*start, *len);
        let is_tail = start + len == end;
        if is_tail {
            self.remove_run(start, len);
        }
        is_tail.then_some(start)
    }

    fn add_run(&mut self, start: PageId, len: u64) {
        self.by_start.insert(start, len);
        self.by_len.insert((len, start));
        self.pages += len;
    }

    fn remove_run(&mut self, start: PageId, len: u64) {
        self.by_start.remove(&start);
        self.by_len.remove(&(len, start));
        self.pages -= len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_join_split_and_refuse_overlap() {
        let mut set = FreeSet::default();
        assert!(set.insert(10, 2));
        assert!(set.insert(14, 2));
        assert!(set.insert(12, 2));
        for (start, count) in [(10, 1), (9, 2), (15, 5), (13, 1), (0, 100)] {
            assert!(!set.insert(start, count), "{start} {count}");
        }
        assert_eq!(set.clone().take_tail(15), None);
        assert_eq!(set.clone().take_tail(16), Some(10));
        assert_eq!(set.pages_below(12), 2);
        assert_eq!(set.take(1, Choice::Quick), Some(10));
        assert_eq!(set.take(6, Choice::Quick), None);
        assert_eq!(set.take(4, Choice::Quick), Some(11));
        assert_eq!(set.pages(), 1);
        assert_eq!(set.take_tail(16), Some(15));
        assert_eq!(set.take(1, Choice::Lowest), None);
    }

    #[test]
    fn long_runs_from_the_tightest_or_the_lowest() {
        let mut set = FreeSet::default();
        assert!(set.insert(10, 9) && set.insert(30, 3) && set.insert(50, 4));
        assert_eq!(set.clone().take(3, Choice::Quick), Some(30));
        assert_eq!(set.take(3, Choice::Lowest), Some(10));
    }
}
