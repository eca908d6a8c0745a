//! The tree against an ordered map, with nodes of several sizes.

use std::collections::BTreeMap;
use std::ops::Bound;

use proptest::prelude::*;

use super::{Entry, Node, Tree};

#[derive(Clone, Debug, PartialEq)]
struct Item {
    key: Vec<u8>,
    live: bool,
    value: u32,
}

impl Entry for Item {
    fn key(&self) -> &[u8] {
        &self.key
    }

    fn is_live(&self) -> bool {
        self.live
    }
}

#[derive(Clone, Debug)]
enum Action {
    /// Insert, or change value and life of what is there.
    Put(Vec<u8>, bool),
    /// Look at a place and leave it empty if it is.
    Touch(Vec<u8>),
    Remove(Vec<u8>),
    /// Change life only, through the same door as a removal.
    Set(Vec<u8>, bool),
    /// Many keys in order behind a prefix.
    Append(Vec<u8>, u8),
    RemoveRange(Vec<u8>, Vec<u8>),
    Rebuild,
}

type Model = BTreeMap<Vec<u8>, Item>;

/// Short keys of few letters: neighbours, prefixes of each other, the empty key.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(vec![0, b'a', b'b', 0xff]), 0..5)
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => (key(), any::<bool>()).prop_map(|(key, live)| Action::Put(key, live)),
        1 => key().prop_map(Action::Touch),
        4 => key().prop_map(Action::Remove),
        2 => (key(), any::<bool>()).prop_map(|(key, live)| Action::Set(key, live)),
        2 => (key(), 1..60u8).prop_map(|(key, len)| Action::Append(key, len)),
        1 => (key(), key()).prop_map(|(from, to)| Action::RemoveRange(from, to)),
        1 => Just(Action::Rebuild),
    ]
}

fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![
        key().prop_map(Bound::Included),
        key().prop_map(Bound::Excluded),
        Just(Bound::Unbounded),
    ]
}

