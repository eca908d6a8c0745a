//! The one writer of a database.
//!
//! Owns:       the newest durable state and the free pages.
//! Uses:       `create`, `walk` (opening), `merge` (changes), `space` (pages), `store` (file).
//! Never:      concurrency: commits are exclusive, views are independent.
//! Invariants: `meta` is durable in page `slot`; after a failed commit nothing is written any more.
//! Source:     docs/format/bolt.md 5 to 7.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use disk::Disk;

use crate::batch::{Ops, SortedBatch};
use crate::create::{Metas, open_locked, read_metas};
use crate::error::BoltError;
use crate::merge::{Op, PageWrites, Tx};
use crate::meta::{Meta, NO_FREELIST};
use crate::page::{ITEM_BUCKET, PageId, is_page_size};
use crate::pageset::PageSet;
use crate::space::{DoubleFree, Space};
use crate::store::{FIRST_PAGE, Store};
use crate::view::View;
use crate::walk::Walk;

/// Smallest file, as bbolt makes it.
const FILE_BYTES_MIN: u64 = 32 << 10;
/// Files grow to powers of two up to this size and by this amount beyond, as in bbolt, so that the
/// length changes rarely.
const FILE_GROWTH_BYTES: u64 = 16 << 20;
/// Adjacent pages are written together up to this size.
const WRITE_BYTES_MAX: usize = 1 << 20;

/// Largest transaction number that is believed.
const TXID_MAX: u64 = 1 << 62;

/// How a database is opened.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Page size of a database that is made; an existing one keeps its own.
    pub page_size: usize,
    /// Leaves out all syncs. A crash of the machine may then lose or damage the database.
    pub no_sync: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { page_size: 4096, no_sync: false }
    }
}

/// Room that a database takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes up to the high-water mark (etcd's "db size"). The file may be longer.
    pub total_bytes: u64,
    /// Bytes that the newest state reaches (etcd's "db size in use").
    pub in_use_bytes: u64,
    /// The difference.
    pub free_bytes: u64,
}

/// A database that is open and locked, and whose pages nobody has looked at yet. What is there can be
/// read meanwhile: each page is checked again when it is read.
pub struct Unchecked {
    store: Arc<Store>,
    metas: Metas,
    file_bytes: u64,
    no_sync: bool,
}

impl Unchecked {
    /// Opens a database, making it when it is missing.
    ///
    /// # Errors
    /// Those of [`Bolt::create_or_open`], as far as metas and length tell.
    pub fn create_or_open(
        disk: &dyn Disk,
        path: &Path,
        options: Options,
    ) -> Result<Unchecked, BoltError> {
        if !is_page_size(options.page_size) {
            let found = options.page_size as u64;
            return Err(BoltError::Limit {
                what: "page size, a power of two",
                limit: 1 << 25,
                found,
            });
        }
        let file = open_locked(disk, path, options.page_size)?;
        let metas = read_metas(&*file)?;
        let store = Store::new(file, metas.newest.page_size);
        if !options.no_sync {
            // The process before may have died between writing a meta and syncing it. What is
            // answered from this state must not be lost to a later crash.
            store.io(store.file.sync_data())?;
        }
        let file_bytes = store.io(store.file.len())?;
        require_length(&store, &metas.newest, file_bytes)?;
        Ok(Unchecked { store: Arc::new(store), metas, file_bytes, no_sync: options.no_sync })
    }

    /// Pins the state that the newest meta names.
    #[must_use]
    pub fn view(&self) -> View {
        View::new(Arc::clone(&self.store), self.metas.newest)
    }

    /// Visits and validates every page, which also tells the free ones.
    ///
    /// # Errors
    /// [`BoltError::Corrupt`] when the database is not whole.
    pub fn check(self) -> Result<Bolt, BoltError> {
        Bolt::load(self)
    }
}

/// A database that is open for writing.
///
/// The lock on the file lasts until the engine *and* all views of it are dropped, since a view is
/// only valid while no other process writes.
pub struct Bolt {
    pub(crate) store: Arc<Store>,
    pub(crate) meta: Meta,
    slot: u64,
    /// Transaction and high-water mark of the other meta in the file.
    pub(crate) older_txid: u64,
    pub(crate) older_high_water: PageId,
    pub(crate) space: Space,
    /// Pages of a stored freelist, until the first commit drops it.
    stored_freelist: Option<(PageId, u64)>,
    pub(crate) file_bytes: u64,
    no_sync: bool,
    pub(crate) failed: bool,
}

impl Bolt {
    /// Opens a database, making it when it is missing, and validates every page of it.
    ///
    /// # Errors
    /// [`BoltError::Locked`] when it is open elsewhere, [`BoltError::Corrupt`] when it is not
    /// whole, [`BoltError::Limit`] for a page size that bbolt does not know.
    pub fn create_or_open(
        disk: &dyn Disk,
        path: &Path,
        options: Options,
    ) -> Result<Bolt, BoltError> {
        Unchecked::create_or_open(disk, path, options)?.check()
    }

