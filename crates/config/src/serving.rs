//! How clients are served: the settings of the gRPC and HTTP edges.
//!
//! Owns:       the meaning of each value: which numbers stand for a default or for "off".
//! Never:      syntax; that is checked when the flags are read.
//! Source:     reference/server-config.md 2 and 6; api-v3.md 9.1.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::load::Note;
use crate::url::EndpointUrl;

/// Settings of the client edges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// `--compaction-batch-limit`: rows; above 0.
    pub compaction_batch_rows: usize,
    /// `--compaction-sleep-interval`.
    pub compaction_pause: Duration,
    /// `--cors`: origins that are allowed; `None` for any.
    pub origins: Option<BTreeSet<String>>,
    /// `--host-whitelist`: hosts that insecure requests may name; `None` for any.
    pub hosts: Option<BTreeSet<String>>,
    /// `--max-concurrent-streams`: of one connection; above 0.
    pub max_concurrent_streams: u32,
    /// `--grpc-keepalive-min-time`; when it is not positive, that of grpc-go.
    pub keepalive_min_time: Duration,
    /// `--grpc-keepalive-interval`, at least a second; when this or the time-out is not positive,
    /// both are those of grpc-go, as in etcd.
    pub keepalive_interval: Duration,
    /// `--grpc-keepalive-timeout`; see above.
    pub keepalive_timeout: Duration,
    /// `--metrics` is `extensive`; as in etcd every other word means `basic`.
    pub extensive_metrics: bool,
    /// `--warning-apply-duration`.
    pub warning_apply_duration: Duration,
    /// `--warning-unary-request-duration`.
    pub warning_unary_request_duration: Duration,
    /// `--watch-progress-notify-interval`: at least 100 ms.
    pub watch_progress_notify_interval: Duration,
}

/// `--compaction-batch-limit` when it is not positive.
const COMPACTION_BATCH_DEFAULT: usize = 1000;
/// `--compaction-sleep-interval` when it is not positive.
const COMPACTION_PAUSE_DEFAULT: Duration = Duration::from_millis(10);
/// `--watch-progress-notify-interval` when it is not positive.
const WATCH_PROGRESS_DEFAULT: Duration = Duration::from_secs(600);
/// What a shorter `--watch-progress-notify-interval` is raised to.
const WATCH_PROGRESS_MIN: Duration = Duration::from_millis(100);

/// `--grpc-keepalive-min-time` when it is not positive.
const KEEPALIVE_MIN_TIME_DEFAULT: Duration = Duration::from_secs(300);
/// `--grpc-keepalive-interval` and `--grpc-keepalive-timeout` when one of them is not positive.
const KEEPALIVE_DEFAULT: (Duration, Duration) =
    (Duration::from_secs(2 * 3600), Duration::from_secs(20));
/// What a shorter `--grpc-keepalive-interval` is raised to.
const KEEPALIVE_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// A Go duration in nanoseconds; `None` for zero and below, which stand for a default or for "off".
pub(crate) fn positive(nanos: i64) -> Option<Duration> {
    u64::try_from(nanos).ok().filter(|nanos| *nanos > 0).map(Duration::from_nanos)
}

/// The interval that is used for the one given.
pub(crate) fn watch_progress_interval(nanos: i64, notes: &mut Vec<Note>) -> Duration {
    let given = positive(nanos).unwrap_or(WATCH_PROGRESS_DEFAULT);
    if given < WATCH_PROGRESS_MIN {
        notes.push(
            Note::warn("adjusting watch progress notify interval to minimum period")
                .with("min-watch-progress-interval", format!("{WATCH_PROGRESS_MIN:?}")),
        );
    }
    given.max(WATCH_PROGRESS_MIN)
}

/// The rows of a batch for the number given.
pub(crate) fn compaction_batch_rows(given: i64) -> usize {
    usize::try_from(given).ok().filter(|rows| *rows > 0).unwrap_or(COMPACTION_BATCH_DEFAULT)
}

/// The pause between two batches for the one given.
pub(crate) fn compaction_pause(nanos: i64) -> Duration {
    positive(nanos).unwrap_or(COMPACTION_PAUSE_DEFAULT)
}

/// The streams of a connection for the number given: none means no limit.
pub(crate) fn concurrent_streams(given: u64) -> u32 {
    u32::try_from(given).ok().filter(|streams| *streams > 0).unwrap_or(u32::MAX)
}

/// The time that clients have to let pass between two pings.
pub(crate) fn keepalive_min_time(nanos: i64) -> Duration {
    positive(nanos).unwrap_or(KEEPALIVE_MIN_TIME_DEFAULT)
}

/// Interval of the server's own pings, and the time for their answers.
pub(crate) fn keepalive(interval: i64, timeout: i64) -> (Duration, Duration) {
    match (positive(interval), positive(timeout)) {
        (Some(interval), Some(timeout)) => (interval.max(KEEPALIVE_INTERVAL_MIN), timeout),
        _ => KEEPALIVE_DEFAULT,
    }
}

/// The word that allows everything.
pub(crate) const ANY: &str = "*";

/// The hosts of a list. As in etcd an empty list has one host, the empty one.
pub(crate) fn hosts(list: &str) -> Option<BTreeSet<String>> {
    let hosts: BTreeSet<String> = list.split(',').map(str::to_owned).collect();
    Some(hosts).filter(|hosts| !hosts.contains(ANY))
}

/// The origins of a list of URLs, whose syntax has been checked.
pub(crate) fn origins(list: &str) -> Option<BTreeSet<String>> {
    if list == ANY {
        return None;
    }
    let urls = EndpointUrl::parse_list(list).unwrap_or_default();
    Some(urls.iter().map(|url| url.as_str().to_owned()).collect())
}
