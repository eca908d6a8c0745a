//! Byte layout of pages, read with bound checks.
//!
//! Owns:       nothing.
//! Uses:       `bytes`.
//! Never:      files; a panic on any input.
//! Invariants: a [`Page`] holds at least its header and its element array.
//! Source:     docs/format/bolt.md 1, 3 and 4; disk-formats.md 5.1, 5.3, 5.4.

use std::ops::Range;

use bytes::Bytes;

/// Number of a page; its place in the file is this times the page size.
pub(crate) type PageId = u64;

/// Bytes before the elements of a page.
pub(crate) const HEADER_BYTES: usize = 16;
/// Bytes of an element, before its key and value.
pub(crate) const ELEMENT_BYTES: usize = 16;
/// Bytes of a bucket header inside a value: root page and sequence.
pub(crate) const BUCKET_HEADER_BYTES: usize = 16;
/// Longest key that bbolt accepts.
pub(crate) const KEY_BYTES_MAX: usize = 32_768;
/// Longest value that bbolt accepts.
pub(crate) const VALUE_BYTES_MAX: usize = (1 << 31) - 2;
/// Most elements that the 16-bit count of a page can say.
pub(crate) const ELEMENTS_MAX: usize = 0xffff;
/// Page sizes that bbolt's search for a meta knows: 1 KiB shifted by 0 to 15.
pub(crate) const PAGE_SIZES: Range<u32> = 10..26;
/// Deepest tree, nested buckets included, that is followed. Real ones have 3 to 6 levels; the
/// bound stops loops in damaged files.
pub(crate) const DEPTH_MAX: usize = 64;

/// `flags` of a branch page.
pub(crate) const FLAG_BRANCH: u16 = 1;
/// `flags` of a leaf page.
pub(crate) const FLAG_LEAF: u16 = 2;
/// `flags` of a meta page.
pub(crate) const FLAG_META: u16 = 4;
/// `flags` of a freelist page.
pub(crate) const FLAG_FREELIST: u16 = 0x10;

/// `flags` of a leaf element whose value is a bucket.
pub(crate) const ITEM_BUCKET: u32 = 1;

/// Whether bbolt could have chosen this page size.
pub(crate) fn is_page_size(bytes: usize) -> bool {
    bytes.is_power_of_two() && PAGE_SIZES.contains(&bytes.trailing_zeros())
}

/// Damage found in the bytes of a page; the caller knows which page and file.
#[derive(Debug)]
pub(crate) struct Fault {
    /// Byte within the page.
    pub(crate) at: usize,
    /// What a whole page has.
    pub(crate) expected: String,
    /// What this one has.
    pub(crate) found: String,
}

impl Fault {
    pub(crate) fn new(at: usize, expected: impl Into<String>, found: impl ToString) -> Fault {
        Fault { at, expected: expected.into(), found: found.to_string() }
    }
}

/// Fields of a page header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) id: PageId,
    pub(crate) flags: u16,
    pub(crate) count: u16,
    pub(crate) overflow: u32,
}

impl Header {
    pub(crate) fn decode(bytes: &[u8]) -> Option<Header> {
        Some(Header {
            id: u64_at(bytes, 0)?,
            flags: u16_at(bytes, 8)?,
            count: u16_at(bytes, 10)?,
            overflow: u32_at(bytes, 12)?,
        })
    }

    pub(crate) fn encode(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&self.id.to_le_bytes());
        bytes[8..10].copy_from_slice(&self.flags.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.count.to_le_bytes());
        bytes[12..].copy_from_slice(&self.overflow.to_le_bytes());
        bytes
    }
}

/// What a tree page holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Branch,
    Leaf,
}

/// A leaf or branch page with its overflow, or an inline page inside a bucket value.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) header: Header,
    pub(crate) kind: Kind,
    bytes: Bytes,
}

/// One element of a leaf.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeafElement<'a> {
    pub(crate) flags: u32,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// Places of an element's key and value in the page.
struct Span {
    key: Range<usize>,
    value: Range<usize>,
}

impl Page {
    /// Checks header and element array; elements are checked when they are read.
    pub(crate) fn parse(bytes: Bytes) -> Result<Page, Fault> {
        let header = Header::decode(&bytes)
            .ok_or_else(|| Fault::new(0, "a page header", format!("{} bytes", bytes.len())))?;
        let kind = match header.flags {
            FLAG_BRANCH => Kind::Branch,
            FLAG_LEAF => Kind::Leaf,
            other => return Err(Fault::new(8, "a leaf or branch page", format!("{other:#x}"))),
        };
        let array_end = HEADER_BYTES + usize::from(header.count) * ELEMENT_BYTES;
        if array_end > bytes.len() {
            let expected = format!("at most {} bytes of elements", bytes.len());
            return Err(Fault::new(10, expected, array_end));
        }
        if kind == Kind::Branch && header.count == 0 {
            return Err(Fault::new(10, "a branch with children", 0));
        }
        Ok(Page { header, kind, bytes })
    }

    /// Number of elements.
    pub(crate) fn count(&self) -> usize {
        usize::from(self.header.count)
    }

