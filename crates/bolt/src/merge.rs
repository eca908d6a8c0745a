//! One sorted list of changes into one tree, copy-on-write.
//!
//! Owns:       the pages that a transaction is about to write.
//! Uses:       `store` (old pages), `space` (page numbers), `node`.
//! Never:      writes to the file; reads of pages that this transaction made.
//! Invariants: a page that changes is freed and written elsewhere, with all its ancestors; pages
//!             of one level become parents only after they have been joined and cut.
//! Source:     docs/format/bolt.md 6.

use bytes::Bytes;

use crate::error::BoltError;
use crate::node::{Body, Child, Fill, Item, Node, Weigh, cut, leaf_items};
use crate::page::{
    BUCKET_HEADER_BYTES, BucketRoot, DEPTH_MAX, Fault, HEADER_BYTES, ITEM_BUCKET, Kind, Page,
    PageId, bucket_header,
};
use crate::pageset::PageSet;
use crate::space::Space;
use crate::store::Store;

/// One change: key, and value or deletion.
pub(crate) type Op = (Bytes, Option<Bytes>);

/// New pages and their bytes.
pub(crate) type PageWrites = Vec<(PageId, Vec<u8>)>;

/// A transaction while its pages are made.
pub(crate) struct Tx<'a> {
    pub(crate) store: &'a Store,
    /// High-water mark of the state that is read.
    pub(crate) limit: PageId,
    pub(crate) space: &'a mut Space,
    pub(crate) txid: u64,
    /// Whether views are pinned.
    pub(crate) pinned: bool,
    /// Pages to be written elsewhere though nothing in them changes, with their ancestors.
    pub(crate) moved: Option<&'a PageSet>,
    /// Pages to write.
    pub(crate) writes: PageWrites,
}

/// Where in the tree a merge is.
#[derive(Clone, Copy)]
struct Spot {
    page: PageId,
    /// Nothing of the tree lies to the right.
    rightmost: bool,
    depth: usize,
}

/// Result of merging changes into a leaf.
struct MergedLeaf {
    items: Vec<Item>,
    changed: bool,
    shrunk: bool,
    /// All changes came behind the last old key.
    appended: bool,
}

/// A child of a branch under change.
enum Slot {
    Kept(Child),
    New(Node),
}

impl Slot {
    fn node(self) -> Option<Node> {
        match self {
            Slot::Kept(_) => None,
            Slot::New(node) => Some(node),
        }
    }
}

/// Top of a finished tree.
enum Root {
    Page(PageId),
    Leaf(Vec<Item>),
}

