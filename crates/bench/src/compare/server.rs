//! Servers under measurement: etch and others, all with the same flags.
//!
//! Owns:       their processes, data directories and logs, below the directory of the run.
//! Never:      a flag or variable for one contender alone; `--unsafe-no-fsync` for any.
//! Invariants: servers are dead when their cluster is dropped, and its directory is gone.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;

use super::child::Running;
use super::pin::Place;
use super::results::Contender;

/// How long a start may take: very many keys on a slow machine.
const START_PATIENCE: Duration = Duration::from_secs(180);
/// How long an orderly stop may take.
const STOP_PATIENCE: Duration = Duration::from_secs(60);
/// How long an answer may take.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);
/// Pause between two looks whether a server is ready.
const PAUSE: Duration = Duration::from_millis(20);
/// Database size at which writes are refused: beyond anything that is loaded here.
const QUOTA_BYTES: u64 = 8 << 30;
/// Variables that change how a server runs, taken out of its environment beside all of `ETCD_`.
const VARIABLES: [&str; 5] = ["GOGC", "GOMAXPROCS", "GODEBUG", "GOMEMLIMIT", "MALLOC_CONF"];
/// What no server here may be told.
const FORBIDDEN: &str = "unsafe-no-fsync";

/// What servers are started with besides their addresses.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Settings {
    /// Whether the v2 API has to be switched on.
    pub(super) v2: bool,
    /// Entries between two raft snapshots, when not each server's default.
    pub(super) snapshot_count: Option<u64>,
}

/// Members of one contender.
#[derive(Debug)]
pub(super) struct Cluster {
    members: Vec<Member>,
    directory: PathBuf,
    settings: Settings,
    program: PathBuf,
}

/// A member, running or stopped.
#[derive(Debug)]
struct Member {
    label: String,
    host: Ipv4Addr,
    data_dir: PathBuf,
    log: PathBuf,
    arguments: Vec<String>,
    running: Option<Running>,
}

impl Cluster {
    /// Founds a cluster of so many members in a fresh directory and waits until all are healthy.
    ///
    /// # Errors
    /// When one does not come up, with the end of its log.
    pub(super) fn found(
        contender: &Contender,
        hosts: &[Ipv4Addr],
        directory: PathBuf,
        settings: Settings,
        place: Place,
    ) -> Result<Self> {
        std::fs::create_dir_all(&directory).context("create a directory for servers")?;
        let peers: Vec<String> = hosts
            .iter()
            .enumerate()
            .map(|(number, host)| format!("m{number}=http://{host}:2380"))
            .collect();
        let member = |(number, host): (usize, &Ipv4Addr)| Member {
            label: format!("m{number} of {}", contender.label),
            host: *host,
            data_dir: directory.join(format!("m{number}.etcd")),
            log: directory.join(format!("m{number}.log")),
            arguments: arguments(number, *host, &directory, &peers.join(",")),
            running: None,
        };
        let members = hosts.iter().enumerate().map(member).collect();
        let program = contender.path.clone();
        let mut cluster = Self { members, directory, settings, program };
        cluster.start(place)?;
        Ok(cluster)
    }

    /// Starts all members, which are stopped, and waits until they are healthy.
    ///
    /// # Errors
    /// As [`Cluster::found`].
    pub(super) fn start(&mut self, place: Place) -> Result<()> {
        for number in 0..self.members.len() {
            self.spawn(number, place)?;
        }
        self.wait_ready()
    }

    /// Starts a member, which is stopped, and waits for nothing.
    ///
    /// # Errors
    /// When there is no process.
    pub(super) fn spawn(&mut self, number: usize, place: Place) -> Result<()> {
        let flags = flags(self.settings);
        let member = self.members.get_mut(number).context("no such member")?;
        let arguments = member.arguments.iter().chain(&flags);
        let command = command(&self.program, arguments)?;
        let running = Running::start(&member.label, place, command, &member.log, None)?;
        member.running = Some(running);
        Ok(())
    }

