//! A child process that ends with its value.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};

use super::cleanup;
use super::pin::{self, Place};

/// Pause between two looks at a child.
const PAUSE: Duration = Duration::from_millis(5);
/// Lines of output that an error shows.
const TAIL_LINES: usize = 30;

/// A running child in a group of its own. Dropping it kills the group.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    label: String,
    log: PathBuf,
    exit: Option<ExitStatus>,
}

impl Running {
    /// Starts a child with its standard error appended to `log`, and its standard output as well
    /// unless `output` names another file.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start(
        label: &str,
        place: Place,
        mut command: Command,
        log: &Path,
        output: Option<&Path>,
    ) -> Result<Self> {
        let append = |path: &Path| {
            let file = File::options().create(true).append(true).open(path);
            file.with_context(|| format!("open {}", path.display()))
        };
        let output = match output {
            Some(path) => {
                File::create(path).with_context(|| format!("create {}", path.display()))?
            }
            None => append(log)?,
        };
        command.stdin(Stdio::null()).stdout(output).stderr(append(log)?).process_group(0);
        let child = cleanup::spawn(|| pin::spawn(place, &mut command))
            .with_context(|| format!("start {label}: {}", command.get_program().display()))?;
        Ok(Self { child, label: label.to_owned(), log: log.to_owned(), exit: None })
    }

    /// Process ID.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When the system cannot say.
    pub(super) fn exit(&mut self) -> Result<Option<ExitStatus>> {
        if self.exit.is_none() {
            self.exit = self.child.try_wait().context("wait for a child")?;
            if self.exit.is_some() {
                cleanup::ended(&self.child);
            }
        }
        Ok(self.exit)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `patience`.
    pub(super) fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(exit) = self.exit()? {
                return Ok(exit);
            }
            if Instant::now() >= deadline {
                bail!("{} still runs after {patience:?}{}", self.label, self.tail());
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Sends a signal; one that has ended stays ended.
    pub(super) fn signal(&self, signal: Signal) {
        if self.exit.is_none() {
            let _ = kill(cleanup::pid(self.child.id()), signal);
        }
    }

    /// Kills it and waits.
    pub(super) fn kill(&mut self) {
        if self.exit.is_none() {
            cleanup::kill(&self.child);
            self.exit = self.child.wait().ok();
            cleanup::ended(&self.child);
        }
    }

    /// The end of its log, for an error.
    pub(super) fn tail(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        format!("\n--- end of its log:\n{}", tail.join("\n"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_noticed_and_a_drop_kills() {
        let directory = e2e::TempDir::new("bench-child");
        let log = directory.join("log");
        let mut command = Command::new("sh");
        command.args(["-c", "echo one >&2; exit 3"]);
        let mut child = Running::start("sh", Place::Anywhere, command, &log, None).unwrap();
        assert_eq!(child.wait(Duration::from_secs(20)).unwrap().code(), Some(3));
        assert!(child.tail().contains("one"));
        let mut command = Command::new("sleep");
        command.arg("1000");
        let mut child = Running::start("sleep", Place::Anywhere, command, &log, None).unwrap();
        let error = child.wait(Duration::from_millis(20)).unwrap_err();
        assert!(error.to_string().starts_with("sleep still runs"), "{error}");
        let id = child.id();
        drop(child);
        assert!(kill(cleanup::pid(id), None).is_err(), "it is gone");
    }
}
