//! The part of the raft log that is held in memory, as raft-rs reads it.
//!
//! Owns:       entries since the last compaction, the wish for a snapshot.
//! Uses:       `raft::Storage`.
//! Never:      I/O; what is here may not be durable yet (see `driver::ready`).
//! Invariants: entries follow `base` without gaps; terms never fall.
//! Source:     raft-library.md 3 and 4 (traps 4 and 7).

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

/// What an entry costs besides its data.
const ENTRY_OVERHEAD_BYTES: u64 = 96;

/// The in-memory log.
pub(crate) struct MemoryLog {
    initial: RaftState,
    base_index: u64,
    base_term: u64,
    entries: VecDeque<Entry>,
    bytes: u64,
    /// Followers that raft wanted a snapshot for; `Storage` reads through `&self`.
    wanted: RefCell<BTreeSet<u64>>,
    offer: Option<(u64, Snapshot)>,
}

impl MemoryLog {
    /// Starts behind `(base_index, base_term)` with the given state and entries.
    pub(crate) fn new(
        hard_state: HardState,
        conf_state: ConfState,
        base: (u64, u64),
        entries: VecDeque<Entry>,
    ) -> Self {
        let bytes = entries.iter().map(entry_bytes).sum();
        Self {
            initial: RaftState { hard_state, conf_state },
            base_index: base.0,
            base_term: base.1,
            entries,
            bytes,
            wanted: RefCell::default(),
            offer: None,
        }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// First index held.
    pub(crate) fn first(&self) -> u64 {
        self.base_index + 1
    }

    /// Last index held.
    pub(crate) fn last(&self) -> u64 {
        self.base_index + self.entries.len() as u64
    }

    /// Appends, first dropping what the new entries overwrite.
    pub(crate) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(
            first.index > self.base_index && first.index <= self.last() + 1,
            "append at {} to a log of {}..={}",
            first.index,
            self.first(),
            self.last()
        );
        while self.last() >= first.index {
            self.pop_back();
        }
        self.bytes += entries.iter().map(entry_bytes).sum::<u64>();
        self.entries.extend(entries.iter().cloned());
    }

    fn pop_back(&mut self) {
        if let Some(entry) = self.entries.pop_back() {
            self.bytes -= entry_bytes(&entry);
        }
    }

    /// Drops everything up to and including `index`.
    pub(crate) fn compact(&mut self, index: u64) {
        while self.base_index < index {
            let Some(entry) = self.entries.pop_front() else { return };
            self.bytes -= entry_bytes(&entry);
            self.base_index = entry.index;
            self.base_term = entry.term;
        }
    }

    /// Forgets all entries: the log now begins behind a snapshot.
    pub(crate) fn restart_behind(&mut self, index: u64, term: u64) {
        self.entries.clear();
        self.bytes = 0;
        self.base_index = index;
        self.base_term = term;
    }

    /// The follower that a snapshot is wanted for, lowest ID first.
    pub(crate) fn wanted(&self) -> Option<u64> {
        self.wanted.borrow().first().copied()
    }

    /// Forgets what was wanted; raft asks again where it still holds.
    pub(crate) fn forget_wanted(&mut self) {
        self.wanted.borrow_mut().clear();
    }

    /// Lets `to` be sent this snapshot until the offer is withdrawn.
    pub(crate) fn offer(&mut self, to: u64, snapshot: Snapshot) {
        self.offer = Some((to, snapshot));
    }

    /// Ends an offer: a snapshot is built at the time it is sent, never kept.
    pub(crate) fn withdraw_offer(&mut self) {
        self.offer = None;
    }

    fn position(&self, index: u64) -> usize {
        usize::try_from(index - self.base_index - 1).unwrap_or(usize::MAX)
    }
}

fn entry_bytes(entry: &Entry) -> u64 {
    entry.data.len() as u64 + ENTRY_OVERHEAD_BYTES
}

impl Storage for MemoryLog {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(self.initial.clone())
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.base_index {
            return Err(StorageError::Compacted.into());
        }
        if high > self.last() + 1 {
            return Err(StorageError::Unavailable.into());
        }
        let max_bytes = max_size.into().unwrap_or(u64::MAX);
        let mut bytes = 0;
        let mut found = Vec::new();
        for entry in self.entries.range(self.position(low)..self.position(high)) {
            bytes += entry.data.len() as u64;
            if !found.is_empty() && bytes > max_bytes {
                break;
            }
            found.push(entry.clone());
        }
        Ok(found)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.base_index {
            return Ok(self.base_term);
        }
        if index < self.base_index {
            return Err(StorageError::Compacted.into());
        }
        match self.entries.get(self.position(index)) {
            Some(entry) => Ok(entry.term),
            None => Err(StorageError::Unavailable.into()),
        }
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.first())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        if let Some((receiver, snapshot)) = &self.offer
            && *receiver == to
            && snapshot.get_metadata().index >= request_index
        {
            return Ok(snapshot.clone());
        }
        self.wanted.borrow_mut().insert(to);
        Err(StorageError::SnapshotTemporarilyUnavailable.into())
    }
}
