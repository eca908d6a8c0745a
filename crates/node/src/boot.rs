//! From files to a member ready to run: bootstrap of a new log, recovery of an old one.
//!
//! Owns:       the order in which the files of a data directory are opened at start.
//! Uses:       `wal`, `backend`, `consensus`, `apply`, over any [`disk::Disk`].
//! Never:      clocks, the network: simulation boots its members through here too. Threads
//!             that restore the state while the database is being checked, if options allow some.
//! Invariants: raft starts at the newest valid WAL snapshot record; nothing is applied twice.
//! Source:     design.md 4 "Restart as Go does"; disk-formats.md 4.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apply::{Machine, Restored, Settings, SnapshotBase};
use backend::{Engine, EngineError, UncheckedEngine, View};
use bolt::BoltError;
use consensus::{Driver, Recovered};
use disk::Disk;
use membership::Member;
use proto::raftpb::{ConfState, HardState, Snapshot};
use types::{Bucket, ClusterId, LogIndex, NodeId, Op, Term};
use wal::snap::SnapStore;
use wal::{Metadata, Replay, Wal, WalError, WalSnapshot};

use crate::options::Options;
use crate::shared::ViewSource;

/// Row of `etchV2Meta` that marks a directory founded by another etcd.
const ADOPTED_KEY: &[u8] = b"adopted";

/// Directories above `member/snap` that a start may have created: `member`, the data directory and
/// the one that holds it.
const LEVELS_SYNCED: usize = 3;

/// What to do when the directory holds no log.
#[derive(Clone, Debug)]
pub struct Founding {
    /// This member.
    pub local: NodeId,
    /// The cluster.
    pub cluster_id: ClusterId,
    /// Members of a new cluster; empty when joining a running one.
    pub members: Vec<Member>,
}

/// Everything that was opened.
pub struct Booted {
    /// The identity recorded in the log.
    pub metadata: Metadata,
    /// The log, ready for appending.
    pub wal: Wal,
    /// The snapshot files.
    pub snaps: SnapStore,
    /// The database.
    pub engine: Box<dyn Engine>,
    /// The replicated state at the consistent index.
    pub machine: Machine,
    /// What restoring wants to be written first.
    pub restored: Restored,
    /// Raft, with the log behind the snapshot.
    pub driver: Driver,
    /// Index of the snapshot that the log starts from.
    pub snapshot_index: LogIndex,
    /// Settings that the machine was restored with; used again for received snapshots.
    pub settings: Settings,
    /// Whether this member's first start was cut short before it knew anything of a cluster: a
    /// founding member must then be opened again with its founding.
    pub unfounded: bool,
    /// Whether the directory was founded by another etcd than ours: v2 is then on only if it holds
    /// v2 keys (design.md 4).
    pub adopted: bool,
}