impl Tx<'_> {
    /// Merges changes into a bucket. Returns its new value in the tree of buckets, or `None` when
    /// nothing changed.
    pub(crate) fn update_bucket(
        &mut self,
        old: Option<&Bytes>,
        home: PageId,
        ops: &[Op],
    ) -> Result<Option<Bytes>, BoltError> {
        let old = old.map(BucketRoot::parse).transpose();
        let old = old.map_err(|fault| self.store.fault(home, fault))?;
        let sequence = old.as_ref().map_or(0, BucketRoot::sequence);
        let nodes = match old {
            None => Some(self.cut_leaf(merge_items(None, ops, 0), home, true)?),
            Some(BucketRoot::Inline { page, .. }) => {
                let merged = merge_items(Some(&page), ops, 0);
                let changed = merged.as_ref().map_or(true, |merged| merged.changed);
                if changed { Some(self.cut_leaf(merged, home, true)?) } else { None }
            }
            Some(BucketRoot::Tree { root, .. }) => self.merge_tree(root, ops, 0)?,
        };
        let Some(nodes) = nodes else { return Ok(None) };
        Ok(Some(match self.finish(nodes) {
            Root::Page(root) => Bytes::copy_from_slice(&bucket_header(root, sequence)),
            Root::Leaf(items) => self.bucket_of_leaf(items, sequence),
        }))
    }

    /// Merges new bucket values into the tree of buckets; returns its root.
    pub(crate) fn update_root(&mut self, root: PageId, ops: &[Op]) -> Result<PageId, BoltError> {
        let Some(nodes) = self.merge_tree(root, ops, ITEM_BUCKET)? else { return Ok(root) };
        Ok(match self.finish(nodes) {
            Root::Page(page) => page,
            Root::Leaf(items) => self.write(&Node::leaf(items)),
        })
    }

    /// A bucket that is one leaf: inside the value when small, else a page of its own.
    fn bucket_of_leaf(&mut self, items: Vec<Item>, sequence: u64) -> Bytes {
        if let Some(value) = inline_bucket(&items, sequence, self.store.page_size) {
            return value;
        }
        let root = self.write(&Node::leaf(items));
        Bytes::copy_from_slice(&bucket_header(root, sequence))
    }

    fn merge_tree(
        &mut self,
        root: PageId,
        ops: &[Op],
        flags: u32,
    ) -> Result<Option<Vec<Node>>, BoltError> {
        if ops.is_empty() && !self.must_move(root) {
            return Ok(None);
        }
        self.merge(Spot { page: root, rightmost: true, depth: 0 }, ops, flags)
    }

    fn must_move(&self, page: PageId) -> bool {
        self.moved.is_some_and(|moved| moved.contains(page))
    }

    /// Merges changes into a subtree; `None` when it stays as it is.
    fn merge(
        &mut self,
        spot: Spot,
        ops: &[Op],
        flags: u32,
    ) -> Result<Option<Vec<Node>>, BoltError> {
        if spot.depth >= DEPTH_MAX {
            return Err(self.store.too_deep(spot.page));
        }
        let page = self.store.page(spot.page, self.limit)?;
        match page.kind {
            Kind::Leaf => self.merge_leaf(&page, spot, ops, flags),
            Kind::Branch => self.merge_branch(&page, spot, ops, flags),
        }
    }

    fn merge_leaf(
        &mut self,
        page: &Page,
        spot: Spot,
        ops: &[Op],
        flags: u32,
    ) -> Result<Option<Vec<Node>>, BoltError> {
        let merged = merge_items(Some(page), ops, flags);
        let unchanged = merged.as_ref().is_ok_and(|merged| !merged.changed);
        if unchanged && !self.must_move(spot.page) {
            return Ok(None);
        }
        let nodes = self.cut_leaf(merged, spot.page, spot.rightmost)?;
        self.free(page);
        Ok(Some(nodes))
    }

    fn cut_leaf(
        &self,
        merged: Result<MergedLeaf, Fault>,
        page: PageId,
        rightmost: bool,
    ) -> Result<Vec<Node>, BoltError> {
        let merged = merged.map_err(|fault| self.store.fault(page, fault))?;
        let fill = if rightmost && merged.appended { Fill::Append } else { Fill::Even };
        let parts = cut(merged.items, self.store.page_size, fill);
        let shrunk = merged.shrunk && parts.len() == 1;
        Ok(parts.into_iter().map(|items| Node { shrunk, ..Node::leaf(items) }).collect())
    }

    fn merge_branch(
        &mut self,
        page: &Page,
        spot: Spot,
        ops: &[Op],
        flags: u32,
    ) -> Result<Option<Vec<Node>>, BoltError> {
        let count = page.count();
        let mut slots = Vec::with_capacity(count + 8);
        let mut rest = ops;
        let (mut first_change, mut lost) = (None, false);
        for index in 0..count {
            let child =
                child_at(page, index).map_err(|fault| self.store.fault(spot.page, fault))?;
            let mine;
            (mine, rest) = self.share(page, spot.page, index, rest)?;
            let idle = mine.is_empty() && !self.must_move(child.page);
            let rightmost = spot.rightmost && index + 1 == count;
            let below = Spot { page: child.page, rightmost, depth: spot.depth + 1 };
            match if idle { None } else { self.merge(below, mine, flags)? } {
                None => slots.push(Slot::Kept(child)),
                Some(nodes) => {
                    first_change.get_or_insert(index);
                    lost |= nodes.is_empty();
                    slots.extend(nodes.into_iter().map(Slot::New));
                }
            }
        }
        if first_change.is_none() && !self.must_move(spot.page) {
            return Ok(None);
        }
        lost |= self.join_sparse(&mut slots)?;
        let children: Vec<Child> = slots.into_iter().map(|slot| self.settle(slot)).collect();
        self.free(page);
        let at_edge = spot.rightmost && first_change == Some(count - 1);
        let fill = if at_edge { Fill::Append } else { Fill::Even };
        let parts = cut(children, self.store.page_size, fill);
        let shrunk = lost && parts.len() == 1;
        Ok(Some(parts.into_iter().map(|part| Node { shrunk, ..Node::branch(part) }).collect()))
    }

    /// Splits off the changes that belong under child `index`.
    fn share<'o>(
        &self,
        page: &Page,
        id: PageId,
        index: usize,
        ops: &'o [Op],
    ) -> Result<(&'o [Op], &'o [Op]), BoltError> {
        if ops.is_empty() || index + 1 == page.count() {
            return Ok((ops, &[]));
        }
        let next = page.key(index + 1).map_err(|fault| self.store.fault(id, fault))?;
        Ok(ops.split_at(ops.partition_point(|(key, _)| key.as_ref() < next)))
    }

    /// Joins sparse new nodes with a neighbour; says whether the number of nodes fell.
    fn join_sparse(&mut self, slots: &mut Vec<Slot>) -> Result<bool, BoltError> {
        let before = slots.len();
        let mut index = 0;
        while index < slots.len() {
            let sparse = matches!(&slots[index], Slot::New(node)
                if node.is_sparse(self.store.page_size));
            if !sparse || !self.join_at(slots, index)? {
                index += 1;
            } else {
                index = index.saturating_sub(1);
            }
        }
        Ok(slots.len() < before)
    }

    /// Joins the node at `index` with the one before or else behind it, if that one is not a run of
    /// several pages (a large value is not worth rewriting).
    fn join_at(&mut self, slots: &mut Vec<Slot>, index: usize) -> Result<bool, BoltError> {
        let Slot::New(node) = &slots[index] else { return Ok(false) };
        let kind = kind_of(node);
        let left_first = [index.checked_sub(1), Some(index)];
        for left in left_first.into_iter().flatten() {
            let other = if left == index { index + 1 } else { left };
            if other >= slots.len() || !self.load(&mut slots[other], kind)? {
                continue;
            }
            let pair: Vec<Node> = slots.splice(left..left + 2, []).filter_map(Slot::node).collect();
            let joined = join(pair, kind, self.store.page_size);
            slots.splice(left..left, joined.into_iter().map(Slot::New));
            return Ok(true);
        }
        Ok(false)
    }

    /// Turns a kept neighbour into a new node; `false` when it cannot be joined.
    fn load(&mut self, slot: &mut Slot, wanted: Kind) -> Result<bool, BoltError> {
        let child = match slot {
            Slot::New(node) => {
                let single = node.bytes() <= self.store.page_size;
                return Ok(single && kind_of(node) == wanted);
            }
            Slot::Kept(child) => child.page,
        };
        let page = self.store.page(child, self.limit)?;
        if page.run_len() > 1 || page.kind != wanted {
            return Ok(false);
        }
        let node = Node::of_page(&page).map_err(|fault| self.store.fault(child, fault))?;
        self.free(&page);
        *slot = Slot::New(node);
        Ok(true)
    }

    fn settle(&mut self, slot: Slot) -> Child {
        match slot {
            Slot::Kept(child) => child,
            Slot::New(node) => Child { key: node.first_key(), page: self.write(&node) },
        }
    }

    /// Puts branches above the nodes until there is one.
    fn finish(&mut self, mut nodes: Vec<Node>) -> Root {
        while nodes.len() > 1 {
            let children: Vec<Child> =
                nodes.into_iter().map(|node| self.settle(Slot::New(node))).collect();
            let parts = cut(children, self.store.page_size, Fill::Append);
            nodes = parts.into_iter().map(Node::branch).collect();
        }
        match nodes.pop().map(|node| node.body) {
            None => Root::Leaf(Vec::new()),
            Some(Body::Leaf(items)) => Root::Leaf(items),
            Some(Body::Branch(children)) => match children.as_slice() {
                [only] => Root::Page(only.page),
                _ => Root::Page(self.write(&Node::branch(children))),
            },
        }
    }

    fn write(&mut self, node: &Node) -> PageId {
        let page_size = self.store.page_size;
        let id = self.space.allocate(node.run_len(page_size), self.txid, self.pinned);
        self.writes.push((id, node.encode(id, page_size)));
        id
    }

    fn free(&mut self, page: &Page) {
        self.space.release_after(page.header.id, page.run_len(), self.txid);
    }
}

