//! Random batches against a map, with full checks, reopening, pins and shrinking.

use crate::common::{
    Model, Shape, apply, assert_checked, assert_same, db_path, open, random_batch,
};
use bolt::{Bolt, BoltError, Options, SortedBatch};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use simdisk::SimDisk;

fn run(seed: u64, shape: Shape, commits: usize) {
    let mut rng = StdRng::seed_from_u64(seed);
    let sim = SimDisk::new(seed);
    let disk = sim.disk();
    let mut bolt = open(&disk, shape);
    let mut model = Model::new();
    let mut pinned = Vec::new();
    for commit in 0..commits {
        let what = format!("seed {seed} commit {commit} {shape:?}");
        let batch = random_batch(&mut rng, &model, shape);
        bolt.commit(&batch).unwrap_or_else(|error| panic!("{what}: {error}"));
        apply(&mut model, &batch);
        assert_checked(&disk, &model, &what);
        match rng.random_range(0..12) {
            0 => pinned.push((bolt.view(), model.clone())),
            1 => {
                for (view, old) in pinned.drain(..) {
                    assert_same(&view, &old, &what);
                }
            }
            2 => {
                for (view, old) in pinned.drain(..) {
                    assert_same(&view, &old, &what);
                }
                let before = bolt.sizes();
                drop(bolt);
                bolt = open(&disk, shape);
                assert_eq!(bolt.sizes(), before, "{what}: free space is found again");
            }
            3 => {
                bolt.shrink_step(rng.random_range(0..40)).expect("shrink");
                assert_checked(&disk, &model, &what);
            }
            _ => {}
        }
        assert_same(&bolt.view(), &model, &what);
    }
}

#[test]
fn small_pages() {
    for seed in 0..20 {
        run(seed, Shape::small(), 60);
    }
}

#[test]
fn usual_pages() {
    let shape = Shape { page_size: 4096, keys: 2000, ops_max: 150, ..Shape::small() };
    for seed in 100..106 {
        run(seed, shape, 50);
    }
}

#[test]
fn large_pages_and_values() {
    let shape = Shape { page_size: 16384, large_every: 4, ..Shape::small() };
    for seed in 200..204 {
        run(seed, shape, 30);
    }
}

#[test]
fn long_keys() {
    let shape = Shape { key_padding: 3000, keys: 60, ..Shape::small() };
    for seed in 300..306 {
        run(seed, shape, 40);
    }
}

fn put(bucket: &'static str, rows: &[(&[u8], &[u8])]) -> SortedBatch {
    let row = |(key, value): &(&[u8], &[u8])| {
        (Bytes::copy_from_slice(key), Some(Bytes::copy_from_slice(value)))
    };
    SortedBatch { buckets: vec![(Bytes::from(bucket), rows.iter().map(row).collect())] }
}

#[test]
fn longest_key_and_large_value() {
    let sim = SimDisk::new(1);
    let disk = sim.disk();
    let mut bolt = open(&disk, Shape { page_size: 4096, ..Shape::small() });
    let mut model = Model::new();
    let value = vec![5; 3 << 20];
    for first in [b'a', b'b', b'c', b'd', b'e', b'f', b'g'] {
        let mut key = vec![b'k'; 32768];
        key[0] = first;
        let batch = put("key", &[(&key, &value)]);
        bolt.commit(&batch).unwrap();
        apply(&mut model, &batch);
        assert_checked(&disk, &model, "long keys");
    }
    assert_same(&bolt.view(), &model, "long keys");
}

#[test]
fn batches_that_break_a_rule_change_nothing() {
    let sim = SimDisk::new(1);
    let disk = sim.disk();
    let mut bolt = open(&disk, Shape::small());
    let too_long = vec![b'k'; 32769];
    let twice = put("key", &[(b"a", b""), (b"a", b"")]);
    let mut buckets = put("b", &[]);
    buckets.buckets.extend(put("a", &[]).buckets);
    let bad = [put("key", &[(&too_long, b"")]), put("key", &[(b"", b"")]), twice, buckets];
    for batch in &bad {
        assert!(matches!(bolt.commit(batch), Err(BoltError::Limit { .. })));
    }
    bolt.commit(&put("key", &[(b"a", b"1")])).unwrap();
    assert_eq!(bolt.view().get(b"key", b"a").unwrap(), Some(Bytes::from("1")));
    let page_size = Options { page_size: 1000, ..Options::default() };
    let result = Bolt::create_or_open(&*disk, db_path(), page_size);
    assert!(matches!(result, Err(BoltError::Limit { .. })));
}

#[test]
fn commit_without_change_writes_nothing() {
    let sim = SimDisk::new(1);
    let disk = sim.disk();
    let mut bolt = open(&disk, Shape::small());
    bolt.commit(&put("key", &[(b"a", b"1")])).unwrap();
    let (txid, writes) = (bolt.view().txid(), sim.write_count());
    let name = Bytes::from("key");
    let absent = SortedBatch { buckets: vec![(name, vec![(Bytes::from("b"), None)])] };
    for batch in [SortedBatch::default(), put("key", &[]), absent] {
        bolt.commit(&batch).unwrap();
    }
    assert_eq!((bolt.view().txid(), sim.write_count()), (txid, writes));
}

