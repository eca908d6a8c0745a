//! The machine rebuilt from the rows of the database and the newest raft snapshot.
//!
//! Owns:       the decision which rows are trusted.
//! Uses:       every part's own restore.
//! Never:      writes; rows to be rewritten are returned.
//! Invariants: a machine restored from the rows of another one equals it.
//! Source:     docs/format/engine-rows.md; disk-formats.md 4, 6, 7, 11; design.md 4 and 5.

use std::ops::ControlFlow;

use bytes::Bytes;
use membership::json::conf_state_from_json;
use membership::{Membership, rows};
use mvcc::{HistoryFault, Restorer, Run};
use prost::Message as _;
use proto::leasepb;
use types::{Bucket, LeaseId, LogIndex, Op, RevKey, Term};

use crate::alarms::Alarms;
use crate::cluster::{Cluster, DOWNGRADE_KEY, MemberRows, Replay, Stage, check_version};
use crate::contract::{Fault, Restored, Settings, SnapshotBase, Source};
use crate::machine::{Machine, Position};
use crate::position::{
    CONF_STATE, CONSISTENT_INDEX, STORAGE_VERSION, TERM, V2Position, bad_row, lease_key,
    read_number,
};
use crate::v2;

const AUTH_ENABLED: &[u8] = b"authEnabled";
const AUTH_REVISION: &[u8] = b"authRevision";
/// What `auth/authRevision` says before auth was ever touched.
const FIRST_AUTH_REVISION: u64 = 1;
const SCHEDULED_COMPACT: &[u8] = b"scheduledCompactRev";
const FINISHED_COMPACT: &[u8] = b"finishedCompactRev";

/// How far the database goes, and how far its v2 rows if they are trusted.
#[derive(Clone, Copy)]
struct Trust {
    consistent: Position,
    v2: Option<V2Position>,
}

/// Note of a restart whose v2 rows are not those that snapshot and log lead to.
pub const V2_ROWS_DIFFER: &str = "v2 rows of the database are not those that the log leads to; \
     they are used, and the v2 history is forgotten";

impl Machine {
    /// Rebuilds the state from a database (after a restart, or just received from a leader) and the
    /// raft snapshot at which replay starts.
    ///
    /// # Errors
    /// The database cannot be read, is damaged, is older than the snapshot, or belongs to a cluster
    /// that this version cannot serve.
    pub fn restore(
        source: &dyn Source,
        settings: Settings,
        base: SnapshotBase,
    ) -> Result<(Self, Restored), Fault> {
        let mut restored = Restored::default();
        restore_auth(source, &mut restored)?;
        let consistent = restore_position(source)?;
        if consistent.index < base.index {
            let (database, snapshot) = (consistent.index.0, base.index.0);
            return Err(Fault::BehindSnapshot { database, snapshot });
        }
        let (kv, leases) = restore_kv(source, &settings, &mut restored)?;
        let replay_from = Position { index: base.index, term: base.term };
        let v2 = v2::trusted_position(source, settings.cluster_id, consistent)?;
        let trust = Trust { consistent, v2 };
        let cluster = restore_cluster(source, &settings, &base, trust, &mut restored)?;
        let SnapshotBase { v2: base_tree, conf_state, index: base_index, .. } = base;
        let has_past = base_tree.is_some() || base_index == LogIndex(0);
        // Without a payload the tree must still name the members: Go reads them there.
        let tree = base_tree.unwrap_or_else(|| v2::tree_of(cluster.at(Stage::Replay)));
        let (v2, v2_replay) = match trust.v2 {
            Some(position) => (v2::restore_rows(source, position)?, has_past.then_some(tree)),
            None => (v2::rebuild(source, tree, &mut restored)?, None),
        };
        let mut machine = Self {
            kv,
            leases,
            alarms: restore_alarms(source)?,
            cluster,
            conf_state,
            v2,
            v2_replay,
            applied: replay_from,
            consistent,
            v2_applied: if trust.v2.is_some() { consistent } else { replay_from },
            storage_bytes: 0,
            settings,
        };
        machine.complete(source, &mut restored)?;
        Ok((machine, restored))
    }

