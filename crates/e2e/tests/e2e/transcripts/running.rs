//! A command that runs beside those that follow it in the script.

use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use e2e::etcdctl::Finished;
use e2e::{Exit, eventually, until};

/// How long an output or an end may take: a lease of the shortest time included.
const PATIENCE: Duration = Duration::from_secs(30);

/// It is killed when this is dropped.
pub(super) struct Running {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Running {
    /// Starts it with `input`; its input stays open.
    pub(super) fn start(mut command: Command, name: &str, directory: &Path, input: &str) -> Self {
        let file = |kind: &str| directory.join(format!("{name}.{kind}"));
        let (stdout, stderr) = (file("stdout"), file("stderr"));
        let create = |path: &Path| File::create(path).expect("create a file for the output");
        let child = command
            .stdin(Stdio::piped())
            .stdout(create(&stdout))
            .stderr(create(&stderr))
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("start {command:?}: {error}"));
        let mut running = Self { child, stdout, stderr };
        running.say(input);
        running
    }

    /// Writes to its input.
    pub(super) fn say(&mut self, text: &str) {
        let stdin = self.child.stdin.as_mut().expect("piped");
        // One that has ended shows it by its output.
        let _ = stdin.write_all(text.as_bytes());
    }

    /// Waits until its output has `text` and no line is half written.
    pub(super) fn wait_output(&self, text: &str) {
        eventually(&format!("output {text:?}"), PATIENCE, || {
            let output = read(&self.stdout);
            (output.contains(text) && output.ends_with('\n')).then_some(())
        });
    }

    /// Waits for its end; until then `meanwhile` is done again and again.
    pub(super) fn wait_end(mut self, mut meanwhile: impl FnMut()) -> Finished {
        let exit = until(PATIENCE, || {
            let exit = self.child.try_wait().expect("wait for child");
            if exit.is_none() {
                meanwhile();
            }
            exit
        });
        let (stdout, stderr) = (read(&self.stdout), read(&self.stderr));
        let Some(exit) = exit else { panic!("no end; stdout: {stdout}\nstderr: {stderr}") };
        Finished { exit: Exit::from(exit), stdout, stderr }
    }

    /// Ends it.
    pub(super) fn end(mut self) -> Finished {
        self.kill();
        self.wait_end(|| ())
    }

    fn kill(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
        let _ = self.child.wait();
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}
