//! Runs what CI runs.

use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Runs `.ci/run`, the one definition of what has to pass.
pub(crate) fn run() -> Result<()> {
    let root = crate::workspace();
    let script = root.join(".ci/run");
    let status = Command::new(&script).current_dir(&root).status().context("start .ci/run")?;
    ensure!(status.success(), ".ci/run: {status}");
    Ok(())
}
