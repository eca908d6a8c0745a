//! A pinned state for readers.
//!
//! Owns:       a pin in the table of the store, for as long as it or a clone of it lives.
//! Uses:       `store`, `page`, `meta`.
//! Never:      writes.
//! Invariants: no page of the state is overwritten and the file is not cut below it while it lives.
//! Source:     docs/format/bolt.md 8; disk-formats.md 8 (image).

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::error::BoltError;
use crate::meta::{Meta, NO_FREELIST};
use crate::page::{BucketRoot, DEPTH_MAX, Fault, ITEM_BUCKET, Kind, Page, PageId};
use crate::store::{FIRST_PAGE, Pin, ReadAhead, Store, find_in_leaf};

/// Children that a cut of a bucket should have on either side for each part, so that the parts come out
/// about equal.
const SPLIT_GRAIN: usize = 8;

/// Receives a key and a value, and says whether to go on.
type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// A database as of one commit. Cheap to clone; may outlive the engine.
#[derive(Clone)]
pub struct View {
    pinned: Arc<Pinned>,
}

struct Pinned {
    store: Arc<Store>,
    meta: Meta,
    /// Buckets by name, read at first use: a look-up then needs one page less.
    buckets: OnceLock<Buckets>,
}

type Buckets = BTreeMap<Bytes, BucketRoot>;

impl Drop for Pinned {
    fn drop(&mut self) {
        let mut pins = self.store.pins();
        if let Some(pin) = pins.get_mut(&self.meta.txid) {
            pin.views -= 1;
            if pin.views == 0 {
                pins.remove(&self.meta.txid);
            }
        }
    }
}

impl View {
    pub(crate) fn new(store: Arc<Store>, meta: Meta) -> View {
        let empty = Pin { views: 0, high_water: meta.high_water };
        store.pins().entry(meta.txid).or_insert(empty).views += 1;
        View { pinned: Arc::new(Pinned { store, meta, buckets: OnceLock::new() }) }
    }

    /// Number of the commit that is seen.
    #[must_use]
    pub fn txid(&self) -> u64 {
        self.pinned.meta.txid
    }

    /// Value of a key; `None` when key or bucket is missing.
    ///
    /// # Errors
    /// [`BoltError::Io`] or [`BoltError::Corrupt`] from reading pages.
    pub fn get(&self, bucket: &[u8], key: &[u8]) -> Result<Option<Bytes>, BoltError> {
        let (store, meta) = self.parts();
        let item = match self.bucket(bucket)? {
            None => None,
            Some(BucketRoot::Tree { root, .. }) => store.find(root, meta.high_water, key)?,
            Some(BucketRoot::Inline { page, .. }) => {
                find_in_leaf(&page, key).map_err(|fault| store.fault(meta.root, fault))?
            }
        };
        Ok(item.filter(|(flags, _)| flags & ITEM_BUCKET == 0).map(|(_, value)| value))
    }

