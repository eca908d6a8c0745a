//! What a run of the load generator found, as `bench load --json` prints it.
//!
//! Owns:       the names of its fields, on which `bench compare` relies.
//! Invariants: all but `failed` and `requests_with_warm_up` is about the measured window alone.

use serde::{Deserialize, Serialize};

/// A finished load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadReport {
    /// Name of the load.
    pub load: String,
    /// Requests answered (or events delivered) within the measured window.
    pub requests: u64,
    /// Requests answered since the beginning, warm-up and end included.
    pub requests_with_warm_up: u64,
    /// Requests that failed at any time.
    pub failed: u64,
    /// Length of the measured window in seconds.
    pub seconds: f64,
    /// Requests per second.
    pub rps: f64,
    /// Latencies; with a fixed rate counted from when a request was due.
    pub latency: Latency,
    /// CPU time of all generator processes in seconds.
    pub client_cpu_seconds: f64,
    /// What the servers used, in the order in which they were named.
    pub servers: Vec<ServerUsage>,
}

/// Latencies in µs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Median.
    pub p50_us: f64,
    /// 90th percentile.
    pub p90_us: f64,
    /// 99th percentile.
    pub p99_us: f64,
    /// 99.9th percentile.
    pub p999_us: f64,
    /// Longest.
    pub max_us: f64,
}

/// What a server process used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerUsage {
    /// Process ID.
    pub pid: u32,
    /// CPU time of all its threads in seconds.
    pub cpu_seconds: f64,
    /// Anonymous memory in KiB at the end of the window.
    pub rss_anon_kib: u64,
    /// Mapped file pages in KiB at the end of the window.
    pub rss_file_kib: u64,
    /// Bytes handed to the block layer (`write_bytes` of /proc/PID/io).
    pub write_bytes: u64,
}