fn kind_of(node: &Node) -> Kind {
    match node.body {
        Body::Leaf(_) => Kind::Leaf,
        Body::Branch(_) => Kind::Branch,
    }
}

fn child_at(page: &Page, index: usize) -> Result<Child, Fault> {
    Ok(Child { key: page.key_bytes(index)?, page: page.child(index)? })
}

/// Joins neighbours of one kind into one node, or into several of about equal size.
fn join(nodes: Vec<Node>, kind: Kind, page_size: usize) -> Vec<Node> {
    let (mut items, mut children) = (Vec::new(), Vec::new());
    for node in nodes {
        match node.body {
            Body::Leaf(more) => items.extend(more),
            Body::Branch(more) => children.extend(more),
        }
    }
    let joined: Vec<Node> = match kind {
        Kind::Leaf => cut(items, page_size, Fill::Even).into_iter().map(Node::leaf).collect(),
        Kind::Branch => {
            cut(children, page_size, Fill::Even).into_iter().map(Node::branch).collect()
        }
    };
    let shrunk = joined.len() == 1;
    joined.into_iter().map(|node| Node { shrunk, ..node }).collect()
}

/// Value of a bucket that is small enough to be stored in it, as bbolt decides it.
pub(crate) fn inline_bucket(items: &[Item], sequence: u64, page_size: usize) -> Option<Bytes> {
    let nested = items.iter().any(|item| item.flags & ITEM_BUCKET != 0);
    let bytes = HEADER_BYTES + items.iter().map(Weigh::bytes).sum::<usize>();
    if nested || bytes > page_size / 4 {
        return None;
    }
    let mut value = Vec::with_capacity(BUCKET_HEADER_BYTES + bytes);
    value.extend_from_slice(&bucket_header(0, sequence));
    Node::encode_inline(items, &mut value);
    Some(value.into())
}

