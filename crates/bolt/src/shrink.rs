//! Giving room back to the file system while the database is in use.
//!
//! Owns:       nothing.
//! Uses:       `engine` (commits), `space`, `store` (branches name their children).
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
use crate::space::TailState;
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
            let moved = bolt.shrink(pages)?;
            let cut = bolt.cut_file()?;
            Ok(usize::try_from(moved.max(cut)).unwrap_or(usize::MAX))
        })
    }

    fn shrink(&mut self, pages: usize) -> Result<u64, BoltError> {
        self.begin()?;
        let tail = self.space.tail(&self.store.pins());
        let lower = self.space.high_water < self.meta.high_water;
        if tail == TailState::WaitsForCommit || lower || self.cut_is_waiting() {
            // A commit without changes ages the freed pages and lowers the high-water mark.
            self.publish(self.meta.root, Vec::new())?;
            return Ok(1);
        }
        // Nothing is gained by moving pages below a tail that a view still reads.
        if pages == 0 || tail == TailState::WaitsForView {
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

    fn move_tail(&mut self, pages: usize) -> Result<u64, BoltError> {
        let (root, limit) = (self.meta.root, self.meta.high_water);
        let mut reach = pages as u64;
        loop {
            let bound = limit.saturating_sub(reach).max(FIRST_PAGE);
            let mut tail = Tail::mark(&self.store, root, limit, bound)?;
            if tail.starts.len() > pages {
                tail.starts.sort_unstable_by(|left, right| right.cmp(left));
                let bound = tail.starts[pages - 1];
                tail = Tail::mark(&self.store, root, limit, bound)?;
            }
            if !tail.starts.is_empty() {
                return self.rewrite(&tail);
            }
            if bound == FIRST_PAGE {
                return Ok(0);
            }
            // The last page belongs to a run that starts before `bound`.
            reach = reach.saturating_mul(4);
        }
    }

    fn rewrite(&mut self, tail: &Tail) -> Result<u64, BoltError> {
        // Ancestors are rewritten too. With little room the pages would only trade places.
        if self.space.free_below(tail.bound) < 2 * tail.pages {
            return Ok(0);
        }
        let before = self.space.clone();
        self.space.choice = Choice::Lowest;
        let merged = self.merge(&tail.buckets, Some(&tail.moved));
        self.space.choice = Choice::Quick;
        let (root, writes) = merged?;
        // A long run may find no gap below: moving it to a new end would never come to one.
        let end =
            |(page, bytes): &(PageId, Vec<u8>)| page + (bytes.len() / self.store.page_size) as u64;
        if writes.iter().any(|write| end(write) > tail.bound) {
            self.space = before;
            return Ok(0);
        }
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
    /// First pages of the runs at the bound or above.
    starts: Vec<PageId>,
    bound: PageId,
    /// Buckets with such pages, without changes.
    buckets: Vec<(Bytes, Ops)>,
}

/// Search for the pages of a [`Tail`].
struct Marker<'a> {
    store: &'a Store,
    limit: PageId,
    tail: Tail,
}

impl Tail {
    fn mark(store: &Store, root: PageId, limit: PageId, bound: PageId) -> Result<Tail, BoltError> {
        let moved = PageSet::new(limit);
        let tail = Tail { moved, pages: 0, starts: Vec::new(), bound, buckets: Vec::new() };
        let mut marker = Marker { store, limit, tail };
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
        let mut marked = id >= self.tail.bound;
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
        let mut marked = id >= self.tail.bound;
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
            if id >= self.tail.bound {
                self.tail.starts.push(id);
            }
        }
        marked
    }
}
