//! The engine gate: files of our engine, judged by bbolt's own check and by a Go server.
//!
//! Owns:       the files it writes.
//! Uses:       `writer` (random content by seed), `rows` (what ours reads), `damage`; Go's programs.
//! Never:      fewer than two hundred files.
//! Invariants: a file that Go refuses, or reads otherwise than ours, fails; so does a damaged file
//!             that passes.
//! Source:     design.md 5 "Gate"; disk-formats.md 5 and 8.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use e2e::etcdctl::run;
use e2e::tempdir::TempDir;
use e2e::{Addresses, Api, Etcd, Etcdctl, Exit, Finished, Program};
use osdisk::OsDisk;
use serde_json::Value;

mod damage;
mod rows;
mod writer;

use rows::Rows;

/// Files that Go's check has to pass.
const SAMPLES: u64 = 200;
/// Of these, the ones that a Go server is started on.
const SERVED: u64 = 4;
/// The first seed, unless `ETCH_GATE_SEED` names another.
const FIRST_SEED: u64 = 20_000;
/// As many as the machine of the tests has cores.
const THREADS: usize = 2;
const PATIENCE: Duration = Duration::from_secs(60);

fn first_seed() -> u64 {
    let chosen = std::env::var("ETCH_GATE_SEED").ok();
    chosen.map_or(FIRST_SEED, |seed| seed.parse().expect("ETCH_GATE_SEED is a number"))
}

/// `etcdutl snapshot status`, which runs bbolt's check over the whole file.
fn status(path: &Path) -> Finished {
    let mut command = Command::new(Program::GoEtcdutl351.path());
    command.args(["snapshot", "status", "-w", "json"]).arg(path);
    run(command, "", PATIENCE)
}

#[test]
fn sampled_files_pass_the_check_of_bbolt() {
    let directory = TempDir::new("gate");
    let (next, end) = (AtomicU64::new(first_seed()), first_seed() + SAMPLES);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    judge(seed, directory.path());
                }
            });
        }
    });
}

/// Go finds nothing wrong with the file of a seed, and reads the same rows in it as ours.
fn judge(seed: u64, directory: &Path) {
    let sample = writer::write(seed, directory)
        .unwrap_or_else(|error| panic!("seed {seed}: our engine: {error}"));
    let finished = status(&sample.path);
    assert_eq!(finished.exit, Exit::Code(0), "seed {seed}: {finished:?}");
    let status: Value = serde_json::from_str(&finished.stdout).expect("JSON of status");
    let ours = Rows::open(&sample.path);
    assert_eq!(status["hash"], ours.status_hash(), "seed {seed}");
    assert_eq!(status["revision"], sample.revision, "seed {seed}");
    assert_eq!(status["totalKey"], sample.rows, "seed {seed}");
    drop(ours);
    std::fs::remove_file(&sample.path).expect("remove a file that passed");
}

#[test]
fn a_go_server_on_a_copy_answers_the_same() {
    let (directory, addresses) = (TempDir::new("gate-served"), Addresses::new());
    for seed in first_seed()..first_seed() + SERVED {
        let sample = writer::write(seed, directory.path())
            .unwrap_or_else(|error| panic!("seed {seed}: our engine: {error}"));
        let spec = Etcd::builder(Program::GoEtcd351).member(
            &format!("s{seed}"),
            addresses.claim(),
            directory.path(),
        );
        restore(&sample.path, &spec);
        let mut go = spec.start();
        let client = Etcdctl::new(Program::GoEtcdctl351, Api::V3, vec![go.client_url()]);
        let ours = Rows::open(&sample.path).store();
        let revision = i64::try_from(sample.revision).expect("a revision");
        let compacted = ours.compacted_revision();
        assert_eq!(ours.current_revision(), revision);
        // Go 3.5 gives no hash of the compacted revision itself.
        let middle = (compacted + 1).max(revision / 2);
        for at in [revision, middle, compacted.max(0) + 1] {
            let rev = format!("--rev={at}");
            let range = json(&client, &["get", "", "--prefix", &rev]);
            assert_eq!(range["kvs"], ours.pairs_at(at), "seed {seed} at {at}");
            let hash = json(&client, &["endpoint", "hashkv", &rev]);
            let reply = ours.hash_at(at);
            assert_eq!(hash[0]["HashKV"]["hash"], reply.hash, "seed {seed} at {at}");
            let found = hash[0]["HashKV"]["compact_revision"].as_i64().unwrap_or(0);
            assert_eq!(found, reply.compact_revision, "seed {seed} at {at}");
        }
        check_written_on(&mut go, &client);
    }
}

/// Makes a data directory of the file with Go's tool, which copies it as it is but for the members.
fn restore(database: &Path, spec: &e2e::Spec) {
    let setting = |name: &str| spec.setting(name).expect("a setting of the member").to_owned();
    let mut command = Command::new(Program::GoEtcdutl351.path());
    command.args(["snapshot", "restore", "--skip-hash-check"]).arg(database);
    for name in ["name", "data-dir", "initial-cluster", "initial-advertise-peer-urls"] {
        command.arg(format!("--{name}={}", setting(name)));
    }
    let _ = run(command, "", PATIENCE).success();
}

/// Go frees, reuses and defragments our pages, and ours finds the result right.
fn check_written_on(go: &mut Etcd, client: &Etcdctl) {
    let database = go.spec().data_dir().join("member/snap/db");
    for round in 0..2 {
        let _ = client.run(&["put", "gate", &format!("{round}")]).success();
        let _ = client.run(&["del", "/key/0", "/key/00010"]).success();
        if round == 1 {
            let _ = client.run(&["defrag"]).success();
        }
        go.terminate();
        let report = bolt::check(&OsDisk, &database);
        assert!(report.is_ok(), "{report:?}");
        go.restart();
    }
}

#[test]
fn damaged_files_fail_the_same_check() {
    let directory = TempDir::new("gate-damage");
    for damage in damage::ALL {
        let (seed, damaged) = damage::apply(damage, first_seed(), directory.path());
        if let Some(refusal) = damage.refusal_of_go() {
            let finished = status(&damaged);
            let is_refused = finished.exit != Exit::Code(0) && finished.stderr.contains(refusal);
            assert!(is_refused, "{damage:?} of seed {seed}: {finished:?}");
        }
        let report = bolt::check(&OsDisk, &damaged);
        assert!(report.is_err(), "{damage:?} of seed {seed}: {report:?}");
    }
}

fn json(client: &Etcdctl, arguments: &[&str]) -> Value {
    let mut arguments = arguments.to_vec();
    arguments.extend(["-w", "json"]);
    serde_json::from_str(&client.run(&arguments).success()).expect("JSON of etcdctl")
}
