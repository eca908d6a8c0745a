//! Bound-checked reads of one database file, and the pins of its views.
//!
//! Owns:       the open file (and with it the lock) and the table of pinned transactions.
//! Uses:       `disk`, `page`.
//! Never:      which pages are free; writes other than those it is told.
//! Invariants: no read goes beyond the high-water mark that the caller names.
//! Source:     docs/format/bolt.md.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use disk::BlockFile;

use crate::error::BoltError;
use crate::page::{DEPTH_MAX, FLAG_FREELIST, Fault, HEADER_BYTES, Header, Kind, Page, PageId};

/// First page behind the two metas.
pub(crate) const FIRST_PAGE: PageId = 2;

/// Pages that are read at once at most; the buffer stays in the processor's cache.
const READ_AHEAD_PAGES_MAX: u64 = 32;
/// Pages between two children that are read along rather than left out by a second call.
const READ_AHEAD_GAP_PAGES: u64 = 4;

/// Views of one transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pin {
    pub(crate) views: usize,
    pub(crate) high_water: PageId,
}

/// Pinned transactions by txid.
pub(crate) type Pins = BTreeMap<u64, Pin>;

/// A database file, shared by the engine and its views.
pub(crate) struct Store {
    pub(crate) file: Arc<dyn BlockFile>,
    pub(crate) path: PathBuf,
    pub(crate) page_size: usize,
    pins: Mutex<Pins>,
}

impl Store {
    pub(crate) fn new(file: Arc<dyn BlockFile>, page_size: usize) -> Store {
        let path = file.path();
        Store { file, path, page_size, pins: Mutex::new(Pins::new()) }
    }

    pub(crate) fn pins(&self) -> MutexGuard<'_, Pins> {
        // The table is changed by single inserts and removals, so it is whole after a panic.
        self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn io<T>(&self, result: io::Result<T>) -> Result<T, BoltError> {
        result.map_err(|source| BoltError::Io { path: self.path.clone(), source })
    }

    /// Damage at a byte of the file.
    pub(crate) fn corrupt(
        &self,
        offset: u64,
        expected: impl Into<String>,
        found: impl ToString,
    ) -> BoltError {
        let (expected, found) = (expected.into(), found.to_string());
        BoltError::Corrupt { file: self.path.clone(), offset, expected, found }
    }

    /// Damage within a page.
    pub(crate) fn fault(&self, page: PageId, fault: Fault) -> BoltError {
        let offset = self.offset(page).saturating_add(fault.at as u64);
        self.corrupt(offset, fault.expected, fault.found)
    }

    pub(crate) fn offset(&self, page: PageId) -> u64 {
        page.saturating_mul(self.page_size as u64)
    }

    /// Bytes of `count` pages.
    pub(crate) fn bytes_of(&self, count: u64) -> Result<usize, BoltError> {
        usize::try_from(self.offset(count))
            .map_err(|_| self.corrupt(0, "a run of pages that fits in memory", count))
    }

    fn read(&self, page: PageId, len: usize) -> Result<Vec<u8>, BoltError> {
        let offset = self.offset(page);
        let mut bytes = vec![0; len];
        let got = self.io(self.file.read_at(offset, &mut bytes))?;
        if got < len {
            return Err(self.corrupt(offset, format!("{len} bytes"), format!("{got} bytes")));
        }
        Ok(bytes)
    }

    /// Reads a page of any kind with its overflow, below the high-water mark `limit`; what was read
    /// ahead is taken from there.
    fn run(
        &self,
        page: PageId,
        limit: PageId,
        ahead: &ReadAhead,
    ) -> Result<(Header, Bytes), BoltError> {
        if page < FIRST_PAGE || page >= limit {
            let expected = format!("a page between {FIRST_PAGE} and {limit}");
            return Err(self.corrupt(self.offset(page), expected, page));
        }
        let first = self.pages(page, 1, ahead)?;
        let fault = |at, expected: &str, found| self.fault(page, Fault::new(at, expected, found));
        let header = Header::decode(&first)
            .ok_or_else(|| fault(0, "a page header", self.page_size as u64))?;
        if header.id != page {
            return Err(fault(0, &format!("page id {page}"), header.id));
        }
        let count = u64::from(header.overflow) + 1;
        if count > limit - page {
            return Err(fault(12, "overflow below the high-water mark", count - 1));
        }
        if count == 1 {
            return Ok((header, first));
        }
        Ok((header, self.pages(page, count, ahead)?))
    }

    fn pages(&self, page: PageId, count: u64, ahead: &ReadAhead) -> Result<Bytes, BoltError> {
        let len = self.bytes_of(count)?;
        match ahead.slice(self.offset(page), len) {
            Some(bytes) => Ok(bytes),
            None => Ok(self.read(page, len)?.into()),
        }
    }

