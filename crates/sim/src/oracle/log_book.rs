//! The logs of all members as far as they were seen to be written.
//!
//! Owns:       positions and fingerprints, no content.

use std::collections::BTreeMap;

use types::NodeId;

use crate::member::LogOnDisk;
use crate::turn::LogNote;

/// One log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    /// Position of the snapshot that the log begins behind.
    pub(super) snapshot: (u64, u64),
    /// Term and fingerprint by index.
    pub(super) entries: BTreeMap<u64, (u64, u64)>,
}

impl Book {
    fn write(&mut self, write: &LogNote) {
        if let Some(snapshot) = write.snapshot {
            self.snapshot = snapshot;
            self.entries.clear();
        }
        if let Some(&(first, ..)) = write.entries.first() {
            self.entries.split_off(&first);
        }
        for &(index, term, fingerprint) in &write.entries {
            self.entries.insert(index, (term, fingerprint));
        }
    }

    /// Whether an entry is in the log, or behind its beginning.
    pub(super) fn has(&self, index: u64, term: u64) -> bool {
        index <= self.snapshot.0 || self.entries.get(&index).is_some_and(|entry| entry.0 == term)
    }

    /// Term at an index, if the log tells.
    pub(super) fn term(&self, index: u64) -> Option<u64> {
        match self.entries.get(&index) {
            Some((term, _)) => Some(*term),
            None if index == self.snapshot.0 => Some(self.snapshot.1),
            None => None,
        }
    }
}

/// All logs: what was handed out for writing, and what of it is durable.
#[derive(Debug, Default)]
pub(super) struct LogBooks {
    written: BTreeMap<NodeId, Book>,
    durable: BTreeMap<NodeId, Book>,
    empty: Book,
}

impl LogBooks {
    pub(super) fn handed(&mut self, id: NodeId, write: &LogNote) {
        self.written.entry(id).or_default().write(write);
    }

    pub(super) fn synced(&mut self, id: NodeId, write: &LogNote) {
        self.durable.entry(id).or_default().write(write);
    }

    pub(super) fn restarted(&mut self, id: NodeId, log: &LogOnDisk) {
        let entries =
            log.entries.iter().map(|&(index, term, print)| (index, (term, print))).collect();
        let book = Book { snapshot: log.snapshot, entries };
        self.written.insert(id, book.clone());
        self.durable.insert(id, book);
    }

    pub(super) fn written(&self, id: NodeId) -> &Book {
        self.written.get(&id).unwrap_or(&self.empty)
    }

    pub(super) fn durable(&self, id: NodeId) -> &Book {
        self.durable.get(&id).unwrap_or(&self.empty)
    }
}