    /// What can only be said once all parts are there.
    fn complete(&mut self, source: &dyn Source, restored: &mut Restored) -> Result<(), Fault> {
        if self.is_replaying() {
            return Ok(());
        }
        self.consistent = self.applied;
        self.v2_applied = self.applied;
        restored.ops.append(&mut self.cluster.finish_replay());
        if !self.finish_v2_replay() {
            restored.notes.push(V2_ROWS_DIFFER.to_owned());
        }
        if let Some(row) = source.get(Bucket::Meta, CONF_STATE)? {
            let differs = conf_state_from_json(&row).map_or(true, |found| found != self.conf_state);
            if differs && self.consistent.index > LogIndex(0) {
                // Go's restore leaves an old one behind; the snapshot is what counts.
                restored.notes.push(
                    "meta/confState differs from the raft snapshot, which is used".to_owned(),
                );
            }
        }
        Ok(())
    }
}

/// Refuses a database with auth switched on, and writes the row that Go writes at its first start.
fn restore_auth(source: &dyn Source, restored: &mut Restored) -> Result<(), Fault> {
    if source.get(Bucket::Auth, AUTH_ENABLED)?.is_some_and(|row| *row == [1]) {
        return Err(Fault::AuthEnabled);
    }
    if read_number(source, Bucket::Auth, AUTH_REVISION)?.is_none() {
        let row = FIRST_AUTH_REVISION.to_be_bytes().to_vec();
        restored.ops.push(Op::put(Bucket::Auth, AUTH_REVISION, row));
    }
    Ok(())
}

fn restore_position(source: &dyn Source) -> Result<Position, Fault> {
    let index = read_number(source, Bucket::Meta, CONSISTENT_INDEX)?.unwrap_or(0);
    let term = read_number(source, Bucket::Meta, TERM)?.unwrap_or(0);
    Ok(Position { index: LogIndex(index), term: Term(term) })
}

fn restore_kv(
    source: &dyn Source,
    settings: &Settings,
    restored: &mut Restored,
) -> Result<(mvcc::Store, lease::Table), Fault> {
    let finished = read_compaction(source, FINISHED_COMPACT)?;
    let scheduled = read_compaction(source, SCHEDULED_COMPACT)?;
    let mut restorer = Restorer::new(finished, scheduled);
    for run in source.key_runs()? {
        restorer.add(run)?;
    }
    let mvcc::Restored { store, attachments } = restorer.finish()?;
    restored.resume_compaction = store.pending_compaction();
    let mut leases = restore_leases(source, settings)?;
    for (lease, key) in attachments {
        if !leases.attach(lease, key) {
            restored.notes.push(format!("a key names lease {lease}, which does not exist"));
        }
    }
    Ok((store, leases))
}

