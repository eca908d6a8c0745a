//! Random databases with valid etcd content, for Go's tools and servers to judge.
//!
//! Each file is the work of random batches (puts, deletes, transactions, large values), compactions,
//! reopenings, shrink steps and pinned views, so that the engine's pages are as used as they get.
//!
//! Owns:       one file per seed.
//! Never:      anything but the engine: rows are encoded here, apart from the server's code.
//! Invariants: same seed, same content.
//! Source:     disk-formats.md 6 and 7.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::{Path, PathBuf};

use bolt::{Bolt, Options, SortedBatch, View};
use bytes::Bytes;
use osdisk::OsDisk;
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

/// Buckets that a server makes when it starts.
const BUCKETS: [&str; 10] = [
    "alarm",
    "auth",
    "authRoles",
    "authUsers",
    "cluster",
    "key",
    "lease",
    "members",
    "members_removed",
    "meta",
];
/// Far more than any test runs.
const LEASE_TTL_SECONDS: u64 = 1_000_000;
const CLUSTER_VERSION: &str = "3.5.0";
const MEMBER: &str = r#"{"id":1,"peerURLs":["http://gate:2380"],"name":"gate"}"#;

/// What a written file holds.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) path: PathBuf,
    pub(super) revision: u64,
    /// Rows of all buckets.
    pub(super) rows: u64,
}

/// Writes the database of a seed, checked by the engine's own check.
pub(super) fn write(seed: u64, directory: &Path) -> Result<Sample, Box<dyn Error>> {
    let mut writer = Writer::new(seed, directory.join(format!("{seed}.db")))?;
    writer.run()?;
    writer.finish()
}

/// A key as etcd's index knows it.
#[derive(Clone, Default)]
struct KeyState {
    create: u64,
    version: u64,
    /// Revisions in the database, and whether each is a tombstone.
    rows: Vec<(Bytes, bool)>,
}

/// Changes collected for one commit.
type Pending = BTreeMap<&'static str, BTreeMap<Bytes, Option<Bytes>>>;

/// One database under way.
struct Writer {
    rng: StdRng,
    path: PathBuf,
    bolt: Option<Bolt>,
    pinned: Vec<View>,
    keys: BTreeMap<Bytes, KeyState>,
    leases: BTreeSet<u64>,
    revision: u64,
    index: u64,
    key_space: u32,
    value_bytes_max: usize,
}

impl Writer {
    fn new(seed: u64, path: PathBuf) -> Result<Writer, Box<dyn Error>> {
        let mut rng = StdRng::seed_from_u64(seed);
        let key_space = [20, 300, 5000][rng.random_range(0..3)];
        let value_bytes_max = [40, 300, 3000][rng.random_range(0..3)];
        if path.exists() {
            std::fs::remove_file(&path)?;
        }
        let bolt = Some(Bolt::create_or_open(&OsDisk, &path, fast())?);
        Ok(Writer {
            rng,
            path,
            bolt,
            pinned: Vec::new(),
            keys: BTreeMap::new(),
            leases: BTreeSet::new(),
            revision: 1,
            index: 3,
            key_space,
            value_bytes_max,
        })
    }

    fn bolt(&mut self) -> Result<&mut Bolt, Box<dyn Error>> {
        if self.bolt.is_none() {
            self.bolt = Some(Bolt::create_or_open(&OsDisk, &self.path, fast())?);
        }
        self.bolt.as_mut().ok_or_else(|| "engine is open".into())
    }

    fn run(&mut self) -> Result<(), Box<dyn Error>> {
        self.commit(first_rows())?;
        for _ in 0..self.rng.random_range(10..120) {
            let mut pending = Pending::new();
            for _ in 0..self.rng.random_range(0..200) {
                self.transaction(&mut pending);
            }
            if self.rng.random_range(0..10) == 0 {
                self.compact(&mut pending);
            }
            self.commit(pending)?;
            self.disturb()?;
        }
        Ok(())
    }

    /// Reopens, shrinks, pins or unpins.
    fn disturb(&mut self) -> Result<(), Box<dyn Error>> {
        match self.rng.random_range(0..10) {
            0 => {
                self.pinned.clear();
                self.bolt = None;
            }
            1 => {
                let pages = self.rng.random_range(1..100);
                self.bolt()?.shrink_step(pages)?;
            }
            2 => {
                let view = self.bolt()?.view();
                self.pinned.push(view);
            }
            3 => self.pinned.clear(),
            _ => {}
        }
        Ok(())
    }

    /// One revision: a few puts and deletes of different keys.
    fn transaction(&mut self, pending: &mut Pending) {
        self.index += 1;
        let main = self.revision + 1;
        let mut touched = BTreeSet::new();
        for _ in 0..[1, 1, 1, 5][self.rng.random_range(0..4)] {
            let key = Bytes::from(format!("/key/{:05}", self.rng.random_range(0..self.key_space)));
            if touched.contains(&key) {
                continue;
            }
            let sub = touched.len() as u64;
            let alive = self.keys.get(&key).is_some_and(|state| state.version > 0);
            if alive && self.rng.random_range(0..3) == 0 {
                self.delete(&key, main, sub, pending);
            } else {
                self.put(&key, main, sub, pending);
            }
            touched.insert(key);
        }
        self.revision = main;
    }

