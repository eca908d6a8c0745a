//! Pinned views and images while commits go on.

use std::ops::ControlFlow;
use std::path::Path;

use crate::common::{
    Model, Shape, apply, assert_checked, assert_same, open, random_batch, read_all,
};
use bolt::{Bolt, Options, View};
use disk::{Disk, OpenMode};
use rand::SeedableRng;
use rand::rngs::StdRng;
use simdisk::SimDisk;

fn image(view: &View, piece: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let mut buf = vec![0; piece];
        let got = view.read_image(bytes.len() as u64, &mut buf).unwrap();
        bytes.extend_from_slice(&buf[..got]);
        if got < piece {
            return bytes;
        }
    }
}

fn open_image(disk: &dyn Disk, name: &str, bytes: &[u8]) -> Bolt {
    let path = Path::new(name);
    let file = disk.open(path, OpenMode::CreateOrOpen).unwrap();
    file.set_len(0).unwrap();
    file.write_at(0, bytes).unwrap();
    drop(file);
    bolt::check(disk, path).unwrap();
    Bolt::create_or_open(disk, path, Options::default()).unwrap()
}

#[test]
fn pinned_view_stays_while_hundreds_of_commits_go_on() {
    let shape = Shape::small();
    let sim = SimDisk::new(1);
    let disk = sim.disk();
    let mut rng = StdRng::seed_from_u64(1);
    let mut bolt = open(&disk, shape);
    let mut model = Model::new();
    let mut pinned: Vec<(View, Model)> = Vec::new();
    for commit in 0..400 {
        let batch = random_batch(&mut rng, &model, shape);
        bolt.commit(&batch).unwrap();
        apply(&mut model, &batch);
        if commit % 90 == 20 {
            pinned.push((bolt.view(), model.clone()));
        }
        if commit % 10 == 0 {
            bolt.shrink_step(16).unwrap();
        }
        if commit % 50 == 0 {
            for (view, old) in &pinned {
                assert_same(&view.clone(), old, &format!("commit {commit}"));
            }
        }
    }
    assert_checked(&disk, &model, "with pins");
    for (index, (view, old)) in pinned.iter().enumerate() {
        let bytes = image(view, 1000 + index * 777);
        assert_eq!(bytes.len() as u64, view.len());
        let other = open_image(&*disk, "/image", &bytes);
        assert!(read_all(&other.view()) == *old);
    }
    let with_pins = bolt.sizes();
    drop(pinned);
    while bolt.shrink_step(64).unwrap() > 0 {}
    assert!(bolt.sizes().total_bytes < with_pins.total_bytes);
    assert_checked(&disk, &model, "without pins");
}

/// The two metas of an image may be in the other order than bbolt's rule for the next commit.
#[test]
fn image_is_a_database_of_its_own() {
    let shape = Shape::small();
    let sim = SimDisk::new(2);
    let disk = sim.disk();
    let mut rng = StdRng::seed_from_u64(2);
    let mut bolt = open(&disk, shape);
    let mut model = Model::new();
    for round in 0..6 {
        let batch = random_batch(&mut rng, &model, shape);
        bolt.commit(&batch).unwrap();
        apply(&mut model, &batch);
        let bytes = image(&bolt.view(), 4096);
        let mut copy = open_image(&*disk, "/copy", &bytes);
        let mut copied = model.clone();
        for _ in 0..5 {
            let batch = random_batch(&mut rng, &copied, shape);
            copy.commit(&batch).unwrap();
            apply(&mut copied, &batch);
        }
        drop(copy);
        let copy = Bolt::create_or_open(&*disk, Path::new("/copy"), shape.options()).unwrap();
        assert_same(&copy.view(), &copied, &format!("round {round}"));
    }
}

#[test]
fn scan_starts_where_told_and_stops_when_told() {
    let shape = Shape::small();
    let sim = SimDisk::new(3);
    let disk = sim.disk();
    let mut rng = StdRng::seed_from_u64(3);
    let mut bolt = open(&disk, shape);
    let mut model = Model::new();
    for _ in 0..20 {
        let batch = random_batch(&mut rng, &model, shape);
        bolt.commit(&batch).unwrap();
        apply(&mut model, &batch);
    }
    let view = bolt.view();
    let rows = &model[&b"key"[..]];
    for from in ["", "k000100", "k0001005", "k000299", "z", "zzz"] {
        for limit in [1, 3, usize::MAX] {
            let mut found = Vec::new();
            let mut visit = |key: &[u8], _value: &[u8]| {
                found.push(key.to_vec());
                if found.len() == limit {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            };
            view.scan(b"key", from.as_bytes(), &mut visit).unwrap();
            let keys = rows.keys().filter(|key| &key[..] >= from.as_bytes()).take(limit);
            assert!(keys.eq(&found), "{from} {limit}");
        }
    }
    let mut never = |_: &[u8], _: &[u8]| panic!("no rows");
    view.scan(b"missing", b"", &mut never).unwrap();
    assert_eq!(view.get(b"missing", b"k").unwrap(), None);
}

#[test]
fn views_are_read_on_other_threads_while_commits_go_on() {
    fn shared<T: Send + Sync + Clone>(value: T) -> T {
        value
    }
    fn movable<T: Send>(value: T) -> T {
        value
    }
    let shape = Shape::small();
    let sim = SimDisk::new(4);
    let disk = sim.disk();
    let mut rng = StdRng::seed_from_u64(4);
    let mut bolt = movable(open(&disk, shape));
    let mut model = Model::new();
    for _ in 0..10 {
        let batch = random_batch(&mut rng, &model, shape);
        bolt.commit(&batch).unwrap();
        apply(&mut model, &batch);
    }
    let old = model.clone();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let (view, old) = (shared(bolt.view()), &old);
            scope.spawn(move || {
                for round in 0..15 {
                    assert_same(&view.clone(), old, &format!("round {round}"));
                }
            });
        }
        for _ in 0..60 {
            let batch = random_batch(&mut rng, &model, shape);
            bolt.commit(&batch).unwrap();
            apply(&mut model, &batch);
        }
    });
    assert_same(&bolt.view(), &model, "after the threads");
}

#[test]
fn cuts_of_a_bucket_make_parts_of_about_equal_size() {
    let sim = SimDisk::new(1);
    let disk = sim.disk();
    let mut bolt = Bolt::create_or_open(&*disk, Path::new("/db"), Options::default()).unwrap();
    let rows = |count: u32| {
        let row = |n: u32| (n.to_be_bytes().to_vec().into(), Some(vec![7; 300].into()));
        bolt::SortedBatch { buckets: vec![("key".into(), (0..count).map(row).collect())] }
    };
    bolt.commit(&rows(10)).unwrap();
    assert_eq!(bolt.view().split(b"key", 4).unwrap(), [""; 0]);
    assert_eq!(bolt.view().split(b"none", 4).unwrap(), [""; 0]);
    for count in [1_000, 30_000] {
        bolt.commit(&rows(count)).unwrap();
        let cuts = bolt.view().split(b"key", 4).unwrap();
        let places: Vec<u32> =
            cuts.iter().map(|cut| u32::from_be_bytes(cut.as_ref().try_into().unwrap())).collect();
        assert_eq!(places.len(), 3, "{places:?}");
        for (part, place) in (1..).zip(places) {
            assert!(place.abs_diff(part * count / 4) < count / 20, "part {part} from {place}");
        }
    }
}
