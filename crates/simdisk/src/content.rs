//! Bytes of one simulated file: what is seen, what is durable and the changes in between.
//!
//! Owns:       sparse file contents.
//! Uses:       `rand` for the fate of pending changes.
//! Never:      names, locks, fault injection.
//! Invariants: `seen` equals `durable` with all `pending` changes applied in order, unless a
//!             change was stuck by a failed sync and later ones were made durable.

use std::collections::BTreeMap;

use rand::Rng;

/// Unit that a disk writes atomically.
const SECTOR_BYTES: usize = 512;
/// Unit of sparse storage.
const CHUNK_BYTES: usize = 4096;

/// Sparse bytes: absent chunks read as zero.
#[derive(Clone, Default)]
pub(crate) struct Content {
    len: u64,
    chunks: BTreeMap<u64, Vec<u8>>,
}

impl Content {
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn read(&self, offset: u64, buf: &mut [u8]) -> usize {
        let available = self.len.saturating_sub(offset).min(buf.len() as u64);
        let available = usize::try_from(available).unwrap_or(buf.len());
        for (number, within, range) in pieces(offset, available) {
            let out = &mut buf[range];
            match self.chunks.get(&number) {
                Some(chunk) => out.copy_from_slice(&chunk[within..within + out.len()]),
                None => out.fill(0),
            }
        }
        available
    }

    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) {
        for (number, within, range) in pieces(offset, data.len()) {
            let chunk = self.chunks.entry(number).or_insert_with(|| vec![0; CHUNK_BYTES]);
            let data = &data[range];
            chunk[within..within + data.len()].copy_from_slice(data);
        }
        self.len = self.len.max(offset + data.len() as u64);
    }

    pub(crate) fn set_len(&mut self, len: u64) {
        if len < self.len {
            let chunk_bytes = CHUNK_BYTES as u64;
            self.chunks.split_off(&len.div_ceil(chunk_bytes));
            let within = usize::try_from(len % chunk_bytes).unwrap_or(0);
            if let Some(last) = self.chunks.get_mut(&(len / chunk_bytes)) {
                last[within..].fill(0);
            }
        }
        self.len = len;
    }

    fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.len).unwrap_or(0)];
        self.read(0, &mut bytes);
        bytes
    }
}

/// Splits `len` bytes at `offset` into (chunk number, offset in it, range of the caller's buffer).
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let position = offset + done as u64;
        let within = usize::try_from(position % CHUNK_BYTES as u64).unwrap_or(0);
        let count = (CHUNK_BYTES - within).min(len - done);
        done += count;
        Some((position / CHUNK_BYTES as u64, within, done - count..done))
    })
}

/// A change that no sync has made durable yet.
#[derive(Clone)]
pub(crate) enum Change {
    Write { offset: u64, data: Vec<u8> },
    SetLen(u64),
}

#[derive(Clone)]
struct Pending {
    change: Change,
    /// A sync failed while this was pending: no later sync makes it durable.
    stuck: bool,
}

/// One file.
#[derive(Clone, Default)]
pub(crate) struct FileData {
    seen: Content,
    durable: Content,
    pending: Vec<Pending>,
}

impl FileData {
    pub(crate) fn len(&self) -> u64 {
        self.seen.len()
    }

    pub(crate) fn read(&self, offset: u64, buf: &mut [u8]) -> usize {
        self.seen.read(offset, buf)
    }

    pub(crate) fn to_vec(&self) -> Vec<u8> {
        self.seen.to_vec()
    }

    pub(crate) fn change(&mut self, change: Change) {
        apply(&mut self.seen, &change);
        self.pending.push(Pending { change, stuck: false });
    }

    pub(crate) fn sync(&mut self) {
        let durable = &mut self.durable;
        self.pending.retain(|pending| {
            if !pending.stuck {
                apply(durable, &pending.change);
            }
            pending.stuck
        });
    }

    pub(crate) fn fail_sync(&mut self) {
        for pending in &mut self.pending {
            pending.stuck = true;
        }
    }

    /// Decides the fate of every pending change; what survives is the file from now on.
    pub(crate) fn crash(&mut self, rng: &mut impl Rng) {
        for pending in std::mem::take(&mut self.pending) {
            match pending.change {
                Change::Write { offset, data } => {
                    crash_write(&mut self.durable, offset, &data, rng)
                }
                Change::SetLen(len) => {
                    if rng.random() {
                        self.durable.set_len(len);
                    }
                }
            }
        }
        self.seen = self.durable.clone();
    }
}

fn apply(content: &mut Content, change: &Change) {
    match change {
        Change::Write { offset, data } => content.write(*offset, data),
        Change::SetLen(len) => content.set_len(*len),
    }
}

fn crash_write(durable: &mut Content, offset: u64, data: &[u8], rng: &mut impl Rng) {
    let end = offset + data.len() as u64;
    match rng.random_range(0..3) {
        0 => durable.write(offset, data),
        1 => {
            // Lost; the new length may have reached the journal without the bytes.
            if rng.random() && end > durable.len() {
                durable.set_len(end);
            }
        }
        _ => {
            if rng.random() && end > durable.len() {
                durable.set_len(end);
            }
            for (start, sector) in sectors(offset, data) {
                if rng.random() {
                    durable.write(start, sector);
                }
            }
        }
    }
}

/// Cuts `data` at the sector boundaries of the file.
fn sectors(offset: u64, data: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == data.len() {
            return None;
        }
        let start = offset + done as u64;
        let within = usize::try_from(start % SECTOR_BYTES as u64).unwrap_or(0);
        let count = (SECTOR_BYTES - within).min(data.len() - done);
        done += count;
        Some((start, &data[done - count..done]))
    })
}
