//! What `bench load` prints with `--json`.
//!
//! Invariants: times of latencies are µs, of CPU s unless the name says µs, memory KiB.

use serde::{Deserialize, Serialize};

use crate::load::options::Options;

/// One load on one cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadReport {
    /// Name of the load.
    pub load: String,
    /// With which options.
    pub parameters: Options,
    /// Requests answered rightly within the measured window.
    pub requests: u64,
    /// Requests that failed at any time, warm-up included.
    pub failed: u64,
    /// Why, the first kinds of them.
    pub failures: Vec<FailureCount>,
    /// Events that watchers received within the window; 0 for loads without watchers.
    pub events: u64,
    /// Length of the window.
    pub elapsed_seconds: f64,
    /// Requests per second.
    pub rps: f64,
    /// Of requests, or of events when there are watchers.
    pub latency: Latency,
    /// CPU time of the generator, all its processes.
    pub client_cpu_seconds: f64,
    /// The same in µs per unit ([`LoadReport::units`]).
    pub client_cpu_us: f64,
    /// CPU time of all servers together in µs per unit.
    pub server_cpu_us: f64,
    /// Each server named by `--server-pid`.
    pub servers: Vec<ServerUsage>,
}

/// How often one text was the reason of a failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureCount {
    /// The reason.
    pub text: String,
    /// How often.
    pub count: u64,
}

/// Latencies in µs, exact to three digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Median.
    pub p50_us: f64,
    /// 90 % are faster.
    pub p90_us: f64,
    /// 99 % are faster.
    pub p99_us: f64,
    /// 99.9 % are faster.
    pub p999_us: f64,
    /// The slowest.
    pub max_us: f64,
    /// Average.
    pub mean_us: f64,
}

/// What a server used within the window, and holds at its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerUsage {
    /// Process ID.
    pub pid: u32,
    /// User and system time.
    pub cpu_seconds: f64,
    /// The same in µs per unit ([`LoadReport::units`]).
    pub cpu_us: f64,
    /// Resident anonymous memory at the end.
    pub rss_anon_kib: u64,
    /// Resident memory of files at the end.
    pub rss_file_kib: u64,
    /// Bytes that it caused to be written to storage.
    pub write_bytes: u64,
    /// Times its threads waited for something.
    pub voluntary_switches: u64,
    /// Times its threads were made to wait for another.
    pub involuntary_switches: u64,
}

impl LoadReport {
    /// What CPU is divided by: events when there are watchers, requests otherwise.
    #[must_use]
    pub fn units(&self) -> u64 {
        if self.events > 0 { self.events } else { self.requests }
    }
}