/// Why a member cannot start from its files.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The log or a snapshot file.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// The database.
    #[error("open database")]
    Engine(#[from] EngineError),
    /// The replicated state.
    #[error("restore state")]
    State(#[from] apply::Fault),
    /// Raft.
    #[error("start raft")]
    Raft(#[from] consensus::StartError),
    /// Another process has the directory.
    #[error("cannot open database {path}: another process has locked it")]
    InUse {
        /// The locked file.
        path: PathBuf,
    },
    /// The log needs a database that is not there.
    #[error("failed to find database snapshot file {path}")]
    MissingDatabase {
        /// The missing file.
        path: PathBuf,
    },
    /// A snapshot file whose v2 tree cannot be read.
    #[error("v2 tree of snapshot {index}: {reason}")]
    BadTree {
        /// Index of the snapshot.
        index: u64,
        /// What is wrong.
        reason: String,
    },
    /// A file operation outside of the formats.
    #[error("{operation}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The failure.
        source: std::io::Error,
    },
    /// There is no log and nothing to found one from.
    #[error("no log in {path} and no cluster to bootstrap")]
    NothingToFound {
        /// The log directory.
        path: PathBuf,
    },
}

/// Whether the directory holds a log, so that bootstrap settings are ignored.
///
/// # Errors
/// Those of the file system.
pub fn has_log(options: &Options) -> std::io::Result<bool> {
    Wal::exists(options.disk.as_ref(), &options.paths.wal)
}

/// Opens the data directory, founding it first when it is empty.
///
/// # Errors
/// As [`BootError`] says; nothing was changed beyond what etcd repairs.
pub fn open(options: &Options, founding: Option<&Founding>) -> Result<Booted, BootError> {
    let disk = Arc::clone(&options.disk);
    create_durably(disk.as_ref(), &options.paths.snap)?;
    if let Some(parent) = options.paths.wal.parent() {
        create_durably(disk.as_ref(), parent)?;
    }
    let snaps = SnapStore::new(Arc::clone(&disk), &options.paths.snap);
    snaps.remove_temp_files()?;
    let mut database = open_database(options)?;
    let had_log = has_log(options).map_err(io("look for log"))?;
    if !had_log {
        let founding = founding
            .ok_or_else(|| BootError::NothingToFound { path: options.paths.wal.clone() })?;
        create_log(options, founding)?;
    }
    let snapshot = newest_snapshot(options, &snaps)?;
    if let Some(snapshot) = &snapshot {
        database = catch_up_database(options, &snaps, database, snapshot)?;
    }
    let start = snapshot.as_ref().map_or_else(WalSnapshot::default, |snapshot| WalSnapshot {
        index: snapshot.metadata.index,
        term: snapshot.metadata.term,
        conf_state: None,
    });
    let (mut wal, mut replay) = Wal::open(disk, &options.paths.wal, start, wal_options(options))?;
    if replay.repaired {
        tracing::warn!("cut a torn record off the end of the log; the file was copied to .broken");
    }
    if let Some(founding) = founding.filter(|founding| lacks(founding, &replay)) {
        append_founding_entries(&mut wal, &mut replay, founding)?;
    }
    let unfounded = is_unfounded(&replay);
    let mut booted = assemble(options, wal, replay, snapshot, snaps, database)?;
    let adoption = Adoption::look(booted.engine.view().as_ref(), had_log)?;
    booted.unfounded = unfounded;
    booted.adopted = adoption != Adoption::Ours;
    if adoption == Adoption::New {
        booted.restored.ops.push(Op::put(Bucket::V2Meta, ADOPTED_KEY, &b"1"[..]));
    }
    Ok(booted)
}

/// Where a directory comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Adoption {
    /// We founded it, or joined with it.
    Ours,
    /// It is opened by us for the first time.
    New,
    /// It was once adopted.
    Known,
}

impl Adoption {
    fn look(view: &dyn View, had_log: bool) -> Result<Self, BootError> {
        let mut rows = 0;
        let mut marked = false;
        view.scan(Bucket::V2Meta, b"", &mut |key, _| {
            rows += 1;
            marked |= key == ADOPTED_KEY;
            std::ops::ControlFlow::Continue(())
        })?;
        Ok(match (marked, rows) {
            (true, _) => Self::Known,
            // Nothing was ever committed to the file when a first start was cut short.
            (false, 0) if had_log && consistent_index(view)?.0 > 0 => Self::New,
            (false, _) => Self::Ours,
        })
    }
}

/// Creates a directory below the data directory, with the names that lead to it: what is synced
/// inside of it would be lost with them. Done at each start, for the one before may have been killed
/// in between.
fn create_durably(disk: &dyn Disk, dir: &Path) -> Result<(), BootError> {
    disk.create_dir_all(dir).map_err(io("create directory"))?;
    for parent in dir.ancestors().skip(1).take(LEVELS_SYNCED) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        match disk.sync_dir(parent) {
            // A directory that may not even be read is not one that was made for this member.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
            synced => synced.map_err(io("sync directory"))?,
        }
    }
    Ok(())
}

fn open_database(options: &Options) -> Result<UncheckedEngine, BootError> {
    let path = options.paths.db();
    match UncheckedEngine::open(options.disk.as_ref(), &path, options.no_sync) {
        Ok(database) => Ok(database),
        Err(EngineError::Bolt(BoltError::Locked)) => Err(BootError::InUse { path }),
        Err(error) => Err(error.into()),
    }
}