    /// Reads a tree page with its overflow.
    pub(crate) fn page(&self, page: PageId, limit: PageId) -> Result<Page, BoltError> {
        self.page_behind(page, limit, &ReadAhead::default())
    }

    /// Reads a tree page with its overflow, preferably from what was read ahead.
    pub(crate) fn page_behind(
        &self,
        page: PageId,
        limit: PageId,
        ahead: &ReadAhead,
    ) -> Result<Page, BoltError> {
        let (_, bytes) = self.run(page, limit, ahead)?;
        Page::parse(bytes).map_err(|fault| self.fault(page, fault))
    }

    /// Reads child `index` of a branch together with those behind it that lie close in the file,
    /// unless that has been done already: most of a read from the page cache is the call itself.
    pub(crate) fn read_ahead(
        &self,
        branch: &Page,
        index: usize,
        limit: PageId,
        ahead: &mut ReadAhead,
    ) -> Result<(), BoltError> {
        // A child that cannot be is reported when its turn comes.
        let child = |index| branch.child(index).ok().filter(|child| *child < limit);
        let Some(first) = child(index).filter(|first| *first >= FIRST_PAGE) else { return Ok(()) };
        if ahead.slice(self.offset(first), self.page_size).is_some() {
            return Ok(());
        }
        ahead.pages = (ahead.pages * 2).clamp(1, READ_AHEAD_PAGES_MAX);
        let mut end = first + 1;
        for next in (index + 1..branch.count()).map_while(child) {
            let is_close = (end..end + READ_AHEAD_GAP_PAGES).contains(&next);
            if !is_close || next - first >= ahead.pages {
                break;
            }
            end = next + 1;
        }
        ahead.offset = self.offset(first);
        ahead.bytes = self.read(first, self.bytes_of(end - first)?)?.into();
        Ok(())
    }

    /// Reads a stored freelist: number of pages that it covers and the page ids in it.
    pub(crate) fn freelist(
        &self,
        page: PageId,
        limit: PageId,
    ) -> Result<(u64, Vec<PageId>), BoltError> {
        let (header, bytes) = self.run(page, limit, &ReadAhead::default())?;
        let fault = |at, expected: &str, found| self.fault(page, Fault::new(at, expected, found));
        if header.flags != FLAG_FREELIST {
            return Err(fault(8, "a freelist page", u64::from(header.flags)));
        }
        let mut words = bytes[HEADER_BYTES..]
            .chunks_exact(8)
            .map(|word| u64::from_le_bytes(word.try_into().unwrap_or([0; 8])));
        let count = match header.count {
            0xffff => words.next().unwrap_or(0),
            count => u64::from(count),
        };
        let ids: Vec<PageId> = words.take(usize::try_from(count).unwrap_or(usize::MAX)).collect();
        if ids.len() as u64 != count {
            return Err(fault(10, "as many ids as the freelist says", count));
        }
        Ok((u64::from(header.overflow) + 1, ids))
    }

    /// Finds the leaf item of `key` in the tree at `root`: its flags and value.
    pub(crate) fn find(
        &self,
        root: PageId,
        limit: PageId,
        key: &[u8],
    ) -> Result<Option<(u32, Bytes)>, BoltError> {
        let mut next = root;
        for _level in 0..DEPTH_MAX {
            let id = next;
            let page = self.page(id, limit)?;
            let step = match page.kind {
                Kind::Leaf => {
                    return find_in_leaf(&page, key).map_err(|fault| self.fault(id, fault));
                }
                Kind::Branch => page.child_index(key).and_then(|index| page.child(index)),
            };
            next = step.map_err(|fault| self.fault(id, fault))?;
        }
        Err(self.too_deep(next))
    }

    pub(crate) fn too_deep(&self, page: PageId) -> BoltError {
        self.corrupt(self.offset(page), format!("at most {DEPTH_MAX} levels"), "more")
    }
}

/// Leaves that were read together because their parent names them one after the other. What lies
/// between them may be of any age; it is never looked at.
#[derive(Default)]
pub(crate) struct ReadAhead {
    offset: u64,
    bytes: Bytes,
    /// Pages of the last read: grows as a visit goes on, so that a short one reads little.
    pages: u64,
}

impl ReadAhead {
    fn slice(&self, offset: u64, len: usize) -> Option<Bytes> {
        let start = usize::try_from(offset.checked_sub(self.offset)?).ok()?;
        let end = start.checked_add(len)?;
        (end <= self.bytes.len()).then(|| self.bytes.slice(start..end))
    }
}

/// Finds the item of `key` in one leaf.
pub(crate) fn find_in_leaf(page: &Page, key: &[u8]) -> Result<Option<(u32, Bytes)>, Fault> {
    let index = page.lower_bound(key)?;
    if index == page.count() || page.key(index)? != key {
        return Ok(None);
    }
    let (flags, _, value) = page.leaf_bytes(index)?;
    Ok(Some((flags, value)))
}