    fn load(unchecked: Unchecked) -> Result<Bolt, BoltError> {
        let Unchecked { store, metas, file_bytes, no_sync } = unchecked;
        let meta = metas.newest;
        let mut walk = Walk::new(&store, meta.high_water);
        walk.tree(meta.root)?;
        let mut stored_freelist = None;
        if meta.freelist != NO_FREELIST {
            let (count, _) = store.freelist(meta.freelist, meta.high_water)?;
            walk.enter(meta.freelist, count)?;
            stored_freelist = Some((meta.freelist, count));
        }
        let used = walk.seen;
        let held = metas.older.map(|older| older_pages(&store, &older, &used, file_bytes));
        let space = free_space(&store, &meta, &used, held.as_ref())?;
        Ok(Bolt {
            store,
            meta,
            slot: metas.slot,
            older_txid: metas.older.map_or(meta.txid, |older| older.txid),
            older_high_water: metas.older.map_or(0, |older| older.high_water),
            space,
            stored_freelist,
            file_bytes,
            no_sync,
            failed: false,
        })
    }

    /// Applies a batch; it is durable when this returns. Deletions of missing keys are fine; a
    /// batch that changes nothing writes nothing.
    ///
    /// # Errors
    /// [`BoltError::Limit`] for a batch that breaks the rules of [`SortedBatch`]; nothing is
    /// written then and the engine stays usable. After any other error the outcome is unknown
    /// and every later call returns [`BoltError::Failed`].
    pub fn commit(&mut self, batch: &SortedBatch) -> Result<(), BoltError> {
        self.require_usable()?;
        batch.validate()?;
        self.attempt(|bolt| {
            bolt.begin()?;
            let (root, writes) = bolt.merge(&batch.buckets, None)?;
            if root == bolt.meta.root { Ok(()) } else { bolt.publish(root, writes) }
        })
    }

    /// Pins the newest state.
    #[must_use]
    pub fn view(&self) -> View {
        View::new(Arc::clone(&self.store), self.meta)
    }

    /// Room that the newest state takes.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        // Pages above the high-water mark of the last commit are not counted as free: they are
        // not in the total either.
        let trimmed = self.meta.high_water.saturating_sub(self.space.high_water);
        let freelist = self.stored_freelist.map_or(0, |(_, count)| count);
        let free_pages = self.space.unused_pages() + trimmed + freelist;
        let total_bytes = self.store.offset(self.meta.high_water);
        let free_bytes = self.store.offset(free_pages).min(total_bytes);
        Sizes { total_bytes, in_use_bytes: total_bytes - free_bytes, free_bytes }
    }

    pub(crate) fn require_usable(&self) -> Result<(), BoltError> {
        if self.failed { Err(BoltError::Failed) } else { Ok(()) }
    }

    /// Runs a change; any error ends the engine, since memory and file may disagree afterwards.
    pub(crate) fn attempt<T>(
        &mut self,
        change: impl FnOnce(&mut Bolt) -> Result<T, BoltError>,
    ) -> Result<T, BoltError> {
        let result = change(self);
        self.failed |= result.is_err();
        result
    }

    /// Transaction number of the next commit. bbolt's place for it, page `txid % 2`, must not be
    /// that of the newest meta; in a copied image it can be, and then one number is left out.
    fn next_txid(&self) -> u64 {
        let next = self.meta.txid + 1;
        if next % 2 == self.slot { next + 1 } else { next }
    }

    pub(crate) fn begin(&mut self) -> Result<(), BoltError> {
        let result = self.space.begin(self.older_txid, &self.store.pins());
        result.map_err(|DoubleFree(page)| double_free(&self.store, page))
    }

    /// Makes the pages of a change. `moved` are pages to be rewritten elsewhere.
    pub(crate) fn merge(
        &mut self,
        buckets: &[(Bytes, Ops)],
        moved: Option<&PageSet>,
    ) -> Result<(PageId, PageWrites), BoltError> {
        let txid = self.next_txid();
        let pinned = !self.store.pins().is_empty();
        let store = Arc::clone(&self.store);
        let (root, limit) = (self.meta.root, self.meta.high_water);
        let space = &mut self.space;
        let mut tx = Tx { store: &store, limit, space, txid, pinned, moved, writes: Vec::new() };
        let mut root_ops: Vec<Op> = Vec::with_capacity(buckets.len());
        for (name, ops) in buckets {
            let old = store.find(root, limit, name)?;
            if old.as_ref().is_some_and(|(flags, _)| *flags != ITEM_BUCKET) {
                return Err(store.corrupt(store.offset(root), "a bucket", "a row"));
            }
            let old = old.map(|(_, value)| value);
            if let Some(value) = tx.update_bucket(old.as_ref(), root, ops)? {
                root_ops.push((name.clone(), Some(value)));
            }
        }
        let root = tx.update_root(root, &root_ops)?;
        Ok((root, tx.writes))
    }

    /// Writes pages, syncs, writes the meta, syncs.
    pub(crate) fn publish(&mut self, root: PageId, writes: PageWrites) -> Result<(), BoltError> {
        let txid = self.next_txid();
        if let Some((page, count)) = self.stored_freelist.take() {
            self.space.release_after(page, count, txid);
        }
        self.grow()?;
        if !writes.is_empty() {
            self.write_pages(writes)?;
            self.sync()?;
        }
        let meta = Meta {
            root,
            freelist: NO_FREELIST,
            high_water: self.space.high_water,
            txid,
            ..self.meta
        };
        let slot = 1 - self.slot;
        assert_eq!(txid % 2, slot, "bbolt finds the meta of {txid} by its number");
        let mut page = meta.encode(slot).to_vec();
        page.resize(self.store.page_size, 0);
        self.store.io(self.store.file.write_at(self.store.offset(slot), &page))?;
        self.sync()?;
        self.older_txid = self.meta.txid;
        self.older_high_water = self.meta.high_water;
        self.meta = meta;
        self.slot = slot;
        Ok(())
    }

    fn sync(&self) -> Result<(), BoltError> {
        if self.no_sync { Ok(()) } else { self.store.io(self.store.file.sync_data()) }
    }

    /// Reserves room before anything is written, so that a full disk is noticed in time.
    fn grow(&mut self) -> Result<(), BoltError> {
        let needed = self.store.offset(self.space.high_water);
        if needed > self.file_bytes {
            let bytes = file_bytes_for(needed);
            self.store.io(self.store.file.allocate(bytes))?;
            self.file_bytes = bytes;
        }
        Ok(())
    }

    fn write_pages(&self, mut writes: PageWrites) -> Result<(), BoltError> {
        writes.sort_unstable_by_key(|(page, _)| *page);
        let mut offset = 0;
        let mut chunk: Vec<u8> = Vec::new();
        for (page, bytes) in writes {
            assert!(page >= FIRST_PAGE, "page {page} is a meta");
            let start = self.store.offset(page);
            let adjacent = offset + chunk.len() as u64 == start;
            if chunk.is_empty() || !adjacent || chunk.len() + bytes.len() > WRITE_BYTES_MAX {
                self.write_chunk(offset, &chunk)?;
                offset = start;
                chunk = bytes;
            } else {
                chunk.extend_from_slice(&bytes);
            }
        }
        self.write_chunk(offset, &chunk)
    }

    fn write_chunk(&self, offset: u64, chunk: &[u8]) -> Result<(), BoltError> {
        if chunk.is_empty() {
            return Ok(());
        }
        self.store.io(self.store.file.write_at(offset, chunk))
    }
}

