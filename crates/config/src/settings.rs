//! The settings themselves, typed and checked.

use std::path::PathBuf;

use crate::serving::Serving;
use crate::url::EndpointUrl;

/// Everything the server is started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `--name`: this member's name, key into `initial_cluster`.
    pub name: String,
    /// `--data-dir`, never empty: `<name>.etcd` when not given.
    pub data_dir: PathBuf,
    /// `--wal-dir`: where the log lives when not below the data directory.
    pub wal_dir: Option<PathBuf>,
    /// `--listen-peer-urls`, sorted, without repetitions, never empty.
    pub listen_peer_urls: Vec<EndpointUrl>,
    /// `--listen-client-urls`, sorted, without repetitions, never empty.
    pub listen_client_urls: Vec<EndpointUrl>,
    /// `--initial-advertise-peer-urls`, sorted, without repetitions, never empty.
    pub initial_advertise_peer_urls: Vec<EndpointUrl>,
    /// `--advertise-client-urls`, sorted, without repetitions, never empty.
    pub advertise_client_urls: Vec<EndpointUrl>,
    /// `--initial-cluster` as given or defaulted. It is read only by a member without a log, and
    /// etcd accepts any text in it otherwise, so it is parsed by [`crate::bootstrap`].
    pub initial_cluster: String,
    /// `--initial-cluster-token`, mixed into bootstrap IDs.
    pub initial_cluster_token: String,
    /// `--initial-cluster-state`.
    pub initial_cluster_state: ClusterState,
    /// `--heartbeat-interval` in milliseconds, the raft tick; above 0.
    pub heartbeat_ms: u64,
    /// `--election-timeout` in milliseconds; at least five heartbeats, at most 50000.
    pub election_ms: u64,
    /// `--pre-vote`.
    pub pre_vote: bool,
    /// `--initial-election-tick-advance`.
    pub initial_election_tick_advance: bool,
    /// `--snapshot-count`: applied entries between two snapshots on disk.
    pub snapshot_count: u64,
    /// `--snapshot-catchup-entries`: entries kept behind a snapshot for slow followers.
    pub snapshot_catchup_entries: u64,
    /// `--max-wals`: log segments kept, 0 keeps all.
    pub max_wals: u64,
    /// `--max-snapshots`: snapshot files kept, 0 keeps all.
    pub max_snapshots: u64,
    /// `--quota-backend-bytes` as given; see [`Config::quota_limit_bytes`].
    pub quota_backend_bytes: i64,
    /// `--max-txn-ops`.
    pub max_txn_ops: u64,
    /// `--max-request-bytes`.
    pub max_request_bytes: u64,
    /// How clients are served.
    pub serving: Serving,
    /// `--max-learners`; a negative number, which etcd takes as "none", arrives here as 0.
    pub max_learners: u64,
    /// `--strict-reconfig-check`.
    pub strict_reconfig_check: bool,
    /// `--force-new-cluster`.
    pub force_new_cluster: bool,
    /// `--enable-v2`; `None` when not given: what is in the data directory decides (design.md §4).
    pub enable_v2: Option<bool>,
    /// `--unsafe-no-fsync`.
    pub unsafe_no_fsync: bool,
    /// `--log-level`.
    pub log_level: LogLevel,
    /// `--log-format`.
    pub log_format: LogFormat,
    /// `--log-outputs`, sorted, without repetitions, never empty.
    pub log_outputs: Vec<LogOutput>,
}

/// Backend size limit when `--quota-backend-bytes` is 0: 2 GiB.
pub const QUOTA_DEFAULT_BYTES: u64 = 2 << 30;
/// Backend size limit above which a start is warned about: 8 GiB.
pub const QUOTA_SUGGESTED_MAX_BYTES: u64 = 8 << 30;

impl Config {
    /// Returns the limit that the quota check uses; `None` when a negative flag switched it off.
    #[must_use]
    pub fn quota_limit_bytes(&self) -> Option<u64> {
        match u64::try_from(self.quota_backend_bytes) {
            Err(_) => None,
            Ok(0) => Some(QUOTA_DEFAULT_BYTES),
            Ok(bytes) => Some(bytes),
        }
    }

    /// Election time-out in ticks of one heartbeat interval, at least 5.
    #[must_use]
    pub fn election_ticks(&self) -> u64 {
        self.election_ms / self.heartbeat_ms.max(1)
    }

    /// Where `.wal` files live.
    #[must_use]
    pub fn wal_path(&self) -> PathBuf {
        self.wal_dir.clone().unwrap_or_else(|| self.data_dir.join("member").join("wal"))
    }
}

/// `--initial-cluster-state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterState {
    /// Bootstrap a cluster of the members in `--initial-cluster`.
    New,
    /// Join a running cluster that was told about this member.
    Existing,
}

/// `--log-level`, in rising severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// State changes.
    Info,
    /// Survived but unexpected.
    Warn,
    /// Needs a human.
    Error,
    /// Only what ends the process with a panic.
    Panic,
    /// Only what ends the process.
    Fatal,
}

/// `--log-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Tab-separated columns, fields as JSON at the end.
    Console,
}

/// One target of `--log-outputs`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogOutput {
    /// Standard error, also under the name `default`.
    Stderr,
    /// Standard output.
    Stdout,
    /// A file, appended to.
    File(PathBuf),
}
