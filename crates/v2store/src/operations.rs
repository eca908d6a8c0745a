//! Each kind of change of the tree, without counters and history.
//!
//! Owns:       the rules of api-v2.md 4.2 to 4.4.
//! Uses:       `node`, `store`.
//! Never:      changes anything before it is certain that the operation succeeds.
//! Source:     api-v2.md 1.11 to 1.13, 4; etcd `v2store/store.go`, `v2store/node.go`.

use std::sync::Arc;

use types::{V2Code, V2Error};

use crate::node::{Blocked, Content, Node};
use crate::store::{Depth, Lifetime, Store, listing, ttl_at};
use crate::{Action, Event, NodeView, RowChange, path, rows};

/// On creation an earlier expiration means none: etcd guards so against times that were mangled
/// on the way. 2000-01-01T00:00:00Z in unix nanoseconds.
const EXPIRATION_MIN: i64 = 946_684_800_000_000_000;

/// A change that happened.
pub(crate) struct Done {
    pub(crate) event: Event,
    pub(crate) changes: Vec<RowChange>,
    pub(crate) removed: Vec<String>,
}

impl Store {
    pub(crate) fn do_set(
        &mut self,
        path: &str,
        dir: bool,
        value: &str,
        lifetime: Lifetime,
    ) -> Result<Done, V2Error> {
        let kept = match self.find(path) {
            Ok(node) if lifetime.refresh => Some(node.value().to_owned()),
            Err(error) if error.code != V2Code::KeyNotFound || lifetime.refresh => {
                return Err(error);
            }
            _ => None,
        };
        let value = kept.as_deref().unwrap_or(value);
        let mut done = self.put(path, dir, value, lifetime.expiration, Action::Set)?;
        done.event.refresh = lifetime.refresh;
        Ok(done)
    }

    pub(crate) fn do_create(
        &mut self,
        path: &str,
        dir: bool,
        value: &str,
        lifetime: Lifetime,
    ) -> Result<Done, V2Error> {
        self.put(path, dir, value, lifetime.expiration, Action::Create)
    }

    /// Writes a new node over nothing or, for `set`, over a file.
    fn put(
        &mut self,
        path: &str,
        dir: bool,
        value: &str,
        expiration: Option<i64>,
        action: Action,
    ) -> Result<Done, V2Error> {
        self.check_writable(path)?;
        path::check_limits(path, self.index)?;
        let parent = path::split(path).map_or("/", |(parent, _)| parent);
        self.root.check_directory(parent).map_err(|blocked| self.refuse(blocked))?;
        let prev_node = match self.root.find(path) {
            Ok(_) if action != Action::Set => return Err(self.error(V2Code::KeyExists, path)),
            Ok(node) if node.is_directory() => return Err(self.error(V2Code::NotFile, path)),
            Ok(node) => Some(self.view(node, path)),
            Err(_) => None,
        };

        self.index += 1;
        let expiration = expiration.filter(|expiration| *expiration >= EXPIRATION_MIN);
        let node = Node {
            created_index: self.index,
            modified_index: self.index,
            expiration,
            content: if dir {
                Content::Directory(Default::default())
            } else {
                Content::File(value.into())
            },
        };
        self.reschedule(path, prev_node.as_ref().and_then(|node| node.expiration), expiration);
        let view = self.view(&node, path);
        let row = RowChange { path: path.to_owned(), row: Some(rows::encode(&node)) };
        let made = Node::insert(&mut self.root, path, node, self.index)
            .expect("no file is in the way: checked above");
        let parents = made
            .into_iter()
            .map(|path| RowChange { path, row: Some(rows::encode(&Node::directory(self.index))) });
        let changes = parents.chain([row]).collect();
        let mut event = self.event(action, view, prev_node);
        event.is_created = action == Action::Create || event.prev_node.is_none();
        Ok(Done { event, changes, removed: Vec::new() })
    }

    pub(crate) fn do_update(
        &mut self,
        path: &str,
        value: &str,
        lifetime: Lifetime,
    ) -> Result<Done, V2Error> {
        self.check_writable(path)?;
        let node = self.find(path)?;
        if node.is_directory() && !value.is_empty() {
            return Err(self.error(V2Code::NotFile, path));
        }
        Ok(self.rewrite(path, value, lifetime, Action::Update))
    }

    pub(crate) fn do_compare_and_swap(
        &mut self,
        path: &str,
        prev_value: &str,
        prev_index: u64,
        value: &str,
        lifetime: Lifetime,
    ) -> Result<Done, V2Error> {
        self.check_writable(path)?;
        self.compare(path, prev_value, prev_index)?;
        Ok(self.rewrite(path, value, lifetime, Action::CompareAndSwap))
    }

