//! What a member counts about itself, for `/metrics`: plain atomics, added to on the way.
//!
//! Owns:       the numbers since the start of the process.
//! Never:      a lock; anything that is decided by them.
//! Source:     server-config.md 10, whose names and buckets the fields stand for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use apply::{Applied, Local, Reply, RequestKind, Response};
use mvcc::kv::KvView;
use mvcc::{EventKind, OpReply, TxnReply};
use types::EtcdError;
use v2store::Stats;

/// Everything that is counted.
#[derive(Debug, Default)]
pub struct Counters {
    /// `etcd_server_leader_changes_seen_total`.
    pub leader_changes: Count,
    /// `etcd_server_proposals_failed_total`.
    pub proposals_failed: Count,
    /// `etcd_server_read_indexes_failed_total`.
    pub read_indexes_failed: Count,
    /// `etcd_server_slow_read_indexes_total`.
    pub slow_read_indexes: Count,
    /// `etcd_server_slow_apply_total`.
    pub slow_applies: Count,
    /// `etcd_server_apply_duration_seconds`: by kind, what failed and what did not.
    pub applies: [[Times<ApplyBounds>; 2]; RequestKind::COUNT],
    /// `etcd_server_heartbeat_send_failures_total`: heartbeats of this leader that came too late.
    pub late_heartbeats: Count,
    /// `etcd_server_snapshot_apply_in_progress_total`, a gauge.
    pub snapshot_installs: Count,
    /// `etcd_mvcc_put_total`.
    pub puts: Count,
    /// `etcd_mvcc_delete_total`.
    pub deletes: Count,
    /// `etcd_mvcc_range_total`.
    pub ranges: Count,
    /// `etcd_mvcc_txn_total`: requests of more than one operation.
    pub txns: Count,
    /// `etcd_debugging_mvcc_total_put_size_in_bytes`: keys and values.
    pub put_bytes: Count,
    /// `etcd_mvcc_hash_rev_duration_seconds`.
    pub revision_hashes: Times<HashBounds>,
    /// `etcd_debugging_mvcc_db_compaction_keys_total`.
    pub compacted_rows: Count,
    /// `etcd_debugging_mvcc_db_compaction_last`, unix seconds.
    pub compaction_last: Count,
    /// `etcd_debugging_mvcc_db_compaction_total_duration_milliseconds`.
    pub compactions: Times<CompactionBounds>,
    /// How long apply was held up by each batch of a compaction, which takes revisions out of index
    /// and database: `etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds`.
    pub compaction_pauses: Times<PauseBounds>,
    /// The same for `etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds`.
    pub index_pauses: Times<IndexPauseBounds>,
    /// `etcd_debugging_lease_granted_total`.
    pub leases_granted: Count,
    /// `etcd_debugging_lease_revoked_total`.
    pub leases_revoked: Count,
    /// `etcd_debugging_lease_renewed_total`: by this member as the leader.
    pub leases_renewed: Count,
    /// `etcd_debugging_server_lease_expired_total`: revoked by this member as the leader.
    pub leases_expired: Count,
    /// `etcd_debugging_lease_ttl_total`, the times to live that were granted.
    pub lease_ttls: Times<TtlBounds>,
    /// `etcd_disk_wal_fsync_duration_seconds`.
    pub wal_syncs: Times<DiskBounds>,
    /// `etcd_disk_wal_write_duration_seconds`.
    pub wal_writes: Times<DiskBounds>,
    /// `etcd_disk_wal_write_bytes_total`.
    pub wal_bytes: Count,
    /// `etcd_disk_backend_commit_duration_seconds`.
    pub commits: Times<DiskBounds>,
    /// `etcd_disk_backend_snapshot_duration_seconds`: databases read for others.
    pub database_reads: Times<SnapshotBounds>,
    /// `etcd_debugging_snap_save_marshalling_duration_seconds`, of `.snap` files.
    pub snap_encodings: Times<DiskBounds>,
    /// `etcd_snap_fsync_duration_seconds`, their writing included as in etcd.
    pub snap_syncs: Times<DiskBounds>,
    /// `etcd_debugging_snap_save_total_duration_seconds`.
    pub snap_saves: Times<DiskBounds>,
    /// `etcd_snap_db_fsync_duration_seconds`, of received databases.
    pub snap_db_syncs: Times<DiskBounds>,
    /// `etcd_snap_db_save_total_duration_seconds`.
    pub snap_db_saves: Times<DatabaseBounds>,
    /// Operations on the v2 tree.
    pub v2: V2Counters,
}

