//! An ordered map that can count: a B+tree whose inner nodes know how many entries hang below them.
//!
//! ```text
//! Inner   [ low, counts | low, counts | ... ]      `low` bounds the keys of a child from below;
//!              |             |                     that of the first child is not looked at
//! Leaf    [ entry, entry, ... ]                    entries carry their keys themselves
//! ```
//!
//! Owns:       the order of entries, and how many there are, dead and live, below each node.
//! Uses:       nothing.
//! Never:      keys of its own but for separators; knowledge of what an entry is beyond [`Entry`].
//! Invariants: [`Tree::check_invariants`].
//! Source:     design.md 5 (counts need an order statistic).

mod bulk;
mod check;
mod range;

#[cfg(test)]
mod tests;

/// Entries of a leaf and children of an inner node at most: a leaf of compact entries is one
/// kilobyte, and a million keys are three levels of inner nodes.
const FANOUT: usize = 64;

/// What a tree keeps.
pub(crate) trait Entry {
    /// The key; must not change while the entry is in a tree.
    fn key(&self) -> &[u8];

    /// Whether the entry counts as live.
    fn is_live(&self) -> bool;
}

/// How many entries there are somewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) all: usize,
    pub(crate) live: usize,
}

/// Entries in the order of their keys.
#[derive(Clone, Debug)]
pub(crate) struct Tree<E, const MAX: usize = FANOUT> {
    root: Node<E>,
    counts: Counts,
}

#[derive(Clone, Debug)]
enum Node<E> {
    Leaf(Vec<E>),
    Inner(Vec<Child<E>>),
}

#[derive(Clone, Debug)]
struct Child<E> {
    low: Box<[u8]>,
    counts: Counts,
    node: Node<E>,
}

/// By how much the counts of a subtree changed.
#[derive(Clone, Copy, Debug, Default)]
struct Shift {
    all: isize,
    live: isize,
}

impl<E, const MAX: usize> Default for Tree<E, MAX> {
    fn default() -> Self {
        Self { root: Node::Leaf(Vec::new()), counts: Counts::default() }
    }
}

impl<E: Entry, const MAX: usize> Tree<E, MAX> {
    /// Number of entries, dead ones included.
    pub(crate) fn len(&self) -> usize {
        self.counts.all
    }

    /// The entry of a key.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&E> {
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(entries) => return Some(&entries[position(entries, key).ok()?]),
                Node::Inner(children) => node = &children[child_of(children, key)].node,
            }
        }
    }

    /// Hands the entry of a key to `change`, or `None` to have one made: an entry returned then goes
    /// into the tree. It must have that key, and what was handed over must keep it.
    pub(crate) fn upsert<R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(Option<&mut E>) -> (Option<E>, R),
    ) -> R {
        let (shift, right, result) = upsert::<E, R, MAX>(&mut self.root, key, change);
        self.counts.shift(shift);
        if let Some(right) = right {
            let mut counts = self.counts;
            counts.take(right.counts);
            let root = std::mem::replace(&mut self.root, Node::Leaf(Vec::new()));
            let left = Child { low: Box::default(), counts, node: root };
            self.root = Node::Inner(vec![left, right]);
        }
        result
    }

    /// Hands the entry of a key to `keep`, which may change it, and removes it if the answer is no.
    pub(crate) fn retain(&mut self, key: &[u8], keep: impl FnOnce(&mut E) -> bool) {
        let shift = retain::<E, MAX>(&mut self.root, key, keep);
        self.counts.shift(shift);
        while let Node::Inner(children) = &mut self.root
            && children.len() <= 1
        {
            self.root = children.pop().map_or(Node::Leaf(Vec::new()), |only| only.node);
        }
    }
}

fn upsert<E: Entry, R, const MAX: usize>(
    node: &mut Node<E>,
    key: &[u8],
    change: impl FnOnce(Option<&mut E>) -> (Option<E>, R),
) -> (Shift, Option<Child<E>>, R) {
    match node {
        Node::Leaf(entries) => match position(entries, key) {
            Ok(at) => {
                let entry = &mut entries[at];
                let before = isize::from(entry.is_live());
                let (_, result) = change(Some(entry));
                let shift = Shift { all: 0, live: isize::from(entry.is_live()) - before };
                (shift, None, result)
            }
            Err(at) => {
                let (entry, result) = change(None);
                let Some(entry) = entry else { return (Shift::default(), None, result) };
                debug_assert_eq!(entry.key(), key);
                let shift = Shift { all: 1, live: isize::from(entry.is_live()) };
                (shift, insert_entry::<E, MAX>(entries, at, entry), result)
            }
        },
        Node::Inner(children) => {
            let at = child_of(children, key);
            let child = &mut children[at];
            let (shift, right, result) = upsert::<E, R, MAX>(&mut child.node, key, change);
            child.counts.shift(shift);
            let Some(right) = right else { return (shift, None, result) };
            child.counts.take(right.counts);
            (shift, insert_child::<E, MAX>(children, at + 1, right), result)
        }
    }
}

/// Puts an entry into a leaf; what had to move out of it, if it was full.
fn insert_entry<E: Entry, const MAX: usize>(
    entries: &mut Vec<E>,
    at: usize,
    entry: E,
) -> Option<Child<E>> {
    if entries.len() < MAX {
        insert_exact::<E, MAX>(entries, at, entry);
        return None;
    }
    // Keys that come in order leave full leaves behind.
    let cut = if at == MAX { MAX } else { MAX / 2 };
    let mut right = split(entries, cut);
    if at > cut || right.is_empty() {
        insert_exact::<E, MAX>(&mut right, at - cut, entry);
    } else {
        insert_exact::<E, MAX>(entries, at, entry);
    }
    let low = separator(entries.last()?.key(), right.first()?.key());
    Some(Child { low, counts: count(&right), node: Node::Leaf(right) })
}

