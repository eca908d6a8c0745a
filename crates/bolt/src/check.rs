//! Full check of a database file, as bbolt's own.
//!
//! Owns:       nothing.
//! Uses:       `create` (metas), `walk`.
//! Never:      the lock: the caller sees to it that nobody writes.
//! Invariants: reads only.
//! Source:     docs/format/bolt.md 7.

use std::path::Path;

use disk::{Disk, OpenMode};

use crate::create::{at_path, read_metas};
use crate::engine::require_length;
use crate::error::BoltError;
use crate::meta::{Meta, NO_FREELIST};
use crate::page::PageId;
use crate::store::{FIRST_PAGE, Store};
use crate::walk::Walk;

/// What a whole database holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckReport {
    /// Bytes of a page.
    pub page_size: usize,
    /// Number of the newest commit.
    pub txid: u64,
    /// Pages below the high-water mark.
    pub pages: u64,
    /// Pages that are reached, metas included.
    pub used_pages: u64,
    /// Pages that are not.
    pub free_pages: u64,
    /// Buckets, nested ones included.
    pub buckets: u64,
    /// Rows that are not buckets.
    pub rows: u64,
}

/// Checks that every reachable page is referenced exactly once and is well formed, that keys are in
/// order, and that a stored freelist names exactly the other pages.
///
/// # Errors
/// [`BoltError::Corrupt`] with the first damage found, [`BoltError::Io`].
pub fn check(disk: &dyn Disk, path: &Path) -> Result<CheckReport, BoltError> {
    let file = at_path(path, disk.open(path, OpenMode::Read))?;
    let meta = read_metas(&*file)?.newest;
    let store = Store::new(file, meta.page_size);
    require_length(&store, &meta, store.io(store.file.len())?)?;
    let mut walk = Walk::new(&store, meta.high_water);
    walk.enter(0, FIRST_PAGE)?;
    walk.tree(meta.root)?;
    if meta.freelist != NO_FREELIST {
        check_freelist(&store, &meta, &mut walk)?;
    }
    let used_pages = walk.seen.len();
    Ok(CheckReport {
        page_size: meta.page_size,
        txid: meta.txid,
        pages: meta.high_water,
        used_pages,
        free_pages: meta.high_water - used_pages,
        buckets: walk.buckets,
        rows: walk.rows,
    })
}

fn check_freelist(store: &Store, meta: &Meta, walk: &mut Walk<'_>) -> Result<(), BoltError> {
    let (count, ids) = store.freelist(meta.freelist, meta.high_water)?;
    walk.enter(meta.freelist, count)?;
    let damage = |found: String| {
        store.corrupt(store.offset(meta.freelist), "the free pages, ascending", found)
    };
    let mut last: Option<PageId> = None;
    for id in &ids {
        if *id < FIRST_PAGE || *id >= meta.high_water || walk.seen.contains(*id) {
            return Err(damage(format!("page {id}, which is in use")));
        }
        if last.is_some_and(|last| last >= *id) {
            return Err(damage(format!("page {id} out of order")));
        }
        last = Some(*id);
    }
    let unreached = meta.high_water - walk.seen.len();
    if unreached != ids.len() as u64 {
        return Err(damage(format!("{} of {unreached} pages", ids.len())));
    }
    Ok(())
}