    /// Visits the rows of a bucket from key `from` on, in order, until told to stop. Nested
    /// buckets are left out; a missing bucket has no rows.
    ///
    /// # Errors
    /// [`BoltError::Io`] or [`BoltError::Corrupt`] from reading pages.
    pub fn scan(&self, bucket: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<(), BoltError> {
        let root = self.parts().1.root;
        let _stopped = match self.bucket(bucket)? {
            None => ControlFlow::Continue(()),
            Some(BucketRoot::Tree { root, .. }) => {
                self.visit_tree(root, &mut self.visiting(from, &mut rows_only(visit)))?
            }
            Some(BucketRoot::Inline { page, .. }) => {
                self.visit_leaf(&page, root, &mut self.visiting(from, &mut rows_only(visit)))?
            }
        };
        Ok(())
    }

    /// Keys that cut a bucket into about so many parts of equal size, ascending; fewer, or none, when
    /// it is small. Only its upper pages are looked at.
    ///
    /// # Errors
    /// [`BoltError::Io`] or [`BoltError::Corrupt`] from reading pages.
    pub fn split(&self, bucket: &[u8], parts: usize) -> Result<Vec<Bytes>, BoltError> {
        let (store, meta) = self.parts();
        let Some(BucketRoot::Tree { root, .. }) = self.bucket(bucket)? else { return Ok(vec![]) };
        let page = store.page(root, meta.high_water)?;
        let mut children: Vec<(Bytes, PageId)> = self.children(&page, root)?;
        if children.len() < parts * SPLIT_GRAIN {
            let mut finer = Vec::new();
            for (_, id) in &children {
                finer.extend(self.children(&store.page(*id, meta.high_water)?, *id)?);
            }
            if !finer.is_empty() {
                children = finer;
            }
        }
        let at = |part: usize| {
            let place = part * children.len() / parts;
            children.get(place).map(|(key, _)| key.clone())
        };
        let mut cuts: Vec<Bytes> = (1..parts).filter_map(at).collect();
        cuts.dedup();
        Ok(cuts)
    }

    /// First keys and pages of the children of a branch; none of a leaf.
    fn children(&self, page: &Page, id: PageId) -> Result<Vec<(Bytes, PageId)>, BoltError> {
        let child = |index| Ok((Bytes::copy_from_slice(page.key(index)?), page.child(index)?));
        let count = if page.kind == Kind::Branch { page.count() } else { 0 };
        let children: Result<_, Fault> = (0..count).map(child).collect();
        children.map_err(|fault| self.pinned.store.fault(id, fault))
    }

    /// Names of the buckets, ascending.
    ///
    /// # Errors
    /// [`BoltError::Io`] or [`BoltError::Corrupt`] from reading pages.
    pub fn buckets(&self) -> Result<Vec<Bytes>, BoltError> {
        Ok(self.bucket_roots()?.keys().cloned().collect())
    }

    /// Bytes of the image that [`View::read_image`] gives.
    #[expect(clippy::len_without_is_empty, reason = "an image has at least its metas")]
    #[must_use]
    pub fn len(&self) -> u64 {
        let (store, meta) = self.parts();
        store.offset(meta.high_water)
    }

    /// Reads part of a database image of this state: two metas that both name it, then all pages
    /// below the high-water mark. Returns the number of bytes, fewer than asked only at the end.
    ///
    /// The bytes of pages that the state does not reach are those of the moment of reading.
    ///
    /// # Errors
    /// [`BoltError::Io`] from reading pages.
    pub fn read_image(&self, offset: u64, buf: &mut [u8]) -> Result<usize, BoltError> {
        let (store, _) = self.parts();
        let wanted = self.len().saturating_sub(offset).min(buf.len() as u64);
        let wanted = usize::try_from(wanted).unwrap_or(buf.len());
        let head_bytes = store.offset(FIRST_PAGE);
        let mut done = 0;
        if offset < head_bytes {
            let head = self.image_head();
            let start = usize::try_from(offset).unwrap_or(head.len()).min(head.len());
            let from_head = &head[start..];
            done = from_head.len().min(wanted);
            buf[..done].copy_from_slice(&from_head[..done]);
        }
        let body = &mut buf[done..wanted];
        store.io(store.file.read_exact_at(offset + done as u64, body))?;
        Ok(wanted)
    }

    fn parts(&self) -> (&Store, &Meta) {
        (&self.pinned.store, &self.pinned.meta)
    }

    fn image_head(&self) -> Vec<u8> {
        let (store, meta) = self.parts();
        let txid = meta.txid.max(1);
        let mut head = Vec::with_capacity(2 * store.page_size);
        for slot in 0..FIRST_PAGE {
            let meta = Meta { freelist: NO_FREELIST, txid: txid - slot, ..*meta };
            head.extend_from_slice(&meta.encode(slot));
            head.resize(head.len().next_multiple_of(store.page_size), 0);
        }
        head
    }

    fn bucket(&self, name: &[u8]) -> Result<Option<BucketRoot>, BoltError> {
        Ok(self.bucket_roots()?.get(name).cloned())
    }

    fn bucket_roots(&self) -> Result<&Buckets, BoltError> {
        if let Some(buckets) = self.pinned.buckets.get() {
            return Ok(buckets);
        }
        let (store, meta) = self.parts();
        let mut buckets = Buckets::new();
        let mut fault = None;
        let mut collect = |flags: u32, name: &[u8], value: &[u8]| {
            if flags & ITEM_BUCKET == 0 {
                return ControlFlow::Continue(());
            }
            // Copied, so that the view does not keep whole pages alive for small values.
            match BucketRoot::parse(&Bytes::copy_from_slice(value)) {
                Ok(root) => {
                    buckets.insert(Bytes::copy_from_slice(name), root);
                    ControlFlow::Continue(())
                }
                Err(found) => {
                    fault = Some(found);
                    ControlFlow::Break(())
                }
            }
        };
        let _stopped = self.visit_tree(meta.root, &mut self.visiting(&[], &mut collect))?;
        if let Some(fault) = fault {
            return Err(store.fault(meta.root, fault));
        }
        // Two threads may have read them at once; both found the same.
        Ok(self.pinned.buckets.get_or_init(|| buckets))
    }

    fn visiting<'a, 'v>(&self, from: &'a [u8], visit: &'a mut VisitItem<'v>) -> Visiting<'a, 'v> {
        Visiting { from, visit, depth: 0, pages_left: self.parts().1.high_water }
    }

    fn visit_tree(
        &self,
        id: PageId,
        visiting: &mut Visiting<'_, '_>,
    ) -> Result<ControlFlow<()>, BoltError> {
        let (store, meta) = self.parts();
        self.visit_page(&store.page(id, meta.high_water)?, id, visiting)
    }

    fn visit_page(
        &self,
        page: &Page,
        id: PageId,
        visiting: &mut Visiting<'_, '_>,
    ) -> Result<ControlFlow<()>, BoltError> {
        let (store, meta) = self.parts();
        if visiting.depth >= DEPTH_MAX {
            return Err(store.too_deep(id));
        }
        let Some(pages_left) = visiting.pages_left.checked_sub(1) else {
            let expected = format!("at most {} pages", meta.high_water);
            return Err(store.corrupt(store.offset(id), expected, "more"));
        };
        visiting.pages_left = pages_left;
        if page.kind == Kind::Leaf {
            return self.visit_leaf(page, id, visiting);
        }
        visiting.depth += 1;
        let flow = self.visit_children(page, id, visiting);
        visiting.depth -= 1;
        flow
    }

    fn visit_children(
        &self,
        page: &Page,
        id: PageId,
        visiting: &mut Visiting<'_, '_>,
    ) -> Result<ControlFlow<()>, BoltError> {
        let (store, meta) = self.parts();
        let fault = |fault| store.fault(id, fault);
        let mut ahead = ReadAhead::default();
        let mut above_leaves = false;
        for index in page.child_index(visiting.from).map_err(fault)?..page.count() {
            if above_leaves {
                store.read_ahead(page, index, meta.high_water, &mut ahead)?;
            }
            let child = page.child(index).map_err(fault)?;
            let below = store.page_behind(child, meta.high_water, &ahead)?;
            above_leaves = below.kind == Kind::Leaf;
            if self.visit_page(&below, child, visiting)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn visit_leaf(
        &self,
        page: &Page,
        id: PageId,
        visiting: &mut Visiting<'_, '_>,
    ) -> Result<ControlFlow<()>, BoltError> {
        let fault = |fault| self.pinned.store.fault(id, fault);
        for index in page.lower_bound(visiting.from).map_err(fault)?..page.count() {
            let item = page.leaf(index).map_err(fault)?;
            if (visiting.visit)(item.flags, item.key, item.value).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// A visit of a tree under way. A view may be of a file that nobody has checked yet, whose branches
/// may lead to one page again and again: there are no more pages than those below the high-water mark.
struct Visiting<'a, 'v> {
    /// First key to be seen.
    from: &'a [u8],
    visit: &'a mut VisitItem<'v>,
    depth: usize,
    pages_left: u64,
}

/// Receives flags, key and value of any item.
type VisitItem<'a> = dyn FnMut(u32, &[u8], &[u8]) -> ControlFlow<()> + 'a;

fn rows_only<'a>(
    visit: &'a mut Visit<'_>,
) -> impl FnMut(u32, &[u8], &[u8]) -> ControlFlow<()> + 'a {
    |flags, key, value| {
        if flags & ITEM_BUCKET != 0 { ControlFlow::Continue(()) } else { visit(key, value) }
    }
}
