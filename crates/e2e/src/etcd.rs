//! A server process: ours or one of Go's.
//!
//! Owns:       the process; its data directory belongs to the test.
//! Invariants: `start` returns when the server answers clients; the `Spec` it was started from can
//!             start it again.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::http;
use crate::process::{Exit, Process};
use crate::program::Program;
use crate::wait;

/// How long a start may take on a loaded machine.
pub const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long an orderly stop may take.
pub const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// How long a ready server may take to answer.
const HEALTH_PATIENCE: Duration = Duration::from_secs(2);

/// How settings reach the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartStyle {
    /// `ETCD_NAME=...` only, no word on the command line.
    Environment,
    /// `--name=...`.
    Flags,
}

/// Everything needed to start a server, as often as wanted.
#[derive(Clone, Debug)]
pub struct Spec {
    program: Program,
    style: StartStyle,
    host: Option<Ipv4Addr>,
    settings: BTreeMap<String, String>,
    variables: BTreeMap<String, String>,
    log: Option<PathBuf>,
    current_dir: Option<PathBuf>,
}

impl Spec {
    /// A server of `program` that gets its settings as flags.
    #[must_use]
    pub fn new(program: Program) -> Self {
        Self {
            program,
            style: StartStyle::Flags,
            host: None,
            settings: BTreeMap::new(),
            variables: BTreeMap::new(),
            log: None,
            current_dir: None,
        }
    }

    /// The same server settings for another program.
    #[must_use]
    pub fn program(mut self, program: Program) -> Self {
        self.program = program;
        self
    }

    /// Whether it describes a server of this program.
    #[must_use]
    pub fn runs(&self, program: Program) -> bool {
        self.program == program
    }

    /// Chooses between flags and environment.
    #[must_use]
    pub fn style(mut self, style: StartStyle) -> Self {
        self.style = style;
        self
    }

    /// Sets an option by its flag name without dashes, as `("name", "m1")`.
    #[must_use]
    pub fn set(mut self, option: &str, value: impl Into<String>) -> Self {
        self.settings.insert(option.to_owned(), value.into());
        self
    }

    /// Takes an option back.
    #[must_use]
    pub fn unset(mut self, option: &str) -> Self {
        self.settings.remove(option);
        self
    }

    /// Sets an environment variable as it is, whatever the style.
    #[must_use]
    pub fn env(mut self, variable: &str, value: impl Into<String>) -> Self {
        self.variables.insert(variable.to_owned(), value.into());
        self
    }

    /// Name, data directory `<directory>/<name>.etcd`, log `<directory>/<name>.log`, all listeners on
    /// `host` with etcd's ports, and a cluster of this one member.
    #[must_use]
    pub fn member(mut self, name: &str, host: Ipv4Addr, directory: &Path) -> Self {
        let (client, peer) = (client_url(host), peer_url(host));
        self.host = Some(host);
        self.log = Some(directory.join(format!("{name}.log")));
        let data_dir = directory.join(format!("{name}.etcd"));
        self.set("name", name)
            .set("data-dir", data_dir.to_string_lossy())
            .set("listen-client-urls", client.clone())
            .set("advertise-client-urls", client)
            .set("listen-peer-urls", peer.clone())
            .set("initial-advertise-peer-urls", peer.clone())
            .set("initial-cluster", format!("{name}={peer}"))
    }

    /// File that gets the output.
    #[must_use]
    pub fn log_file(mut self, log: impl Into<PathBuf>) -> Self {
        self.log = Some(log.into());
        self
    }

    /// Working directory of the process.
    #[must_use]
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.current_dir = Some(directory.into());
        self
    }

    /// The value of an option set before.
    #[must_use]
    pub fn setting(&self, option: &str) -> Option<&str> {
        self.settings.get(option).map(String::as_str)
    }

    /// The data directory.
    ///
    /// # Panics
    /// When none was set.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        PathBuf::from(self.setting("data-dir").expect("a data directory was set"))
    }

    /// The command line and environment as they stand.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(self.program.path());
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"ETCD_") {
                command.env_remove(name);
            }
        }
        for (option, value) in &self.settings {
            match self.style {
                StartStyle::Flags => command.arg(format!("--{option}={value}")),
                StartStyle::Environment => command.env(variable_of(option), value),
            };
        }
        command.envs(&self.variables);
        if let Some(directory) = &self.current_dir {
            command.current_dir(directory);
        }
        command
    }

    /// Starts the process and does not wait for anything.
    ///
    /// # Panics
    /// When the program is missing or no log file was set.
    #[must_use]
    pub fn spawn(&self) -> Etcd {
        let log = self.log.as_deref().expect("a log file was set");
        let label = self.setting("name").unwrap_or("etcd");
        let label = format!("{label} ({:?}, {})", self.program, log.display());
        let before = std::fs::metadata(log).map_or(0, |metadata| metadata.len());
        let process = Process::spawn(&label, self.command(), log);
        Etcd { spec: self.clone(), process, log_start: usize::try_from(before).unwrap_or(0) }
    }

    /// Starts the process and waits until it answers `GET /health` with 200.
    ///
    /// # Panics
    /// When it ends or is not ready in time.
    #[must_use]
    #[track_caller]
    pub fn start(&self) -> Etcd {
        let mut etcd = self.spawn();
        etcd.wait_ready(START_PATIENCE);
        etcd
    }

    /// Starts the process, which is expected to end by itself, and waits for that.
    ///
    /// # Panics
    /// When it is still running after `patience`.
    #[track_caller]
    #[must_use]
    pub fn run_to_end(&self, patience: Duration) -> (Exit, String) {
        let mut etcd = self.spawn();
        let exit = etcd.wait_exit(patience);
        (exit, etcd.log())
    }
}

