//! What happened between two states of the store, for watchers that were not told while it did: a
//! member that installs a snapshot goes from one state to the other without the entries between.
//!
//! Owns:       nothing.
//! Uses:       `history` of the later state, `node` of the earlier one.
//! Never:      guesses: where the history does not reach back far enough there is no answer.
//! Invariants: the events and removed paths are those that applying the entries would have given,
//!             apart from the `ttl` that each member fixes by its own clock.
//! Source:     docs/decisions/0014-v2-watchers-and-snapshots.md.

use std::sync::Arc;

use crate::node::Node;
use crate::{Action, Event, Store};

/// An event with the paths of all nodes that it removed.
pub type Missed = (Arc<Event>, Vec<String>);

impl Store {
    /// The events that led from `earlier` to this state; `None` when some of them are forgotten.
    #[must_use]
    pub fn missed_since(&self, earlier: &Self) -> Option<Vec<Missed>> {
        if self.index <= earlier.index {
            return Some(Vec::new());
        }
        let first = earlier.index + 1;
        if self.history.start_index() > first {
            return None;
        }
        let mut tree = Arc::clone(&earlier.root);
        let new = self.history.events().filter(|event| event.node.modified_index >= first);
        Some(new.map(|event| (Arc::clone(event), replay(&mut tree, event))).collect())
    }
}

/// Follows an event in the shape of the tree; returns the paths that it removed, deepest first.
fn replay(tree: &mut Arc<Node>, event: &Event) -> Vec<String> {
    let path = event.node.key.as_str();
    let mut removed = Vec::new();
    match event.action {
        Action::Get | Action::Update | Action::CompareAndSwap => {}
        Action::Set | Action::Create => {
            // Values do not matter here, only what exists. Any index will do.
            let node = if event.node.dir { Node::directory(0) } else { Node::empty_file() };
            Node::insert(tree, path, node, 0);
        }
        Action::Delete | Action::CompareAndDelete | Action::Expire => {
            if let Some(node) = Node::detach(tree, path) {
                node.visit(path, &mut |path, _| removed.push(path.to_owned()));
                removed.reverse();
            }
        }
    }
    removed
}

#[cfg(test)]
mod tests;
