//! The whole store as the JSON that Go keeps in `.snap` files and sends in MsgSnap.
//!
//! Owns:       the shape of that JSON (docs/format/v2-json.md).
//! Uses:       `gojson` for writing, `serde_json` for reading, `json` for events and counters.
//! Never:      files.
//! Invariants: what is written here is what Go would write for the same store; `Events` always has
//!             1000 slots, since a Go member panics on fewer at its next write.
//! Source:     disk-formats.md 3.1, api-v2.md 8.4.

use std::collections::BTreeMap;
use std::sync::Arc;

use gojson::Object;
use serde::Deserialize;

use crate::history::CAPACITY;
use crate::json::{self, Keys};
use crate::node::{Content, Node};
use crate::stats::ReadCounters;
use crate::store::INDEX_MAX;
use crate::{Action, Event, History, NodeView, Stats, Store, path, time};

/// The only version of the format that etcd has written since 2.0.
const FORMAT_VERSION: u64 = 2;
/// Each level of the tree nests an object for the node and one for its children; a few more hold
/// the history.
const NESTING_MAX: usize = 2 * path::DEPTH_MAX + 16;

/// JSON that is no store.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The text is no JSON of the right shape.
    #[error("parse v2 snapshot json")]
    Json(#[source] serde_json::Error),
    /// The objects nest deeper than the deepest permitted tree.
    #[error("v2 snapshot nests deeper than {NESTING_MAX} levels")]
    TooDeep,
    /// A node or event makes no sense.
    #[error("corrupt v2 snapshot at {at:?}: expected {expected}")]
    Corrupt {
        /// Path or action.
        at: String,
        /// What should have been there.
        expected: &'static str,
    },
}

impl Store {
    /// Writes the store.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = String::new();
        let mut object = Object::open(&mut out);
        push_node(object.key("Root"), &self.root, "/");
        let mut hub = Object::open(object.key("WatcherHub"));
        push_history(hub.key("EventHistory"), &self.history);
        hub.finish();
        object.number("CurrentIndex", self.index);
        json::push_stats(object.key("Stats"), &self.stats());
        object.number("CurrentVersion", FORMAT_VERSION);
        object.finish();
        out.into_bytes()
    }

    /// Reads what [`Store::to_json`] or any etcd since 2.0 has written. A missing history or
    /// missing counters start anew.
    ///
    /// # Errors
    /// The text is not such a store, or is beyond the limits of [`path`].
    pub fn from_json(text: &[u8]) -> Result<Self, SnapshotError> {
        // Go replaces broken UTF-8 in keys and values; a snapshot must not be lost for it.
        let text = String::from_utf8_lossy(text);
        check_nesting(text.as_bytes())?;
        let mut parser = serde_json::Deserializer::from_str(&text);
        parser.disable_recursion_limit();
        let parsed = StoreJson::deserialize(&mut parser).map_err(SnapshotError::Json)?;
        parser.end().map_err(SnapshotError::Json)?;

        let index = parsed.current_index;
        if index > INDEX_MAX {
            return Err(corrupt("CurrentIndex", "an index that can be reached"));
        }
        let root = parsed.root.into_node("/", index)?;
        if !root.is_directory() {
            return Err(corrupt("/", "a directory"));
        }
        let mut store = Self::from_root(root, index);
        for space in [path::CLUSTER, path::KEYS] {
            if !store.root.find(space).is_ok_and(Node::is_directory) {
                return Err(corrupt(space, "a directory"));
            }
        }
        let history = parsed.watcher_hub.unwrap_or_default().event_history.unwrap_or_default();
        store.history = Arc::new(history.into_history(index)?);
        store.stats = parsed.stats.unwrap_or_default();
        store.reads = ReadCounters::new(store.stats.gets_success, store.stats.gets_fail);
        Ok(store)
    }
}

fn push_node(out: &mut String, node: &Node, here: &str) {
    let mut object = Object::open(out);
    object.string("Path", here);
    object.number("CreatedIndex", node.created_index);
    object.number("ModifiedIndex", node.modified_index);
    let expiration = node.expiration.map(time::format);
    object.string("ExpireTime", expiration.as_deref().unwrap_or(time::GO_ZERO));
    object.string("Value", node.value());
    let out = object.key("Children");
    match node.children() {
        None => out.push_str("null"),
        Some(children) => {
            let mut object = Object::open(out);
            for (name, child) in children {
                push_node(object.key(name), child, &path::join(here, name));
            }
            object.finish();
        }
    }
    object.finish();
}

fn push_history(out: &mut String, history: &History) {
    let mut object = Object::open(out);
    let (front, back) = history.ring();
    let size = history.events().len();
    let mut slots: Vec<Option<&Event>> = vec![None; CAPACITY];
    for (position, event) in history.events().enumerate() {
        slots[(front + position) % CAPACITY] = Some(event);
    }
    let mut queue = Object::open(object.key("Queue"));
    gojson::push_list(queue.key("Events"), slots, |out, slot| match slot {
        Some(event) => json::push_event(out, event, Keys::Full, None),
        None => out.push_str("null"),
    });
    for (name, value) in [("Size", size), ("Front", front), ("Back", back), ("Capacity", CAPACITY)]
    {
        queue.number(name, value as u64);
    }
    queue.finish();
    object.number("StartIndex", history.start_index());
    object.number("LastIndex", history.last_index());
    object.finish();
}

