//! A member over all its lives: its disk stays, everything else goes with a crash.
//!
//! Owns:       the disk and the running shell, if there is one.
//! Uses:       `node::boot`, `simdisk`.
//! Never:      time.
//! Invariants: at most one life at a time; each life has a seed of its own.
//! Source:     design.md 4 (restart as Go does).

use std::path::Path;
use std::time::Duration;

use node::boot::{self, Booted, Founding};
use node::{Paths, Timing};
use proto::raftpb::Snapshot;
use simdisk::SimDisk;
use types::NodeId;
use wal::snap::SnapStore;
use wal::{Replay, Wal, WalSnapshot};

use crate::Config;
use crate::chores::Chores;
use crate::schedule::Life;
use crate::shell::{Limits, Shell, Stop};
use crate::turn::Turn;

/// A member.
pub(crate) struct Member {
    pub(crate) id: NodeId,
    pub(crate) disk: SimDisk,
    founding: Founding,
    pub(crate) shell: Option<Box<Shell>>,
    pub(crate) lives: u64,
    /// Taken out of the cluster, or its disk was lost: never started again.
    pub(crate) is_gone: bool,
    /// Boundary of the disk at which the power goes.
    pub(crate) cut_at: Option<u64>,
    /// Whether the disk was told to fail.
    pub(crate) is_disk_faulty: bool,
    /// Its own chores in this life.
    pub(crate) chores: Chores,
}

/// What a log on disk says.
#[derive(Debug, Default)]
pub(crate) struct LogOnDisk {
    pub(crate) snapshot: (u64, u64),
    /// Index, term, fingerprint.
    pub(crate) entries: Vec<(u64, u64, u64)>,
    /// Commit index of the last hard state.
    pub(crate) commit: u64,
}

impl Member {
    pub(crate) fn new(id: NodeId, founding: Founding, disk: SimDisk) -> Self {
        Self {
            id,
            disk,
            founding,
            shell: None,
            lives: 0,
            is_gone: false,
            cut_at: None,
            is_disk_faulty: false,
            chores: Chores::default(),
        }
    }

    pub(crate) fn life(&self) -> Life {
        Life { id: self.id, number: self.lives }
    }

    /// Whether the power has gone in the middle of what was being done.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut_at.is_some_and(|at| self.disk.write_count() >= at)
    }

    /// Starts a new life. Whoever calls has made the disk usable.
    pub(crate) fn boot(&mut self, config: &Config, turn: &mut Turn<'_>) -> Result<(), String> {
        self.lives += 1;
        self.chores = Chores::default();
        let options = self.options(config);
        let booted: Booted = boot::open(&options, Some(&self.founding))
            .map_err(|error| format!("{error} ({error:?})"))?;
        let limits = Limits {
            snapshot_count: config.snapshot_count,
            catchup_entries: config.catchup_entries,
            plant: config.plant,
        };
        self.shell = Some(Box::new(Shell::start(booted, options, limits, turn)));
        Ok(())
    }

    fn options(&self, config: &Config) -> node::Options {
        node::Options {
            disk: self.disk.disk(),
            paths: Paths::new(Path::new("/data"), None),
            timing: Timing {
                tick: Duration::from_micros(config.tick_us),
                election_ticks: config.election_ticks,
            },
            pre_vote: config.pre_vote,
            tick_advance: false,
            snapshot_count: config.snapshot_count,
            catchup_entries: config.catchup_entries,
            max_wals: 2,
            max_snapshots: 2,
            quota_bytes: 0,
            max_request_bytes: types::limits::REQUEST_SIZE_MAX_BYTES,
            warning_apply_duration: Duration::from_secs(60),
            compaction: node::CompactionBudget::default(),
            max_learners: membership::MAX_LEARNERS_DEFAULT,
            no_sync: false,
            strict_reconfig_check: true,
            force_new_cluster: false,
            server_version: "3.5.12".to_owned(),
            seed: config
                .seed
                .wrapping_mul(0x9e37_79b9)
                .wrapping_add(self.id.0 ^ (self.lives << 32)),
            segment_bytes: config.segment_bytes,
            start_threads: 1,
        }
    }

    /// Reads the log on a copy of the disk, as the next start will; `None` before it was created.
    pub(crate) fn read_log(&self) -> Result<Option<LogOnDisk>, String> {
        let fork = self.disk.fork().disk();
        let paths = Paths::new(Path::new("/data"), None);
        if !Wal::exists(fork.as_ref(), &paths.wal).map_err(text)? {
            return Ok(None);
        }
        let valid = Wal::valid_snapshots(fork.as_ref(), &paths.wal).map_err(text)?;
        let snaps = SnapStore::new(fork.clone(), &paths.snap);
        let snapshot = snaps.load_newest(&valid).map_err(text)?;
        let start = snapshot.map_or_else(WalSnapshot::default, |snapshot: Snapshot| WalSnapshot {
            index: snapshot.metadata.index,
            term: snapshot.metadata.term,
            conf_state: None,
        });
        let (_, replay) =
            Wal::open(fork, &paths.wal, start, wal::Options::default()).map_err(text)?;
        Ok(Some(LogOnDisk::from(replay)))
    }
}

impl From<Replay> for LogOnDisk {
    fn from(replay: Replay) -> Self {
        Self {
            snapshot: (replay.snapshot.index, replay.snapshot.term),
            entries: replay.entries.iter().map(crate::shell::position).collect(),
            commit: replay.hard_state.commit,
        }
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// In words, why a member cannot go on.
pub(crate) fn describe(id: NodeId, stop: &Stop) -> String {
    format!("member {id} stopped: {stop}")
}
