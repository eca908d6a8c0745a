//! Runs the load generator, `bench load`, as a child on its own core and makes figures of its report.
//!
//! Never:      figures of a load that ended with an error.
//! Invariants: counters of the servers are read right before and after the child.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::child::Running;
use super::figures::Figure;
use super::metrics::Counters;
use super::pin::Place;
use super::procfs::Memory;
use super::results::Sample;
use super::rows::{Content, Load};
use super::run::{self, Run};
use super::server::Cluster;
use super::stats::float;
use super::stored;
use crate::report::{LoadReport, ServerUsage};

/// How long a load may take beside its window: connecting, content of its own, stopping.
const SPARE: Duration = Duration::from_secs(120);
/// The least rate at which servers are filled; below it something is wrong.
const FILL_PER_SECOND_MIN: u64 = 1500;
/// Sizes of keys and values.
const KEY_BYTES: u32 = 64;
const VALUE_BYTES: u32 = 256;
/// Connections and requests on each while servers are filled.
const FILL: (u32, u32) = (20, 50);
/// Writes per second, and connections, of a load that is to be disturbed.
const STEADY_PER_SECOND: u32 = 500;
const STEADY_CONNECTIONS: u32 = 20;

/// A child that makes load.
struct Child {
    running: Running,
    output: PathBuf,
    patience: Duration,
}

/// Measures a row's load on these servers.
///
/// # Errors
/// When the generator fails, or a server does not say what it did.
pub(super) fn load(run: &Run, cluster: &Cluster, load: &Load) -> Result<Sample> {
    let keys = match load.content {
        Content::Own => u64::from(load.keys),
        Content::ManyKeys => run.scale.keys,
    };
    timed(run, cluster, load, (keys, KEY_BYTES), run.scale.window())
}

/// Measures reads of one key, whose name has so many bytes, in half a window.
///
/// # Errors
/// As [`load`].
pub(super) fn get(run: &Run, cluster: &Cluster, load: &Load, key_bytes: u32) -> Result<Sample> {
    timed(run, cluster, load, (u64::from(load.keys), key_bytes), run.scale.window() / 2)
}

/// Measures for so long; `keys` are their number and the bytes of each.
fn timed(
    run: &Run,
    cluster: &Cluster,
    load: &Load,
    (keys, key_bytes): (u64, u32),
    length: Duration,
) -> Result<Sample> {
    let mut options = options(load.load, load.connections, load.outstanding, keys, key_bytes);
    options.extend(window(run, length));
    options.extend(load.extra.iter().map(|option| (*option).to_owned()));
    run::settle();
    let before = Counters::read(&cluster.addresses())?;
    let report = start(run, cluster, &options, length + run.scale.warm_up())?.finish()?;
    let after = Counters::read(&cluster.addresses())?;
    Ok(sample(&report, after.syncs_per_write(&before)))
}

/// Puts `keys` keys, each once; returns the time it took.
///
/// # Errors
/// As [`load`]; also when a put failed.
pub(super) fn fill(run: &Run, cluster: &Cluster, keys: u64) -> Result<Duration> {
    let mut options = options("put", FILL.0, FILL.1, keys, KEY_BYTES);
    options.extend(["--distribution", "sequential"].map(str::to_owned));
    put_requests(run, cluster, options, keys)
}

/// Puts one key, whose name has so many bytes, so many times.
///
/// # Errors
/// As [`fill`].
pub(super) fn put_one(
    run: &Run,
    cluster: &Cluster,
    key_bytes: u32,
    times: u64,
) -> Result<Duration> {
    put_requests(run, cluster, options("put", FILL.0, FILL.1, 1, key_bytes), times)
}

fn put_requests(
    run: &Run,
    cluster: &Cluster,
    mut options: Vec<String>,
    requests: u64,
) -> Result<Duration> {
    options.extend(["--requests".to_owned(), requests.to_string()]);
    options.extend(["--warm-up".to_owned(), "0ms".to_owned()]);
    let began = Instant::now();
    let longest = Duration::from_secs(requests / FILL_PER_SECOND_MIN);
    let report = start(run, cluster, &options, longest)?.finish()?;
    if report.failed > 0 || report.requests != requests {
        bail!("{} of {requests} puts failed, {} were made", report.failed, report.requests);
    }
    Ok(began.elapsed())
}

