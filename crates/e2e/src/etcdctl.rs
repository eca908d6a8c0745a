//! Go's `etcdctl` (or any other tool) as a child with arguments, input and a deadline.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::program::Program;
use crate::{process::Exit, wait};

/// How long one command may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// `ETCDCTL_API`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// The HTTP API of directories and keys.
    V2,
    /// The gRPC API.
    V3,
}

/// What a command gave back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// How it ended.
    pub exit: Exit,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Finished {
    /// Its standard output, once it is sure that it succeeded.
    ///
    /// # Panics
    /// When the exit code is not 0.
    #[track_caller]
    #[must_use]
    pub fn success(self) -> String {
        assert_eq!(self.exit, Exit::Code(0), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self.stdout
    }
}

/// A client program with its API version and endpoints.
#[derive(Clone, Debug)]
pub struct Etcdctl {
    program: Program,
    api: Api,
    endpoints: Vec<String>,
}

impl Etcdctl {
    /// Talks to `endpoints` (`http://host:port` or `host:port`).
    #[must_use]
    pub fn new(program: Program, api: Api, endpoints: Vec<String>) -> Self {
        Self { program, api, endpoints }
    }

    /// Runs a command without input.
    ///
    /// # Panics
    /// When it does not end in time.
    #[track_caller]
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Finished {
        self.run_with_input(arguments, "")
    }

    /// Runs a command with `input` on its standard input.
    ///
    /// # Panics
    /// When it does not end in time.
    #[track_caller]
    #[must_use]
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Finished {
        run(self.command(arguments), input, TIMEOUT)
    }

    /// The command line, for a caller that runs it beside other things.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.program.path());
        let api = match self.api {
            Api::V2 => "2",
            Api::V3 => "3",
        };
        command.env("ETCDCTL_API", api);
        if !self.endpoints.is_empty() {
            command.arg(format!("--endpoints={}", self.endpoints.join(",")));
        }
        command.args(arguments);
        clear_environment(&mut command);
        command
    }
}

/// Takes etcd's variables of our own environment from a command, apart from what it sets itself.
fn clear_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("ETCD") && !command.get_envs().any(|(set, _)| set == name.as_str()) {
            command.env_remove(name);
        }
    }
}

/// Runs any command to its end with `input`, in a cleared environment plus what `command` sets.
///
/// # Panics
/// When it cannot be started or does not end within `patience`.
#[track_caller]
#[must_use]
pub fn run(mut command: Command, input: &str, patience: Duration) -> Finished {
    clear_environment(&mut command);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap_or_else(|error| panic!("start {command:?}: {error}"));
    let stdout = drain(child.stdout.take().expect("piped"));
    let stderr = drain(child.stderr.take().expect("piped"));
    let mut stdin = child.stdin.take().expect("piped");
    // A command that does not read its input may close it first.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let exit = wait::until(patience, || child.try_wait().expect("wait for child"));
    if exit.is_none() {
        let group = Pid::from_raw(i32::try_from(child.id()).expect("process IDs fit"));
        let _ = killpg(group, Signal::SIGKILL);
        let _ = child.wait();
    }
    let read = |from: mpsc::Receiver<String>| from.recv_timeout(TIMEOUT).unwrap_or_default();
    let (stdout, stderr) = (read(stdout), read(stderr));
    let Some(exit) = exit else {
        panic!("no end within {patience:?}: {command:?}\nstdout: {stdout}\nstderr: {stderr}");
    };
    Finished { exit: exit.into(), stdout, stderr }
}

fn drain(mut from: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}
