//! Giving room back to the file system while the database is in use.
//!
//! Owns:       nothing.
//! Uses:       `engine`, `walk` is not needed: branches name their children.
//! Never:      a copy of the database, a pause of readers.
//! Invariants: every step is an ordinary commit; the file is cut only above what both metas and
//!             all views reach.
//! Source:     docs/format/bolt.md 9; design.md 5 (no stop-the-world defragmentation).

use bytes::Bytes;

use crate::batch::Ops;
use crate::engine::{Bolt, file_bytes_for};
use crate::error::BoltError;
use crate::freeset::Choice;
use crate::page::{BucketRoot, DEPTH_MAX, ITEM_BUCKET, Kind, PageId};
use crate::pageset::PageSet;
use crate::store::{FIRST_PAGE, Store};

impl Bolt {
    /// Takes one step towards a shorter file: moves about `pages` pages from its end to free places
    /// before them, or lets freed pages at the end go. Returns the pages moved or cut off; 0 means
    /// that nothing can be gained now. Calling it until it returns 0 ends.
    ///
    /// # Errors
    /// Those of [`Bolt::commit`].
    pub fn shrink_step(&mut self, pages: usize) -> Result<usize, BoltError> {
        self.require_usable()?;
        self.attempt(|bolt| {
            let moved = bolt.shrink(pages as u64)?;
            let cut = bolt.cut_file()?;
            Ok(usize::try_from(moved.max(cut)).unwrap_or(usize::MAX))
        })
    }

    fn shrink(&mut self, pages: u64) -> Result<u64, BoltError> {
        let waiting = self.space.tail_is_waiting(&self.store.pins());
        self.begin()?;
        if waiting || self.space.high_water < self.meta.high_water || self.cut_is_waiting() {
            // A commit without changes ages the freed pages and lowers the high-water mark.
            self.publish(self.meta.root, Vec::new())?;
            return Ok(1);
        }
        if pages == 0 {
            return Ok(0);
        }
        self.move_tail(pages)
    }

    /// Whether only the older meta's high-water mark keeps the file long.
    fn cut_is_waiting(&self) -> bool {
        let both = self.store.offset(self.meta.high_water.max(self.older_high_water));
        let newest = self.store.offset(self.meta.high_water);
        file_bytes_for(newest) < file_bytes_for(both) && file_bytes_for(newest) < self.file_bytes
    }

    /// Cuts the file above all that is reachable; returns the pages cut off.
    fn cut_file(&mut self) -> Result<u64, BoltError> {
        let pinned = self.store.pins().values().map(|pin| pin.high_water).max().unwrap_or(0);
        let high_water = self.meta.high_water.max(self.older_high_water).max(pinned);
        let bytes = file_bytes_for(self.store.offset(high_water));
        if bytes >= self.file_bytes {
            return Ok(0);
        }
        self.store.io(self.store.file.set_len(bytes))?;
        let cut = (self.file_bytes - bytes) / self.store.page_size as u64;
        self.file_bytes = bytes;
        Ok(cut)
    }

    fn move_tail(&mut self, pages: u64) -> Result<u64, BoltError> {
        let mut wanted = pages;
        loop {
            let bound = self.meta.high_water.saturating_sub(wanted).max(FIRST_PAGE);
            let tail = Tail::mark(&self.store, self.meta.root, self.meta.high_water, bound)?;
            if tail.pages > 0 {
                return self.rewrite(&tail, bound);
            }
            if bound == FIRST_PAGE {
                return Ok(0);
            }
            // The last page belongs to a run that starts before `bound`.
            wanted = wanted.saturating_mul(4);
        }
    }

    fn rewrite(&mut self, tail: &Tail, bound: PageId) -> Result<u64, BoltError> {
        // Ancestors are rewritten too. With little room the pages would only trade places.
        if self.space.free_below(bound) < 2 * tail.pages {
            return Ok(0);
        }
        self.space.choice = Choice::Lowest;
        let merged = self.merge(&tail.buckets, Some(&tail.moved));
        self.space.choice = Choice::Quick;
        let (root, writes) = merged?;
        self.publish(root, writes)?;
        Ok(tail.pages)
    }
}

/// Pages to move away from the end of the file.
struct Tail {
    /// Pages to be rewritten: those that start at the bound or above, and their ancestors.
    moved: PageSet,
    /// How many pages that is, overflow included.
    pages: u64,
    /// Buckets with such pages, without changes.
    buckets: Vec<(Bytes, Ops)>,
}

/// Search for the pages of a [`Tail`].
struct Marker<'a> {
    store: &'a Store,
    limit: PageId,
    bound: PageId,
    tail: Tail,
}

impl Tail {
    fn mark(store: &Store, root: PageId, limit: PageId, bound: PageId) -> Result<Tail, BoltError> {
        let tail = Tail { moved: PageSet::new(limit), pages: 0, buckets: Vec::new() };
        let mut marker = Marker { store, limit, bound, tail };
        marker.root_tree(root, 0)?;
        Ok(marker.tail)
    }
}

impl Marker<'_> {
    /// Marks in the tree of buckets; says whether the page must be rewritten.
    fn root_tree(&mut self, id: PageId, depth: usize) -> Result<bool, BoltError> {
        if depth >= DEPTH_MAX {
            return Err(self.store.too_deep(id));
        }
        let page = self.store.page(id, self.limit)?;
        let fault = |fault| self.store.fault(id, fault);
        let mut marked = id >= self.bound;
        for index in 0..page.count() {
            if page.kind == Kind::Branch {
                let child = page.child(index).map_err(fault)?;
                marked |= self.root_tree(child, depth + 1)?;
                continue;
            }
            let (flags, name, value) = page.leaf_bytes(index).map_err(fault)?;
            if flags != ITEM_BUCKET {
                continue;
            }
            if let BucketRoot::Tree { root, .. } = BucketRoot::parse(&value).map_err(fault)?
                && self.bucket_tree(root)?
            {
                self.tail.buckets.push((name, Vec::new()));
                marked = true;
            }
        }
        Ok(self.note(id, page.run_len(), marked))
    }

    fn bucket_tree(&mut self, root: PageId) -> Result<bool, BoltError> {
        let levels = self.levels(root)?;
        self.subtree(root, levels)
    }

    /// Number of levels of a tree; all its branches have the same.
    fn levels(&self, root: PageId) -> Result<usize, BoltError> {
        let mut next = root;
        for level in 1..=DEPTH_MAX {
            let page = self.store.page(next, self.limit)?;
            if page.kind == Kind::Leaf {
                return Ok(level);
            }
            next = page.child(0).map_err(|fault| self.store.fault(next, fault))?;
        }
        Err(self.store.too_deep(root))
    }

    /// Marks in a bucket. Leaves are judged by their number alone: reading them all would cost as
    /// much as a copy of the database.
    fn subtree(&mut self, id: PageId, levels: usize) -> Result<bool, BoltError> {
        let mut marked = id >= self.bound;
        if levels <= 1 {
            let run = if marked { self.store.page(id, self.limit)?.run_len() } else { 1 };
            return Ok(self.note(id, run, marked));
        }
        let page = self.store.page(id, self.limit)?;
        if page.kind == Kind::Branch {
            for index in 0..page.count() {
                let child = page.child(index).map_err(|fault| self.store.fault(id, fault))?;
                marked |= self.subtree(child, levels - 1)?;
            }
        }
        Ok(self.note(id, page.run_len(), marked))
    }

    fn note(&mut self, id: PageId, run: u64, marked: bool) -> bool {
        if marked && self.tail.moved.insert(id) {
            self.tail.pages += run;
        }
        marked
    }
}
