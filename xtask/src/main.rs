//! Chores of the workspace: `cargo xtask <command>`.
//!
//! Owns:       generated files and the checks that clippy cannot make.
//! Uses:       the workspace's files and cargo itself.
//! Never:      product code.
//! Invariants: every command ends with a non-zero status when it found something wrong.
//! Source:     style.md 10.

mod bench;
mod ci;
mod codegen;
mod instructions;
mod sim;
mod tidy;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

const USAGE: &str = "usage: cargo xtask <command>

  bench [--baseline <etcd>]... [--members 1|3] [--only ...] [--quick] [--help] ...
                     compare etch with Go servers (release build)
  ci                 run everything that CI runs (.ci/run)
  codegen [--check]  write (or compare) crates/proto/src/generated from crates/proto/proto
  instructions [--bless]
                     count instructions of put, get and their parts under callgrind and compare
                     with (or write) crates/micro/instructions.txt
  sim [--seeds N] [--from S] [--seed S] [--trace] ...
                     run seeds of the simulated cluster, print the replay of failures
  tidy               check headers, crate arrows, stray text, links, licences";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["bench", arguments @ ..] => bench::run(arguments),
        ["ci"] => ci::run(),
        ["codegen"] => codegen::write(),
        ["codegen", "--check"] => codegen::check(),
        ["instructions"] => instructions::run(false),
        ["instructions", "--bless"] => instructions::run(true),
        ["sim", arguments @ ..] => sim::run(arguments),
        ["tidy"] => tidy::run(),
        _ => bail!("{USAGE}"),
    }
}

/// The folder of the root manifest.
fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}
