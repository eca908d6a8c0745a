//! What goes into the watchers and what comes out of them, as plain values.
//!
//! Owns:       the shapes of the contract between the watchers and whoever runs them.
//! Uses:       `types`, the events of `txn`.
//! Never:      behaviour.
//! Invariants: what a sink takes is all that a watcher is told.
//! Source:     api-v3.md 3.1 to 3.5.

use types::KeyRange;

use crate::txn::{Event, EventKind};

/// A watcher among all streams of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WatcherKey {
    /// Its stream.
    pub stream: u64,
    /// Its ID in the stream, as the client knows it.
    pub id: i64,
}

/// What a watcher wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchSpec {
    /// The keys.
    pub range: KeyRange,
    /// Drops puts.
    pub no_put: bool,
    /// Drops deletes.
    pub no_delete: bool,
    /// Wants the pairs before the events.
    pub prev_kv: bool,
    /// Wants to be told now and then that nothing happened.
    pub progress_notify: bool,
}

impl WatchSpec {
    pub(super) fn wants(&self, event: &Event) -> bool {
        match event.kind {
            EventKind::Put => !self.no_put,
            EventKind::Delete => !self.no_delete,
        }
    }
}

/// Where a watcher is to begin, and what the store looks like at that moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// First revision of interest; 0 is whatever comes next.
    pub revision: i64,
    /// Current revision of the store; it may be ahead of what is published here.
    pub current: i64,
    /// Compacted revision of the store.
    pub compacted: i64,
}

/// Why there is no watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The range cannot hold a key.
    EmptyRange,
    /// The stream has a watcher of that ID.
    DuplicateId,
    /// The start is negative.
    NegativeStart,
    /// The member has [`types::limits::WATCHERS_MAX`] watchers.
    TooMany,
}

/// A new watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Created {
    /// Its ID in the stream.
    pub id: i64,
    /// Whether it ended at once, because its start is compacted: up to this revision.
    pub compacted: Option<i64>,
}

/// Takes what watchers are told.
pub trait Sink {
    /// Events for a watcher, all of one or more whole revisions; `header_revision` is what the
    /// response names. `false` when there is no room, and nothing was taken.
    fn events(
        &mut self,
        watcher: WatcherKey,
        prev_kv: bool,
        header_revision: i64,
        events: &[&Event],
    ) -> bool;

    /// The history that the watcher needs is gone; it has ended. Must be taken.
    fn compacted(&mut self, watcher: WatcherKey, compact_revision: i64);

    /// Everything up to `revision` has been given to the watcher. Must be taken.
    fn progress(&mut self, watcher: WatcherKey, revision: i64);
}