/// Length of a file that holds `needed` bytes.
pub(crate) fn file_bytes_for(needed: u64) -> u64 {
    if needed <= FILE_GROWTH_BYTES {
        needed.next_power_of_two().max(FILE_BYTES_MIN)
    } else {
        needed.next_multiple_of(FILE_GROWTH_BYTES)
    }
}

/// Checks that all pages below the high-water mark are in the file, and that there are transaction
/// numbers left.
pub(crate) fn require_length(store: &Store, meta: &Meta, file_bytes: u64) -> Result<(), BoltError> {
    if meta.txid > TXID_MAX {
        return Err(store.corrupt(0, format!("a transaction up to {TXID_MAX}"), meta.txid));
    }
    let needed = meta.high_water.checked_mul(store.page_size as u64);
    if needed.is_some_and(|needed| needed <= file_bytes) && meta.high_water > FIRST_PAGE {
        return Ok(());
    }
    let expected = format!("{} pages of {} bytes", meta.high_water, store.page_size);
    Err(store.corrupt(file_bytes, expected, format!("{file_bytes} bytes")))
}

/// Pages that the older meta reaches and the newest does not. They are kept for one more commit,
/// so that the older state stays whole as long as its meta is in the file.
fn older_pages(store: &Store, older: &Meta, used: &PageSet, file_bytes: u64) -> PageSet {
    let limit = older.high_water.min(file_bytes / store.page_size as u64);
    let mut walk = Walk::new(store, limit);
    walk.skip = Some(used);
    // A crash in the middle of a commit may have left the older state damaged when bbolt was the
    // writer, which reuses pages one commit earlier. Nothing depends on it then.
    let _whole = walk.tree(older.root);
    walk.seen
}

fn free_space(
    store: &Store,
    meta: &Meta,
    used: &PageSet,
    held: Option<&PageSet>,
) -> Result<Space, BoltError> {
    let mut space = Space::new(meta.high_water);
    let is_held = |page| held.is_some_and(|held| held.contains(page));
    let free = |page| page >= FIRST_PAGE && !used.contains(page) && !is_held(page);
    for (start, count) in PageSet::runs(meta.high_water, free) {
        space.add_free(start, count).map_err(|DoubleFree(page)| double_free(store, page))?;
    }
    let waiting = |page| page >= FIRST_PAGE && !used.contains(page) && is_held(page);
    for (start, count) in PageSet::runs(meta.high_water, waiting) {
        space.release_after(start, count, meta.txid);
    }
    Ok(space)
}

fn double_free(store: &Store, page: PageId) -> BoltError {
    store.corrupt(store.offset(page), format!("one use of page {page}"), "two")
}
