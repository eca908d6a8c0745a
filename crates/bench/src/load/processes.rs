//! A load by several processes, for when one cannot keep a server busy.
//!
//! Invariants: all begin together, when all are connected; servers are looked at by the first
//!             process, which only waits; no child outlives it for longer than the load.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::engine::Outcome;
use super::options::{Length, Options};
use super::prepare::Found;
use super::process::{self, Job};
use super::tally::Counts;
use crate::probe::Snapshot;

const READY: &str = "ready";
const GO: &str = "go";

/// What a child prints in the end.
#[derive(Serialize, Deserialize)]
struct Part {
    counts: Counts,
    cpu_seconds: f64,
}

/// A running child, killed when dropped.
struct Worker {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It has ended, unless something failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a load by several processes.
///
/// # Errors
/// When one of them fails, or a server is not there.
pub(super) fn run(options: &Options, found: Found) -> Result<Outcome> {
    let mut workers = Vec::new();
    for process in 0..options.processes {
        workers.push(Worker::start(&Job { options: options.clone(), process, found })?);
    }
    for worker in &mut workers {
        let line = worker.line()?;
        if line != READY {
            bail!("a process of the generator said {line:?}");
        }
    }
    for worker in &mut workers {
        writeln!(worker.input, "{GO}")?;
        worker.input.flush()?;
    }
    let began = Instant::now();
    sleep_until(began + options.warm_up);
    let before = look(&options.server_pids)?;
    let timed = match options.length {
        Length::Time(length) => {
            sleep_until(began + options.warm_up + length);
            Some(look(&options.server_pids)?)
        }
        Length::Requests(_) => None,
    };
    let mut sum: Option<Part> = None;
    for worker in &mut workers {
        let result: Part = serde_json::from_str(&worker.line()?)?;
        sum = Some(match sum {
            None => result,
            Some(mut sum) => {
                sum.counts.add(result.counts);
                sum.cpu_seconds += result.cpu_seconds;
                sum
            }
        });
    }
    let after = timed.map_or_else(|| look(&options.server_pids), Ok)?;
    let sum = sum.context("no process")?;
    let pairs = before.into_iter().zip(after);
    let servers = options.server_pids.iter().zip(pairs);
    let servers = servers.map(|(pid, (before, after))| (*pid, before, after)).collect();
    Ok(Outcome { counts: sum.counts, cpu_seconds: sum.cpu_seconds, servers })
}

impl Worker {
    fn start(job: &Job) -> Result<Self> {
        let program = std::env::current_exe().context("find this program")?;
        let mut child = Command::new(program)
            .arg("worker")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start a process of the generator")?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (input, output) = input.zip(output).context("its pipes")?;
        let mut worker = Self { child, input, output: BufReader::new(output) };
        writeln!(worker.input, "{}", serde_json::to_string(job)?)?;
        worker.input.flush()?;
        Ok(worker)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            bail!("a process of the generator ended with {}", self.child.wait()?);
        }
        Ok(line.trim_end().to_owned())
    }
}

/// The other side: does the job that standard input describes.
///
/// # Errors
/// As [`super::run`].
pub(super) fn child() -> Result<bool> {
    let read = || {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line)?;
        anyhow::Ok(line)
    };
    let job: Job = serde_json::from_str(&read()?).context("read the job")?;
    let outcome = super::block_on(process::run(&job, &mut || {
        println!("{READY}");
        match read()?.trim_end() {
            GO => Ok(()),
            _ => bail!("the first process is gone"),
        }
    }))?;
    let result = Part { counts: outcome.counts, cpu_seconds: outcome.cpu_seconds };
    println!("{}", serde_json::to_string(&result)?);
    // Failures are for the first process to report.
    Ok(true)
}

fn look(pids: &[u32]) -> Result<Vec<Snapshot>> {
    pids.iter().map(|pid| Snapshot::of(*pid)).collect()
}

fn sleep_until(time: Instant) {
    std::thread::sleep(time.checked_duration_since(Instant::now()).unwrap_or(Duration::ZERO));
}