    /// Writes value and expiration of a node that is there.
    fn rewrite(&mut self, path: &str, value: &str, lifetime: Lifetime, action: Action) -> Done {
        let prev_node = self.view(self.root.find(path).expect("found before"), path);
        self.index += 1;
        let index = self.index;
        let node = Node::find_mut(&mut self.root, path).expect("found before");
        node.expiration = lifetime.expiration;
        if let Content::File(content) = &mut node.content {
            // A directory keeps its modified index, although the event shows the new one: Go's
            // write refuses directories and the refusal is dropped (api-v2.md 4.3).
            node.modified_index = index;
            if !lifetime.refresh {
                *content = value.into();
            }
        }
        let changes = vec![RowChange { path: path.to_owned(), row: Some(rows::encode(node)) }];
        self.reschedule(path, prev_node.expiration, lifetime.expiration);
        let mut view = self.view(self.root.find(path).expect("found before"), path);
        view.modified_index = index;
        let mut event = self.event(action, view, Some(prev_node));
        event.refresh = lifetime.refresh;
        Done { event, changes, removed: Vec::new() }
    }

    pub(crate) fn do_delete(
        &mut self,
        path: &str,
        dir: bool,
        recursive: bool,
    ) -> Result<Done, V2Error> {
        self.check_writable(path)?;
        let node = self.find(path)?;
        if let Some(children) = node.children() {
            if !dir && !recursive {
                return Err(self.error(V2Code::NotFile, path));
            }
            if !children.is_empty() && !recursive {
                return Err(self.error(V2Code::DirectoryNotEmpty, path));
            }
        }
        Ok(self.remove(path, Action::Delete))
    }

    pub(crate) fn do_compare_and_delete(
        &mut self,
        path: &str,
        prev_value: &str,
        prev_index: u64,
    ) -> Result<Done, V2Error> {
        // No check for the name spaces here: Go has none either, they fail as directories.
        self.compare(path, prev_value, prev_index)?;
        Ok(self.remove(path, Action::CompareAndDelete))
    }

    pub(crate) fn do_expire(&mut self, path: &str) -> Done {
        self.remove(path, Action::Expire)
    }

    /// Takes out a node that is there, with all below it.
    fn remove(&mut self, path: &str, action: Action) -> Done {
        self.index += 1;
        let node = Node::detach(&mut self.root, path).expect("found before");
        let mut removed = Vec::new();
        let deadlines = Arc::make_mut(&mut self.deadlines);
        node.visit(path, &mut |path, node| {
            removed.push(path.to_owned());
            if let Some(expiration) = node.expiration {
                deadlines.remove(&(expiration, path.to_owned()));
            }
        });
        // Deepest first, as Go removes and tells watchers.
        removed.reverse();
        let view = NodeView {
            key: path.to_owned(),
            dir: node.is_directory(),
            modified_index: self.index,
            created_index: node.created_index,
            ..NodeView::default()
        };
        let event = self.event(action, view, Some(self.view(&node, path)));
        let changes =
            removed.iter().map(|path| RowChange { path: path.clone(), row: None }).collect();
        Done { event, changes, removed }
    }

    /// Checks that a file holds the expected value and index, where they are given.
    fn compare(&self, path: &str, prev_value: &str, prev_index: u64) -> Result<(), V2Error> {
        let node = self.find(path)?;
        if node.is_directory() {
            return Err(self.error(V2Code::NotFile, path));
        }
        let (value, index) = (node.value(), node.modified_index);
        let mut causes = Vec::new();
        if !prev_value.is_empty() && prev_value != value {
            causes.push(format!("[{prev_value} != {value}]"));
        }
        if prev_index != 0 && prev_index != index {
            causes.push(format!("[{prev_index} != {index}]"));
        }
        if causes.is_empty() {
            return Ok(());
        }
        Err(self.error(V2Code::CompareFailed, &causes.join(" ")))
    }

    pub(crate) fn find(&self, path: &str) -> Result<&Node, V2Error> {
        self.root.find(path).map_err(|blocked| self.refuse(blocked))
    }

    fn check_writable(&self, path: &str) -> Result<(), V2Error> {
        if path::is_read_only(path) {
            return Err(self.error(V2Code::RootReadOnly, "/"));
        }
        Ok(())
    }

    fn error(&self, code: V2Code, cause: &str) -> V2Error {
        V2Error::new(code, cause, self.index)
    }

    fn refuse(&self, (code, cause): Blocked) -> V2Error {
        V2Error::new(code, cause, self.index)
    }

    /// A node as an event shows it: without children, with the time left to it now.
    fn view(&self, node: &Node, path: &str) -> NodeView {
        let ttl = ttl_at(node.expiration, self.now);
        NodeView { ttl, ..listing(node, path.to_owned(), Depth::Nothing) }
    }

    fn event(&self, action: Action, node: NodeView, prev_node: Option<NodeView>) -> Event {
        Event { action, node, prev_node, index: self.index, is_created: false, refresh: false }
    }

    fn reschedule(&mut self, path: &str, before: Option<i64>, after: Option<i64>) {
        if before == after {
            return;
        }
        let deadlines = Arc::make_mut(&mut self.deadlines);
        if let Some(expiration) = before {
            deadlines.remove(&(expiration, path.to_owned()));
        }
        if let Some(expiration) = after {
            deadlines.insert((expiration, path.to_owned()));
        }
    }
}
