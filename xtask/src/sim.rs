//! Runs the simulator with its release profile; the arguments are those of the binary.

use std::process::Command;

use anyhow::{Context, Result, bail};

/// Runs `sim` with these arguments; a failed seed fails the command.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["run", "--quiet", "--release", "--package", "sim", "--bin", "sim", "--"])
        .args(arguments)
        .status()
        .context("run cargo")?;
    if !status.success() {
        bail!("simulation failed: {status}");
    }
    Ok(())
}
