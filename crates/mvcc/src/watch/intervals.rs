//! Which watchers' ranges a key lies in: a balanced tree of intervals that knows how far each
//! subtree reaches.
//!
//! Owns:       the ranges of synced watchers that watch more than one key.
//! Uses:       the standard library.
//! Never:      an empty interval, or one without watchers.
//! Invariants: [`Intervals::check_invariants`]: nodes ascend by start, then end; heights of siblings
//!             differ by one at most; `reach` is the largest end of a subtree.
//! Source:     design.md 7; Cormen et al., Introduction to Algorithms, 14.3 (interval trees).

use std::cmp::Ordering;
use std::collections::BTreeSet;

use bytes::Bytes;

use super::WatcherKey;

/// Where an interval ends; `Never` is behind every key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    Before(Bytes),
    Never,
}

impl End {
    fn is_behind(&self, key: &[u8]) -> bool {
        match self {
            Self::Before(end) => key < end.as_ref(),
            Self::Never => true,
        }
    }
}

type Link = Option<Box<Node>>;

#[derive(Clone, Debug)]
struct Node {
    start: Bytes,
    end: End,
    watchers: BTreeSet<WatcherKey>,
    /// The largest end in this subtree.
    reach: End,
    height: u32,
    left: Link,
    right: Link,
}

/// Intervals of keys with their watchers.
#[derive(Clone, Debug, Default)]
pub(super) struct Intervals {
    root: Link,
}

impl Intervals {
    pub(super) fn insert(&mut self, start: &Bytes, end: &End, watcher: WatcherKey) {
        self.root = Some(insert(self.root.take(), start, end, watcher));
    }

    pub(super) fn remove(&mut self, start: &Bytes, end: &End, watcher: WatcherKey) {
        self.root = remove(self.root.take(), start, end, watcher);
    }

    /// Visits the watchers of every interval that holds the key.
    pub(super) fn stab(&self, key: &[u8], visit: &mut dyn FnMut(WatcherKey)) {
        stab(&self.root, key, visit);
    }

    /// Asserts what the module header promises.
    ///
    /// # Panics
    /// When it does not hold.
    pub(super) fn check_invariants(&self) {
        check(&self.root);
    }
}

impl Node {
    fn new(start: &Bytes, end: &End, watcher: WatcherKey) -> Box<Self> {
        Box::new(Self {
            start: start.clone(),
            end: end.clone(),
            watchers: BTreeSet::from([watcher]),
            reach: end.clone(),
            height: 1,
            left: None,
            right: None,
        })
    }

    fn order(&self, start: &Bytes, end: &End) -> Ordering {
        start.cmp(&self.start).then_with(|| end.cmp(&self.end))
    }

    fn refresh(&mut self) {
        self.height = 1 + height(&self.left).max(height(&self.right));
        let below = [&self.left, &self.right].into_iter().flatten().map(|node| &node.reach);
        let reach = below.chain([&self.end]).max().cloned();
        self.reach = reach.unwrap_or(End::Never);
    }
}

fn height(link: &Link) -> u32 {
    link.as_ref().map_or(0, |node| node.height)
}

fn insert(link: Link, start: &Bytes, end: &End, watcher: WatcherKey) -> Box<Node> {
    let Some(mut node) = link else { return Node::new(start, end, watcher) };
    match node.order(start, end) {
        Ordering::Less => node.left = Some(insert(node.left.take(), start, end, watcher)),
        Ordering::Greater => node.right = Some(insert(node.right.take(), start, end, watcher)),
        Ordering::Equal => {
            node.watchers.insert(watcher);
            return node;
        }
    }
    balance(node)
}

fn remove(link: Link, start: &Bytes, end: &End, watcher: WatcherKey) -> Link {
    let mut node = link?;
    match node.order(start, end) {
        Ordering::Less => node.left = remove(node.left.take(), start, end, watcher),
        Ordering::Greater => node.right = remove(node.right.take(), start, end, watcher),
        Ordering::Equal => {
            node.watchers.remove(&watcher);
            if node.watchers.is_empty() {
                return join(node.left.take(), node.right.take());
            }
        }
    }
    Some(balance(node))
}

/// One tree of two neighbours whose parent is gone.
fn join(left: Link, right: Link) -> Link {
    let Some(right) = right else { return left };
    let (rest, mut first) = take_first(right);
    first.left = left;
    first.right = rest;
    Some(balance(first))
}