/// Writes at a fixed rate, latency counted from when each was due.
pub(super) struct Steady {
    child: Child,
}

impl Steady {
    /// Starts it for a window of this length.
    ///
    /// # Errors
    /// When there is no child.
    pub(super) fn start(run: &Run, cluster: &Cluster, length: Duration) -> Result<Self> {
        let mut options = options("put", STEADY_CONNECTIONS, 10, 10_000, KEY_BYTES);
        options.extend(window(run, length));
        options.extend(["--rate".to_owned(), STEADY_PER_SECOND.to_string()]);
        run::settle();
        Ok(Self { child: start(run, cluster, &options, length + run.scale.warm_up())? })
    }

    /// Whether it has not ended yet.
    ///
    /// # Errors
    /// When the system cannot say.
    pub(super) fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.running.exit()?.is_none())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it failed.
    pub(super) fn finish(self) -> Result<Sample> {
        Ok(sample(&self.child.finish()?, None))
    }
}

fn options(
    load: &str,
    connections: u32,
    outstanding: u32,
    keys: u64,
    key_bytes: u32,
) -> Vec<String> {
    let pairs = [
        ("--load", load.to_owned()),
        ("--connections", connections.to_string()),
        ("--outstanding", outstanding.to_string()),
        ("--keys", keys.to_string()),
        ("--key-bytes", key_bytes.to_string()),
        ("--value-bytes", VALUE_BYTES.to_string()),
    ];
    pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
}

fn window(run: &Run, length: Duration) -> Vec<String> {
    let text = |length: Duration| format!("{}ms", length.as_millis());
    vec!["--duration".to_owned(), text(length), "--warm-up".to_owned(), text(run.scale.warm_up())]
}

fn start(run: &Run, cluster: &Cluster, options: &[String], length: Duration) -> Result<Child> {
    let mut command = Command::new(&run.generator);
    command.arg("load").args(options).arg("--json");
    command.args(["--endpoint", &cluster.endpoints().join(",")]);
    let pids: Vec<String> = cluster.pids().iter().map(u32::to_string).collect();
    command.args(["--server-pid", &pids.join(",")]);
    // What it says comes first, and an error shows the end.
    command.env_remove("RUST_BACKTRACE");
    let (output, log) = (run.directory.join("load.json"), run.directory.join("load.log"));
    // What an error shows is of this child alone.
    let _ = std::fs::remove_file(&log);
    let place = Place::Core(run.cores.generator);
    let running = Running::start("the load generator", place, command, &log, Some(&output))?;
    Ok(Child { running, output, patience: length + SPARE })
}

impl Child {
    fn finish(mut self) -> Result<LoadReport> {
        let exit = self.running.wait(self.patience)?;
        let text = std::fs::read_to_string(&self.output).context("read the generator's report")?;
        // It fails when a request failed, and says how many: that is for the table.
        match serde_json::from_str(&text) {
            Ok(report) => Ok(report),
            Err(error) => bail!("the generator ended with {exit}: {error}{}", self.running.tail()),
        }
    }
}

/// Figures of a report; `syncs` per write were counted over the whole load, warm-up included.
fn sample(report: &LoadReport, syncs: Option<f64>) -> Sample {
    let units = float(report.units().max(1));
    let sum = |of: fn(&ServerUsage) -> u64| report.servers.iter().map(of).sum::<u64>();
    let ms = |us: f64| us / 1e3;
    let latency = &report.latency;
    let mut figures = BTreeMap::from([
        (Figure::ServerCpuUs, report.server_cpu_us),
        (Figure::ClientCpuUs, report.client_cpu_us),
        (Figure::RequestsPerSecond, units / report.elapsed_seconds),
        (Figure::P50Ms, ms(latency.p50_us)),
        (Figure::P99Ms, ms(latency.p99_us)),
        (Figure::P999Ms, ms(latency.p999_us)),
        (Figure::MaxMs, ms(latency.max_us)),
        (Figure::P99OverP50, latency.p99_us / latency.p50_us),
        (Figure::WrittenBytes, float(sum(|server| server.write_bytes)) / units),
    ]);
    figures.extend(stored::memory_figures(Memory {
        anon_kib: sum(|server| server.rss_anon_kib),
        file_kib: sum(|server| server.rss_file_kib),
    }));
    figures.extend(syncs.map(|syncs| (Figure::Syncs, syncs)));
    Sample { figures, failed: report.failed }
}
