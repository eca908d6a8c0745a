//! Which pages a commit may write.
//!
//! Owns:       free pages, pages waiting to become free, the high-water mark.
//! Uses:       `freeset`.
//! Never:      files.
//! Invariants: a page that a durable meta or a pinned view can reach is never handed out. A page
//!             freed by transaction T is reachable from T - 1 and before, so it waits until the
//!             *older* of the two metas in the file is T or later, and no view older than T is
//!             pinned.
//! Source:     docs/format/bolt.md 6.

use std::collections::BTreeMap;

use crate::freeset::{Choice, FreeSet};
use crate::page::PageId;
use crate::store::Pins;

/// Pages that some older state may still reach.
#[derive(Clone, Copy, Debug)]
struct Freed {
    start: PageId,
    count: u64,
    /// Transaction that wrote the pages, or 0 when not known.
    from: u64,
    /// Transaction that no longer reaches them.
    until: u64,
}

/// Free space of the file.
#[derive(Clone)]
pub(crate) struct Space {
    free: FreeSet,
    pending: Vec<Freed>,
    pending_pages: u64,
    /// Transaction that wrote a run, for runs written while views are pinned: what is written and
    /// freed again after a view was pinned need not wait for that view.
    born: BTreeMap<PageId, u64>,
    pub(crate) high_water: PageId,
    pub(crate) choice: Choice,
}

/// A page was freed twice: two places of the tree refer to it.
#[derive(Debug)]
pub(crate) struct DoubleFree(pub(crate) PageId);

impl Space {
    pub(crate) fn new(high_water: PageId) -> Space {
        Space {
            free: FreeSet::default(),
            pending: Vec::new(),
            pending_pages: 0,
            born: BTreeMap::new(),
            high_water,
            choice: Choice::Quick,
        }
    }

    /// Pages that nothing reachable uses, waiting ones included.
    pub(crate) fn unused_pages(&self) -> u64 {
        self.free.pages() + self.pending_pages
    }

    /// Free pages below `bound` that may be written now.
    pub(crate) fn free_below(&self, bound: PageId) -> u64 {
        self.free.pages_below(bound)
    }

    /// Adds pages that may be written at once (used when a file is opened).
    pub(crate) fn add_free(&mut self, start: PageId, count: u64) -> Result<(), DoubleFree> {
        if self.free.insert(start, count) { Ok(()) } else { Err(DoubleFree(start)) }
    }

    /// Gives pages back that transaction `txid` no longer uses.
    pub(crate) fn release_after(&mut self, start: PageId, count: u64, txid: u64) {
        let from = self.born.remove(&start).unwrap_or(0);
        self.pending.push(Freed { start, count, from, until: txid });
        self.pending_pages += count;
    }

    /// Prepares a transaction: frees what waited long enough and lowers the high-water mark over
    /// free pages at the end. `older_txid` is that of the older meta in the file.
    pub(crate) fn begin(&mut self, older_txid: u64, pins: &Pins) -> Result<(), DoubleFree> {
        if pins.is_empty() {
            self.born.clear();
        }
        let mut waiting = Vec::with_capacity(self.pending.len());
        for freed in std::mem::take(&mut self.pending) {
            let reachable = freed.until > older_txid || is_pinned(&freed, pins);
            if reachable {
                waiting.push(freed);
            } else {
                self.pending_pages -= freed.count;
                self.add_free(freed.start, freed.count)?;
            }
        }
        self.pending = waiting;
        while let Some(start) = self.free.take_tail(self.high_water) {
            self.high_water = start;
        }
        Ok(())
    }

    /// Takes `count` adjacent pages for transaction `txid`.
    pub(crate) fn allocate(&mut self, count: u64, txid: u64, pinned: bool) -> PageId {
        let start = self.free.take(count, self.choice).unwrap_or_else(|| {
            let start = self.high_water;
            self.high_water += count;
            start
        });
        if pinned {
            self.born.insert(start, txid);
        }
        start
    }

    /// What the pages right below the high-water mark are, after [`Space::begin`].
    pub(crate) fn tail(&self, pins: &Pins) -> TailState {
        let last = self.pending.iter().find(|freed| freed.start + freed.count == self.high_water);
        match last {
            None => TailState::InUse,
            Some(freed) if is_pinned(freed, pins) => TailState::WaitsForView,
            Some(_) => TailState::WaitsForCommit,
        }
    }
}

/// Use of the last page of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TailState {
    /// The newest state reaches it.
    InUse,
    /// It will be free after one or two more commits.
    WaitsForCommit,
    /// It will be free when a view is dropped.
    WaitsForView,
}

fn is_pinned(freed: &Freed, pins: &Pins) -> bool {
    freed.from < freed.until && pins.range(freed.from..freed.until).next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Pin;

    fn pins(txids: &[u64]) -> Pins {
        txids.iter().map(|txid| (*txid, Pin { views: 1, high_water: 0 })).collect()
    }

    #[test]
    fn freed_pages_wait_for_older_meta_and_pins() {
        let mut space = Space::new(100);
        space.release_after(50, 2, 7);
        for (older, pinned) in [(6, vec![]), (7, vec![6]), (9, vec![3, 9])] {
            space.begin(older, &pins(&pinned)).unwrap();
            assert_eq!(space.free_below(100), 0, "{older} {pinned:?}");
        }
        space.begin(7, &pins(&[7])).unwrap();
        assert_eq!(space.free_below(100), 2);
        assert_eq!(space.allocate(2, 9, false), 50);
        assert_eq!(space.allocate(1, 9, false), 100);
    }

    #[test]
    fn pages_born_after_the_view_do_not_wait_for_it() {
        let mut space = Space::new(10);
        let page = space.allocate(1, 8, true);
        space.release_after(page, 1, 9);
        space.begin(8, &pins(&[7])).unwrap();
        assert_eq!(space.high_water, 11);
        space.begin(9, &pins(&[7])).unwrap();
        assert_eq!(space.high_water, 10);
    }

    #[test]
    fn double_free_is_noticed() {
        let mut space = Space::new(10);
        space.release_after(5, 1, 2);
        space.release_after(5, 1, 2);
        assert!(space.begin(2, &pins(&[])).is_err());
    }
}