/// Bounds the recursion of the parser before it starts.
fn check_nesting(text: &[u8]) -> Result<(), SnapshotError> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > NESTING_MAX {
                    return Err(SnapshotError::TooDeep);
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StoreJson {
    root: NodeJson,
    watcher_hub: Option<HubJson>,
    current_index: u64,
    stats: Option<Stats>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NodeJson {
    created_index: u64,
    modified_index: u64,
    expire_time: String,
    value: String,
    children: Option<BTreeMap<String, NodeJson>>,
}

impl NodeJson {
    fn into_node(self, here: &str, index: u64) -> Result<Node, SnapshotError> {
        path::check_limits(here, 0).map_err(|_| corrupt(here, "a path within the limits"))?;
        if self.created_index > self.modified_index || self.modified_index > index {
            return Err(corrupt(here, "indexes not beyond that of the store"));
        }
        let content = match self.children {
            None => Content::File(self.value.into()),
            Some(children) => {
                let mut nodes = BTreeMap::new();
                for (name, child) in children {
                    if name.is_empty() || name.contains('/') || matches!(&*name, "." | "..") {
                        return Err(corrupt(here, "children with proper names"));
                    }
                    let child = child.into_node(&path::join(here, &name), index)?;
                    nodes.insert(name.into(), Arc::new(child));
                }
                Content::Directory(nodes)
            }
        };
        let expiration = match self.expire_time.as_str() {
            time::GO_ZERO => None,
            text => Some(time::parse(text).ok_or_else(|| corrupt(here, "a time as ExpireTime"))?),
        };
        Ok(Node {
            created_index: self.created_index,
            modified_index: self.modified_index,
            expiration,
            content,
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HubJson {
    event_history: Option<HistoryJson>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HistoryJson {
    queue: Option<QueueJson>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct QueueJson {
    events: Option<Vec<Option<EventJson>>>,
    size: usize,
    front: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventJson {
    action: String,
    node: EventNodeJson,
    prev_node: Option<EventNodeJson>,
    #[serde(default)]
    refresh: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct EventNodeJson {
    key: String,
    value: Option<String>,
    dir: bool,
    expiration: Option<String>,
    ttl: i64,
    modified_index: u64,
    created_index: u64,
}

impl HistoryJson {
    fn into_history(self, index: u64) -> Result<History, SnapshotError> {
        let queue = self.queue.unwrap_or_default();
        let mut slots = queue.events.unwrap_or_default();
        let capacity = slots.len();
        let mut events = Vec::new();
        for position in 0..queue.size.min(capacity) {
            let slot = slots[(queue.front % capacity + position) % capacity].take();
            let event = slot.ok_or_else(|| corrupt("EventHistory", "as many events as Size"))?;
            events.push(Arc::new(event.into_event()?));
        }
        let ordered = events.is_sorted_by_key(|event| event.node.modified_index);
        let newest = events.last().map_or(0, |event| event.node.modified_index);
        if !ordered || newest > index {
            return Err(corrupt("EventHistory", "events in order, up to the index of the store"));
        }
        // With another capacity than ours the positions mean nothing.
        let front = if capacity == CAPACITY { queue.front } else { 0 };
        Ok(History::restored(events, front, index))
    }
}

impl EventJson {
    fn into_event(self) -> Result<Event, SnapshotError> {
        let action =
            Action::parse(&self.action).ok_or_else(|| corrupt(&self.action, "an action"))?;
        let node = self.node.into_view()?;
        let prev_node = self.prev_node.map(EventNodeJson::into_view).transpose()?;
        Ok(Event {
            action,
            index: node.modified_index,
            is_created: action == Action::Create || (action == Action::Set && prev_node.is_none()),
            refresh: self.refresh,
            node,
            prev_node,
        })
    }
}

impl EventNodeJson {
    fn into_view(self) -> Result<NodeView, SnapshotError> {
        let expiration = match self.expiration {
            None => None,
            Some(text) => {
                Some(time::parse(&text).ok_or_else(|| corrupt(&self.key, "a time as expiration"))?)
            }
        };
        Ok(NodeView {
            ttl: expiration.map(|_| self.ttl),
            key: self.key,
            value: self.value,
            dir: self.dir,
            expiration,
            nodes: None,
            modified_index: self.modified_index,
            created_index: self.created_index,
        })
    }
}

fn corrupt(at: &str, expected: &'static str) -> SnapshotError {
    SnapshotError::Corrupt { at: at.to_owned(), expected }
}

#[cfg(test)]
mod tests;