fn wal_options(options: &Options) -> wal::Options {
    wal::Options { segment_bytes: options.segment_bytes, no_sync: options.no_sync }
}

fn create_log(options: &Options, founding: &Founding) -> Result<(), BootError> {
    let metadata = Metadata { node_id: founding.local, cluster_id: founding.cluster_id };
    let disk = Arc::clone(&options.disk);
    drop(Wal::create(disk, &options.paths.wal, metadata, wal_options(options))?);
    Ok(())
}

/// Writes what every founding member writes for itself. A crash between the creation of the log and
/// this leaves a blank log, which the next start completes in the same way.
fn append_founding_entries(
    wal: &mut Wal,
    replay: &mut Replay,
    founding: &Founding,
) -> Result<(), BootError> {
    if founding.members.is_empty() {
        return Ok(());
    }
    let (entries, hard_state) = consensus::bootstrap::new_cluster(&founding.members);
    wal.append(&entries, Some(&hard_state))?;
    wal.flush(true)?;
    replay.entries = entries;
    replay.hard_state = hard_state;
    Ok(())
}

/// Whether the log holds nothing that anybody was told of: no hard state, so no vote and no
/// acknowledgement. Entries may be there, when the crash tore the write that founded the log.
fn is_unfounded(replay: &Replay) -> bool {
    replay.hard_state.is_empty() && replay.snapshot.index == 0
}

/// Whether the log is that of this founding member, and unfounded.
fn lacks(founding: &Founding, replay: &Replay) -> bool {
    let Metadata { node_id, cluster_id } = replay.metadata;
    is_unfounded(replay) && (node_id, cluster_id) == (founding.local, founding.cluster_id)
}

/// The newest snapshot that the log and a `.snap` file vouch for. Only the part of the log that
/// begins with the newest file has to be read for it, as a rule.
fn newest_snapshot(options: &Options, snaps: &SnapStore) -> Result<Option<Snapshot>, BootError> {
    let Some(index) = snaps.newest_index()? else { return Ok(None) };
    let (disk, dir) = (options.disk.as_ref(), &options.paths.wal);
    let newest = snaps.load_newest(&Wal::valid_snapshots_from(disk, dir, index)?)?;
    if newest.is_some() {
        return Ok(newest);
    }
    Ok(snaps.load_newest(&Wal::valid_snapshots(disk, dir)?)?)
}

/// A snapshot was received, and the crash came before its database took the name `db`.
fn catch_up_database(
    options: &Options,
    snaps: &SnapStore,
    database: UncheckedEngine,
    snapshot: &Snapshot,
) -> Result<UncheckedEngine, BootError> {
    let consistent = consistent_index(database.view().as_ref())?;
    if snapshot.metadata.index <= consistent.0 {
        return Ok(database);
    }
    let received = snaps.db_snapshot_path(snapshot.metadata.index);
    let disk = options.disk.as_ref();
    if !disk.exists(&received).map_err(io("look for received database"))? {
        return Err(BootError::MissingDatabase { path: received });
    }
    drop(database);
    disk.rename(&received, &options.paths.db()).map_err(io("rename received database"))?;
    disk.sync_dir(&options.paths.snap).map_err(io("sync snapshot directory"))?;
    open_database(options)
}

/// The index that the database is consistent with; 0 for an empty one.
fn consistent_index(view: &dyn View) -> Result<LogIndex, BootError> {
    let row = view.get(Bucket::Meta, b"consistent_index")?;
    let bytes = row.and_then(|row| <[u8; 8]>::try_from(row.as_ref()).ok());
    Ok(LogIndex(bytes.map_or(0, u64::from_be_bytes)))
}