    fn put(&mut self, key: &Bytes, main: u64, sub: u64, pending: &mut Pending) {
        let lease = if self.rng.random_range(0..10) == 0 { self.lease(pending) } else { 0 };
        let large = self.rng.random_range(0..200) == 0;
        let max = if large { 200_000 } else { self.value_bytes_max };
        let mut value = vec![0; self.rng.random_range(0..=max)];
        self.rng.fill_bytes(&mut value);
        let state = self.keys.entry(key.clone()).or_default();
        if state.version == 0 {
            state.create = main;
        }
        state.version += 1;
        let mut row = Vec::new();
        field_bytes(&mut row, 1, key);
        for (number, value) in [(2, state.create), (3, main), (4, state.version)] {
            field_varint(&mut row, number, value);
        }
        field_bytes(&mut row, 5, &value);
        field_varint(&mut row, 6, lease);
        let revision = revision_key(main, sub, false);
        state.rows.push((revision.clone(), false));
        pending.entry("key").or_default().insert(revision, Some(row.into()));
    }

    fn delete(&mut self, key: &Bytes, main: u64, sub: u64, pending: &mut Pending) {
        let state = self.keys.entry(key.clone()).or_default();
        state.version = 0;
        let mut row = Vec::new();
        field_bytes(&mut row, 1, key);
        let revision = revision_key(main, sub, true);
        state.rows.push((revision.clone(), true));
        pending.entry("key").or_default().insert(revision, Some(row.into()));
    }

    fn lease(&mut self, pending: &mut Pending) -> u64 {
        let id = self.rng.random_range(1..20);
        if self.leases.insert(id) {
            let mut row = Vec::new();
            field_varint(&mut row, 1, id);
            field_varint(&mut row, 2, LEASE_TTL_SECONDS);
            let key = Bytes::copy_from_slice(&id.to_be_bytes());
            pending.entry("lease").or_default().insert(key, Some(row.into()));
        }
        id
    }

    /// Removes what etcd removes when it compacts at a random revision.
    fn compact(&mut self, pending: &mut Pending) {
        let at = self.rng.random_range(1..=self.revision);
        let bound = revision_key(at + 1, 0, false);
        let rows = pending.entry("key").or_default();
        self.keys.retain(|_, state| {
            let old = state.rows.iter().take_while(|(revision, _)| *revision < bound).count();
            let newest_is_kept = old > 0 && !state.rows[old - 1].1;
            let dropped = if newest_is_kept { old - 1 } else { old };
            for (revision, _) in state.rows.drain(..dropped) {
                rows.insert(revision, None);
            }
            !state.rows.is_empty()
        });
        for name in ["scheduledCompactRev", "finishedCompactRev"] {
            let value = Some(revision_key(at, 0, false));
            pending.entry("meta").or_default().insert(Bytes::from(name), value);
        }
    }

    fn commit(&mut self, mut pending: Pending) -> Result<(), Box<dyn Error>> {
        let index = Bytes::copy_from_slice(&self.index.to_be_bytes());
        pending.entry("meta").or_default().insert(Bytes::from("consistent_index"), Some(index));
        let buckets = pending
            .into_iter()
            .map(|(name, rows)| (Bytes::from(name), rows.into_iter().collect()))
            .collect();
        self.bolt()?.commit(&SortedBatch { buckets })?;
        Ok(())
    }

    fn finish(self) -> Result<Sample, Box<dyn Error>> {
        let Self { path, revision, bolt, pinned, .. } = self;
        drop((bolt, pinned));
        let report = bolt::check(&OsDisk, &path)?;
        Ok(Sample { path, revision, rows: report.rows })
    }
}

/// Nothing here has to survive a crash of the machine.
fn fast() -> Options {
    Options { no_sync: true, ..Options::default() }
}

fn first_rows() -> Pending {
    let mut pending: Pending = BUCKETS.iter().map(|name| (*name, BTreeMap::new())).collect();
    let rows: [(&str, &str, &[u8]); 4] = [
        ("auth", "authRevision", &1_u64.to_be_bytes()),
        ("cluster", "clusterVersion", CLUSTER_VERSION.as_bytes()),
        ("members", "1", MEMBER.as_bytes()),
        ("meta", "term", &2_u64.to_be_bytes()),
    ];
    for (bucket, key, value) in rows {
        let key = Bytes::copy_from_slice(key.as_bytes());
        if let Some(rows) = pending.get_mut(bucket) {
            rows.insert(key, Some(Bytes::copy_from_slice(value)));
        }
    }
    pending
}

fn revision_key(main: u64, sub: u64, tombstone: bool) -> Bytes {
    let mut key = main.to_be_bytes().to_vec();
    key.push(b'_');
    key.extend_from_slice(&sub.to_be_bytes());
    if tombstone {
        key.push(b't');
    }
    key.into()
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn field_varint(out: &mut Vec<u8>, number: u64, value: u64) {
    if value != 0 {
        varint(out, number << 3);
        varint(out, value);
    }
}

fn field_bytes(out: &mut Vec<u8>, number: u64, value: &[u8]) {
    if !value.is_empty() {
        varint(out, number << 3 | 2);
        varint(out, value.len() as u64);
        out.extend_from_slice(value);
    }
}
