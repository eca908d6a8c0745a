//! Watchers: who is told of which event.
//!
//! Owns:       [`Hub`], the registered watchers by the path that they watch.
//! Uses:       `store` and `history` at registration; `path`.
//! Never:      buffers, channels, connections: what is to be sent leaves as [`Delivery`] values, and
//!             the shell takes a watcher out that cannot take them.
//! Invariants: a one-shot watcher is delivered to once and is gone with it; deliveries to one watcher
//!             come in the order of the events; a refresh is never delivered.
//! Source:     api-v2.md 3; etcd `v2store/watcher_hub.go`, `v2store/watcher.go`.

use std::collections::BTreeMap;
use std::sync::Arc;

use types::V2Error;

use crate::{Event, Store, path};

/// What a client wants to be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// Path with its name space; need not exist.
    pub key: String,
    /// Everything below it as well.
    pub recursive: bool,
    /// More than one event.
    pub stream: bool,
    /// Index of the first event of interest; 0 for whatever comes next.
    pub since: u64,
}

/// A registered watcher; never used twice by one hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WatcherId(pub u64);

/// The outcome of a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registered {
    /// The history held the first event: nothing was registered. A stream gets this one event and
    /// then silence, as in etcd (api-v2.md 3.3).
    Past(Arc<Event>),
    /// Events will come.
    Live(WatcherId),
}

/// One event for one watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// To whom.
    pub watcher: WatcherId,
    /// Whether it was the only one: the watcher is not registered any more.
    pub is_last: bool,
}

/// The watchers of one member. They are not replicated.
#[derive(Clone, Debug, Default)]
pub struct Hub {
    by_path: BTreeMap<Arc<str>, BTreeMap<WatcherId, Interest>>,
    paths: BTreeMap<WatcherId, Arc<str>>,
    last_id: u64,
}

#[derive(Clone, Copy, Debug)]
struct Interest {
    recursive: bool,
    stream: bool,
    since: u64,
}

/// In which of etcd's two passes a path is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// The path itself was removed: whoever watches it is told.
    Removed,
    /// The path leads to the event: whoever watches it recursively is told.
    Walk,
}

impl Hub {
    /// A hub without watchers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many watchers wait for events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Registers a watcher at the store's present index, or finds what it waits for in the history.
    /// The history is matched by rules of its own (api-v2.md 3.3).
    ///
    /// # Errors
    /// Code 401 when events at `since` have been forgotten.
    pub fn register(&mut self, store: &Store, watch: &Watch) -> Result<Registered, V2Error> {
        let key = path::clean(&watch.key);
        let index = store.index();
        let since = if watch.since == 0 { index + 1 } else { watch.since };
        if let Some(event) = store.history().scan(&key, watch.recursive, since, index)? {
            return Ok(Registered::Past(Arc::clone(event)));
        }
        self.last_id += 1;
        let id = WatcherId(self.last_id);
        let key: Arc<str> = key.into();
        let interest = Interest { recursive: watch.recursive, stream: watch.stream, since };
        self.by_path.entry(Arc::clone(&key)).or_default().insert(id, interest);
        self.paths.insert(id, key);
        Ok(Registered::Live(id))
    }

    /// Takes a watcher out; nothing happens when it is gone already.
    pub fn remove(&mut self, id: WatcherId) {
        if let Some(key) = self.paths.remove(&id)
            && let Some(watchers) = self.by_path.get_mut(&key)
        {
            watchers.remove(&id);
            if watchers.is_empty() {
                self.by_path.remove(&key);
            }
        }
    }

    /// Takes out everybody who waits for an event at or before `index` and returns them: what
    /// happened up to there is not known to this member.
    pub fn give_up(&mut self, index: u64) -> Vec<WatcherId> {
        let waiting = self.by_path.values().flatten();
        let given_up: Vec<WatcherId> =
            waiting.filter(|(_, interest)| interest.since <= index).map(|(id, _)| *id).collect();
        for id in &given_up {
            self.remove(*id);
        }
        given_up
    }

    /// Who is told of an event that just happened. `removed` are the paths of all nodes that went
    /// with it ([`crate::Applied::removed`]). A stream on a removed node, or recursive on it, is
    /// named twice: etcd tells it twice (api-v2.md 3.2).
    #[must_use]
    pub fn notify(&mut self, event: &Event, removed: &[String]) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        if event.refresh || self.is_empty() {
            return deliveries;
        }
        for path in removed {
            self.tell(path, event, Pass::Removed, &mut deliveries);
        }
        for path in prefixes(&event.node.key) {
            self.tell(path, event, Pass::Walk, &mut deliveries);
        }
        deliveries
    }

    /// Tells the watchers of one path.
    fn tell(&mut self, path: &str, event: &Event, pass: Pass, deliveries: &mut Vec<Delivery>) {
        let Some(watchers) = self.by_path.get_mut(path) else { return };
        let event_key = event.node.key.as_str();
        let is_own = event_key == path;
        if !is_own && is_hidden_from(path, event_key) {
            return;
        }
        let index = event.node.modified_index;
        let paths = &mut self.paths;
        watchers.retain(|id, interest| {
            let is_told =
                (interest.recursive || is_own || pass == Pass::Removed) && index >= interest.since;
            let is_last = is_told && !interest.stream;
            if is_told {
                deliveries.push(Delivery { watcher: *id, is_last });
            }
            if is_last {
                paths.remove(id);
            }
            !is_last
        });
        if watchers.is_empty() {
            self.by_path.remove(path);
        }
    }
}

/// The paths from the root down to a clean path itself.
fn prefixes(key: &str) -> impl Iterator<Item = &str> {
    let inner = key.char_indices().skip(1).filter(|(_, c)| *c == '/').map(|(at, _)| &key[..at]);
    let own = (key != "/").then_some(key);
    std::iter::once("/").chain(inner).chain(own)
}

/// Whether the way from a watched path down to the event's has a hidden element. A watcher below
/// the event, which is told that the directory above it went, is never kept from knowing.
fn is_hidden_from(watched: &str, event_key: &str) -> bool {
    let Some(below) = event_key.get(watched.len()..) else { return false };
    path::elements(below).any(path::is_hidden)
}

#[cfg(test)]
mod tests;
