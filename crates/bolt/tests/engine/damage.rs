//! Damaged files give errors, never panics.

use std::path::Path;
use std::sync::Arc;

use crate::common::{Model, Shape, apply, db_path, open, random_batch};
use bolt::{Bolt, BoltError, Options, SortedBatch, check};
use bytes::Bytes;
use disk::{Disk, OpenMode};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use simdisk::SimDisk;

fn database(seed: u64, shape: Shape) -> Vec<u8> {
    let sim = SimDisk::new(seed);
    let disk = sim.disk();
    let mut rng = StdRng::seed_from_u64(seed);
    let mut bolt = open(&disk, shape);
    let mut model = Model::new();
    for _ in 0..25 {
        let batch = random_batch(&mut rng, &model, shape);
        bolt.commit(&batch).unwrap();
        apply(&mut model, &batch);
    }
    drop(bolt);
    sim.snapshot_files()[db_path()].clone()
}

fn disk_with(bytes: &[u8]) -> Arc<dyn Disk> {
    let disk = SimDisk::new(0).disk();
    let file = disk.open(db_path(), OpenMode::CreateNew).unwrap();
    file.write_at(0, bytes).unwrap();
    disk
}

/// Uses a database as far as it lets itself be used.
fn exercise(bytes: &[u8]) -> Result<(), BoltError> {
    let disk = disk_with(bytes);
    let checked = check(&*disk, db_path());
    let mut bolt = Bolt::create_or_open(&*disk, db_path(), Options::default())?;
    let view = bolt.view();
    for name in view.buckets()? {
        let mut visit = |_: &[u8], _: &[u8]| std::ops::ControlFlow::Continue(());
        view.scan(&name, b"k", &mut visit)?;
        view.get(&name, b"k000050")?;
    }
    let mut buf = vec![0; 10_000];
    view.read_image(100, &mut buf)?;
    let ops = vec![(Bytes::from("k000060"), None), (Bytes::from("n"), Some(Bytes::from("v")))];
    bolt.commit(&SortedBatch { buckets: vec![(Bytes::from("key"), ops)] })?;
    bolt.shrink_step(30)?;
    checked.map(|_| ())
}

#[test]
fn flipped_bytes() {
    let shape = Shape::small();
    let whole = database(1, shape);
    exercise(&whole).unwrap();
    let mut rng = StdRng::seed_from_u64(9);
    let mut noticed = 0;
    for _ in 0..1000 {
        let mut bytes = whole.clone();
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(0..bytes.len());
            bytes[at] = rng.random();
        }
        noticed += usize::from(exercise(&bytes).is_err());
    }
    assert!(noticed > 30, "{noticed}");
}

/// Headers and elements are where damage hurts: each of their bytes, several values.
#[test]
fn flipped_headers_and_elements() {
    let shape = Shape::small();
    let whole = database(2, shape);
    for page in 0..(whole.len() / shape.page_size).min(24) {
        for at in 0..32 {
            for value in [1, 0xff] {
                let mut bytes = whole.clone();
                bytes[page * shape.page_size + at] = value;
                match exercise(&bytes) {
                    Ok(()) | Err(BoltError::Corrupt { .. }) => {}
                    Err(other) => panic!("page {page} byte {at}: {other}"),
                }
            }
        }
    }
}

#[test]
fn truncated_files() {
    let shape = Shape::small();
    let whole = database(3, shape);
    for len in (1..whole.len()).step_by(331) {
        let result = exercise(&whole[..len]);
        let whole_pages = result.is_ok();
        assert!(whole_pages || matches!(result, Err(BoltError::Corrupt { .. })), "{len}");
        assert!(!whole_pages || len > shape.page_size * 3);
    }
}

#[test]
fn garbage_files() {
    let mut rng = StdRng::seed_from_u64(4);
    for len in [1, 80, 1024, 4096, 100_000] {
        let bytes: Vec<u8> = (0..len).map(|_| rng.random()).collect();
        assert!(matches!(exercise(&bytes), Err(BoltError::Corrupt { .. })));
    }
}

/// A damaged newest meta costs the last commit, not the database.
#[test]
fn one_damaged_meta_falls_back_to_the_other() {
    let shape = Shape::small();
    for seed in 0..8 {
        let whole = database(seed, shape);
        for slot in 0..2 {
            let mut bytes = whole.clone();
            bytes[slot * shape.page_size + 30] ^= 0x55;
            exercise(&bytes).unwrap_or_else(|error| panic!("seed {seed} slot {slot}: {error}"));
        }
        let mut bytes = whole;
        bytes[30] ^= 1;
        bytes[shape.page_size + 30] ^= 1;
        assert!(matches!(exercise(&bytes), Err(BoltError::Corrupt { .. })));
    }
}

#[test]
fn missing_directory_is_an_io_error() {
    let disk = SimDisk::new(0).disk();
    let result = Bolt::create_or_open(&*disk, Path::new("/no/such/db"), Options::default());
    assert!(matches!(result, Err(BoltError::Io { .. })));
}

/// A file whose first writer died right after making the name.
#[test]
fn empty_file_becomes_a_database() {
    let disk = disk_with(b"");
    let bolt = Bolt::create_or_open(&*disk, db_path(), Options::default()).unwrap();
    assert_eq!(bolt.view().buckets().unwrap(), Vec::<Bytes>::new());
}
