//! Pages as they are built in memory: items, how they are cut into pages, how they are encoded.
//!
//! Owns:       nothing.
//! Uses:       `page` for the layout.
//! Never:      page numbers of its own choice, files.
//! Invariants: a node that leaves [`cut`] fits in a page, or has the fewest items that its kind
//!             allows.
//! Source:     docs/format/bolt.md 3, 4 and 6.

use bytes::Bytes;

use crate::page::{
    ELEMENT_BYTES, ELEMENTS_MAX, FLAG_BRANCH, FLAG_LEAF, Fault, HEADER_BYTES, Header, Kind, Page,
    PageId,
};

/// Part of a page, in percent, that is filled when rows are added at the right edge.
const APPEND_FILL_PERCENT: usize = 90;
/// Below this part of a page, in percent, a node is joined with a neighbour.
const SMALL_PERCENT: usize = 25;

/// One row of a leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) flags: u32,
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
}

/// One child of a branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Child {
    pub(crate) key: Bytes,
    pub(crate) page: PageId,
}

/// Something that takes room in a page.
pub(crate) trait Weigh {
    /// Fewest elements of a page, whatever their size.
    const MIN_PER_PAGE: usize;

    /// Bytes with the element.
    fn bytes(&self) -> usize;
}

impl Weigh for Item {
    const MIN_PER_PAGE: usize = 1;

    fn bytes(&self) -> usize {
        ELEMENT_BYTES + self.key.len() + self.value.len()
    }
}

impl Weigh for Child {
    // With one child per page a tree of long keys would never come to a root.
    const MIN_PER_PAGE: usize = 2;

    fn bytes(&self) -> usize {
        ELEMENT_BYTES + self.key.len()
    }
}

/// How an overfull node is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// Into equal parts: the next change may fall anywhere.
    Even,
    /// Nearly full from the left: the next change comes at the right edge.
    Append,
}

/// Cuts items into pages.
pub(crate) fn cut<T: Weigh>(items: Vec<T>, page_size: usize, fill: Fill) -> Vec<Vec<T>> {
    let room = page_size - HEADER_BYTES;
    let total: usize = items.iter().map(Weigh::bytes).sum();
    if total <= room && items.len() <= ELEMENTS_MAX {
        return if items.is_empty() { Vec::new() } else { vec![items] };
    }
    let target = match fill {
        Fill::Append => room * APPEND_FILL_PERCENT / 100,
        Fill::Even => total.div_ceil(total.div_ceil(room).max(2)),
    };
    let mut parts = Vec::new();
    let mut part = Vec::new();
    let mut part_bytes = 0;
    for item in items {
        let bytes = item.bytes();
        let full = part_bytes + bytes > room
            || part_bytes >= target
            || fill == Fill::Append && part_bytes + bytes > target
            || part.len() == ELEMENTS_MAX;
        if full && part.len() >= T::MIN_PER_PAGE {
            parts.push(std::mem::take(&mut part));
            part_bytes = 0;
        }
        part_bytes += bytes;
        part.push(item);
    }
    parts.push(part);
    parts
}

/// Content of a page to be.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Leaf(Vec<Item>),
    Branch(Vec<Child>),
}

/// A page to be.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) body: Body,
    /// It lost something: worth joining with a neighbour when small.
    pub(crate) shrunk: bool,
}

impl Node {
    /// Takes all elements of a page.
    pub(crate) fn of_page(page: &Page) -> Result<Node, Fault> {
        let body = match page.kind {
            Kind::Leaf => Body::Leaf(leaf_items(page)?),
            Kind::Branch => {
                let child =
                    |index| Ok(Child { key: page.key_bytes(index)?, page: page.child(index)? });
                Body::Branch((0..page.count()).map(child).collect::<Result<_, Fault>>()?)
            }
        };
        Ok(Node { body, shrunk: false })
    }

    pub(crate) fn leaf(items: Vec<Item>) -> Node {
        Node { body: Body::Leaf(items), shrunk: false }
    }

    pub(crate) fn branch(children: Vec<Child>) -> Node {
        Node { body: Body::Branch(children), shrunk: false }
    }

