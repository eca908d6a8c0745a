//! Children and directories that must not outlive this process.
//!
//! Owns:       the list of running children and of temporary directories; the signal thread.
//! Invariants: a child is in the list from the moment it exists until it has been waited for; after
//!             a signal nothing is started any more.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// What is there to be cleaned up.
struct Registry {
    groups: BTreeSet<u32>,
    directories: BTreeSet<PathBuf>,
}

static REGISTRY: Mutex<Registry> =
    Mutex::new(Registry { groups: BTreeSet::new(), directories: BTreeSet::new() });

fn registry() -> MutexGuard<'static, Registry> {
    // Each change is one call, so a panic leaves it whole.
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the thread that cleans up at SIGINT, SIGTERM and SIGHUP and ends the process.
///
/// # Errors
/// When signals cannot be had.
pub(super) fn on_signals() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("listen for signals")?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            // The lock is never given back: nothing starts between the sweep and the end.
            let registry = registry();
            sweep(&registry);
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}

/// Starts a child, the leader of a process group of its own, and lists it.
///
/// # Errors
/// When it cannot be started.
pub(super) fn spawn(start: impl FnOnce() -> io::Result<Child>) -> io::Result<Child> {
    let mut registry = registry();
    let child = start()?;
    registry.groups.insert(child.id());
    Ok(child)
}

/// Kills the group of a child that was started here.
pub(super) fn kill(child: &Child) {
    let _ = killpg(pid(child.id()), Signal::SIGKILL);
}

/// Forgets a child that has been waited for.
pub(super) fn ended(child: &Child) {
    registry().groups.remove(&child.id());
}

/// Lists a directory for removal.
pub(super) fn directory(path: &Path) {
    registry().directories.insert(path.to_owned());
}

/// A process ID as the kernel has it.
pub(super) fn pid(id: u32) -> Pid {
    Pid::from_raw(i32::try_from(id).unwrap_or(i32::MAX))
}

fn sweep(registry: &Registry) {
    for group in &registry.groups {
        let _ = killpg(pid(*group), Signal::SIGKILL);
    }
    for directory in &registry.directories {
        // Killed servers may still be closing files; what is left has no owner any more.
        let _ = std::fs::remove_dir_all(directory);
    }
}
