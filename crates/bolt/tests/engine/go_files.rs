//! Files that real etcd servers wrote (`tests/data`), and forms that they no longer write.
//!
//! `etcd-3.4.23.db` and `etcd-3.5.1.db` were left by servers after puts, deletes, a compaction, a
//! value of 9000 bytes, a lease; `etcdutl-defrag-3.5.1.db` is the latter after an offline defrag.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use bolt::bulk::BulkWriter;
use bolt::{Bolt, BoltError, Options, View, check};
use bytes::Bytes;
use disk::{Disk, OpenMode};
use osdisk::OsDisk;
use rand::SeedableRng;
use rand::rngs::StdRng;
use simdisk::SimDisk;

use crate::common::{
    Model, Shape, apply, assert_checked, assert_same, db_path, open, random_batch, read_all,
};

/// Name, hash and number of rows as `etcdutl snapshot status` prints them.
const FILES: [(&str, u32, u64); 3] = [
    ("etcd-3.4.23.db", 2_481_064_650, 59),
    ("etcd-3.5.1.db", 1_345_362_006, 44),
    ("etcdutl-defrag-3.5.1.db", 1_345_362_006, 44),
];

fn load(name: &str) -> Arc<dyn Disk> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let file = OsDisk.open(&path, OpenMode::Read).expect("fixture");
    let mut bytes = vec![0; usize::try_from(file.len().expect("length")).expect("small")];
    file.read_exact_at(0, &mut bytes).expect("read");
    disk_with(&bytes)
}

fn disk_with(bytes: &[u8]) -> Arc<dyn Disk> {
    let disk = SimDisk::new(0).disk();
    let file = disk.open(db_path(), OpenMode::CreateNew).expect("create");
    file.write_at(0, bytes).expect("write");
    disk
}

/// The hash of `etcdutl snapshot status`: all names, keys and values in order.
fn status_hash(view: &View) -> u32 {
    let mut hash = 0;
    for name in view.buckets().expect("buckets") {
        hash = crc32c::crc32c_append(hash, &name);
        let mut visit = |key: &[u8], value: &[u8]| {
            hash = crc32c::crc32c_append(crc32c::crc32c_append(hash, key), value);
            ControlFlow::Continue(())
        };
        view.scan(&name, b"", &mut visit).expect("scan");
    }
    hash
}

#[test]
fn read_as_go_reads_them() {
    for (name, hash, rows) in FILES {
        let disk = load(name);
        let report = check(&*disk, db_path()).unwrap();
        assert_eq!((report.page_size, report.rows, report.buckets), (4096, rows, 10), "{name}");
        let bolt = Bolt::create_or_open(&*disk, db_path(), Options::default()).unwrap();
        let view = bolt.view();
        assert_eq!(status_hash(&view), hash, "{name}");
        let revision = view.get(b"auth", b"authRevision").unwrap().unwrap();
        assert_eq!(revision.len(), 8);
        let large = read_all(&view)[&b"key"[..]].values().map(Bytes::len).max();
        assert!(large > Some(9000), "{name}: an overflow page");
    }
}

#[test]
fn written_on_top_of() {
    for (seed, (name, ..)) in (0..).zip(FILES) {
        let disk = load(name);
        let shape = Shape::small();
        let mut rng = StdRng::seed_from_u64(seed);
        let mut bolt = open(&disk, shape);
        let mut model = read_all(&bolt.view());
        for commit in 0..30 {
            let batch = random_batch(&mut rng, &model, shape);
            bolt.commit(&batch).unwrap();
            apply(&mut model, &batch);
            assert_checked(&disk, &model, name);
            bolt.shrink_step(commit % 8).unwrap();
        }
        drop(bolt);
        assert_same(&open(&disk, shape).view(), &model, name);
    }
}

fn fnv1a_64(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// A database whose newest meta names a freelist page behind all others. `long` uses the form for
/// 65535 and more ids. The ids are those of `free`, counted from the freelist page.
fn with_stored_freelist(page_size: usize, long: bool, free: &[u64]) -> (Arc<dyn Disk>, Model) {
    let disk = SimDisk::new(0).disk();
    let row = |n: u8| (Bytes::from(vec![n]), Bytes::from(vec![n; 700]));
    let model = Model::from([(Bytes::from("key"), (0..9).map(row).collect())]);
    let mut writer = BulkWriter::create(&*disk, db_path(), page_size).expect("create");
    for (name, rows) in model.clone() {
        writer.begin_bucket(name).expect("bucket");
        for (key, value) in rows {
            writer.put(key, value).expect("row");
        }
    }
    let length = writer.finish().expect("finish");
    let list = length / page_size as u64;
    let mut page = Vec::new();
    page.extend_from_slice(&list.to_le_bytes());
    page.extend_from_slice(&0x10_u16.to_le_bytes());
    let count = u16::try_from(free.len()).expect("few");
    page.extend_from_slice(&(if long { 0xffff } else { count }).to_le_bytes());
    page.extend_from_slice(&0_u32.to_le_bytes());
    if long {
        page.extend_from_slice(&u64::from(count).to_le_bytes());
    }
    page.extend(free.iter().flat_map(|id| (list + id).to_le_bytes()));
    page.resize(page_size * 4, 0);
    let file = disk.open(db_path(), OpenMode::ReadWrite).expect("open");
    file.write_at(length, &page).expect("write");
    // The newest meta of a bulk file is that of transaction 1, in page 1.
    let mut meta = [0; 64];
    let at = page_size as u64 + 16;
    file.read_exact_at(at, &mut meta).expect("read");
    meta[32..40].copy_from_slice(&list.to_le_bytes());
    meta[40..48].copy_from_slice(&(list + 4).to_le_bytes());
    let sum = fnv1a_64(&meta[..56]);
    meta[56..].copy_from_slice(&sum.to_le_bytes());
    file.write_at(at, &meta).expect("write");
    (disk, model)
}

#[test]
fn stored_freelist_is_checked_and_dropped() {
    for (page_size, long) in [(1024, false), (4096, true), (65536, false)] {
        let (disk, mut model) = with_stored_freelist(page_size, long, &[1, 2, 3]);
        assert_checked(&disk, &model, "stored freelist");
        let shape = Shape::small();
        let mut rng = StdRng::seed_from_u64(1);
        let mut bolt = open(&disk, shape);
        assert_eq!(bolt.sizes().free_bytes, 4 * page_size as u64);
        for _ in 0..10 {
            let batch = random_batch(&mut rng, &model, shape);
            bolt.commit(&batch).unwrap();
            apply(&mut model, &batch);
            assert_checked(&disk, &model, "after a stored freelist");
        }
        assert_same(&bolt.view(), &model, "after a stored freelist");
    }
}

#[test]
fn wrong_stored_freelist_is_damage() {
    let wrong: [&[u64]; 4] = [&[1, 2], &[1, 2, 4], &[1, 3, 2], &[0, 1, 2]];
    for free in wrong {
        let (disk, _) = with_stored_freelist(4096, false, free);
        assert!(matches!(check(&*disk, db_path()), Err(BoltError::Corrupt { .. })), "{free:?}");
    }
}