#[test]
fn second_open_is_refused_until_engine_and_views_are_gone() {
    let sim = SimDisk::new(1);
    let disk = sim.disk();
    let bolt = open(&disk, Shape::small());
    let view = bolt.view();
    let reopen = || Bolt::create_or_open(&*disk, db_path(), Options::default());
    assert!(matches!(reopen(), Err(BoltError::Locked)));
    drop(bolt);
    assert!(matches!(reopen(), Err(BoltError::Locked)));
    drop(view);
    assert!(reopen().is_ok());
}

#[test]
fn appended_rows_are_packed_and_deleted_ones_give_room_back() {
    let sim = SimDisk::new(1);
    let disk = sim.disk();
    let mut bolt = open(&disk, Shape { page_size: 4096, ..Shape::small() });
    let rows = |from: u64, to: u64, value: Option<&Bytes>| {
        let row = |n: u64| (Bytes::copy_from_slice(&n.to_be_bytes()), value.cloned());
        SortedBatch { buckets: vec![(Bytes::from("key"), (from..to).map(row).collect())] }
    };
    let value = Bytes::from(vec![b'v'; 300]);
    for step in 0..100 {
        bolt.commit(&rows(step * 100, (step + 1) * 100, Some(&value))).unwrap();
    }
    let full = bolt.sizes();
    assert!(full.in_use_bytes < 10_000 * 324 * 100 / 78, "{full:?}");
    for step in 0..90 {
        bolt.commit(&rows(step * 100, (step + 1) * 100, None)).unwrap();
    }
    assert!(bolt.sizes().in_use_bytes < full.in_use_bytes / 8, "{:?}", bolt.sizes());
    let mut steps = 0;
    while bolt.shrink_step(64).unwrap() > 0 {
        steps += 1;
        assert!(steps < 200, "{:?}", bolt.sizes());
    }
    let shrunk = bolt.sizes();
    assert!(shrunk.total_bytes < full.total_bytes / 5, "{shrunk:?}");
    let length = sim.snapshot_files()[db_path()].len() as u64;
    assert!(length < full.total_bytes / 2, "{length} of {full:?}");
    assert_eq!(bolt::check(&*disk, db_path()).unwrap().rows, 1000);
}

#[test]
fn sparse_leaves_are_joined() {
    let sim = SimDisk::new(1);
    let disk = sim.disk();
    let mut bolt = open(&disk, Shape { page_size: 4096, ..Shape::small() });
    let value = Bytes::from(vec![b'v'; 100]);
    let batch = |keep: &dyn Fn(u64) -> bool, value: Option<&Bytes>| {
        let row = |n: u64| (Bytes::copy_from_slice(&n.to_be_bytes()), value.cloned());
        let ops = (0..20_000).filter(|n| !keep(*n)).map(row).collect();
        SortedBatch { buckets: vec![(Bytes::from("key"), ops)] }
    };
    bolt.commit(&batch(&|_| false, Some(&value))).unwrap();
    let full = bolt.sizes().in_use_bytes;
    bolt.commit(&batch(&|n| n % 20 == 0, None)).unwrap();
    let sparse = bolt.sizes().in_use_bytes;
    assert!(sparse < full / 7, "{sparse} of {full}");
    assert_eq!(bolt::check(&*disk, db_path()).unwrap().rows, 1000);
}

/// A large value at the end of a fragmented file finds no gap; shrinking must come to an end.
#[test]
fn shrinking_ends_with_long_runs_and_pins() {
    for seed in 0..12 {
        let mut rng = StdRng::seed_from_u64(seed);
        let sim = SimDisk::new(seed);
        let disk = sim.disk();
        let shape = Shape { large_every: 3, keys: 150, ..Shape::small() };
        let mut bolt = open(&disk, shape);
        let mut model = Model::new();
        let mut pinned = None;
        for commit in 0..30 {
            let batch = random_batch(&mut rng, &model, shape);
            bolt.commit(&batch).unwrap();
            apply(&mut model, &batch);
            if commit % 10 == 5 {
                pinned = Some((bolt.view(), model.clone()));
            }
        }
        for pages in [1, 7, 200] {
            let mut steps = 0;
            let mut total = bolt.sizes().total_bytes;
            while bolt.shrink_step(pages).unwrap() > 0 {
                steps += 1;
                assert!(steps < 3000, "seed {seed} pages {pages}");
                assert!(bolt.sizes().total_bytes <= total, "seed {seed}: grew");
                total = bolt.sizes().total_bytes;
            }
            if let Some((view, old)) = pinned.take() {
                assert_same(&view, &old, "pinned");
            }
        }
        assert_checked(&disk, &model, "shrunk");
        assert_same(&bolt.view(), &model, "shrunk");
    }
}
