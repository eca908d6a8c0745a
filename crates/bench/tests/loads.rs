//! Every load against our own server, a few requests each.
//!
//! Owns:       nothing beyond the test.
//! Uses:       the program `bench` and the harness of `e2e`.
//! Invariants: only our own server is needed.

use std::process::Command;

use bench::report::LoadReport;
use e2e::{Addresses, Etcd, Program, TempDir};

const LOADS: &[&str] = &[
    "fill",
    "put",
    "put-lease",
    "get",
    "get-serializable",
    "range",
    "page",
    "keys-only",
    "count-only",
    "txn",
    "mixed",
    "delete",
    "watch-one",
    "watch-many",
    "watch-catch-up",
    "keepalive",
    "v2-set",
    "v2-get",
    "v2-quorum-get",
    "v2-watch",
];

/// Standard output of `bench load` with these options, and whether it says that all went well.
fn load(etcd: &Etcd, options: &str) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["load", "--json", "--endpoint", &etcd.client_url()])
        .args(["--server-pid", &etcd.id().to_string()])
        .args(options.split_whitespace())
        .output()
        .expect("run bench");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.success(), text + &String::from_utf8_lossy(&output.stderr))
}

fn report(etcd: &Etcd, options: &str) -> LoadReport {
    let (is_good, text) = load(etcd, options);
    assert!(is_good, "{options}: {text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{options}: {error}: {text}"))
}

#[test]
fn every_load_is_answered_rightly() {
    let (addresses, directory) = (Addresses::new(), TempDir::new("bench"));
    let spec = Etcd::builder(Program::Ours).member("b", addresses.claim(), directory.path());
    let etcd = spec.start();
    for name in LOADS {
        let requests = if *name == "fill" { 5 } else { 100 };
        let small = "--connections 4 --keys 500 --limit 20 --watchers 4 --warm-up 0";
        let report = report(&etcd, &format!("--load {name} --requests {requests} {small}"));
        assert_eq!((report.requests, report.failed), (requests, 0), "{report:?}");
        let watched = if name.contains("watch") { requests } else { 0 };
        assert!(report.events >= watched, "{report:?}");
        let server = &report.servers[0];
        assert!(server.pid == etcd.id() && server.rss_anon_kib > 0, "{report:?}");
        assert!(report.latency.p50_us > 0.0 && report.elapsed_seconds > 0.0, "{report:?}");
    }
    // Several processes, a fixed rate, an end by time.
    let several = report(&etcd, "--load put --processes 2 --requests 101 --warm-up 0");
    assert_eq!(several.requests, 101);
    let paced = report(&etcd, "--load get --keys 10 --rate 400 --duration 500ms --warm-up 100ms");
    // What is due in 0.5 s; on a busy machine the last answers come after the end.
    assert!((1..=201).contains(&paced.requests), "{paced:?}");
    assert!(paced.elapsed_seconds >= 0.4, "{paced:?}");
    // Requests that fail are counted, and say why.
    let (is_good, text) = load(&etcd, "--load put --value-bytes 2000000 --requests 3 --warm-up 0");
    assert!(!is_good && text.contains("request is too large"), "{text}");
    let (is_good, text) = load(&etcd, "--load nothing");
    assert!(!is_good && text.contains("no load is named"), "{text}");
}
