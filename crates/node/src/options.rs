//! What a member is started with, already checked.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use disk::Disk;
use membership::ClusterVersion;

use crate::compactor::CompactionBudget;

/// Where the files of a member are.
#[derive(Clone, Debug)]
pub struct Paths {
    /// `<data-dir>/member/snap`.
    pub snap: PathBuf,
    /// `<data-dir>/member/wal`, or `--wal-dir`.
    pub wal: PathBuf,
}

impl Paths {
    /// etcd's layout below a data directory (disk-formats.md 1).
    #[must_use]
    pub fn new(data_dir: &Path, wal_dir: Option<&Path>) -> Self {
        let member = data_dir.join("member");
        Self {
            snap: member.join("snap"),
            wal: wal_dir.map_or_else(|| member.join("wal"), Path::to_path_buf),
        }
    }

    /// The database file.
    #[must_use]
    pub fn db(&self) -> PathBuf {
        self.snap.join("db")
    }
}

/// The clock of raft and of requests.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// One raft tick: `--heartbeat-interval`.
    pub tick: Duration,
    /// Ticks without a leader before an election.
    pub election_ticks: usize,
}

impl Timing {
    /// Time without a leader before an election, without jitter.
    #[must_use]
    pub fn election_timeout(&self) -> Duration {
        self.tick * u32::try_from(self.election_ticks).unwrap_or(u32::MAX)
    }

    /// How long a request waits for its outcome: 5 s and two election time-outs.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        Duration::from_secs(5) + 2 * self.election_timeout()
    }
}

/// Everything that a member needs to run.
#[derive(Clone)]
pub struct Options {
    /// The file system.
    pub disk: Arc<dyn Disk>,
    /// Where the files are.
    pub paths: Paths,
    /// Clock settings.
    pub timing: Timing,
    /// `--pre-vote`.
    pub pre_vote: bool,
    /// `--initial-election-tick-advance`.
    pub tick_advance: bool,
    /// `--snapshot-count`.
    pub snapshot_count: u64,
    /// `--snapshot-catchup-entries`.
    pub catchup_entries: u64,
    /// `--max-wals`; 0 keeps all.
    pub max_wals: u64,
    /// `--max-snapshots`; 0 keeps all.
    pub max_snapshots: u64,
    /// Quota in bytes; 0 or less switches it off.
    pub quota_bytes: i64,
    /// `--max-request-bytes`.
    pub max_request_bytes: u64,
    /// `--warning-apply-duration`.
    pub warning_apply_duration: Duration,
    /// How fast compaction deletes.
    pub compaction: CompactionBudget,
    /// `--max-learners`.
    pub max_learners: usize,
    /// `--unsafe-no-fsync`.
    pub no_sync: bool,
    /// `--strict-reconfig-check`.
    pub strict_reconfig_check: bool,
    /// `--force-new-cluster`.
    pub force_new_cluster: bool,
    /// Version told to peers and clients, `major.minor.patch`.
    pub server_version: String,
    /// Seed of the election jitter and of the request IDs.
    pub seed: u64,
    /// Target size of a log segment in bytes.
    pub segment_bytes: u64,
    /// Threads that restore the state at a start, while another one checks the database. With one,
    /// everything is done one after the other, as simulation needs it.
    pub start_threads: usize,
}

impl Options {
    /// The highest cluster version that this server can be a member of.
    #[must_use]
    pub fn cluster_version_max(&self) -> ClusterVersion {
        let mut numbers = self.server_version.split('.').map(|part| part.parse().unwrap_or(0));
        let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        ClusterVersion::new(major, minor)
    }
}
