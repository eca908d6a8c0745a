//! A deterministic directory tree in memory that loses power on request.
//!
//! Owns:       the simulated tree: what programs see, what is durable, what is still on its way.
//! Uses:       `disk` (traits), `rand` (seeded choices at a crash).
//! Never:      a real file, a clock, ambient randomness; equal seed and equal calls give an equal
//!             tree after a crash, byte for byte.
//! Invariants: synced bytes and names survive every crash; un-synced writes survive whole, in
//!             512-byte sectors, or not at all, each on its own; un-synced name changes of a
//!             directory survive as a prefix of the order in which they were made.
//! Source:     design.md 9; the model is that of a journaling file system over a disk with
//!             512-byte atomic sectors.

mod content;
mod file;
mod fs;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use disk::Disk;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::fs::SimFs;
use crate::tree::State;

/// A simulated disk. Clones share the same tree; [`SimDisk::fork`] makes an independent one.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// An empty tree whose crashes are drawn from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> SimDisk {
        SimDisk { state: Arc::new(Mutex::new(State::new(seed))) }
    }

    /// The tree as programs use it.
    #[must_use]
    pub fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(SimFs { state: Arc::clone(&self.state) })
    }

    /// Cuts the power and boots again: un-synced state is kept, torn or lost as the seed decides,
    /// locks are released, files opened before return errors from now on, and injected faults are
    /// cleared except the space limit.
    pub fn crash(&self) {
        self.lock().crash();
    }

    /// The next `count` writes (write, set length, allocate) succeed, later ones fail with "no
    /// space left". `u64::MAX` switches the fault off.
    pub fn fail_after_writes(&self, count: u64) {
        self.lock().writes_left = count;
    }

    /// Limits the sum of all file lengths; growth beyond it fails with "no space left" after the
    /// part that fits was written. `u64::MAX` switches the limit off.
    pub fn set_space_limit(&self, bytes: u64) {
        self.lock().space_limit_bytes = bytes;
    }

    /// Lets every data and directory sync fail. What was pending at a failed sync stays pending
    /// for ever, whatever later syncs say, as on Linux.
    pub fn fail_sync(&self, fail: bool) {
        self.lock().fail_sync = fail;
    }

    /// The next `count` syncs succeed, the one after them fails once, as with
    /// [`SimDisk::fail_sync`].
    pub fn fail_sync_once_after(&self, count: u64) {
        self.lock().fail_sync_after = Some(count);
    }

    /// Boundaries so far: writes, length changes, allocations, syncs and name changes.
    #[must_use]
    pub fn write_count(&self) -> u64 {
        self.lock().boundaries
    }

    /// Cuts the power during boundary `n`, counted from 1 as [`SimDisk::write_count`] counts: that
    /// operation reaches the disk only as un-synced state and fails, and so does everything after
    /// it until [`SimDisk::crash`].
    pub fn crash_at_write(&self, n: u64) {
        self.lock().crash_at = Some(n);
    }

    /// Replaces the source of crash choices, to try several outcomes from one state.
    pub fn reseed(&self, seed: u64) {
        self.lock().rng = StdRng::seed_from_u64(seed);
    }

    /// Every file as programs see it now.
    #[must_use]
    pub fn snapshot_files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.lock().snapshot_files()
    }

    /// An independent copy of the tree with its un-synced state and its source of choices, without
    /// open files, locks and injected faults.
    #[must_use]
    pub fn fork(&self) -> SimDisk {
        SimDisk { state: Arc::new(Mutex::new(self.lock().fork())) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic of another holder is that test's failure; the tree itself is still readable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
