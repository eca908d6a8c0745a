//! What the gRPC edge counts, for `/metrics`: one array of counters, no lock on the way of a call.
//!
//! Source:     server-config.md 10 (grpc_server_*, etcd_network_client_grpc_*).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::methods::METHODS;

/// Number of gRPC status codes.
pub(crate) const CODES: usize = 17;
/// Upper bounds of `grpc_server_handling_seconds`, in milliseconds: Prometheus' own defaults.
pub(crate) const BOUNDS_MS: [u64; 11] = [5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000];
/// Client API versions that are counted apart; further ones count as `other`, so that clients cannot
/// grow the table.
const VERSIONS_MAX: usize = 64;
/// What further versions count as.
const OTHER: &str = "other";
/// Kinds of calls among versions.
const KINDS: [&str; 2] = ["unary", "stream"];

/// All counters.
#[derive(Debug)]
pub struct Tally {
    methods: Vec<MethodTally>,
    received_bytes: AtomicU64,
    sent_bytes: AtomicU64,
    /// Calls by kind and `client-api-version`, in the order in which they were first seen.
    versions: Vec<VersionTally>,
    /// Calls of further versions, by kind.
    other_versions: [VersionTally; KINDS.len()],
    /// Whether times are kept, as `--metrics=extensive` asks for.
    times: bool,
}

/// Calls of one kind by clients of one version. The name is set once, by the first of them.
#[derive(Debug, Default)]
struct VersionTally {
    name: OnceLock<(&'static str, String)>,
    calls: AtomicU64,
}

impl VersionTally {
    fn is_of(&self, kind: &'static str, version: &str) -> bool {
        let named = self.name.get();
        named.is_some_and(|(of, name)| *of == kind && name == version)
    }

    /// Takes a free place; whether another call has not just taken it for another name.
    fn take(&self, kind: &'static str, version: &str) -> bool {
        self.name.set((kind, version.to_owned())).is_ok() || self.is_of(kind, version)
    }
}

/// The counters of one method.
#[derive(Debug, Default)]
pub(crate) struct MethodTally {
    pub(crate) started: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) sent: AtomicU64,
    /// Streams whose client sent what is no message.
    pub(crate) broken: AtomicU64,
    pub(crate) handled: [AtomicU64; CODES],
    pub(crate) times: Times,
}

/// Handling times: calls at or below each bound, not cumulated, and their sum.
#[derive(Debug, Default)]
pub(crate) struct Times {
    pub(crate) buckets: [AtomicU64; BOUNDS_MS.len() + 1],
    pub(crate) sum_micros: AtomicU64,
}

impl Tally {
    pub(crate) fn new(times: bool) -> Self {
        Self {
            methods: METHODS.iter().map(|_| MethodTally::default()).collect(),
            received_bytes: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            versions: (0..VERSIONS_MAX).map(|_| VersionTally::default()).collect(),
            other_versions: KINDS.map(|kind| VersionTally {
                name: (kind, OTHER.to_owned()).into(),
                calls: AtomicU64::new(0),
            }),
            times,
        }
    }

    pub(crate) fn started(&self, method: usize) {
        add(&self.methods[method].started, 1);
    }

    pub(crate) fn received(&self, method: usize) {
        add(&self.methods[method].received, 1);
    }

    pub(crate) fn broken(&self, method: usize) {
        add(&self.methods[method].broken, 1);
    }

    pub(crate) fn received_bytes(&self, bytes: usize) {
        add(&self.received_bytes, bytes as u64);
    }

    pub(crate) fn sent(&self, method: usize, messages: u64, bytes: u64) {
        add(&self.methods[method].sent, messages);
        add(&self.sent_bytes, bytes);
    }

    /// Counts a call that ended with a code.
    pub(crate) fn handled(&self, method: usize, code: tonic::Code, took: Duration) {
        let tally = &self.methods[method];
        add(&tally.handled[code as usize], 1);
        if self.times {
            let millis = took.as_micros().div_ceil(1000);
            let bucket = BOUNDS_MS.iter().position(|bound| millis <= u128::from(*bound));
            add(&tally.times.buckets[bucket.unwrap_or(BOUNDS_MS.len())], 1);
            add(&tally.times.sum_micros, u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        }
    }

    /// Counts a call, of a kind among `KINDS`, by what its client calls itself.
    pub(crate) fn version(&self, kind: &'static str, version: &str) {
        let named = if version == OTHER { &[] } else { &*self.versions };
        for tally in named {
            let is_mine = tally.is_of(kind, version)
                || (tally.name.get().is_none() && tally.take(kind, version));
            if is_mine {
                return add(&tally.calls, 1);
            }
        }
        let other = self.other_versions.iter().find(|other| other.is_of(kind, OTHER));
        if let Some(other) = other {
            add(&other.calls, 1);
        }
    }

    pub(crate) fn methods(&self) -> &[MethodTally] {
        &self.methods
    }

    pub(crate) fn keeps_times(&self) -> bool {
        self.times
    }

    /// Bytes of messages received and sent.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (value(&self.received_bytes), value(&self.sent_bytes))
    }

    pub(crate) fn versions(&self) -> Vec<(&'static str, String, u64)> {
        let counted = self.versions.iter().chain(&self.other_versions);
        let row = |tally: &VersionTally| {
            let (kind, version) = tally.name.get()?;
            let calls = value(&tally.calls);
            (calls > 0).then(|| (*kind, version.clone(), calls))
        };
        let mut rows: Vec<_> = counted.filter_map(row).collect();
        rows.sort();
        rows
    }
}

pub(crate) fn value(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_cannot_grow_the_table_of_versions() {
        let tally = Tally::new(false);
        for number in 0..3 * VERSIONS_MAX {
            tally.version("unary", &number.to_string());
        }
        tally.version("stream", "7");
        tally.version("stream", "other");
        let streams = ("stream", "other".to_owned(), 2);
        let mut versions = tally.versions();
        assert_eq!(versions.iter().position(|row| *row == streams), Some(0));
        versions.remove(0);
        assert_eq!(versions.len(), VERSIONS_MAX + 1);
        assert_eq!(versions.iter().map(|(.., count)| count).sum::<u64>(), 3 * VERSIONS_MAX as u64);
    }

    #[test]
    fn times_fall_into_their_buckets() {
        let tally = Tally::new(true);
        for millis in [0, 5, 6, 10_000, 10_001] {
            tally.handled(0, tonic::Code::Ok, Duration::from_millis(millis));
        }
        let counts: Vec<u64> = tally.methods()[0].times.buckets.iter().map(value).collect();
        assert_eq!(counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
    }
}
