//! Builds the server and the measuring program as they are handed out (profile `dist`) and compares
//! servers.

use std::process::Command;

use anyhow::{Context, Result, bail};

/// Runs `bench compare` with these arguments; a failed request fails the command.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let build = Command::new(&cargo)
        .args(["build", "--quiet", "--profile", "dist", "--bin", "etcd", "--bin", "bench"])
        .current_dir(crate::workspace())
        .status()
        .context("run cargo")?;
    if !build.success() {
        bail!("building etcd and bench failed: {build}");
    }
    // Paths among the arguments are relative to where the user is.
    let status = Command::new(cargo)
        .args(["run", "--quiet", "--profile", "dist", "--package", "bench", "--bin", "bench", "--"])
        .arg("compare")
        .args(arguments)
        .status()
        .context("run cargo")?;
    if !status.success() {
        bail!("comparison failed: {status}");
    }
    Ok(())
}