/// Reads the rows of bucket `key` from one key on and, if there is a `below`, up to before that.
///
/// # Errors
/// The database cannot be read, or a row is malformed or out of order.
pub fn read_run(source: &dyn Source, from: &[u8], below: Option<&[u8]>) -> Result<Run, Fault> {
    let mut run = Run::default();
    let mut outcome = Ok(());
    let add = |run: &mut Run, key: &[u8], value: &[u8]| -> Result<(), Fault> {
        let (revision, tombstone) =
            RevKey::parse(key).ok_or_else(|| bad_row(Bucket::Key, key, "is no revision"))?;
        Ok(run.push(revision, tombstone, value)?)
    };
    source.scan(Bucket::Key, from, &mut |key, value| {
        if below.is_some_and(|below| key >= below) {
            return ControlFlow::Break(());
        }
        outcome = add(&mut run, key, value);
        if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    outcome?;
    run.sort();
    Ok(run)
}

fn read_compaction(source: &dyn Source, key: &'static [u8]) -> Result<Option<i64>, Fault> {
    let Some(row) = source.get(Bucket::Meta, key)? else { return Ok(None) };
    match RevKey::parse(&row) {
        Some((revision, false)) => Ok(Some(revision.main)),
        Some(_) | None => Err(bad_row(Bucket::Meta, key, "is no revision")),
    }
}

fn restore_leases(source: &dyn Source, settings: &Settings) -> Result<lease::Table, Fault> {
    let mut leases = lease::Table::new();
    let ttl_min = settings.lease_ttl_min_seconds();
    visit_rows(source, Bucket::Lease, |key, value| {
        let lease = leasepb::Lease::decode(value)
            .ok()
            .filter(|lease| lease.id != 0 && lease_key(lease.id) == key)
            .ok_or_else(|| bad_row(Bucket::Lease, key, "is no lease of that ID"))?;
        // Go raises a stored TTL too when the election time-out has grown since.
        leases.restore(LeaseId(lease.id), lease.ttl.max(ttl_min), lease.remaining_ttl);
        Ok(())
    })?;
    Ok(leases)
}

fn restore_alarms(source: &dyn Source) -> Result<Alarms, Fault> {
    let mut alarms = Alarms::default();
    visit_rows(source, Bucket::Alarm, |key, _| {
        alarms.restore(key).ok_or_else(|| bad_row(Bucket::Alarm, key, "is no alarm member"))
    })?;
    Ok(alarms)
}

fn restore_cluster(
    source: &dyn Source,
    settings: &Settings,
    base: &SnapshotBase,
    trust: Trust,
    restored: &mut Restored,
) -> Result<Cluster, Fault> {
    let member_rows = read_member_rows(source)?;
    let version_row = source.get(Bucket::Cluster, rows::CLUSTER_VERSION_KEY)?;
    let all_rows = member_rows
        .iter()
        .map(|((bucket, key), value)| (*bucket, key, value))
        .chain(version_row.iter().map(|row| (Bucket::Cluster, &VERSION_KEY, row)));
    let mut members = Membership::from_rows(settings.cluster_id, all_rows)
        .map_err(|error| bad_row(error.bucket, error.key.as_bytes(), error.to_string()))?;
    members.max_learners = settings.max_learners;
    if let Some(version) = members.version {
        check_version(version, settings.server_version)?;
    }
    let is_row_trusted = trust.v2.is_some() || source.get(Bucket::Meta, STORAGE_VERSION)?.is_some();
    let downgrade = source.get(Bucket::Cluster, DOWNGRADE_KEY)?;
    if is_row_trusted && base.index == trust.consistent.index {
        return Ok(Cluster::new(members, None, downgrade));
    }
    let replay = match members_at(base, settings)? {
        Some(replay_members) => Replay {
            members: replay_members,
            distrusted_rows: (!is_row_trusted).then_some(member_rows),
        },
        None => {
            restored.notes.push(
                "the raft snapshot has no v2 tree; members are taken from the database".to_owned(),
            );
            Replay { members: members.clone(), distrusted_rows: None }
        }
    };
    Ok(Cluster::new(members, Some(replay), downgrade))
}

/// The members at the raft snapshot; `None` when it does not tell.
fn members_at(base: &SnapshotBase, settings: &Settings) -> Result<Option<Membership>, Fault> {
    match &base.v2 {
        Some(tree) => v2::members_of(tree, settings).map(Some),
        None if base.index == LogIndex(0) => {
            let mut none = Membership::new(settings.cluster_id);
            none.max_learners = settings.max_learners;
            Ok(Some(none))
        }
        None => Ok(None),
    }
}

static VERSION_KEY: Bytes = Bytes::from_static(rows::CLUSTER_VERSION_KEY);

fn read_member_rows(source: &dyn Source) -> Result<MemberRows, Fault> {
    let mut member_rows = MemberRows::new();
    for bucket in [Bucket::Members, Bucket::MembersRemoved] {
        visit_rows(source, bucket, |key, value| {
            let row = (bucket, Bytes::copy_from_slice(key));
            member_rows.insert(row, Bytes::copy_from_slice(value));
            Ok(())
        })?;
    }
    Ok(member_rows)
}

/// Visits all rows of a bucket until `visit` fails.
pub(crate) fn visit_rows(
    source: &dyn Source,
    bucket: Bucket,
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut outcome = Ok(());
    let scanned: Result<(), HistoryFault> = source.scan(bucket, b"", &mut |key, value| {
        outcome = visit(key, value);
        if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    scanned?;
    outcome
}
