//! `bench <command>`: measuring from the command line.
//!
//! Owns:       the names of the commands.
//! Uses:       the library alone.
//! Never:      a measurement of its own.
//! Invariants: ends with status 1 when something could not be measured or a request failed.
//! Source:     issue 4.

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "usage: bench <command>

  load ...     load servers that run, print a report (bench load --help)
  compare ...  start servers, load them in turn, print a table (bench compare --help)
  profile ...  where the time of a single put goes (an etcd with --features profile)";

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = arguments.split_first() else { bail!("{USAGE}") };
    let is_good = match command.as_str() {
        "compare" => bench::compare::run(rest).map(|()| true)?,
        "profile" => bench::profile::run(rest).map(|()| true)?,
        "load" => bench::load::run(rest)?,
        // One of several processes of `load`, which starts it.
        "worker" => bench::load::worker()?,
        _ => bail!("{USAGE}"),
    };
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
