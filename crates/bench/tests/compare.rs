//! `bench compare` as a user runs it, with our server alone.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use e2e::{Program, TempDir, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long servers may take to come up, or to be gone.
const PATIENCE: Duration = Duration::from_secs(60);

fn compare(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.arg("compare").args(arguments).stdin(Stdio::null());
    command
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

/// Processes that were started with something below this directory.
fn processes_in(directory: &Path) -> usize {
    let processes = std::fs::read_dir("/proc").expect("read /proc").flatten();
    let command_lines = processes.filter_map(|at| std::fs::read(at.path().join("cmdline")).ok());
    let directory = directory.to_string_lossy();
    command_lines.filter(|line| String::from_utf8_lossy(line).contains(&*directory)).count()
}

#[test]
fn a_load_is_measured_and_written() {
    let out = TempDir::new("compare-out");
    let etch = Program::Ours.path();
    let mut command = compare(&["--only", "put", "--rounds", "1", "--window", "1"]);
    command.args(["--warm-up", "0.1", "--etch"]).arg(&etch).arg("--out").arg(out.path());
    let output = command.output().expect("run bench");
    let shown = text(&output);
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains("put 256 B, 100 x 10, 1 member"), "{shown}");
    assert!(shown.contains("nothing to compare with"), "{shown}");
    let json = std::fs::read_to_string(out.join("compare.json")).expect("results");
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let row = &json["rows"][0];
    assert_eq!((&row["name"], &row["failed"]), (&"put".into(), &0.into()), "{json}");
    let figures = &row["contenders"][0];
    for name in ["server_cpu_us", "requests_per_second", "p99_ms", "written_bytes", "syncs"] {
        let median = figures[name]["median"].as_f64();
        assert!(median.is_some_and(|median| median > 0.0), "{name}: {figures}");
    }
    let version = json["contenders"][0]["version"].as_str().expect("a version");
    assert!(version.starts_with("etcd Version: "), "{version}");
    assert!(std::fs::read_to_string(out.join("compare.svg")).expect("plot").ends_with("</svg>\n"));
}

#[test]
fn a_signal_leaves_nothing_behind() {
    let out = TempDir::new("compare-signal");
    let mut command = compare(&["--only", "failover", "--kills", "99", "--etch"]);
    command.arg(Program::Ours.path()).arg("--out").arg(out.path());
    let mut bench = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("run bench");
    let name = format!("etch-e2e-{}-0-bench", bench.id());
    let directory: PathBuf = std::env::temp_dir().join(name);
    eventually("servers", PATIENCE, || (processes_in(&directory) == 3).then_some(()));
    let pid = Pid::from_raw(i32::try_from(bench.id()).expect("a process ID"));
    kill(pid, Signal::SIGINT).expect("interrupt bench");
    let exit = bench.wait().expect("wait for bench");
    assert_eq!(exit.code(), Some(130));
    eventually("no servers", PATIENCE, || (processes_in(&directory) == 0).then_some(()));
    assert!(!directory.exists(), "{} is left", directory.display());
}

#[test]
fn what_cannot_be_measured_honestly_is_refused() {
    let unsafe_run = compare(&["--only", "put"]).env("ETCD_UNSAFE_NO_FSYNC", "true").output();
    let unsafe_run = unsafe_run.expect("run bench");
    assert!(!unsafe_run.status.success());
    assert!(text(&unsafe_run).contains("ETCD_UNSAFE_NO_FSYNC is set"), "{}", text(&unsafe_run));
    for wrong in [["--baseline", "/bin/true"], ["--etch", "/nowhere"], ["--only", "nothing"]] {
        let output = compare(&wrong).output().expect("run bench");
        assert!(!output.status.success(), "{wrong:?}: {}", text(&output));
    }
}
