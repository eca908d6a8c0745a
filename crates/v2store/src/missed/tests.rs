use super::*;
use crate::{Applied, Lifetime};

const BASE: i64 = 1_700_000_000_000_000_000;

/// Some of everything: directories, files replaced, implicit parents, refreshes, expirations.
fn step(store: &mut Store, number: u64) -> Applied {
    let keys = ["/1/a", "/1/a/b", "/1/a/b/c", "/1/d/e", "/1/_h/x", "/1/f"];
    let key = keys[usize::try_from(number.wrapping_mul(0x9e37_79b9) >> 7).unwrap() % keys.len()];
    let expiration = BASE + i64::try_from(number).unwrap() * 5;
    let lifetime = Lifetime {
        expiration: number.is_multiple_of(5).then_some(expiration),
        refresh: number % 7 == 3,
    };
    match (number.wrapping_mul(0x85eb_ca6b) >> 5) % 6 {
        0 => store.set(key, true, "", lifetime),
        1 | 2 => store.set(key, false, "v", lifetime),
        3 => store.update(key, "", lifetime),
        4 => store.delete(key, true, number.is_multiple_of(2)),
        _ => store.expire(expiration - 60),
    }
}

#[test]
fn what_was_missed_equals_what_was_told() {
    let mut trees = 0;
    for first in 0..40 {
        let mut store = Store::new();
        let mut told = Vec::new();
        let mut states = vec![(store.clone(), 0)];
        for number in first..first + 60 {
            let applied = step(&mut store, number);
            told.extend(applied.events.into_iter().map(Arc::new).zip(applied.removed));
            states.push((store.clone(), told.len()));
        }
        for (earlier, seen) in &states {
            assert_eq!(store.missed_since(earlier).unwrap(), told[*seen..], "from {seen}");
        }
        trees += told.iter().filter(|(_, removed)| removed.len() > 1).count();
    }
    assert!(trees > 20, "only {trees} trees were removed");
}

#[test]
fn a_gap_is_not_passed_over() {
    let mut store = Store::new();
    let _ = store.set("/1/k", false, "v", Lifetime::default());
    let earlier = store.clone();
    for _ in 0..1000 {
        let _ = store.set("/1/k", false, "v", Lifetime::default());
    }
    assert_eq!(store.missed_since(&earlier).unwrap().len(), 1000);
    let _ = store.set("/1/k", false, "v", Lifetime::default());
    assert_eq!(store.missed_since(&earlier), None);
    assert_eq!(earlier.missed_since(&store), Some(Vec::new()), "nothing is told backwards");
}
