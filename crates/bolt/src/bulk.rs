//! Writes a whole database from sorted rows, front to back.
//!
//! Owns:       the file that it makes.
//! Uses:       `node` (pages), `meta`.
//! Never:      free pages: what comes out is as dense as appending makes it.
//! Invariants: the metas are written after all pages are durable, so a file that was not finished
//!             does not open.
//! Source:     docs/format/bolt.md 10; disk-formats.md 12.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use disk::{BlockFile, Disk, OpenMode};

use crate::batch::{require_key, require_value};
use crate::create::{at_path, sync_parent};
use crate::engine::Options;
use crate::error::BoltError;
use crate::merge::inline_bucket;
use crate::meta::{Meta, NO_FREELIST};
use crate::node::{Child, Item, Node, Weigh};
use crate::page::{ELEMENTS_MAX, HEADER_BYTES, ITEM_BUCKET, PageId, bucket_header, is_page_size};
use crate::store::FIRST_PAGE;

/// Part of a page that is filled, in percent: etcd's fill when it copies a database.
const FILL_PERCENT: usize = 90;
/// Bytes collected before they are written.
const BUFFER_BYTES: usize = 1 << 20;

/// Writes a new database with the given buckets; names ascend, and so do the keys of each bucket.
/// Returns the length of the image. Pages have the default size. The file must not exist; after an
/// error the caller removes it.
///
/// # Errors
/// [`BoltError::Limit`] for rows that are out of order or too large, [`BoltError::Io`].
pub fn write<B, R>(disk: &dyn Disk, path: &Path, buckets: B) -> Result<u64, BoltError>
where
    B: IntoIterator<Item = (Bytes, R)>,
    R: IntoIterator<Item = (Bytes, Bytes)>,
{
    let mut writer = BulkWriter::create(disk, path, Options::default().page_size)?;
    for (name, rows) in buckets {
        writer.begin_bucket(name)?;
        for (key, value) in rows {
            writer.put(key, value)?;
        }
    }
    let bytes = writer.finish()?;
    sync_parent(disk, path)?;
    Ok(bytes)
}

/// The same, fed row by row.
pub struct BulkWriter {
    out: Output,
    roots: Vec<Item>,
    /// Bucket under way: its name and rows.
    current: Option<(Bytes, Tree)>,
}

impl BulkWriter {
    /// Makes the file.
    ///
    /// # Errors
    /// [`BoltError::Io`], with `AlreadyExists` when the name is taken; [`BoltError::Limit`] for a
    /// page size that bbolt does not know.
    pub fn create(disk: &dyn Disk, path: &Path, page_size: usize) -> Result<BulkWriter, BoltError> {
        if !is_page_size(page_size) {
            let found = page_size as u64;
            return Err(BoltError::Limit {
                what: "page size, a power of two",
                limit: 1 << 25,
                found,
            });
        }
        let file = at_path(path, disk.open(path, OpenMode::CreateNew))?;
        let out = Output {
            file,
            page_size,
            next_page: FIRST_PAGE,
            buffer: Vec::new(),
            buffer_offset: FIRST_PAGE * page_size as u64,
        };
        Ok(BulkWriter { out, roots: Vec::new(), current: None })
    }

    /// Starts a bucket; its name is greater than those before.
    ///
    /// # Errors
    /// [`BoltError::Limit`] when it is not, [`BoltError::Io`].
    pub fn begin_bucket(&mut self, name: Bytes) -> Result<(), BoltError> {
        require_key(&name)?;
        self.end_bucket()?;
        require_greater("bucket names ascend", self.roots.last().map(|item| &item.key), &name)?;
        self.current = Some((name, Tree::default()));
        Ok(())
    }

    /// Adds a row to the bucket; its key is greater than those before.
    ///
    /// # Errors
    /// [`BoltError::Limit`] when it is not, when a size is out of bounds, or when no bucket was
    /// started; [`BoltError::Io`].
    pub fn put(&mut self, key: Bytes, value: Bytes) -> Result<(), BoltError> {
        require_key(&key)?;
        require_value(&value)?;
        let Some((_, tree)) = &mut self.current else {
            return Err(BoltError::Limit { what: "buckets begun, at least", limit: 1, found: 0 });
        };
        require_greater("keys of a bucket ascend", tree.last_key.as_ref(), &key)?;
        tree.put(Item { flags: 0, key, value }, &mut self.out)
    }

    /// Writes the rest and makes the file durable; its name is for the caller to sync. Returns the
    /// length of the image.
    ///
    /// # Errors
    /// [`BoltError::Io`].
    pub fn finish(mut self) -> Result<u64, BoltError> {
        self.end_bucket()?;
        let mut tree = Tree::default();
        for item in std::mem::take(&mut self.roots) {
            tree.put(item, &mut self.out)?;
        }
        let root = tree.finish(&mut self.out)?;
        self.out.finish(root)
    }

