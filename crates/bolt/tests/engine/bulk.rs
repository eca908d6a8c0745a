//! The bulk writer against the same model, and commits on top of what it wrote.

use std::path::Path;

use crate::common::{
    Model, Shape, apply, assert_checked, assert_same, db_path, open, random_batch,
};
use bolt::bulk::{self, BulkWriter};
use bolt::{Bolt, BoltError};
use bytes::Bytes;
use disk::{Disk, OpenMode};
use rand::SeedableRng;
use rand::rngs::StdRng;
use simdisk::SimDisk;

fn write_bulk(disk: &dyn Disk, page_size: usize, model: Model) -> u64 {
    if page_size == 4096 {
        return bulk::write(disk, db_path(), model).unwrap();
    }
    let mut writer = BulkWriter::create(disk, db_path(), page_size).unwrap();
    for (name, rows) in model {
        writer.begin_bucket(name).unwrap();
        for (key, value) in rows {
            writer.put(key, value).unwrap();
        }
    }
    writer.finish().unwrap()
}

#[test]
fn written_in_bulk_then_changed() {
    for (seed, page_size) in [(1, 1024), (2, 4096), (3, 32768)] {
        let shape = Shape { page_size, large_every: 20, key_padding: 300, ..Shape::small() };
        let mut rng = StdRng::seed_from_u64(seed);
        let mut model = Model::new();
        model.insert(Bytes::from("empty"), Default::default());
        for _ in 0..30 {
            let batch = random_batch(&mut rng, &model, shape);
            apply(&mut model, &batch);
        }
        let disk = SimDisk::new(seed).disk();
        let bytes = write_bulk(&*disk, page_size, model.clone());
        let length = disk.open(db_path(), OpenMode::Read).unwrap().len().unwrap();
        assert_eq!(bytes, length);
        assert_checked(&disk, &model, "bulk");
        let mut bolt = open(&disk, shape);
        assert_same(&bolt.view(), &model, "bulk");
        assert_eq!(bolt.sizes().free_bytes, 0);
        for _ in 0..10 {
            let batch = random_batch(&mut rng, &model, shape);
            bolt.commit(&batch).unwrap();
            apply(&mut model, &batch);
            assert_checked(&disk, &model, "after bulk");
        }
        assert_same(&bolt.view(), &model, "after bulk");
    }
}

#[test]
fn nothing_at_all_is_a_database() {
    let disk = SimDisk::new(1).disk();
    let none: Vec<(Bytes, Vec<(Bytes, Bytes)>)> = Vec::new();
    bulk::write(&*disk, db_path(), none).unwrap();
    assert_checked(&disk, &Model::new(), "empty");
}

#[test]
fn rows_out_of_order_are_refused() {
    let disk = SimDisk::new(1).disk();
    let mut writer = BulkWriter::create(&*disk, db_path(), 4096).unwrap();
    let refused = |result| assert!(matches!(result, Err(BoltError::Limit { .. })));
    refused(writer.put(Bytes::from("k"), Bytes::new()));
    writer.begin_bucket(Bytes::from("b")).unwrap();
    writer.put(Bytes::from("k"), Bytes::new()).unwrap();
    refused(writer.put(Bytes::from("k"), Bytes::new()));
    refused(writer.put(Bytes::new(), Bytes::new()));
    refused(writer.begin_bucket(Bytes::from("a")));
    assert!(matches!(BulkWriter::create(&*disk, db_path(), 4096), Err(BoltError::Io { .. })));
}

#[test]
fn unfinished_file_does_not_open() {
    let disk = SimDisk::new(1).disk();
    let mut writer = BulkWriter::create(&*disk, db_path(), 4096).unwrap();
    writer.begin_bucket(Bytes::from("b")).unwrap();
    for n in 0..100_000_u32 {
        writer.put(Bytes::copy_from_slice(&n.to_be_bytes()), Bytes::from("value")).unwrap();
    }
    drop(writer);
    let result = Bolt::create_or_open(&*disk, Path::new("/db"), Default::default());
    assert!(matches!(result, Err(BoltError::Corrupt { .. })));
}