fn insert_child<E: Entry, const MAX: usize>(
    children: &mut Vec<Child<E>>,
    at: usize,
    child: Child<E>,
) -> Option<Child<E>> {
    if children.len() < MAX {
        insert_exact::<_, MAX>(children, at, child);
        return None;
    }
    let cut = if at == MAX { MAX - 1 } else { MAX / 2 };
    let mut right = split(children, cut);
    if at > cut {
        insert_exact::<_, MAX>(&mut right, at - cut, child);
    } else {
        insert_exact::<_, MAX>(children, at, child);
    }
    let low = std::mem::take(&mut right.first_mut()?.low);
    Some(Child { low, counts: sum(&right), node: Node::Inner(right) })
}

/// Moves what is behind `cut` out of a node, and gives back the room it took.
fn split<T>(items: &mut Vec<T>, cut: usize) -> Vec<T> {
    let right = items.split_off(cut);
    items.shrink_to_fit();
    right
}

/// Inserts and takes room in small steps: the room that doubling leaves unused, in each leaf, would
/// be a quarter of the index.
fn insert_exact<T, const MAX: usize>(items: &mut Vec<T>, at: usize, item: T) {
    if items.len() == items.capacity() {
        items.reserve_exact((MAX / 8).max(1));
    }
    items.insert(at, item);
}

fn retain<E: Entry, const MAX: usize>(
    node: &mut Node<E>,
    key: &[u8],
    keep: impl FnOnce(&mut E) -> bool,
) -> Shift {
    match node {
        Node::Leaf(entries) => {
            let Ok(at) = position(entries, key) else { return Shift::default() };
            let before = isize::from(entries[at].is_live());
            if keep(&mut entries[at]) {
                return Shift { all: 0, live: isize::from(entries[at].is_live()) - before };
            }
            entries.remove(at);
            Shift { all: -1, live: -before }
        }
        Node::Inner(children) => {
            let at = child_of(children, key);
            let shift = retain::<E, MAX>(&mut children[at].node, key, keep);
            children[at].counts.shift(shift);
            if shift.all < 0 {
                tidy::<E, MAX>(children, at);
            }
            shift
        }
    }
}

/// After a removal below a child: takes it away if it is empty, and joins it with a neighbour if the
/// two are no more than half a node.
fn tidy<E, const MAX: usize>(children: &mut Vec<Child<E>>, at: usize) {
    if children[at].counts.all == 0 {
        children.remove(at);
        return;
    }
    if is_small_pair::<E, MAX>(children, at) {
        join(children, at);
    }
    if at > 0 && is_small_pair::<E, MAX>(children, at - 1) {
        join(children, at - 1);
    }
}

fn is_small_pair<E, const MAX: usize>(children: &[Child<E>], left: usize) -> bool {
    let Some([left, right]) = children.get(left..left + 2) else { return false };
    left.node.len() + right.node.len() <= MAX / 2
}

/// Moves all of the child behind `left` into it.
fn join<E>(children: &mut Vec<Child<E>>, left: usize) {
    let right = children.remove(left + 1);
    let left = &mut children[left];
    left.counts.all += right.counts.all;
    left.counts.live += right.counts.live;
    match (&mut left.node, right.node) {
        (Node::Leaf(entries), Node::Leaf(more)) => {
            entries.reserve_exact(more.len());
            entries.extend(more);
        }
        (Node::Inner(inner), Node::Inner(mut more)) => {
            if let Some(first) = more.first_mut() {
                first.low = right.low;
            }
            inner.extend(more);
        }
        (Node::Leaf(_), Node::Inner(_)) | (Node::Inner(_), Node::Leaf(_)) => {
            unreachable!("all leaves of a tree are at one depth")
        }
    }
}

/// Where an entry is in a leaf, or where it belongs.
fn position<E: Entry>(entries: &[E], key: &[u8]) -> Result<usize, usize> {
    entries.binary_search_by(|entry| entry.key().cmp(key))
}

/// The child whose keys a key belongs to.
fn child_of<E>(children: &[Child<E>], key: &[u8]) -> usize {
    children.get(1..).unwrap_or(&[]).partition_point(|child| *child.low <= *key)
}

/// The shortest key behind `left` that is not behind `right`.
fn separator(left: &[u8], right: &[u8]) -> Box<[u8]> {
    let common = left.iter().zip(right).take_while(|(a, b)| a == b).count();
    right.get(..=common).unwrap_or(right).into()
}

fn count<E: Entry>(entries: &[E]) -> Counts {
    Counts { all: entries.len(), live: entries.iter().filter(|entry| entry.is_live()).count() }
}

fn sum<E>(children: &[Child<E>]) -> Counts {
    children.iter().fold(Counts::default(), |mut sum, child| {
        sum.all += child.counts.all;
        sum.live += child.counts.live;
        sum
    })
}

impl<E> Node<E> {
    fn len(&self) -> usize {
        match self {
            Self::Leaf(entries) => entries.len(),
            Self::Inner(children) => children.len(),
        }
    }
}

impl Counts {
    fn shift(&mut self, shift: Shift) {
        self.all = self.all.saturating_add_signed(shift.all);
        self.live = self.live.saturating_add_signed(shift.live);
    }

    fn take(&mut self, other: Self) {
        self.all -= other.all;
        self.live -= other.live;
    }
}
