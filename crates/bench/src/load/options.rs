//! The command line of `bench load`.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::kind::Kind;

/// Help text.
pub const USAGE: &str = "\
usage: bench load --endpoint http://HOST:PORT[,...] --load NAME [OPTION]...
loads: fill put put-lease get get-serializable range page keys-only count-only txn delete mixed
       watch-one watch-many watch-catch-up keepalive v2-set v2-get v2-quorum-get v2-watch
  --connections N    default 100; v2 loads: one request under way on each
  --outstanding N    requests under way per connection (default 10); watch-one: writes under way
  --keys N           different keys (default 100000)
  --key-bytes N      size of keys (default 64); loads with equal sizes share their keys
  --value-bytes N    size of values (default 256)
  --distribution D   uniform (default), zipf, zipf:THETA (default 0.99), sequential
  --limit N          pairs per range (default 1000), events per catch-up (default 10000)
  --watchers N       watchers of watch loads (default 1000; v2-watch: connections)
  --duration D       measured time, as 10s or 500ms (default 10s)
  --requests N       measured requests instead of a time
  --warm-up D        time before (default 2s)
  --rate R           requests per second, latency from when they were due; else a closed loop
  --processes N      generator processes (default 1)
  --server-pid P,... servers whose CPU and memory to report
  --seed N           of keys (default 1)
  --json             one JSON object instead of a few lines
Loads that read put their keys first when they are missing. Fails when a request failed.";

const COUNT_MAX: u64 = 100_000_000;
/// Sockets: below the usual limit of files.
const CONNECTIONS_MAX: u64 = 10_000;
const OUTSTANDING_MAX: u64 = 10_000;
const BYTES_MAX: u64 = 8 << 20;
const PROCESSES_MAX: u64 = 64;
const SECONDS_MAX: u64 = 86_400;
const RATE_MAX: f64 = 1e7;

/// Which key is next.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Distribution {
    /// All alike.
    Uniform,
    /// The k-th most popular key in proportion to 1 / k^theta, popular ones spread over all.
    Zipf {
        /// Between 0 and 1.
        theta: f64,
    },
    /// In order, then again from the first.
    Sequential,
}

/// When to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Length {
    /// After this time.
    Time(Duration),
    /// When so many requests were answered.
    Requests(u64),
}

/// What the user asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// HOST:PORT of the members; connections go round.
    pub endpoints: Vec<String>,
    /// What is done.
    pub load: Kind,
    /// Connections, all processes together.
    pub connections: u64,
    /// Requests under way on each.
    pub outstanding: u64,
    /// Different keys.
    pub keys: u64,
    /// Size of a key.
    pub key_bytes: u64,
    /// Size of a value.
    pub value_bytes: u64,
    /// Which key is next.
    pub distribution: Distribution,
    /// Pairs per range, events per catch-up.
    pub limit: u64,
    /// Watchers, all processes together.
    pub watchers: u64,
    /// When to stop.
    pub length: Length,
    /// Time before what is measured.
    pub warm_up: Duration,
    /// Requests per second, all processes together; a closed loop without.
    pub rate: Option<f64>,
    /// Generator processes.
    pub processes: u64,
    /// Process IDs of servers.
    pub server_pids: Vec<u32>,
    /// Of the keys.
    pub seed: u64,
    /// Whether to print JSON.
    pub json: bool,
}

/// Options that were given, before defaults that depend on others.
#[derive(Default)]
struct Given {
    load: Option<Kind>,
    limit: Option<u64>,
    watchers: Option<u64>,
    outstanding: Option<u64>,
    length: Option<Length>,
}

