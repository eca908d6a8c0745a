//! Helpers that several test files share: a model of a database and random changes to it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use bolt::{Bolt, Options, SortedBatch, View, check};
use bytes::Bytes;
use disk::Disk;
use rand::rngs::StdRng;
use rand::{Rng, RngCore};

/// What a database should hold.
pub(crate) type Model = BTreeMap<Bytes, BTreeMap<Bytes, Bytes>>;

/// Where the tests keep their database.
pub(crate) fn db_path() -> &'static Path {
    Path::new("/db")
}

/// Kinds of random databases.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) page_size: usize,
    /// Distinct keys per bucket.
    pub(crate) keys: u32,
    pub(crate) ops_max: usize,
    pub(crate) value_bytes_max: usize,
    /// One value in this many is large.
    pub(crate) large_every: u32,
    /// Bytes that every key is padded with.
    pub(crate) key_padding: usize,
}

impl Shape {
    pub(crate) fn small() -> Shape {
        Shape {
            page_size: 1024,
            keys: 300,
            ops_max: 40,
            value_bytes_max: 100,
            large_every: 60,
            key_padding: 0,
        }
    }

    pub(crate) fn options(&self) -> Options {
        Options { page_size: self.page_size, no_sync: false }
    }
}

pub(crate) fn open(disk: &Arc<dyn Disk>, shape: Shape) -> Bolt {
    Bolt::create_or_open(&**disk, db_path(), shape.options()).expect("open")
}

fn random_key(rng: &mut StdRng, shape: Shape) -> Bytes {
    let mut key = format!("k{:06}", rng.random_range(0..shape.keys)).into_bytes();
    if shape.key_padding > 0 {
        key.resize(key.len() + rng.random_range(0..shape.key_padding), b'p');
    }
    key.into()
}

fn random_value(rng: &mut StdRng, shape: Shape) -> Bytes {
    let max = if rng.random_range(0..shape.large_every) == 0 {
        shape.page_size * 5
    } else {
        shape.value_bytes_max
    };
    let mut value = vec![0; rng.random_range(0..=max)];
    rng.fill_bytes(&mut value);
    value.into()
}

/// Random puts, deletes, range deletes and appends in a few buckets.
pub(crate) fn random_batch(rng: &mut StdRng, model: &Model, shape: Shape) -> SortedBatch {
    let mut buckets: BTreeMap<Bytes, BTreeMap<Bytes, Option<Bytes>>> = BTreeMap::new();
    for name in ["alarm", "key", "meta", "other"] {
        if rng.random_range(0..3) == 0 {
            continue;
        }
        let ops = buckets.entry(Bytes::from(name)).or_default();
        let count = if name == "meta" { 1 } else { rng.random_range(0..=shape.ops_max) };
        for _ in 0..count {
            let delete = rng.random_range(0..100) < 40;
            let value = (!delete).then(|| random_value(rng, shape));
            ops.insert(random_key(rng, shape), value);
        }
        if rng.random_range(0..8) == 0 {
            delete_range(rng, model.get(name.as_bytes()), ops);
        }
        if rng.random_range(0..4) == 0 {
            for number in 0..rng.random_range(0..shape.ops_max) {
                let key = format!("z{:08}{number:04}", rng.random_range(0..1000));
                ops.insert(key.into(), Some(random_value(rng, shape)));
            }
        }
    }
    let buckets = buckets.into_iter().map(|(name, ops)| (name, ops.into_iter().collect()));
    SortedBatch { buckets: buckets.collect() }
}

fn delete_range(
    rng: &mut StdRng,
    rows: Option<&BTreeMap<Bytes, Bytes>>,
    ops: &mut BTreeMap<Bytes, Option<Bytes>>,
) {
    let Some(rows) = rows else { return };
    let start = rng.random_range(0..=rows.len());
    let count = rng.random_range(0..=rows.len());
    for key in rows.keys().skip(start).take(count) {
        ops.insert(key.clone(), None);
    }
}

/// Does to the model what a commit does to the database.
pub(crate) fn apply(model: &mut Model, batch: &SortedBatch) {
    for (name, ops) in &batch.buckets {
        let rows = model.entry(name.clone()).or_default();
        for (key, value) in ops {
            match value {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(key),
            };
        }
    }
}

/// Everything that a view shows.
pub(crate) fn read_all(view: &View) -> Model {
    let mut model = Model::new();
    for name in view.buckets().expect("list buckets") {
        let rows = model.entry(name.clone()).or_default();
        let mut collect = |key: &[u8], value: &[u8]| {
            rows.insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
            ControlFlow::Continue(())
        };
        view.scan(&name, b"", &mut collect).expect("scan");
    }
    model
}

/// Compares a view with the model, by scan and by look-up.
pub(crate) fn assert_same(view: &View, model: &Model, what: &str) {
    assert!(read_all(view) == *model, "{what}: scan differs from the model");
    for (name, rows) in model {
        for (key, value) in rows.iter().step_by(7) {
            let found = view.get(name, key).expect("get");
            assert!(found.as_ref() == Some(value), "{what}: {key:?} differs");
        }
        assert_eq!(view.get(name, b"absent").expect("get"), None);
    }
}

/// Runs the full check and compares the number of rows.
pub(crate) fn assert_checked(disk: &Arc<dyn Disk>, model: &Model, what: &str) {
    let report = check(&**disk, db_path()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let rows: usize = model.values().map(BTreeMap::len).sum();
    assert_eq!((report.buckets, report.rows), (model.len() as u64, rows as u64), "{what}");
    assert_eq!(report.used_pages + report.free_pages, report.pages);
}
