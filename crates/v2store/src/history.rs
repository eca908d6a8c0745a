//! The last 1000 events of the store, in etcd's ring.
//!
//! Owns:       [`History`].
//! Uses:       `event`.
//! Never:      waits for events that have not happened; that is the watch hub's.
//! Invariants: events are in ascending order of their index; the ring's positions are those that
//!             Go's ring would have, because the snapshot shows them.
//! Source:     api-v2.md 3.3, 8.4; etcd `v2store/event_history.go`.

use std::collections::VecDeque;
use std::sync::Arc;

use types::{V2Code, V2Error};

use crate::{Action, Event};

/// Events kept; the oldest one makes room for a new one.
pub const CAPACITY: usize = 1000;

/// A window over the events of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    events: VecDeque<Arc<Event>>,
    /// Slot of the oldest event in Go's ring.
    front: usize,
    start_index: u64,
    last_index: u64,
}

impl History {
    /// A history that has forgotten everything up to and including `index`.
    #[must_use]
    pub fn forgotten(index: u64) -> Self {
        // A store that never had an event has forgotten none: Go starts with two zeros.
        let start_index = if index == 0 { 0 } else { index.saturating_add(1) };
        Self { start_index, last_index: index, ..Self::default() }
    }

    /// A history as a snapshot describes it; more than [`CAPACITY`] events lose the oldest.
    #[must_use]
    pub(crate) fn restored(events: Vec<Arc<Event>>, front: usize, index: u64) -> Self {
        let mut history = Self::forgotten(index);
        history.front = front % CAPACITY;
        for event in events {
            history.push(event);
        }
        history
    }

    /// Takes in a new event.
    pub(crate) fn push(&mut self, event: Arc<Event>) {
        if self.events.len() == CAPACITY {
            self.events.pop_front();
            self.front = (self.front + 1) % CAPACITY;
        }
        self.last_index = event.node.modified_index;
        self.events.push_back(event);
        self.start_index = self.events[0].node.modified_index;
    }

    /// The events from the oldest to the newest.
    pub fn events(&self) -> impl ExactSizeIterator<Item = &Arc<Event>> {
        self.events.iter()
    }

    /// Index of the oldest event that is still known.
    #[must_use]
    pub fn start_index(&self) -> u64 {
        self.start_index
    }

    /// Index of the newest event.
    #[must_use]
    pub fn last_index(&self) -> u64 {
        self.last_index
    }

    /// First and next free slot of Go's ring.
    #[must_use]
    pub fn ring(&self) -> (usize, usize) {
        (self.front, (self.front + self.events.len()) % CAPACITY)
    }

    /// The first event at or behind `since` that a watcher of `key` (a clean path) would have been
    /// told. `None` when there was none, or `since` is still to come. `store_index` is what an
    /// error reports.
    ///
    /// # Errors
    /// Code 401 when events at `since` have been forgotten.
    pub fn scan(
        &self,
        key: &str,
        recursive: bool,
        since: u64,
        store_index: u64,
    ) -> Result<Option<&Arc<Event>>, V2Error> {
        if since < self.start_index {
            let cause =
                format!("the requested history has been cleared [{}/{since}]", self.start_index);
            return Err(V2Error::new(V2Code::EventIndexCleared, cause, store_index));
        }
        let first = self.events.partition_point(|event| event.node.modified_index < since);
        let mut rest = self.events.range(first..);
        Ok(rest.find(|event| !event.refresh && matches(event, key, recursive)))
    }
}

fn matches(event: &Event, key: &str, recursive: bool) -> bool {
    let event_key = event.node.key.as_str();
    if event_key == key {
        return true;
    }
    if recursive && is_below(event_key, key) {
        return true;
    }
    // Go compares text here, not path elements: removing directory `/foo1` is told to a watcher of
    // `/foo12` too. Kept, because scripts see it (api-v2.md 3.3).
    let removes_directory = matches!(event.action, Action::Delete | Action::Expire)
        && event.prev_node.as_ref().is_some_and(|node| node.dir);
    removes_directory && key.starts_with(event_key)
}

fn is_below(key: &str, directory: &str) -> bool {
    directory == "/" || key.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests;
