//! A tree built from entries that are in order already.

use super::{Child, Entry, Node, Tree, count, separator, sum};

impl<E: Entry, const MAX: usize> Tree<E, MAX> {
    /// A tree of full nodes. The entries must ascend, without equal keys.
    pub(crate) fn from_sorted(mut entries: impl Iterator<Item = E>) -> Self {
        let mut leaves: Vec<Child<E>> = Vec::new();
        loop {
            let mut leaf = Vec::with_capacity(MAX);
            leaf.extend(entries.by_ref().take(MAX));
            let Some(first) = leaf.first() else { break };
            let low = match leaves.last().map(|child| &child.node) {
                Some(Node::Leaf(before)) => {
                    before.last().map(|last| separator(last.key(), first.key())).unwrap_or_default()
                }
                Some(Node::Inner(_)) | None => Box::default(),
            };
            leaf.shrink_to_fit();
            leaves.push(Child { low, counts: count(&leaf), node: Node::Leaf(leaf) });
        }
        Self::from_level(leaves)
    }

    /// Puts levels on top until there is a root.
    fn from_level(mut level: Vec<Child<E>>) -> Self {
        while level.len() > 1 {
            let mut children = level.into_iter();
            level = Vec::with_capacity(children.len().div_ceil(MAX));
            while let Some(mut first) = children.next() {
                let low = std::mem::take(&mut first.low);
                let mut inner = Vec::with_capacity(MAX.min(children.len() + 1));
                inner.push(first);
                inner.extend(children.by_ref().take(MAX - 1));
                level.push(Child { low, counts: sum(&inner), node: Node::Inner(inner) });
            }
        }
        level.pop().map_or_else(Self::default, |root| Self { root: root.node, counts: root.counts })
    }
}
