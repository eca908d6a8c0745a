//! Which core runs what.
//!
//! Owns:       nothing; a child inherits the cores of the thread that starts it.
//! Never:      other processes than those started here; the threads of this process that measure.

use std::io;
use std::process::{Child, Command};

use anyhow::{Context as _, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The cores of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cores {
    /// Of the load generator.
    pub(super) generator: usize,
    /// Of all servers.
    pub(super) server: usize,
    /// Cores that may be used at all.
    pub(super) count: usize,
}

/// Where a child may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On this core alone.
    Core(usize),
    /// Wherever this process may.
    Anywhere,
}

impl Cores {
    /// The first core for the generator and the last for servers: never siblings of one core when
    /// there are more than two. With one core both share it.
    ///
    /// # Errors
    /// When the kernel does not say which there are.
    pub(super) fn choose() -> Result<Self> {
        let allowed =
            sched_getaffinity(Pid::from_raw(0)).context("read the cores of this process")?;
        let cores: Vec<usize> =
            (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap_or(false)).collect();
        let first = *cores.first().context("no core may be used")?;
        let last = *cores.last().context("no core may be used")?;
        Ok(Self { generator: first, server: last, count: cores.len() })
    }
}

/// Starts a child at its place.
///
/// # Errors
/// When it cannot be started.
pub(super) fn spawn(place: Place, command: &mut Command) -> io::Result<Child> {
    let Place::Core(core) = place else { return command.spawn() };
    let mut set = CpuSet::new();
    set.set(core)?;
    // A thread of its own: what it is bound to is inherited, and nothing else is bound.
    std::thread::scope(|scope| {
        let starter = scope.spawn(|| {
            sched_setaffinity(Pid::from_raw(0), &set)?;
            command.spawn()
        });
        starter.join().unwrap_or_else(|_| Err(io::Error::other("the starting thread panicked")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_runs_on_its_core_alone() {
        let cores = Cores::choose().unwrap();
        let mut command = Command::new("cat");
        command.arg("/proc/self/status").stdout(std::process::Stdio::piped());
        let child = spawn(Place::Core(cores.server), &mut command).unwrap();
        let output = child.wait_with_output().unwrap();
        let status = String::from_utf8(output.stdout).unwrap();
        let line = status.lines().find(|line| line.starts_with("Cpus_allowed_list:")).unwrap();
        assert_eq!(line.split_whitespace().last(), Some(cores.server.to_string().as_str()));
        assert_eq!(Cores::choose().unwrap(), cores, "this process is not bound");
    }
}
