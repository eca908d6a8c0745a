//! What always holds of a tree.

use super::{Counts, Entry, Node, Tree};

/// Keys that a subtree may hold: from the first on, and before the second.
type Bounds<'a> = (&'a [u8], Option<&'a [u8]>);

impl<E: Entry, const MAX: usize> Tree<E, MAX> {
    /// Asserts that keys ascend and lie where the separators say, that counts are those of the
    /// entries, that nodes are neither too large nor empty, and that all leaves are at one depth.
    ///
    /// # Panics
    ///
    /// When it does not hold.
    pub(crate) fn check_invariants(&self) {
        let (counts, _) = check_node::<E, MAX>(&self.root, (&[], None), true);
        assert_eq!(counts, self.counts, "counts of the tree");
        if let Node::Inner(children) = &self.root {
            assert!(children.len() > 1, "a root with {} children", children.len());
        }
    }
}

/// Counts of a subtree and its height.
fn check_node<E: Entry, const MAX: usize>(
    node: &Node<E>,
    (low, high): Bounds<'_>,
    is_root: bool,
) -> (Counts, usize) {
    assert!(node.len() <= MAX, "{} items in a node", node.len());
    assert!(is_root || node.len() > 0, "an empty node");
    match node {
        Node::Leaf(entries) => {
            for pair in entries.windows(2) {
                let (left, right) = (pair[0].key(), pair[1].key());
                assert!(left < right, "{left:?} before {right:?}");
            }
            for key in entries.iter().map(Entry::key) {
                let inside = low <= key && high.is_none_or(|high| key < high);
                assert!(inside, "key {key:?} outside of {low:?} to {high:?}");
            }
            (super::count(entries), 0)
        }
        Node::Inner(children) => {
            let mut counts = Counts::default();
            let mut heights = Vec::new();
            for (at, child) in children.iter().enumerate() {
                let low = if at == 0 { low } else { &child.low };
                let high = children.get(at + 1).map(|next| &*next.low).or(high);
                let (found, height) = check_node::<E, MAX>(&child.node, (low, high), false);
                assert_eq!(found, child.counts, "counts of child {at} from {low:?} on");
                counts.all += found.all;
                counts.live += found.live;
                heights.push(height);
            }
            assert!(heights.windows(2).all(|pair| pair[0] == pair[1]), "heights {heights:?}");
            (counts, heights.first().map_or(0, |height| height + 1))
        }
    }
}
