//! `bench load`: one load on servers that run.
//!
//! Owns:       what a load consists of, from preparing keys to the report.
//! Uses:       one thread per process, `h2` and `hyper` without layers above.
//! Never:      work that is not needed to send a request, check its answer and count it.
//! Invariants: keys, schedule, messages and counts are pure; the clock is read by `engine` alone.
//! Source:     issue 4 a; design.md 6.

pub mod kind;
pub mod options;

mod channel;
mod engine;
mod fanout;
mod keys;
mod lease;
mod message;
mod prepare;
mod process;
mod processes;
mod schedule;
mod tally;
mod unary;
mod v2;
mod watch;

use anyhow::{Context as _, Result};
use tokio::task::LocalSet;

use self::engine::Outcome;
use self::options::Options;
use self::process::Job;
use crate::numbers::{float, per};
use crate::report::LoadReport;

/// Runs what the arguments behind `load` ask for and prints its report; whether all requests
/// succeeded.
///
/// # Errors
/// For arguments that make no sense, servers that do not answer, processes that are not there.
pub fn run(arguments: &[String]) -> Result<bool> {
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        println!("{}", options::USAGE);
        return Ok(true);
    }
    let options = Options::parse(arguments)?;
    let report = measure(&options)?;
    if options.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print(&report);
    }
    Ok(report.failed == 0)
}

/// Runs one of several processes: its job comes on standard input, what it counted goes to standard
/// output.
///
/// # Errors
/// As [`run`].
pub fn worker() -> Result<bool> {
    processes::child()
}

/// Runs a load.
///
/// # Errors
/// When servers do not answer, or processes to look at are not there.
pub fn measure(options: &Options) -> Result<LoadReport> {
    let found = block_on(prepare::prepare(options))?;
    let outcome = if options.processes == 1 {
        let job = Job { options: options.clone(), process: 0, found };
        block_on(process::run(&job, &mut || Ok(())))?
    } else {
        processes::run(options, found)?
    };
    Ok(report(options, &outcome))
}

/// Runs on this thread alone.
fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    LocalSet::new().block_on(&runtime, work)
}

fn report(options: &Options, outcome: &Outcome) -> LoadReport {
    let counts = &outcome.counts;
    let (requests, events) = (counts.requests(), counts.events());
    let units = if events > 0 { events } else { requests };
    let elapsed_seconds = float(counts.window()) / 1e9;
    let servers = outcome.servers.iter();
    let servers: Vec<_> =
        servers.map(|(pid, before, after)| after.usage_since(before, *pid, units)).collect();
    LoadReport {
        load: options.load.to_string(),
        parameters: options.clone(),
        requests,
        failed: counts.failed(),
        failures: counts.failures(),
        events,
        elapsed_seconds,
        rps: if elapsed_seconds > 0.0 { float(requests) / elapsed_seconds } else { 0.0 },
        latency: counts.latency(),
        client_cpu_seconds: outcome.cpu_seconds,
        client_cpu_us: per(outcome.cpu_seconds * 1e6, units),
        server_cpu_us: servers.iter().map(|server| server.cpu_us).sum(),
        servers,
    }
}

fn print(report: &LoadReport) {
    let latency = &report.latency;
    println!(
        "{}: {} requests ({} failed), {} events in {:.2} s: {:.0} requests/s",
        report.load,
        report.requests,
        report.failed,
        report.events,
        report.elapsed_seconds,
        report.rps
    );
    println!(
        "latency us: p50 {:.0}, p90 {:.0}, p99 {:.0}, p99.9 {:.0}, max {:.0}, mean {:.0}",
        latency.p50_us,
        latency.p90_us,
        latency.p99_us,
        latency.p999_us,
        latency.max_us,
        latency.mean_us
    );
    let unit = if report.events > 0 { "event" } else { "request" };
    println!("generator: {:.2} us CPU per {unit}", report.client_cpu_us);
    if !report.servers.is_empty() {
        println!("servers together: {:.2} us CPU per {unit}", report.server_cpu_us);
    }
    for server in &report.servers {
        println!(
            "server {}: {:.2} us CPU per {unit}, RSS {} + {} KiB (anonymous + file), {} bytes \
             written, context switches {} + {} (waited + preempted)",
            server.pid,
            server.cpu_us,
            server.rss_anon_kib,
            server.rss_file_kib,
            server.write_bytes,
            server.voluntary_switches,
            server.involuntary_switches
        );
    }
    for failure in &report.failures {
        println!("failed {} times: {}", failure.count, failure.text);
    }
}