impl Options {
    /// Reads the arguments behind `load`.
    ///
    /// # Errors
    /// For an unknown option, a missing or impossible value, options that do not go together.
    pub fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self::defaults();
        let mut given = Given::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            if argument == "--json" {
                options.json = true;
                continue;
            }
            let (name, attached) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (argument.as_str(), None),
            };
            let value = attached.or_else(|| rest.next().map(String::as_str));
            let value = value.with_context(|| format!("{name} needs a value\n{USAGE}"))?;
            options.take(&mut given, name, value)?;
        }
        options.finish(&given)
    }

    fn defaults() -> Self {
        Self {
            endpoints: Vec::new(),
            load: Kind::Put,
            connections: 100,
            outstanding: 10,
            keys: 100_000,
            key_bytes: 64,
            value_bytes: 256,
            distribution: Distribution::Uniform,
            limit: 0,
            watchers: 0,
            length: Length::Time(Duration::from_secs(10)),
            warm_up: Duration::from_secs(2),
            rate: None,
            processes: 1,
            server_pids: Vec::new(),
            seed: 1,
            json: false,
        }
    }

    fn take(&mut self, given: &mut Given, name: &str, value: &str) -> Result<()> {
        let number = |max| count(name, value, max);
        match name {
            "--endpoint" | "--endpoints" => {
                let hosts = value.split(',').map(endpoint);
                self.endpoints.extend(hosts.collect::<Result<Vec<_>>>()?);
            }
            "--load" => given.load = Some(value.parse()?),
            "--connections" => self.connections = number(CONNECTIONS_MAX)?,
            "--outstanding" => given.outstanding = Some(number(OUTSTANDING_MAX)?),
            "--keys" => self.keys = number(COUNT_MAX)?,
            "--key-bytes" => self.key_bytes = number(BYTES_MAX)?,
            "--value-bytes" => self.value_bytes = number(BYTES_MAX)?,
            "--distribution" => self.distribution = distribution(value)?,
            "--limit" => given.limit = Some(number(COUNT_MAX)?),
            "--watchers" => given.watchers = Some(number(COUNT_MAX)?),
            "--duration" => given.length = Some(Length::Time(duration(name, value)?)),
            "--requests" => given.length = Some(Length::Requests(number(COUNT_MAX)?)),
            "--warm-up" => self.warm_up = duration(name, value)?,
            "--rate" => self.rate = Some(rate(value)?),
            "--processes" => self.processes = number(PROCESSES_MAX)?,
            "--server-pid" => {
                let pids = value.split(',').map(str::parse);
                let pids: Result<Vec<u32>, _> = pids.collect();
                self.server_pids.extend(pids.with_context(|| format!("--server-pid {value}"))?);
            }
            "--seed" => self.seed = value.parse().with_context(|| format!("--seed {value}"))?,
            _ => bail!("unknown option {name}\n{USAGE}"),
        }
        Ok(())
    }

    fn finish(mut self, given: &Given) -> Result<Self> {
        self.load = given.load.with_context(|| format!("--load is missing\n{USAGE}"))?;
        if self.endpoints.is_empty() {
            bail!("--endpoint is missing\n{USAGE}");
        }
        let load = self.load;
        self.limit = given.limit.unwrap_or_else(|| load.limit());
        self.watchers = given.watchers.unwrap_or_else(|| load.watchers(self.connections));
        self.outstanding = given.outstanding.unwrap_or_else(|| load.outstanding());
        self.length = given.length.unwrap_or(self.length);
        if let Length::Time(Duration::ZERO) = self.length {
            bail!("--duration is zero");
        }
        if self.connections < self.processes {
            bail!("--processes {} need a connection each", self.processes);
        }
        load.check(&self)?;
        Ok(self)
    }
}

fn endpoint(text: &str) -> Result<String> {
    let host = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    if host.is_empty() || host.contains('/') || !host.contains(':') {
        bail!("--endpoint is http://HOST:PORT, not {text:?}");
    }
    Ok(host.to_owned())
}

fn count(name: &str, value: &str, max: u64) -> Result<u64> {
    match value.parse::<u64>() {
        Ok(count) if (1..=max).contains(&count) => Ok(count),
        _ => bail!("{name} is a number from 1 to {max}, not {value:?}"),
    }
}

fn duration(name: &str, value: &str) -> Result<Duration> {
    let (number, unit) = match (value.strip_suffix("ms"), value.strip_suffix('s')) {
        (Some(number), _) => (number, 1e-3),
        (None, Some(number)) => (number, 1.0),
        (None, None) => (value, 1.0),
    };
    match number.parse::<f64>().map(|number| Duration::try_from_secs_f64(number * unit)) {
        Ok(Ok(duration)) if duration.as_secs() <= SECONDS_MAX => Ok(duration),
        _ => bail!("{name} is a time as 10s or 500ms, not {value:?}"),
    }
}

fn rate(value: &str) -> Result<f64> {
    match value.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= RATE_MAX => Ok(rate),
        _ => bail!("--rate is a number of requests per second up to {RATE_MAX}, not {value:?}"),
    }
}

fn distribution(value: &str) -> Result<Distribution> {
    let theta = match value {
        "uniform" => return Ok(Distribution::Uniform),
        "sequential" => return Ok(Distribution::Sequential),
        "zipf" => 0.99,
        other => match other.strip_prefix("zipf:").map(str::parse::<f64>) {
            Some(Ok(theta)) if theta > 0.0 && theta < 1.0 => theta,
            _ => bail!("--distribution is uniform, zipf, zipf:THETA below 1, or sequential"),
        },
    };
    Ok(Distribution::Zipf { theta })
}