fn borrowed(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

fn put<const MAX: usize>(tree: &mut Tree<Item, MAX>, model: &mut Model, item: Item) {
    let before = model.insert(item.key.clone(), item.clone());
    let found = tree.upsert(&item.key, |slot| match slot {
        Some(slot) => {
            let found = std::mem::replace(slot, item.clone());
            (None, Some(found))
        }
        None => (Some(item.clone()), None),
    });
    assert_eq!(found, before);
}

fn act<const MAX: usize>(
    tree: &mut Tree<Item, MAX>,
    model: &mut Model,
    action: &Action,
    value: u32,
) {
    match action {
        Action::Put(key, live) => put(tree, model, Item { key: key.clone(), live: *live, value }),
        Action::Touch(key) => {
            let found = tree.upsert(key, |slot| (None, slot.map(|slot| slot.clone())));
            assert_eq!(found.as_ref(), model.get(key));
        }
        Action::Remove(key) => remove(tree, model, key),
        Action::Set(key, live) => {
            tree.retain(key, |item| {
                item.live = *live;
                true
            });
            model.entry(key.clone()).and_modify(|item| item.live = *live);
        }
        Action::Append(prefix, len) => {
            for number in 0..*len {
                let key = [&prefix[..], &[number]].concat();
                put(tree, model, Item { key, live: number % 3 != 0, value });
            }
        }
        Action::RemoveRange(from, to) => {
            let inside = model.keys().filter(|key| from <= *key && *key < to);
            for key in inside.cloned().collect::<Vec<_>>() {
                remove(tree, model, &key);
            }
        }
        Action::Rebuild => *tree = Tree::from_sorted(model.values().cloned()),
    }
}

fn remove<const MAX: usize>(tree: &mut Tree<Item, MAX>, model: &mut Model, key: &[u8]) {
    let mut found = None;
    tree.retain(key, |item| {
        found = Some(item.clone());
        false
    });
    assert_eq!(found, model.remove(key));
}

fn check<const MAX: usize>(
    tree: &Tree<Item, MAX>,
    model: &Model,
    lower: &Bound<Vec<u8>>,
    upper: &Bound<Vec<u8>>,
) {
    tree.check_invariants();
    assert_eq!(tree.len(), model.len());
    assert!(tree.iter().eq(model.values()));
    let inside = |key: &Vec<u8>| {
        let above = match lower {
            Bound::Included(low) => low <= key,
            Bound::Excluded(low) => low < key,
            Bound::Unbounded => true,
        };
        let below = match upper {
            Bound::Included(high) => key <= high,
            Bound::Excluded(high) => key < high,
            Bound::Unbounded => true,
        };
        above && below
    };
    let expected: Vec<&Item> = model.values().filter(|item| inside(&item.key)).collect();
    let found: Vec<&Item> = tree.range(borrowed(lower), borrowed(upper)).collect();
    assert_eq!(found, expected, "{lower:?} to {upper:?}");
    let counts = tree.count(borrowed(lower), borrowed(upper));
    let live = expected.iter().filter(|item| item.live).count();
    assert_eq!((counts.all, counts.live), (expected.len(), live), "{lower:?} to {upper:?}");
    for key in model.keys().chain([lower, upper].into_iter().filter_map(|bound| match bound {
        Bound::Included(key) | Bound::Excluded(key) => Some(key),
        Bound::Unbounded => None,
    })) {
        assert_eq!(tree.get(key), model.get(key));
    }
}

/// What is done, and the bounds that are looked at after it.
type Step = (Action, Bound<Vec<u8>>, Bound<Vec<u8>>);

fn run<const MAX: usize>(steps: &[Step]) {
    let (mut tree, mut model) = (Tree::<Item, MAX>::default(), Model::new());
    for (value, (action, lower, upper)) in (0..).zip(steps) {
        act(&mut tree, &mut model, action, value);
        check(&tree, &model, lower, upper);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_tree_is_an_ordered_map_that_counts(
        steps in prop::collection::vec((action(), bound(), bound()), 1..60),
    ) {
        run::<3>(&steps);
        run::<4>(&steps);
        run::<7>(&steps);
        run::<64>(&steps);
    }
}

fn number(number: usize) -> Item {
    Item { key: format!("{number:06}").into_bytes(), live: number.is_multiple_of(2), value: 0 }
}

#[test]
fn bulk_built_trees_of_all_sizes_are_right() {
    for len in (0..140).chain([4 * 4 * 4, 4 * 4 * 4 + 1, 1000, 64 * 64 + 1]) {
        let small = Tree::<Item, 4>::from_sorted((0..len).map(number));
        let large = Tree::<Item, 64>::from_sorted((0..len).map(number));
        small.check_invariants();
        large.check_invariants();
        assert!(small.iter().eq(large.iter()));
        let counts = small.count(Bound::Unbounded, Bound::Unbounded);
        assert_eq!((counts.all, counts.live), (len, len.div_ceil(2)));
    }
}

fn leaves(node: &Node<Item>) -> usize {
    match node {
        Node::Leaf(_) => 1,
        Node::Inner(children) => children.iter().map(|child| leaves(&child.node)).sum(),
    }
}

#[test]
fn keys_in_order_fill_leaves_and_removals_give_them_back() {
    let len = 20_000;
    let (mut tree, mut model) = (Tree::<Item, 64>::default(), Model::new());
    for at in 0..len {
        put(&mut tree, &mut model, number(at));
    }
    tree.check_invariants();
    assert_eq!(leaves(&tree.root), len / 64 + 1);
    // A stride that meets each number once.
    for at in (0..len).map(|at| at * 7_919 % len).filter(|at| at % 100 != 0) {
        remove(&mut tree, &mut model, &number(at).key);
    }
    tree.check_invariants();
    assert!(tree.iter().eq(model.values()));
    assert!(leaves(&tree.root) <= 4 * model.len() / 64 + 1, "{} leaves", leaves(&tree.root));
    for key in model.keys().cloned().collect::<Vec<_>>() {
        remove(&mut tree, &mut model, &key);
    }
    tree.check_invariants();
    assert!(matches!(&tree.root, Node::Leaf(entries) if entries.is_empty()));
}
