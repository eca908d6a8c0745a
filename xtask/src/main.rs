//! Chores of the workspace: `cargo xtask <command>`.
//!
//! Owns:       generated files and the checks that clippy cannot make.
//! Uses:       the workspace's files and cargo itself.
//! Never:      product code.
//! Invariants: every command ends with a non-zero status when it found something wrong.
//! Source:     style.md 10.

mod codegen;

use anyhow::{Result, bail};

const USAGE: &str = "usage: cargo xtask <command>

  codegen [--check]  write (or compare) crates/proto/src/generated from crates/proto/proto";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["codegen"] => codegen::write(),
        ["codegen", "--check"] => codegen::check(),
        _ => bail!("{USAGE}"),
    }
}
