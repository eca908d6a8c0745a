//! `bench <command>`: measuring from the command line.
//!
//! Owns:       the names of the commands.
//! Uses:       the library alone.
//! Never:      a measurement of its own.
//! Invariants: ends with status 1 when something could not be measured or a request failed.
//! Source:     issue 4.

use anyhow::{Result, bail};

const USAGE: &str = "usage: bench <command>

  compare ...  start servers, load them in turn, print a table (bench compare --help)
  profile ...  where the time of a single put goes (an etcd with --features profile)";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((command, rest)) if command == "compare" => bench::compare::run(rest),
        Some((command, rest)) if command == "profile" => bench::profile::run(rest),
        _ => bail!("{USAGE}"),
    }
}