fn take_first(mut node: Box<Node>) -> (Link, Box<Node>) {
    match node.left.take() {
        None => {
            let rest = node.right.take();
            (rest, node)
        }
        Some(left) => {
            let (rest, first) = take_first(left);
            node.left = rest;
            (Some(balance(node)), first)
        }
    }
}

fn balance(mut node: Box<Node>) -> Box<Node> {
    node.refresh();
    let (left, right) = (height(&node.left), height(&node.right));
    if left > right + 1 {
        let child = node.left.take().expect("the higher side has a node");
        let child =
            if height(&child.left) < height(&child.right) { lift_right(child) } else { child };
        node.left = Some(child);
        return lift_left(node);
    }
    if right > left + 1 {
        let child = node.right.take().expect("the higher side has a node");
        let child =
            if height(&child.right) < height(&child.left) { lift_left(child) } else { child };
        node.right = Some(child);
        return lift_right(node);
    }
    node
}

/// Rotates the left child into the place of its parent.
fn lift_left(mut node: Box<Node>) -> Box<Node> {
    let Some(mut child) = node.left.take() else { return node };
    node.left = child.right.take();
    node.refresh();
    child.right = Some(node);
    child.refresh();
    child
}

/// Rotates the right child into the place of its parent.
fn lift_right(mut node: Box<Node>) -> Box<Node> {
    let Some(mut child) = node.right.take() else { return node };
    node.right = child.left.take();
    node.refresh();
    child.left = Some(node);
    child.refresh();
    child
}

fn stab(link: &Link, key: &[u8], visit: &mut dyn FnMut(WatcherKey)) {
    let Some(node) = link else { return };
    if !node.reach.is_behind(key) {
        return;
    }
    stab(&node.left, key, visit);
    if node.start.as_ref() <= key {
        if node.end.is_behind(key) {
            node.watchers.iter().copied().for_each(&mut *visit);
        }
        stab(&node.right, key, visit);
    }
}

fn check(link: &Link) -> u32 {
    let Some(node) = link else { return 0 };
    let (left, right) = (check(&node.left), check(&node.right));
    assert!(left.abs_diff(right) <= 1, "heights {left} and {right}");
    assert_eq!(node.height, 1 + left.max(right), "height");
    assert!(!node.watchers.is_empty(), "interval without watchers");
    for (child, expected) in [(&node.left, Ordering::Less), (&node.right, Ordering::Greater)] {
        if let Some(child) = child {
            assert_eq!(node.order(&child.start, &child.end), expected, "order");
            assert!(child.reach <= node.reach, "reach");
        }
    }
    assert!(node.end <= node.reach, "reach");
    node.height
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(number: i64) -> WatcherKey {
        WatcherKey { stream: 0, id: number }
    }

    fn interval() -> impl Strategy<Value = (Bytes, End)> {
        let bytes = || proptest::collection::vec(0_u8..4, 0..3).prop_map(Bytes::from);
        let end = prop_oneof![bytes().prop_map(End::Before), Just(End::Never)];
        (bytes(), end).prop_filter("not empty", |(start, end)| end.is_behind(start))
    }

    proptest! {
        /// The tree finds what a walk over a list finds, whatever was inserted and removed.
        #[test]
        fn stabs_as_a_list_does(
            steps in proptest::collection::vec((interval(), 0_i64..8, any::<bool>()), 0..120),
        ) {
            let mut tree = Intervals::default();
            let mut list = BTreeSet::new();
            for ((start, end), number, is_insert) in steps {
                if is_insert {
                    tree.insert(&start, &end, key(number));
                    list.insert((start, end, key(number)));
                } else {
                    tree.remove(&start, &end, key(number));
                    list.remove(&(start, end, key(number)));
                }
                tree.check_invariants();
            }
            for probe in [&b""[..], b"\0", b"\x01", b"\x01\x02", b"\x02\0", b"\x03\x03", b"\xff"] {
                let mut found = Vec::new();
                tree.stab(probe, &mut |watcher| found.push(watcher));
                found.sort_unstable();
                let holds = |(start, end, _): &&(Bytes, End, WatcherKey)| {
                    start.as_ref() <= probe && end.is_behind(probe)
                };
                let mut expected: Vec<_> = list.iter().filter(holds).map(|(.., key)| *key).collect();
                expected.sort_unstable();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
