//! A child process in a group of its own, its output in a file.

use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::wait;

/// Lines of the log that a failing test prints.
const LOG_TAIL_LINES: usize = 120;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        status.code().map_or_else(|| Self::Signal(status.signal().unwrap_or(0)), Self::Code)
    }
}

/// A running (or ended) child. Dropping it kills its whole process group.
#[derive(Debug)]
pub struct Process {
    label: String,
    child: Child,
    log: PathBuf,
    exit: Option<Exit>,
}

impl Process {
    /// Starts `command` with stdout and stderr appended to the file `log`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn spawn(label: &str, mut command: Command, log: &Path) -> Self {
        let open = || {
            File::options().create(true).append(true).open(log).expect("open the file for the log")
        };
        let child = command
            .stdin(Stdio::null())
            .stdout(open())
            .stderr(open())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("start {label}: {error}"));
        Self { label: label.to_owned(), child, log: log.to_owned(), exit: None }
    }

    /// Process ID.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// How it ended, if it has.
    ///
    /// # Panics
    /// When the system cannot say.
    pub fn exit(&mut self) -> Option<Exit> {
        if self.exit.is_none() {
            self.exit = self.child.try_wait().expect("wait for child").map(Exit::from);
        }
        self.exit
    }

    /// Sends a signal to the process (not to its group); one that has ended stays ended.
    pub fn signal(&mut self, signal: Signal) {
        if self.exit().is_none() {
            // It may end in between, which is what the caller wants to find out anyway.
            let _ = kill(self.pid(), signal);
        }
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// When it is still running after `patience`.
    #[track_caller]
    pub fn wait(&mut self, patience: Duration) -> Exit {
        let what = format!("end of {}", self.label);
        wait::eventually(&what, patience, || self.exit())
    }

    /// Kills the group and collects the child.
    pub fn kill(&mut self) {
        if self.exit().is_none() {
            let _ = killpg(self.pid(), Signal::SIGKILL);
            self.exit = self.child.wait().ok().map(Exit::from);
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(i32::MAX))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
            eprintln!("--- log of {} ({:?}):\n{}", self.label, self.exit, tail.join("\n"));
        }
    }
}