/// Merges changes into the items of a leaf; `flags` is the kind of the changed items.
fn merge_items(page: Option<&Page>, ops: &[Op], flags: u32) -> Result<MergedLeaf, Fault> {
    let old = page.map_or_else(|| Ok(Vec::new()), leaf_items)?;
    let appended = match (old.last(), ops.first()) {
        (Some(last), Some((key, _))) => last.key < *key,
        _ => true,
    };
    let created = page.is_none();
    let mut merged = MergedLeaf {
        items: Vec::with_capacity(old.len() + ops.len()),
        changed: created,
        shrunk: false,
        appended,
    };
    let mut old = old.into_iter().peekable();
    for (key, value) in ops {
        while let Some(item) = old.next_if(|item| item.key < *key) {
            merged.items.push(item);
        }
        let replaced = old.next_if(|item| item.key == *key);
        if let Some(item) = &replaced
            && item.flags != flags
        {
            return Err(Fault::new(0, format!("an item with flags {flags}"), item.flags));
        }
        let old_bytes = replaced.as_ref().map_or(0, |item| item.value.len());
        match value {
            Some(value) => {
                merged.changed = true;
                merged.shrunk |= value.len() < old_bytes;
                merged.items.push(Item { flags, key: key.clone(), value: value.clone() });
            }
            None => {
                merged.changed |= replaced.is_some();
                merged.shrunk |= replaced.is_some();
            }
        }
    }
    merged.items.extend(old);
    Ok(merged)
}