    fn end_bucket(&mut self) -> Result<(), BoltError> {
        let Some((name, tree)) = self.current.take() else { return Ok(()) };
        let inline = tree.inline(self.out.page_size);
        let value = match inline {
            Some(value) => value,
            None => Bytes::copy_from_slice(&bucket_header(tree.finish(&mut self.out)?, 0)),
        };
        self.roots.push(Item { flags: ITEM_BUCKET, key: name, value });
        Ok(())
    }
}

fn require_greater(
    what: &'static str,
    last: Option<&Bytes>,
    next: &Bytes,
) -> Result<(), BoltError> {
    if last.is_some_and(|last| last >= next) {
        return Err(BoltError::Limit { what, limit: 0, found: 0 });
    }
    Ok(())
}

/// A tree under way: the open page of each level.
#[derive(Default)]
struct Tree {
    leaf: Open<Item>,
    /// Branch levels, lowest first.
    branches: Vec<Open<Child>>,
    last_key: Option<Bytes>,
}

/// A page that still takes elements.
struct Open<T> {
    elements: Vec<T>,
    bytes: usize,
}

impl<T> Default for Open<T> {
    fn default() -> Open<T> {
        Open { elements: Vec::new(), bytes: 0 }
    }
}

impl<T: Weigh> Open<T> {
    /// Adds an element; returns the elements before it when the page was full.
    fn push(&mut self, element: T, page_size: usize) -> Option<Vec<T>> {
        let bytes = element.bytes();
        let target = (page_size - HEADER_BYTES) * FILL_PERCENT / 100;
        let full = self.bytes + bytes > target || self.elements.len() == ELEMENTS_MAX;
        let done = (full && self.elements.len() >= T::MIN_PER_PAGE).then(|| {
            self.bytes = 0;
            std::mem::take(&mut self.elements)
        });
        self.bytes += bytes;
        self.elements.push(element);
        done
    }
}

impl Tree {
    fn put(&mut self, item: Item, out: &mut Output) -> Result<(), BoltError> {
        self.last_key = Some(item.key.clone());
        match self.leaf.push(item, out.page_size) {
            None => Ok(()),
            Some(items) => self.add_page(0, &Node::leaf(items), out),
        }
    }

    /// Writes a page and lists it in branch level `level`.
    fn add_page(&mut self, level: usize, node: &Node, out: &mut Output) -> Result<(), BoltError> {
        let child = Child { key: node.first_key(), page: out.write(node)? };
        if level == self.branches.len() {
            self.branches.push(Open::default());
        }
        match self.branches[level].push(child, out.page_size) {
            None => Ok(()),
            Some(children) => self.add_page(level + 1, &Node::branch(children), out),
        }
    }

    /// The value of a small bucket.
    fn inline(&self, page_size: usize) -> Option<Bytes> {
        if !self.branches.is_empty() {
            return None;
        }
        inline_bucket(&self.leaf.elements, 0, page_size)
    }

    /// Writes what is left; returns the root.
    fn finish(mut self, out: &mut Output) -> Result<PageId, BoltError> {
        let leaf = Node::leaf(std::mem::take(&mut self.leaf.elements));
        if self.branches.is_empty() {
            return out.write(&leaf);
        }
        self.add_page(0, &leaf, out)?;
        let mut level = 0;
        loop {
            let children = std::mem::take(&mut self.branches[level].elements);
            self.branches[level].bytes = 0;
            let top = level + 1 == self.branches.len();
            match children.as_slice() {
                [only] if top => return Ok(only.page),
                _ if top => return out.write(&Node::branch(children)),
                _ => self.add_page(level + 1, &Node::branch(children), out)?,
            }
            level += 1;
        }
    }
}

/// The file, written front to back.
struct Output {
    file: Arc<dyn BlockFile>,
    page_size: usize,
    next_page: PageId,
    buffer: Vec<u8>,
    buffer_offset: u64,
}

impl Output {
    fn write(&mut self, node: &Node) -> Result<PageId, BoltError> {
        let page = self.next_page;
        self.next_page += node.run_len(self.page_size);
        self.buffer.extend_from_slice(&node.encode(page, self.page_size));
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(page)
    }

    fn flush(&mut self) -> Result<(), BoltError> {
        if !self.buffer.is_empty() {
            self.io(self.file.write_at(self.buffer_offset, &self.buffer))?;
            self.buffer_offset += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }

    fn finish(mut self, root: PageId) -> Result<u64, BoltError> {
        self.flush()?;
        self.io(self.file.sync_data())?;
        let high_water = self.next_page;
        let mut head = Vec::with_capacity(2 * self.page_size);
        for txid in 0..FIRST_PAGE {
            let page_size = self.page_size;
            let freelist = NO_FREELIST;
            let meta = Meta { page_size, root, sequence: 0, freelist, high_water, txid };
            head.extend_from_slice(&meta.encode(txid));
            head.resize(head.len().next_multiple_of(page_size), 0);
        }
        self.io(self.file.write_at(0, &head))?;
        self.io(self.file.sync_data())?;
        Ok(self.buffer_offset)
    }

    fn io<T>(&self, result: std::io::Result<T>) -> Result<T, BoltError> {
        at_path(&self.file.path(), result)
    }
}
