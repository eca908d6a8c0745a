//! Visits every page that a state reaches, and checks each.
//!
//! Owns:       nothing.
//! Uses:       `store`, `pageset`.
//! Never:      changes.
//! Invariants: a page is entered in `seen` at most once.
//! Source:     docs/format/bolt.md 7; the rules are those of bbolt's own check.

use bytes::Bytes;

use crate::error::BoltError;
use crate::page::{BucketRoot, DEPTH_MAX, ITEM_BUCKET, Kind, Page, PageId};
use crate::pageset::PageSet;
use crate::store::{ReadAhead, Store};

/// A walk over one state.
pub(crate) struct Walk<'a> {
    pub(crate) store: &'a Store,
    /// High-water mark of the state.
    pub(crate) limit: PageId,
    /// Subtrees to leave out.
    pub(crate) skip: Option<&'a PageSet>,
    pub(crate) seen: PageSet,
    /// Rows that are not buckets.
    pub(crate) rows: u64,
    /// Buckets at all levels.
    pub(crate) buckets: u64,
}

/// Keys between which those of a subtree lie: from, inclusive, and to, exclusive.
#[derive(Clone, Copy, Default)]
struct Bounds<'a> {
    from: Option<&'a [u8]>,
    to: Option<&'a [u8]>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(store: &'a Store, limit: PageId) -> Walk<'a> {
        Walk { store, limit, skip: None, seen: PageSet::new(limit), rows: 0, buckets: 0 }
    }

    /// Walks the tree at `root` and the buckets in it.
    pub(crate) fn tree(&mut self, root: PageId) -> Result<(), BoltError> {
        self.subtree(root, Bounds::default(), 0)
    }

    /// Enters a run of pages.
    pub(crate) fn enter(&mut self, start: PageId, count: u64) -> Result<(), BoltError> {
        for page in start..start + count {
            if !self.seen.insert(page) {
                let offset = self.store.offset(page);
                return Err(self.store.corrupt(offset, format!("one use of page {page}"), "two"));
            }
        }
        Ok(())
    }

    fn subtree(&mut self, id: PageId, bounds: Bounds<'_>, depth: usize) -> Result<(), BoltError> {
        if self.is_skipped(id) {
            return Ok(());
        }
        let page = self.store.page(id, self.limit)?;
        self.page(&page, id, bounds, depth)
    }

    fn is_skipped(&self, id: PageId) -> bool {
        self.skip.is_some_and(|skip| skip.contains(id))
    }

    fn page(
        &mut self,
        page: &Page,
        id: PageId,
        bounds: Bounds<'_>,
        depth: usize,
    ) -> Result<(), BoltError> {
        if depth >= DEPTH_MAX {
            return Err(self.store.too_deep(id));
        }
        self.enter(id, page.run_len())?;
        self.check_order(page, id, bounds)?;
        match page.kind {
            Kind::Leaf => self.leaf(page, id, depth),
            Kind::Branch => self.children(page, id, bounds, depth),
        }
    }

    fn check_order(&self, page: &Page, id: PageId, bounds: Bounds<'_>) -> Result<(), BoltError> {
        let mut last: Option<&[u8]> = None;
        for index in 0..page.count() {
            let key = page.key(index).map_err(|fault| self.store.fault(id, fault))?;
            let too_low =
                last.is_some_and(|last| last >= key) || bounds.from.is_some_and(|from| key < from);
            if too_low || bounds.to.is_some_and(|to| key >= to) {
                let found = format!("key {index} of page {id} out of order");
                return Err(self.store.corrupt(self.store.offset(id), "ascending keys", found));
            }
            last = Some(key);
        }
        Ok(())
    }

    fn children(
        &mut self,
        page: &Page,
        id: PageId,
        bounds: Bounds<'_>,
        depth: usize,
    ) -> Result<(), BoltError> {
        let store = self.store;
        let fault = |fault| store.fault(id, fault);
        let mut ahead = ReadAhead::default();
        let mut above_leaves = false;
        for index in 0..page.count() {
            let from = page.key(index).map_err(fault)?;
            let to = if index + 1 < page.count() {
                Some(page.key(index + 1).map_err(fault)?)
            } else {
                bounds.to
            };
            let child = page.child(index).map_err(fault)?;
            if self.is_skipped(child) {
                continue;
            }
            if above_leaves {
                store.read_ahead(page, index, self.limit, &mut ahead)?;
            }
            let below = store.page_behind(child, self.limit, &ahead)?;
            above_leaves = below.kind == Kind::Leaf && self.skip.is_none();
            self.page(&below, child, Bounds { from: Some(from), to }, depth + 1)?;
        }
        Ok(())
    }

    fn leaf(&mut self, page: &Page, id: PageId, depth: usize) -> Result<(), BoltError> {
        for index in 0..page.count() {
            let fault = |fault| self.store.fault(id, fault);
            match page.leaf(index).map_err(fault)?.flags {
                0 => self.rows += 1,
                ITEM_BUCKET => {
                    let (_, _, value) = page.leaf_bytes(index).map_err(fault)?;
                    self.bucket(&value, id, depth + 1)?;
                }
                other => {
                    let offset = self.store.offset(id);
                    return Err(self.store.corrupt(offset, "a row or a bucket", other));
                }
            }
        }
        Ok(())
    }

    fn bucket(&mut self, value: &Bytes, home: PageId, depth: usize) -> Result<(), BoltError> {
        if depth >= DEPTH_MAX {
            return Err(self.store.too_deep(home));
        }
        self.buckets += 1;
        match BucketRoot::parse(value).map_err(|fault| self.store.fault(home, fault))? {
            BucketRoot::Tree { root, .. } => self.subtree(root, Bounds::default(), depth),
            BucketRoot::Inline { page, .. } => {
                self.check_order(&page, home, Bounds::default())?;
                self.leaf(&page, home, depth)
            }
        }
    }
}
