//! A piece of history as events.
//!
//! Made in three steps, so that the store is held only for the second one: [`Chunk::read`] from rows
//! that were pinned together with the compacted revision, [`Chunk::look_up`] for where the pairs
//! before the events are, [`Chunk::fetch`] for those pairs.
//!
//! Owns:       nothing.
//! Uses:       `history`, `kv`, the store's index.
//! Never:      a part of a revision.
//! Invariants: `revisions` ascend and are all that changed a key from `from` to `through`.
//! Source:     api-v3.md 3.3; disk-formats.md 7.

use std::ops::ControlFlow;

use bytes::Bytes;
use types::RevKey;

use super::PieceSize;
use crate::history::{History, HistoryFault};
use crate::kv::{KvView, Pair};
use crate::store::Store;
use crate::txn::{Event, EventKind};

/// Events of some revisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    pub(super) from: i64,
    pub(super) through: i64,
    pub(super) compacted: i64,
    pub(super) revisions: Vec<(i64, Vec<Event>)>,
    pub(super) has_previous: bool,
    /// Where the pairs before some of the events are: positions of revision and event, and row.
    wanted: Vec<(usize, usize, RevKey)>,
}

impl Chunk {
    /// Reads whole revisions from `from` to `to` at most, about as many as one response holds; a
    /// piece ends with the revision that takes it over `bytes_max`.
    ///
    /// `compacted` is the compacted revision when the rows were pinned. Revisions below it have
    /// holes; watchers that need them are ended by it.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub fn read(
        history: &dyn History,
        from: i64,
        to: i64,
        compacted: i64,
        bytes_max: usize,
    ) -> Result<Self, HistoryFault> {
        let mut chunk = Self {
            from,
            through: to,
            compacted,
            revisions: Vec::new(),
            has_previous: false,
            wanted: Vec::new(),
        };
        // Below it nobody is served; a watcher that starts there has been ended.
        let first = from.max(compacted);
        let mut size = PieceSize::new(bytes_max);
        let (mut rows, mut bytes) = (0, 0);
        let mut malformed = None;
        history.scan(RevKey::new(first, 0), &mut |revision, tombstone, row| {
            if revision.main > to {
                return ControlFlow::Break(());
            }
            let last = chunk.revisions.last().map(|(last, _)| *last);
            if last.is_some_and(|last| last != revision.main) {
                size.add(std::mem::take(&mut rows), std::mem::take(&mut bytes));
                if size.is_full() {
                    chunk.through = revision.main - 1;
                    return ControlFlow::Break(());
                }
            }
            // A revision bumped by a restore has a row without content (disk-formats.md 7).
            if row.is_empty() {
                return ControlFlow::Continue(());
            }
            match event(revision.main, tombstone, row) {
                Ok(event) => chunk.push(revision.main, event),
                Err(fault) => {
                    malformed = Some(fault);
                    return ControlFlow::Break(());
                }
            }
            rows += 1;
            bytes += row.len();
            ControlFlow::Continue(())
        })?;
        malformed.map_or(Ok(chunk), Err)
    }

    /// Finds the pairs before the events. The store may have moved on since the rows were pinned: a
    /// pair that it has compacted since is left out.
    pub fn look_up(&mut self, store: &Store) {
        self.has_previous = true;
        for (place, (revision, events)) in self.revisions.iter_mut().enumerate() {
            let before = *revision - 1;
            if before < store.compacted_revision() {
                continue;
            }
            for (position, event) in events.iter_mut().enumerate() {
                let Some(entry) = store.index.get(&event.key) else { continue };
                let Some(at) = entry.visible_at(before) else { continue };
                match entry.latest_at(at) {
                    Some(pair) => event.prev = Some(pair.clone()),
                    None => self.wanted.push((place, position, entry.change(at).revision())),
                }
            }
        }
    }

    /// Fetches the pairs that were found, from the rows that were read before.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub fn fetch(&mut self, history: &dyn History) -> Result<(), HistoryFault> {
        for (place, position, revision) in std::mem::take(&mut self.wanted) {
            self.revisions[place].1[position].prev =
                history.value(revision)?.map(|row| Pair::from(&row[..]));
        }
        Ok(())
    }

    fn push(&mut self, revision: i64, event: Event) {
        match self.revisions.last_mut() {
            Some((last, events)) if *last == revision => events.push(event),
            _ => self.revisions.push((revision, vec![event])),
        }
    }
}

fn event(revision: i64, tombstone: bool, row: &Bytes) -> Result<Event, HistoryFault> {
    let view = KvView::parse(row).map_err(|error| HistoryFault(error.to_string()))?;
    let key = row.slice_ref(view.key);
    Ok(if tombstone {
        let kv = KvView { key: &key, mod_revision: revision, ..KvView::default() }.encode_pair();
        Event { kind: EventKind::Delete, key, kv, prev: None }
    } else {
        Event { kind: EventKind::Put, key, kv: Pair::from(&row[..]), prev: None }
    })
}
