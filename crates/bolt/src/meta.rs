//! The two meta pages.
//!
//! Owns:       nothing.
//! Uses:       `page` for header and field access.
//! Never:      files.
//! Invariants: what [`Meta::decode`] returns has the right magic, version, checksum and a page
//!             size that bbolt knows.
//! Source:     docs/format/bolt.md 2; disk-formats.md 5.2.

use crate::page::{FLAG_META, HEADER_BYTES, Header, PageId, is_page_size, u32_at, u64_at};

const MAGIC: u32 = 0xed0c_daed;
const VERSION: u32 = 2;
/// Bytes of a meta behind the page header.
const META_BYTES: usize = 64;
/// Bytes that the checksum covers.
const SUMMED_BYTES: usize = 56;
/// Value of the freelist field when no freelist is stored.
pub(crate) const NO_FREELIST: PageId = u64::MAX;
/// Bytes that hold a page header and a meta.
pub(crate) const META_PAGE_BYTES: usize = HEADER_BYTES + META_BYTES;

/// Root of one committed state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) page_size: usize,
    /// Root page of the tree of buckets.
    pub(crate) root: PageId,
    pub(crate) sequence: u64,
    /// Page of the stored freelist or [`NO_FREELIST`].
    pub(crate) freelist: PageId,
    /// Number of pages in use by the file, free ones among them included.
    pub(crate) high_water: PageId,
    pub(crate) txid: u64,
}

impl Meta {
    /// Reads a meta page; `None` when it is not a valid one.
    pub(crate) fn decode(page: &[u8]) -> Option<Meta> {
        let meta = page.get(HEADER_BYTES..META_PAGE_BYTES)?;
        let valid = u32_at(meta, 0)? == MAGIC
            && u32_at(meta, 4)? == VERSION
            && u64_at(meta, SUMMED_BYTES)? == fnv1a_64(&meta[..SUMMED_BYTES]);
        let page_size = usize::try_from(u32_at(meta, 8)?).ok()?;
        if !valid || !is_page_size(page_size) {
            return None;
        }
        Some(Meta {
            page_size,
            root: u64_at(meta, 16)?,
            sequence: u64_at(meta, 24)?,
            freelist: u64_at(meta, 32)?,
            high_water: u64_at(meta, 40)?,
            txid: u64_at(meta, 48)?,
        })
    }

    /// Writes header and meta of page `slot`.
    pub(crate) fn encode(&self, slot: u64) -> [u8; META_PAGE_BYTES] {
        let header = Header { id: slot, flags: FLAG_META, count: 0, overflow: 0 };
        let page_size = u32::try_from(self.page_size).expect("page sizes are at most 32 MiB");
        let mut page = [0; META_PAGE_BYTES];
        page[..HEADER_BYTES].copy_from_slice(&header.encode());
        let meta = &mut page[HEADER_BYTES..];
        meta[..4].copy_from_slice(&MAGIC.to_le_bytes());
        meta[4..8].copy_from_slice(&VERSION.to_le_bytes());
        meta[8..12].copy_from_slice(&page_size.to_le_bytes());
        let words = [self.root, self.sequence, self.freelist, self.high_water, self.txid];
        for (index, word) in words.into_iter().enumerate() {
            let at = 16 + index * 8;
            meta[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        let sum = fnv1a_64(&meta[..SUMMED_BYTES]);
        meta[SUMMED_BYTES..].copy_from_slice(&sum.to_le_bytes());
        page
    }
}

fn fnv1a_64(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        // The example of disk-formats.md 5.2, written by a real server.
        let words: [u64; 8] = [
            0x0000_0002_ed0c_daed,
            0x0000_0000_0000_1000,
            4,
            0,
            u64::MAX,
            6,
            0x1a,
            0x3de6_4906_90c8_78db,
        ];
        let mut page = Header { id: 0, flags: FLAG_META, count: 0, overflow: 0 }.encode().to_vec();
        page.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        let meta = Meta::decode(&page).unwrap();
        let expected = Meta {
            page_size: 4096,
            root: 4,
            sequence: 0,
            freelist: NO_FREELIST,
            high_water: 6,
            txid: 26,
        };
        assert_eq!(meta, expected);
        assert_eq!(meta.encode(0).as_slice(), page.as_slice());
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let meta = Meta {
            page_size: 4096,
            root: 3,
            sequence: 0,
            freelist: NO_FREELIST,
            high_water: 4,
            txid: 1,
        };
        let page = meta.encode(1);
        for bit in 0..META_BYTES * 8 {
            let mut damaged = page;
            damaged[HEADER_BYTES + bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Meta::decode(&damaged), None, "bit {bit}");
        }
        assert_eq!(Meta::decode(&page[..META_PAGE_BYTES - 1]), None);
    }
}