fn assemble(
    options: &Options,
    mut wal: Wal,
    mut replay: Replay,
    snapshot: Option<Snapshot>,
    snaps: SnapStore,
    database: UncheckedEngine,
) -> Result<Booted, BootError> {
    let consistent = consistent_index(database.view().as_ref())?;
    let conf_state = replay
        .snapshot
        .conf_state
        .clone()
        .or_else(|| snapshot.as_ref().map(|snapshot| snapshot.metadata.conf_state.clone()))
        .unwrap_or_default();
    let metadata = replay.metadata;
    if options.force_new_cluster {
        force_new_cluster(&mut wal, &mut replay, &conf_state, consistent)?;
    }
    let settings = Settings {
        local: metadata.node_id,
        cluster_id: metadata.cluster_id,
        max_learners: options.max_learners,
        quota_bytes: options.quota_bytes,
        election_timeout_ms: election_timeout_ms(options),
        server_version: options.cluster_version_max(),
    };
    let base = snapshot_base(snapshot.as_ref(), conf_state.clone())?;
    let snapshot_index = base.index;
    let (engine, (machine, restored)) = restore(options, database, settings.clone(), base)?;
    let recovered = Recovered {
        snapshot: proto::raftpb::SnapshotMetadata {
            conf_state,
            index: replay.snapshot.index,
            term: replay.snapshot.term,
        },
        hard_state: replay.hard_state,
        entries: replay.entries,
        consistent_index: consistent,
    };
    let driver = Driver::new(driver_options(options, metadata.node_id), recovered)?;
    Ok(Booted {
        metadata,
        wal,
        snaps,
        engine,
        machine,
        restored,
        driver,
        snapshot_index,
        settings,
        unfounded: false,
        adopted: false,
    })
}

/// A database that was checked, and the state in it.
type Opened = (Box<dyn Engine>, (Machine, Restored));

/// Checks the database and restores the state from it, side by side where that is wanted. Nothing that
/// was restored is used before the check has passed.
fn restore(
    options: &Options,
    database: UncheckedEngine,
    settings: Settings,
    base: SnapshotBase,
) -> Result<Opened, BootError> {
    let view = database.view();
    let threads = options.start_threads;
    let restore =
        move || Machine::restore(&ViewSource { view: view.as_ref(), threads }, settings, base);
    if threads <= 1 {
        let engine = Box::new(database.check()?);
        return Ok((engine, restore()?));
    }
    let restoring = std::thread::Builder::new()
        .name("restore".to_owned())
        .spawn(restore)
        .map_err(io("start thread"))?;
    let checked = database.check();
    let restored = restoring.join();
    let engine = Box::new(checked?);
    let restored = restored.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    Ok((engine, restored?))
}

fn driver_options(options: &Options, id: NodeId) -> consensus::Options {
    consensus::Options {
        id,
        election_ticks: options.timing.election_ticks,
        heartbeat_ticks: 1,
        pre_vote: options.pre_vote,
        seed: options.seed,
    }
}

fn election_timeout_ms(options: &Options) -> u64 {
    u64::try_from(options.timing.election_timeout().as_millis()).unwrap_or(u64::MAX)
}

fn snapshot_base(
    snapshot: Option<&Snapshot>,
    conf_state: ConfState,
) -> Result<SnapshotBase, BootError> {
    let Some(snapshot) = snapshot else { return Ok(SnapshotBase::default()) };
    let index = snapshot.metadata.index;
    let v2 = v2store::Store::from_json(&snapshot.data)
        .map_err(|error| BootError::BadTree { index, reason: error.to_string() })?;
    Ok(SnapshotBase {
        index: LogIndex(index),
        term: Term(snapshot.metadata.term),
        v2: Some(v2),
        conf_state,
    })
}

/// Rewrites the end of the log so that this member is alone (disk-formats.md 4.8).
fn force_new_cluster(
    wal: &mut Wal,
    replay: &mut Replay,
    conf_state: &ConfState,
    consistent: LogIndex,
) -> Result<(), BootError> {
    let forced = consensus::bootstrap::force_new_cluster(
        replay.metadata.node_id,
        replay.hard_state,
        std::mem::take(&mut replay.entries),
        conf_state,
        consistent,
    );
    let hard_state: HardState = forced.hard_state;
    wal.append(&forced.appended, Some(&hard_state))?;
    wal.flush(true)?;
    replay.entries = forced.kept;
    replay.entries.extend(forced.appended);
    replay.hard_state = hard_state;
    Ok(())
}

fn io(operation: &'static str) -> impl Fn(std::io::Error) -> BootError {
    move |source| BootError::Io { operation, source }
}