    /// Number of pages that this one covers.
    pub(crate) fn run_len(&self) -> u64 {
        u64::from(self.header.overflow) + 1
    }

    fn word(&self, at: usize) -> Result<u32, Fault> {
        u32_at(&self.bytes, at).ok_or_else(|| Fault::new(at, "an element", "end of page"))
    }

    fn span(&self, index: usize) -> Result<(u32, Span), Fault> {
        let at = HEADER_BYTES + index * ELEMENT_BYTES;
        let (flags, at_pos) = match self.kind {
            Kind::Leaf => (self.word(at)?, at + 4),
            Kind::Branch => (0, at),
        };
        let position = self.word(at_pos)?;
        let key_bytes = self.word(at_pos + 4)?;
        let value_bytes = match self.kind {
            Kind::Leaf => self.word(at_pos + 8)?,
            Kind::Branch => 0,
        };
        let start = at as u64 + u64::from(position);
        let middle = start + u64::from(key_bytes);
        let end = middle + u64::from(value_bytes);
        if end > self.bytes.len() as u64 {
            let expected = format!("an element within {} bytes", self.bytes.len());
            return Err(Fault::new(at, expected, format!("one that ends at {end}")));
        }
        let narrow = |place: u64| usize::try_from(place).unwrap_or(usize::MAX);
        let (start, middle, end) = (narrow(start), narrow(middle), narrow(end));
        Ok((flags, Span { key: start..middle, value: middle..end }))
    }

    /// Key of an element, of a leaf or of a branch.
    pub(crate) fn key(&self, index: usize) -> Result<&[u8], Fault> {
        let (_, span) = self.span(index)?;
        Ok(&self.bytes[span.key])
    }

    /// Key of an element as a shared slice.
    pub(crate) fn key_bytes(&self, index: usize) -> Result<Bytes, Fault> {
        let (_, span) = self.span(index)?;
        Ok(self.bytes.slice(span.key))
    }

    /// Element of a leaf, borrowed.
    pub(crate) fn leaf(&self, index: usize) -> Result<LeafElement<'_>, Fault> {
        let (flags, span) = self.span(index)?;
        Ok(LeafElement { flags, key: &self.bytes[span.key], value: &self.bytes[span.value] })
    }

    /// Element of a leaf as shared slices: flags, key, value.
    pub(crate) fn leaf_bytes(&self, index: usize) -> Result<(u32, Bytes, Bytes), Fault> {
        let (flags, span) = self.span(index)?;
        Ok((flags, self.bytes.slice(span.key), self.bytes.slice(span.value)))
    }

    /// Child page of a branch element.
    pub(crate) fn child(&self, index: usize) -> Result<PageId, Fault> {
        let at = HEADER_BYTES + index * ELEMENT_BYTES + 8;
        u64_at(&self.bytes, at).ok_or_else(|| Fault::new(at, "a child", "end of page"))
    }

    /// Number of elements whose key is less than `key`, assuming that keys ascend.
    pub(crate) fn lower_bound(&self, key: &[u8]) -> Result<usize, Fault> {
        let (mut low, mut high) = (0, self.count());
        while low < high {
            let middle = low.midpoint(high);
            if self.key(middle)? < key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Branch element under which `key` belongs: the last whose key is not greater, else the first.
    pub(crate) fn child_index(&self, key: &[u8]) -> Result<usize, Fault> {
        let index = self.lower_bound(key)?;
        let equal = index < self.count() && self.key(index)? == key;
        Ok(if equal { index } else { index.saturating_sub(1) })
    }
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// Value of a bucket element: where the bucket's items are.
#[derive(Clone, Debug)]
pub(crate) enum BucketRoot {
    /// A tree of its own.
    Tree { root: PageId, sequence: u64 },
    /// A leaf page inside the value.
    Inline { page: Page, sequence: u64 },
}

impl BucketRoot {
    pub(crate) fn parse(value: &Bytes) -> Result<BucketRoot, Fault> {
        let missing = || Fault::new(0, "a bucket header", format!("{} bytes", value.len()));
        let root = u64_at(value, 0).ok_or_else(missing)?;
        let sequence = u64_at(value, 8).ok_or_else(missing)?;
        if root != 0 {
            return Ok(BucketRoot::Tree { root, sequence });
        }
        let page = Page::parse(value.slice(BUCKET_HEADER_BYTES..))?;
        if page.kind != Kind::Leaf {
            return Err(Fault::new(8, "an inline leaf page", "a branch"));
        }
        Ok(BucketRoot::Inline { page, sequence })
    }

    pub(crate) fn sequence(&self) -> u64 {
        match self {
            BucketRoot::Tree { sequence, .. } | BucketRoot::Inline { sequence, .. } => *sequence,
        }
    }
}

/// Header of a bucket value.
pub(crate) fn bucket_header(root: PageId, sequence: u64) -> [u8; BUCKET_HEADER_BYTES] {
    let mut bytes = [0; BUCKET_HEADER_BYTES];
    bytes[..8].copy_from_slice(&root.to_le_bytes());
    bytes[8..].copy_from_slice(&sequence.to_le_bytes());
    bytes
}