    /// Key under which the parent lists it; empty for the empty root.
    pub(crate) fn first_key(&self) -> Bytes {
        match &self.body {
            Body::Leaf(items) => items.first().map(|item| item.key.clone()),
            Body::Branch(children) => children.first().map(|child| child.key.clone()),
        }
        .unwrap_or_default()
    }

    /// Bytes with the page header.
    pub(crate) fn bytes(&self) -> usize {
        let content: usize = match &self.body {
            Body::Leaf(items) => items.iter().map(Weigh::bytes).sum(),
            Body::Branch(children) => children.iter().map(Weigh::bytes).sum(),
        };
        HEADER_BYTES + content
    }

    /// Whether it should be joined with a neighbour.
    pub(crate) fn is_sparse(&self, page_size: usize) -> bool {
        self.shrunk && self.bytes() < page_size * SMALL_PERCENT / 100
    }

    /// Number of pages that it takes.
    pub(crate) fn run_len(&self, page_size: usize) -> u64 {
        self.bytes().div_ceil(page_size) as u64
    }

    /// The bytes of page `id`, padded with zeros to whole pages.
    pub(crate) fn encode(&self, id: PageId, page_size: usize) -> Vec<u8> {
        let run = self.run_len(page_size);
        let (flags, count) = match &self.body {
            Body::Leaf(items) => (FLAG_LEAF, items.len()),
            Body::Branch(children) => (FLAG_BRANCH, children.len()),
        };
        let count = u16::try_from(count).expect("`cut` bounds the elements of a page");
        let overflow = u32::try_from(run - 1).expect("keys and values are below 4 GiB together");
        let mut out = Vec::with_capacity(self.bytes().next_multiple_of(page_size));
        out.extend_from_slice(&Header { id, flags, count, overflow }.encode());
        match &self.body {
            Body::Leaf(items) => encode_items(items, &mut out),
            Body::Branch(children) => encode_children(children, &mut out),
        }
        out.resize(out.len().next_multiple_of(page_size), 0);
        out
    }

    /// The bytes of an inline page, not padded.
    pub(crate) fn encode_inline(items: &[Item], out: &mut Vec<u8>) {
        let count = u16::try_from(items.len()).expect("an inline page is a part of a page");
        let header = Header { id: 0, flags: FLAG_LEAF, count, overflow: 0 };
        out.extend_from_slice(&header.encode());
        encode_items(items, out);
    }
}

/// All items of a leaf page.
pub(crate) fn leaf_items(page: &Page) -> Result<Vec<Item>, Fault> {
    let item = |index| {
        let (flags, key, value) = page.leaf_bytes(index)?;
        Ok(Item { flags, key, value })
    };
    (0..page.count()).map(item).collect()
}

/// Distance from element `index` of `count` to `data_bytes` into the data area.
fn position(count: usize, index: usize, data_bytes: usize) -> u32 {
    let distance = (count - index) * ELEMENT_BYTES + data_bytes;
    u32::try_from(distance).expect("keys and values are below 4 GiB together")
}

fn length(bytes: &Bytes) -> u32 {
    u32::try_from(bytes.len()).expect("keys and values are bounded")
}

fn encode_items(items: &[Item], out: &mut Vec<u8>) {
    let mut data_bytes = 0;
    for (index, item) in items.iter().enumerate() {
        out.extend_from_slice(&item.flags.to_le_bytes());
        out.extend_from_slice(&position(items.len(), index, data_bytes).to_le_bytes());
        out.extend_from_slice(&length(&item.key).to_le_bytes());
        out.extend_from_slice(&length(&item.value).to_le_bytes());
        data_bytes += item.key.len() + item.value.len();
    }
    for item in items {
        out.extend_from_slice(&item.key);
        out.extend_from_slice(&item.value);
    }
}

fn encode_children(children: &[Child], out: &mut Vec<u8>) {
    let mut data_bytes = 0;
    for (index, child) in children.iter().enumerate() {
        out.extend_from_slice(&position(children.len(), index, data_bytes).to_le_bytes());
        out.extend_from_slice(&length(&child.key).to_le_bytes());
        out.extend_from_slice(&child.page.to_le_bytes());
        data_bytes += child.key.len();
    }
    for child in children {
        out.extend_from_slice(&child.key);
    }
}