    /// Waits until all members are healthy.
    ///
    /// # Errors
    /// When one ended or does not come up, with the end of its log.
    pub(super) fn wait_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_PATIENCE;
        for member in &mut self.members {
            let running = member.running.as_mut().context("a member was not started")?;
            let address = SocketAddr::from((member.host, 2379));
            while !is_healthy(address) {
                if let Some(exit) = running.exit()? {
                    let tail = running.tail();
                    bail!("{} ended with {exit} instead of serving{tail}", member.label);
                }
                if Instant::now() >= deadline {
                    bail!("{} is not healthy in time{}", member.label, running.tail());
                }
                std::thread::sleep(PAUSE);
            }
        }
        Ok(())
    }

    /// Stops all members with SIGTERM and waits for their end.
    ///
    /// # Errors
    /// When one does not end in time.
    pub(super) fn stop(&mut self) -> Result<()> {
        for member in &mut self.members {
            if let Some(running) = &member.running {
                running.signal(Signal::SIGTERM);
            }
        }
        for member in &mut self.members {
            if let Some(mut running) = member.running.take() {
                running.wait(STOP_PATIENCE)?;
            }
        }
        Ok(())
    }

    /// Kills a member (SIGKILL); returns when the signal was sent.
    ///
    /// # Errors
    /// When it is not running.
    pub(super) fn kill(&mut self, number: usize) -> Result<Instant> {
        let member = self.members.get_mut(number).context("no such member")?;
        let mut running = member.running.take().context("the member is not running")?;
        let at = Instant::now();
        running.kill();
        Ok(at)
    }

    /// Starts with other settings from now on.
    pub(super) fn set(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Client URLs.
    pub(super) fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| format!("http://{}:2379", member.host)).collect()
    }

    /// Client addresses.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.members.iter().map(|member| SocketAddr::from((member.host, 2379))).collect()
    }

    /// IDs of the running processes.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.members.iter().filter_map(|member| member.running.as_ref().map(Running::id)).collect()
    }

    /// Names of the `.snap` files of the first member.
    pub(super) fn snapshots(&self) -> Vec<std::ffi::OsString> {
        let Some(member) = self.members.first() else { return Vec::new() };
        let entries = std::fs::read_dir(member.data_dir.join("member/snap"));
        let names = entries.into_iter().flatten().flatten().map(|entry| entry.file_name());
        let mut names: Vec<_> =
            names.filter(|name| Path::new(name).extension().is_some_and(|e| e == "snap")).collect();
        names.sort();
        names
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            member.running = None;
        }
        // The directory of the run is removed at the end anyway; this keeps the disk free until then.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Refuses to measure when the environment asks for what would make the figures worthless.
///
/// # Errors
/// When a variable switches fsync off.
pub(super) fn check_environment() -> Result<()> {
    let forbidden = FORBIDDEN.to_uppercase().replace('-', "_");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().to_uppercase().contains(&forbidden) {
            bail!("{} is set: a run without fsync is worth nothing", name.display());
        }
    }
    Ok(())
}

fn arguments(number: usize, host: Ipv4Addr, directory: &Path, peers: &str) -> Vec<String> {
    let (client, peer) = (format!("http://{host}:2379"), format!("http://{host}:2380"));
    let data_dir = directory.join(format!("m{number}.etcd"));
    vec![
        format!("--name=m{number}"),
        format!("--data-dir={}", data_dir.display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster={peers}"),
        "--initial-cluster-token=bench".to_owned(),
        "--initial-cluster-state=new".to_owned(),
        format!("--quota-backend-bytes={QUOTA_BYTES}"),
        "--logger=zap".to_owned(),
        "--log-level=warn".to_owned(),
    ]
}

fn flags(settings: Settings) -> Vec<String> {
    let mut flags = Vec::new();
    if settings.v2 {
        flags.push("--enable-v2=true".to_owned());
    }
    if let Some(count) = settings.snapshot_count {
        flags.push(format!("--snapshot-count={count}"));
    }
    flags
}

fn command<'a>(program: &Path, arguments: impl Iterator<Item = &'a String>) -> Result<Command> {
    let arguments: Vec<&String> = arguments.collect();
    if arguments.iter().any(|argument| argument.contains(FORBIDDEN)) {
        bail!("no server is measured with --{FORBIDDEN}");
    }
    let mut command = Command::new(program);
    command.args(arguments);
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"ETCD_") || VARIABLES.iter().any(|v| name == *v) {
            command.env_remove(name);
        }
    }
    Ok(command)
}

fn is_healthy(server: SocketAddr) -> bool {
    e2e::http::get_within(server, "/health", ANSWER_PATIENCE).is_ok_and(|reply| reply.status == 200)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fsync_stays_on() {
        let arguments = ["--name=a".to_owned(), "--unsafe-no-fsync=true".to_owned()];
        assert!(command(Path::new("etcd"), arguments.iter()).is_err());
        assert!(command(Path::new("etcd"), arguments[..1].iter()).is_ok());
    }

    #[test]
    fn a_server_that_ends_is_an_error_with_its_log() {
        let directory = e2e::TempDir::new("bench-server");
        let script = directory.join("etcd");
        std::fs::write(&script, "#!/bin/sh\necho no such flag >&2\nexit 2\n").unwrap();
        let mut permissions = std::fs::metadata(&script).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
        std::fs::set_permissions(&script, permissions).unwrap();
        let contender =
            Contender { label: "fake".to_owned(), path: script, version: "0".to_owned() };
        let hosts = [e2e::Addresses::new().claim()];
        let place = directory.join("servers");
        let error =
            Cluster::found(&contender, &hosts, place.clone(), Settings::default(), Place::Anywhere)
                .unwrap_err()
                .to_string();
        assert!(error.contains("m0 of fake ended with exit status: 2"), "{error}");
        assert!(error.contains("no such flag"), "{error}");
        assert!(!place.exists(), "its directory is removed");
    }
}
