//! `bench profile`: where the time of a put goes when it is the only one.
//!
//! Owns:       the servers it starts, which are killed when it ends.
//! Uses:       `bench load` as a child; an etcd built with the Cargo feature `profile`, which logs at its
//!             stop how long each stage of a proposal took.
//! Never:      a server without fsync.
//! Source:     issue 4 b.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::report::LoadReport;

/// The usage.
const USAGE: &str = "\
usage: bench profile --etcd PATH [--members 1|3] [--seconds N]

Starts members of an etcd that was built with --features profile, puts 256 B with one connection and one
request at a time for N seconds (5), and prints how long each stage took.";

/// How long a start, and a stop, may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks at a server.
const PAUSE: Duration = Duration::from_millis(20);
/// How long an answer may take.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);

struct Options {
    etcd: PathBuf,
    members: usize,
    seconds: u64,
}

/// Runs `bench profile` with the arguments behind it.
///
/// # Errors
/// When an argument is wrong, a server does not come up or was not built for this, or a put failed.
pub fn run(arguments: &[String]) -> Result<()> {
    let options = parse(arguments)?;
    let directory = e2e::TempDir::new("profile");
    let addresses = e2e::Addresses::new();
    let hosts = addresses.claim_many(options.members);
    let mut members = start(&options, &hosts, directory.path())?;
    for (member, host) in members.iter_mut().zip(&hosts) {
        member.wait_healthy(SocketAddr::from((*host, 2379)))?;
    }
    let endpoint = format!("http://{}:2379", hosts[0]);
    let servers: Vec<String> = members.iter().map(|member| member.child.id().to_string()).collect();
    let report = load(&endpoint, &servers.join(","), options.seconds)?;
    for member in &mut members {
        member.stop()?;
    }
    print(&members[0].log, &report)
}

fn parse(arguments: &[String]) -> Result<Options> {
    let mut options = Options { etcd: PathBuf::new(), members: 1, seconds: 5 };
    let mut arguments = arguments.iter();
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{name} without value\n{USAGE}"))?;
        match name.as_str() {
            "--etcd" => options.etcd = value.into(),
            "--members" => options.members = value.parse().context("--members")?,
            "--seconds" => options.seconds = value.parse().context("--seconds")?,
            _ => bail!("unknown argument {name}\n{USAGE}"),
        }
    }
    let is_valid = options.etcd.is_file() && [1, 3].contains(&options.members);
    if is_valid { Ok(options) } else { bail!("{USAGE}") }
}

/// A running server; killed when dropped.
struct Member {
    child: Child,
    log: PathBuf,
}

fn start(options: &Options, hosts: &[Ipv4Addr], directory: &Path) -> Result<Vec<Member>> {
    let peers: Vec<String> =
        hosts.iter().enumerate().map(|(at, host)| format!("m{at}=http://{host}:2380")).collect();
    let start = |(at, host): (usize, &Ipv4Addr)| {
        let log = directory.join(format!("m{at}.log"));
        let output = std::fs::File::create(&log).context("create log")?;
        let (client, peer) = (format!("http://{host}:2379"), format!("http://{host}:2380"));
        let child = Command::new(&options.etcd)
            .arg(format!("--name=m{at}"))
            .arg(format!("--data-dir={}", directory.join(format!("m{at}.etcd")).display()))
            .arg(format!("--listen-client-urls={client}"))
            .arg(format!("--advertise-client-urls={client}"))
            .arg(format!("--listen-peer-urls={peer}"))
            .arg(format!("--initial-advertise-peer-urls={peer}"))
            .arg(format!("--initial-cluster={}", peers.join(",")))
            .args(["--log-level=info", "--logger=zap"])
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .context("start etcd")?;
        Ok(Member { child, log })
    };
    hosts.iter().enumerate().map(start).collect()
}

impl Member {
    fn wait_healthy(&mut self, address: SocketAddr) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !is_healthy(address) {
            if self.child.try_wait()?.is_some() || Instant::now() > deadline {
                bail!("{address} does not serve: {}", std::fs::read_to_string(&self.log)?);
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn stop(&mut self) -> Result<()> {
        let id = i32::try_from(self.child.id()).context("process ID")?;
        kill(Pid::from_raw(id), Signal::SIGTERM).context("stop etcd")?;
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                bail!("etcd does not stop");
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_healthy(server: SocketAddr) -> bool {
    e2e::http::get_within(server, "/health", ANSWER_PATIENCE).is_ok_and(|reply| reply.status == 200)
}

fn load(endpoint: &str, servers: &str, seconds: u64) -> Result<LoadReport> {
    let output = Command::new(std::env::current_exe().context("find this program")?)
        .args(["load", "--endpoint", endpoint, "--load", "put", "--json"])
        .args(["--connections", "1", "--outstanding", "1", "--keys", "10000"])
        .args(["--value-bytes", "256", "--warm-up", "500ms", "--server-pid", servers])
        .args(["--duration", &format!("{}ms", seconds * 1000)])
        .stderr(Stdio::inherit())
        .output()
        .context("run the load generator")?;
    let report: LoadReport =
        serde_json::from_slice(&output.stdout).context("read the generator's report")?;
    if report.failed > 0 { bail!("{} puts failed", report.failed) } else { Ok(report) }
}

/// Prints the stages that the server logged, and what the client saw.
fn print(log: &Path, report: &LoadReport) -> Result<()> {
    let text = std::fs::read_to_string(log).context("read log")?;
    let spans: Vec<serde_json::Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|line: &serde_json::Value| line["msg"] == "profile")
        .collect();
    if spans.is_empty() {
        bail!("the server logged no profile: build it with --features profile");
    }
    println!("{:<48}{:>9}{:>9}{:>9}{:>9}", "us", "mean", "p50", "p90", "p99");
    for span in &spans {
        let field = |name: &str| match &span[name] {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let times = ["mean_us", "p50_us", "p90_us", "p99_us"].map(field);
        let [mean, p50, p90, p99] = times;
        println!("{:<48}{mean:>9}{p50:>9}{p90:>9}{p99:>9}", field("span"));
    }
    let seen = &report.latency;
    println!(
        "{:<48}{:>9.1}{:>9.1}{:>9.1}{:>9.1}",
        "as the client sees it", seen.mean_us, seen.p50_us, seen.p90_us, seen.p99_us
    );
    println!("{} puts, {:.1} us of server CPU each", report.requests, report.server_cpu_us);
    Ok(())
}
