//! Files damaged on purpose, each in one place of a page that is in use.
//!
//! Owns:       its own small reading of pages, apart from the engine's.
//! Source:     disk-formats.md 5.

use std::path::{Path, PathBuf};

use super::writer;

const PAGE_BYTES: u64 = 4096;
const HEADER_BYTES: u64 = 16;
const ELEMENT_BYTES: u64 = 16;
const BRANCH: u16 = 1;
/// Seeds looked at for a file whose `key` bucket is a tree of several pages.
const SEEDS_MAX: u64 = 50;

/// What is done to a file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Damage {
    /// Two elements of a branch page refer to the same child.
    PageReferencedTwice,
    /// A child has flags of no kind of page.
    WrongPageType,
    /// A branch page refers to a page behind the end of the file.
    PageOutOfBounds,
    /// The first two keys of a leaf page have changed places.
    KeysOutOfOrder,
    /// Both metas are unreadable.
    MetasOverwritten,
}

/// Every kind.
pub(super) const ALL: [Damage; 5] = [
    Damage::PageReferencedTwice,
    Damage::WrongPageType,
    Damage::PageOutOfBounds,
    Damage::KeysOutOfOrder,
    Damage::MetasOverwritten,
];

impl Damage {
    /// What Go says to it; `None` where bbolt 1.3.6, which 3.5.1 has, checks nothing: order came
    /// with 1.3.7. Ours checks order in every sample.
    pub(super) fn refusal_of_go(self) -> Option<&'static str> {
        match self {
            Self::PageReferencedTwice => Some("multiple references"),
            // Two of its goroutines race to the page, and say it in different words.
            Self::WrongPageType | Self::PageOutOfBounds => Some("panic: "),
            Self::KeysOutOfOrder => None,
            Self::MetasOverwritten => Some("checksum error"),
        }
    }
}

/// Writes a fitting file, from `first_seed` on, and damages it.
pub(super) fn apply(damage: Damage, first_seed: u64, directory: &Path) -> (u64, PathBuf) {
    for seed in first_seed..first_seed + SEEDS_MAX {
        let path = writer::write(seed, directory).expect("write database").path;
        let mut image = Image(std::fs::read(&path).expect("read database"));
        if let Some(branch) = image.branch_of_keys() {
            image.damage(damage, branch);
            std::fs::write(&path, &image.0).expect("write damaged database");
            return (seed, path);
        }
    }
    panic!("no file with a branch page from seed {first_seed} on");
}

struct Image(Vec<u8>);

impl Image {
    fn damage(&mut self, damage: Damage, branch: u64) {
        let child = |number| branch + HEADER_BYTES + number * ELEMENT_BYTES + 8;
        match damage {
            Damage::PageReferencedTwice => self.set_u64(child(1), self.u64(child(0))),
            Damage::WrongPageType => self.set(self.u64(child(0)) * PAGE_BYTES + 8, &[0x40, 0]),
            Damage::PageOutOfBounds => self.set_u64(child(0), 1 << 40),
            Damage::KeysOutOfOrder => {
                let first = self.u64(child(0)) * PAGE_BYTES + HEADER_BYTES;
                let key = first + self.u32(first + 4);
                self.set(key, &[0xff]);
            }
            Damage::MetasOverwritten => {
                self.set(HEADER_BYTES + 40, &[0xff]);
                self.set(PAGE_BYTES + HEADER_BYTES + 40, &[0xff]);
            }
        }
    }

    /// Where the root page of the `key` bucket is, if it is a branch page.
    fn branch_of_keys(&self) -> Option<u64> {
        let newest = [0, PAGE_BYTES].into_iter().max_by_key(|meta| self.u64(meta + 64))?;
        let root = self.u64(newest + HEADER_BYTES + 16) * PAGE_BYTES;
        let elements = (0..u64::from(self.u16(root + 10))).map(|at| root + 16 * (at + 1));
        let key = elements.into_iter().find(|element| {
            let (start, len) = (element + self.u32(element + 4), self.u32(element + 8));
            self.get(start, len) == b"key"
        })?;
        let bucket = key + self.u32(key + 4) + self.u32(key + 8);
        let page = self.u64(bucket) * PAGE_BYTES;
        (page != 0 && self.u16(page + 8) == BRANCH && self.u16(page + 10) > 1).then_some(page)
    }

    fn get(&self, at: u64, len: u64) -> &[u8] {
        let at = usize::try_from(at).expect("an offset in memory");
        &self.0[at..at + usize::try_from(len).expect("a length in memory")]
    }

    fn u16(&self, at: u64) -> u16 {
        u16::from_le_bytes(self.get(at, 2).try_into().expect("two bytes"))
    }

    fn u32(&self, at: u64) -> u64 {
        u64::from(u32::from_le_bytes(self.get(at, 4).try_into().expect("four bytes")))
    }

    fn u64(&self, at: u64) -> u64 {
        u64::from_le_bytes(self.get(at, 8).try_into().expect("eight bytes"))
    }

    fn set_u64(&mut self, at: u64, value: u64) {
        self.set(at, &value.to_le_bytes());
    }

    fn set(&mut self, at: u64, bytes: &[u8]) {
        let at = usize::try_from(at).expect("an offset in memory");
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }
}