/// What was done to the v2 tree, `etcd_debugging_store_*`: for each action what worked and what
/// failed, under the headings that etcd's own statistics have.
#[derive(Debug, Default)]
pub struct V2Counters {
    reads: [[Count; 2]; 2],
    writes: [[Count; 2]; WRITES.len()],
    /// `etcd_debugging_store_expires_total`.
    pub expires: Count,
    /// `etcd_debugging_store_watch_requests_total`.
    pub watch_requests: Count,
}

/// The actions that read, as etcd's label names them.
const READS: [&str; 2] = ["get", "getRecursive"];

/// Names an action, and takes what worked and what failed out of the statistics.
type Write = (&'static str, fn(&Stats) -> [u64; 2]);

const WRITES: [Write; 6] = [
    ("set", |stats| [stats.sets_success, stats.sets_fail]),
    ("create", |stats| [stats.create_success, stats.create_fail]),
    ("update", |stats| [stats.update_success, stats.update_fail]),
    ("delete", |stats| [stats.delete_success, stats.delete_fail]),
    ("compareAndSwap", |stats| [stats.compare_and_swap_success, stats.compare_and_swap_fail]),
    ("compareAndDelete", |stats| [stats.compare_and_delete_success, stats.compare_and_delete_fail]),
];

impl V2Counters {
    /// Actions that read with the number of those that worked and of those that failed.
    #[must_use]
    pub fn reads(&self) -> [(&'static str, [u64; 2]); 2] {
        std::array::from_fn(|at| (READS[at], self.reads[at].each_ref().map(Count::value)))
    }

    /// The same of actions that write.
    #[must_use]
    pub fn writes(&self) -> [(&'static str, [u64; 2]); WRITES.len()] {
        std::array::from_fn(|at| (WRITES[at].0, self.writes[at].each_ref().map(Count::value)))
    }

    pub(crate) fn read(&self, recursive: bool, worked: bool) {
        self.reads[usize::from(recursive)][usize::from(!worked)].add(1);
    }

    /// Counts what happened between two looks at the statistics of one tree.
    pub(crate) fn wrote(&self, before: &Stats, after: &Stats) {
        for (counts, (_, of)) in self.writes.iter().zip(WRITES) {
            for (count, (after, before)) in counts.iter().zip(of(after).into_iter().zip(of(before)))
            {
                if after != before {
                    count.add(after.saturating_sub(before));
                }
            }
        }
        self.expires.add(after.expire_count.saturating_sub(before.expire_count));
    }
}

/// A number that is added to.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Its value.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// The bounds of a histogram: the first, and as many as there are, each twice the one before.
pub trait Bounds {
    /// First bound.
    const FIRST: Duration;
    /// Number of bounds.
    const COUNT: usize;
}

/// 1 ms to 8 s.
#[derive(Debug, Default)]
pub struct DiskBounds;

impl Bounds for DiskBounds {
    const FIRST: Duration = Duration::from_millis(1);
    const COUNT: usize = 14;
}

/// 0.1 ms to 52 s.
#[derive(Debug, Default)]
pub struct ApplyBounds;

impl Bounds for ApplyBounds {
    const FIRST: Duration = Duration::from_micros(100);
    const COUNT: usize = 20;
}

/// 10 ms to 164 s.
#[derive(Debug, Default)]
pub struct HashBounds;

impl Bounds for HashBounds {
    const FIRST: Duration = Duration::from_millis(10);
    const COUNT: usize = 15;
}

/// 10 ms to 11 minutes.
#[derive(Debug, Default)]
pub struct SnapshotBounds;

impl Bounds for SnapshotBounds {
    const FIRST: Duration = Duration::from_millis(10);
    const COUNT: usize = 17;
}

/// 100 ms to 51 s.
#[derive(Debug, Default)]
pub struct DatabaseBounds;

impl Bounds for DatabaseBounds {
    const FIRST: Duration = Duration::from_millis(100);
    const COUNT: usize = 10;
}

/// 1 ms to 4 s.
#[derive(Debug, Default)]
pub struct PauseBounds;

impl Bounds for PauseBounds {
    const FIRST: Duration = Duration::from_millis(1);
    const COUNT: usize = 13;
}

/// 0.5 ms to 4 s.
#[derive(Debug, Default)]
pub struct IndexPauseBounds;

impl Bounds for IndexPauseBounds {
    const FIRST: Duration = Duration::from_micros(500);
    const COUNT: usize = 14;
}

/// 100 ms to 14 minutes.
#[derive(Debug, Default)]
pub struct CompactionBounds;

impl Bounds for CompactionBounds {
    const FIRST: Duration = Duration::from_millis(100);
    const COUNT: usize = 14;
}

/// 1 s to 97 days.
#[derive(Debug, Default)]
pub struct TtlBounds;

impl Bounds for TtlBounds {
    const FIRST: Duration = Duration::from_secs(1);
    const COUNT: usize = 24;
}

/// Bounds that any histogram here may have.
const BOUNDS_MAX: usize = 24;

/// A histogram of times.
#[derive(Debug, Default)]
pub struct Times<B> {
    buckets: [Count; BOUNDS_MAX],
    count: Count,
    sum_micros: Count,
    bounds: std::marker::PhantomData<B>,
}

impl<B: Bounds> Times<B> {
    /// Bounds with the number of times at or below each, cumulated.
    #[must_use]
    pub fn cumulative(&self) -> Vec<(Duration, u64)> {
        let mut bound = B::FIRST;
        let mut sum = 0;
        let entry = |bucket: &Count| {
            sum += bucket.value();
            let entry = (bound, sum);
            bound *= 2;
            entry
        };
        self.buckets.iter().take(B::COUNT).map(entry).collect()
    }

    /// Number of all times, and their sum.
    #[must_use]
    pub fn total(&self) -> (u64, Duration) {
        (self.count.value(), Duration::from_micros(self.sum_micros.value()))
    }

    pub(crate) fn observe(&self, time: Duration) {
        let mut bound = B::FIRST;
        for bucket in self.buckets.iter().take(B::COUNT) {
            if time <= bound {
                bucket.add(1);
                break;
            }
            bound *= 2;
        }
        self.count.add(1);
        self.sum_micros.add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }
}

/// Operations of one request.
#[derive(Default)]
struct Operations {
    puts: u64,
    deletes: u64,
    ranges: u64,
}

impl Operations {
    fn of(reply: &TxnReply) -> Self {
        let mut sum = Self::default();
        for op in &reply.responses {
            let op = match op {
                OpReply::Range(_) => Self { ranges: 1, ..Self::default() },
                OpReply::Put(_) => Self { puts: 1, ..Self::default() },
                OpReply::DeleteRange(_) => Self { deletes: 1, ..Self::default() },
                OpReply::Txn(nested) => Self::of(nested),
            };
            sum.puts += op.puts;
            sum.deletes += op.deletes;
            sum.ranges += op.ranges;
        }
        sum
    }
}

impl Counters {
    /// Counts what an entry did, and the time it took.
    pub(crate) fn applied(&self, applied: &Applied, took: Duration) {
        self.leases(&applied.local);
        self.operations(applied);
        let puts = applied.events.iter().filter(|event| event.kind == EventKind::Put);
        let sizes = puts.map(|event| {
            let value = KvView::parse(&event.kv).map_or(0, |pair| pair.value.len());
            (event.key.len() + value) as u64
        });
        self.put_bytes.add(sizes.sum());
        if let Some(kind) = applied.kind {
            self.applies[kind as usize][usize::from(has_worked(applied))].observe(took);
        }
    }

    /// Counts what an entry did to the key-value store.
    fn operations(&self, applied: &Applied) {
        match applied.reply.as_ref() {
            Some(Reply::V3(Ok(Response::Put(_)))) => self.puts.add(1),
            Some(Reply::V3(Ok(Response::DeleteRange(_)))) => self.deletes.add(1),
            Some(Reply::V3(Ok(Response::Range(_)))) => self.ranges.add(1),
            Some(Reply::V3(Ok(Response::Txn(txn)))) => self.txn(txn),
            // The keys of a lease are deleted one by one in one transaction.
            Some(Reply::V3(Ok(Response::LeaseRevoke))) => {
                self.deletes.add(applied.events.len() as u64);
                self.txns.add(u64::from(applied.events.len() > 1));
            }
            _ => {}
        }
    }

    /// Counts what an entry did to leases.
    fn leases(&self, locals: &[Local]) {
        for local in locals {
            match local {
                Local::LeaseGranted { ttl_seconds, .. } => {
                    self.leases_granted.add(1);
                    let seconds = u64::try_from(*ttl_seconds).unwrap_or(0);
                    self.lease_ttls.observe(Duration::from_secs(seconds));
                }
                Local::LeaseRevoked(_) => self.leases_revoked.add(1),
                _ => {}
            }
        }
    }

    /// Counts the operations of a transaction.
    pub(crate) fn txn(&self, reply: &TxnReply) {
        let ops = Operations::of(reply);
        self.puts.add(ops.puts);
        self.deletes.add(ops.deletes);
        self.ranges.add(ops.ranges);
        if ops.puts + ops.deletes + ops.ranges > 1 {
            self.txns.add(1);
        }
    }
}

/// As etcd sees it: to be told of a compaction is no failure.
fn has_worked(applied: &Applied) -> bool {
    match &applied.reply {
        Some(Reply::V3(Err(error))) => *error == EtcdError::Compacted,
        Some(Reply::V2(Err(_)) | Reply::Members(Err(_))) => false,
        Some(Reply::V3(Ok(_)) | Reply::V2(Ok(_)) | Reply::Members(Ok(_))) | None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_cumulated() {
        let times = Times::<DiskBounds>::default();
        for millis in [0, 1, 2, 3, 8192, 8193] {
            times.observe(Duration::from_millis(millis));
        }
        let counts: Vec<u64> = times.cumulative().iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [2, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 5]);
        assert_eq!(times.cumulative()[13].0, Duration::from_millis(8192));
        assert_eq!(times.total(), (6, Duration::from_millis(16_391)));
    }

    #[test]
    fn operations_of_nested_transactions_count() {
        let counters = Counters::default();
        let txn = |responses| TxnReply { succeeded: true, responses, revision: 0 };
        let put = || OpReply::Put(mvcc::PutReply { prev_kv: None, revision: 2 });
        let nested = OpReply::Txn(txn(vec![put(), OpReply::Range(mvcc::RangeReply::default())]));
        counters.txn(&txn(vec![put(), nested]));
        counters.txn(&txn(vec![put()]));
        let values = [&counters.puts, &counters.ranges, &counters.deletes, &counters.txns];
        assert_eq!(values.map(Count::value), [3, 1, 0, 1]);
    }

    #[test]
    fn v2_operations_are_what_the_statistics_gained() {
        let counters = V2Counters::default();
        // What a snapshot brought is not what this member has seen.
        let before = Stats { sets_success: 7, expire_count: 2, ..Stats::default() };
        let after = Stats { sets_success: 9, expire_count: 5, delete_fail: 1, ..before };
        counters.wrote(&before, &after);
        counters.read(true, true);
        counters.read(false, false);
        let gained: Vec<_> = counters.writes().into_iter().filter(|(_, n)| *n != [0, 0]).collect();
        assert_eq!(gained, [("set", [2, 0]), ("delete", [0, 1])]);
        assert_eq!(counters.reads(), [("get", [0, 1]), ("getRecursive", [1, 0])]);
        assert_eq!(counters.expires.value(), 3);
    }

    #[test]
    fn a_compaction_that_came_too_late_has_worked() {
        let reply = |reply| Applied { reply, ..Applied::default() };
        for (applied, expected) in [
            (reply(None), true),
            (reply(Some(Reply::V3(Ok(Response::Empty)))), true),
            (reply(Some(Reply::V3(Err(EtcdError::Compacted)))), true),
            (reply(Some(Reply::V3(Err(EtcdError::LeaseNotFound)))), false),
        ] {
            assert_eq!(has_worked(&applied), expected, "{:?}", applied.reply);
        }
    }
}
