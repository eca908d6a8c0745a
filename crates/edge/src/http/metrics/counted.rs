//! The families of what a member counts about itself.

use node::Counters;
use node::counters::{Bounds, Count, Times};

use super::families::{Families, Observed};
use crate::http::process::as_f64;

/// Name, help, which one.
type Row = (&'static str, &'static str, fn(&Counters) -> &Count);

const COUNTERS: [Row; 14] = [
    ("etcd_server_leader_changes_seen_total", "Leaders seen.", |c| &c.leader_changes),
    ("etcd_server_proposals_failed_total", "Proposals that failed.", |c| &c.proposals_failed),
    ("etcd_server_read_indexes_failed_total", "Read indexes that failed.", |c| {
        &c.read_indexes_failed
    }),
    ("etcd_server_slow_read_indexes_total", "Read indexes that came too late.", |c| {
        &c.slow_read_indexes
    }),
    ("etcd_server_slow_apply_total", "Entries that took long to apply.", |c| &c.slow_applies),
    ("etcd_mvcc_put_total", "Puts by this member.", |c| &c.puts),
    ("etcd_mvcc_delete_total", "Deletes by this member.", |c| &c.deletes),
    ("etcd_mvcc_range_total", "Ranges by this member.", |c| &c.ranges),
    ("etcd_mvcc_txn_total", "Requests of several operations by this member.", |c| &c.txns),
    ("etcd_debugging_mvcc_db_compaction_keys_total", "Rows deleted by compactions.", |c| {
        &c.compacted_rows
    }),
    ("etcd_debugging_lease_granted_total", "Leases granted.", |c| &c.leases_granted),
    ("etcd_debugging_lease_revoked_total", "Leases revoked.", |c| &c.leases_revoked),
    ("etcd_debugging_lease_renewed_total", "Renewals by this member as the leader.", |c| {
        &c.leases_renewed
    }),
    (
        "etcd_debugging_server_lease_expired_total",
        "Expired leases that this member revoked.",
        |c| &c.leases_expired,
    ),
];

const GAUGES: [Row; 2] = [
    ("etcd_server_snapshot_apply_in_progress_total", "1 while a snapshot is installed.", |c| {
        &c.snapshot_installs
    }),
    ("etcd_debugging_mvcc_db_compaction_last", "End of the last compaction, unix seconds.", |c| {
        &c.compaction_last
    }),
];

pub(super) fn add_counted(families: &mut Families, counters: &Counters) {
    for (name, help, count) in COUNTERS {
        families.counter(name, help, &[], as_f64(count(counters).value()));
    }
    for (name, help, count) in GAUGES {
        families.gauge(name, help, as_f64(count(counters).value()));
    }
    let name = "etcd_disk_wal_fsync_duration_seconds";
    families.histogram(name, "Syncs of the log.", &[], &seconds(&counters.wal_syncs));
    let name = "etcd_disk_backend_commit_duration_seconds";
    families.histogram(name, "Commits of the database.", &[], &seconds(&counters.commits));
    let name = "etcd_debugging_lease_ttl_total";
    families.histogram(name, "Granted times to live.", &[], &seconds(&counters.lease_ttls));
    let name = "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds";
    let millis = scaled(&counters.compactions, 1e3);
    families.histogram(name, "Compactions from first to last batch.", &[], &millis);
}

fn seconds<B: Bounds>(times: &Times<B>) -> Observed {
    scaled(times, 1.0)
}

/// A histogram in the unit of which a second has so many.
fn scaled<B: Bounds>(times: &Times<B>, per_second: f64) -> Observed {
    let bound =
        |(bound, count): (std::time::Duration, u64)| (bound.as_secs_f64() * per_second, count);
    let (count, sum) = times.total();
    Observed {
        buckets: times.cumulative().into_iter().map(bound).collect(),
        count,
        sum: sum.as_secs_f64() * per_second,
    }
}