/// A server process that was started.
#[derive(Debug)]
pub struct Etcd {
    spec: Spec,
    process: Process,
    log_start: usize,
}

impl Etcd {
    /// Begins a description of a server.
    #[must_use]
    pub fn builder(program: Program) -> Spec {
        Spec::new(program)
    }

    /// What it was started from.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Address that clients use.
    ///
    /// # Panics
    /// When the server was described without [`Spec::member`].
    #[must_use]
    pub fn client(&self) -> SocketAddr {
        let host = self.spec.host.expect("a host was set");
        SocketAddr::from((host, 2379))
    }

    /// Address that peers use.
    ///
    /// # Panics
    /// When the server was described without [`Spec::member`].
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        let host = self.spec.host.expect("a host was set");
        SocketAddr::from((host, 2380))
    }

    /// `http://host:2379`.
    #[must_use]
    pub fn client_url(&self) -> String {
        format!("http://{}", self.client())
    }

    /// Process ID.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Memory that it has in use.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()));
        let status = status.expect("the process runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let size = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        size.expect("a size in KiB") * 1024
    }

    /// What this process wrote to its log, without that of earlier ones in the same file.
    #[must_use]
    pub fn log(&self) -> String {
        let log = self.process.log();
        log.get(self.log_start..).unwrap_or_default().to_owned()
    }

    /// Whether it answers `GET /health` with 200.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        // Before it serves, connections are taken by the kernel and nobody answers.
        let reply = http::get_within(self.client(), "/health", HEALTH_PATIENCE);
        reply.is_ok_and(|reply| reply.status == 200)
    }

    /// Waits until it is healthy.
    ///
    /// # Panics
    /// When it ends or is not ready in time.
    #[track_caller]
    pub fn wait_ready(&mut self, patience: Duration) {
        let outcome =
            wait::eventually("server to become healthy", patience, || match self.process.exit() {
                Some(exit) => Some(Err(exit)),
                None => self.is_healthy().then_some(Ok(())),
            });
        if let Err(exit) = outcome {
            panic!("server ended with {exit:?} instead of becoming healthy");
        }
    }

    /// Waits until its log has `text`.
    ///
    /// # Panics
    /// When that does not happen in time.
    #[track_caller]
    pub fn wait_log(&self, text: &str, patience: Duration) {
        wait::eventually(&format!("log line {text:?}"), patience, || {
            self.log().contains(text).then_some(())
        });
    }

    /// How it ended, if it has.
    pub fn exit(&mut self) -> Option<Exit> {
        self.process.exit()
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// When it is still running after `patience`.
    #[track_caller]
    pub fn wait_exit(&mut self, patience: Duration) -> Exit {
        self.process.wait(patience)
    }

    /// Sends a signal.
    pub fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Kills it (SIGKILL) and waits.
    pub fn kill9(&mut self) {
        self.process.kill();
    }

    /// Stops it with SIGTERM and waits.
    ///
    /// # Panics
    /// When it does not end within [`STOP_PATIENCE`].
    #[track_caller]
    pub fn terminate(&mut self) -> Exit {
        self.process.signal(Signal::SIGTERM);
        self.process.wait(STOP_PATIENCE)
    }

    /// Starts it again from the same description, after its end.
    ///
    /// # Panics
    /// When it is still running, or does not become ready.
    #[track_caller]
    pub fn restart(&mut self) {
        assert!(self.exit().is_some(), "stop it before starting it again");
        *self = self.spec.clone().start();
    }
}

/// `ETCD_` and the flag name in capitals.
#[must_use]
pub fn variable_of(option: &str) -> String {
    format!("ETCD_{}", option.to_uppercase().replace('-', "_"))
}

/// Client URL of a member on `host`.
#[must_use]
pub fn client_url(host: Ipv4Addr) -> String {
    format!("http://{host}:2379")
}

/// Peer URL of a member on `host`.
#[must_use]
pub fn peer_url(host: Ipv4Addr) -> String {
    format!("http://{host}:2380")
}
