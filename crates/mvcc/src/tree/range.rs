//! Walks and counts between two bounds.

use std::ops::Bound;

use super::{Child, Counts, Entry, Node, Tree, child_of, count, position, sum};

/// Entries between two bounds, ascending.
#[derive(Debug)]
pub(crate) struct Iter<'a, E> {
    /// What is left of the children on the way down to the leaf.
    path: Vec<std::slice::Iter<'a, Child<E>>>,
    leaf: std::slice::Iter<'a, E>,
    upper: Bound<&'a [u8]>,
}

impl<E: Entry, const MAX: usize> Tree<E, MAX> {
    /// All entries, ascending.
    pub(crate) fn iter(&self) -> Iter<'_, E> {
        self.range(Bound::Unbounded, Bound::Unbounded)
    }

    /// The entries between two bounds, ascending; none if they are the wrong way round.
    pub(crate) fn range<'a>(&'a self, lower: Bound<&[u8]>, upper: Bound<&'a [u8]>) -> Iter<'a, E> {
        let mut iter = Iter { path: Vec::new(), leaf: [].iter(), upper };
        let mut node = &self.root;
        loop {
            match node {
                Node::Inner(children) => {
                    let at = match lower {
                        Bound::Included(key) | Bound::Excluded(key) => child_of(children, key),
                        Bound::Unbounded => 0,
                    };
                    iter.path.push(children[at + 1..].iter());
                    node = &children[at].node;
                }
                Node::Leaf(entries) => {
                    iter.enter(&entries[entries_before(entries, lower)..]);
                    return iter;
                }
            }
        }
    }

    /// How many entries there are between two bounds, without a walk.
    pub(crate) fn count(&self, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> Counts {
        let end = match upper {
            Bound::Unbounded => self.counts,
            Bound::Included(key) => self.before(Bound::Excluded(key)),
            Bound::Excluded(key) => self.before(Bound::Included(key)),
        };
        let begin = self.before(lower);
        Counts { all: end.all.saturating_sub(begin.all), live: end.live.saturating_sub(begin.live) }
    }

    /// How many entries a walk from a lower bound leaves out.
    fn before(&self, lower: Bound<&[u8]>) -> Counts {
        let (Bound::Included(key) | Bound::Excluded(key)) = lower else {
            return Counts::default();
        };
        let mut node = &self.root;
        let mut before = Counts::default();
        loop {
            let passed = match node {
                Node::Inner(children) => {
                    let at = child_of(children, key);
                    node = &children[at].node;
                    sum(&children[..at])
                }
                Node::Leaf(entries) => {
                    let passed = count(&entries[..entries_before(entries, lower)]);
                    return Counts {
                        all: before.all + passed.all,
                        live: before.live + passed.live,
                    };
                }
            };
            before.all += passed.all;
            before.live += passed.live;
        }
    }
}

/// Entries of a leaf that lie before a lower bound.
fn entries_before<E: Entry>(entries: &[E], lower: Bound<&[u8]>) -> usize {
    match lower {
        Bound::Unbounded => 0,
        Bound::Included(key) => position(entries, key).unwrap_or_else(|at| at),
        Bound::Excluded(key) => position(entries, key).map_or_else(|at| at, |at| at + 1),
    }
}

impl<'a, E: Entry> Iter<'a, E> {
    /// Takes up a leaf: the bound is compared once, not for each entry.
    fn enter(&mut self, entries: &'a [E]) {
        let inside = |entry: &E| match self.upper {
            Bound::Unbounded => true,
            Bound::Included(key) => entry.key() <= key,
            Bound::Excluded(key) => entry.key() < key,
        };
        if entries.last().is_none_or(inside) {
            self.leaf = entries.iter();
            return;
        }
        self.leaf = entries[..entries.partition_point(inside)].iter();
        self.path.clear();
    }

    fn next_leaf(&mut self) -> Option<()> {
        while let Some(children) = self.path.last_mut() {
            let Some(child) = children.next() else {
                self.path.pop();
                continue;
            };
            let mut node = &child.node;
            loop {
                match node {
                    Node::Inner(children) => {
                        let mut rest = children.iter();
                        node = &rest.next()?.node;
                        self.path.push(rest);
                    }
                    Node::Leaf(entries) => {
                        self.enter(entries);
                        return Some(());
                    }
                }
            }
        }
        None
    }
}

impl<'a, E: Entry> Iterator for Iter<'a, E> {
    type Item = &'a E;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.leaf.next() {
                return Some(entry);
            }
            self.next_leaf()?;
        }
    }
}
