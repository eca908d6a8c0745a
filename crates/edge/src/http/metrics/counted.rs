//! The families of what a member counts about itself.

use apply::RequestKind;
use node::Counters;
use node::counters::{Bounds, Count, Times, V2Counters};

use super::families::{Families, Observed};
use crate::http::process::as_f64;

/// Name, help, which one.
type Row = (&'static str, &'static str, fn(&Counters) -> &Count);

const COUNTERS: [Row; 20] = [
    ("etcd_server_leader_changes_seen_total", "Leaders seen.", |c| &c.leader_changes),
    ("etcd_server_proposals_failed_total", "Proposals that failed.", |c| &c.proposals_failed),
    ("etcd_server_read_indexes_failed_total", "Read indexes that failed.", |c| {
        &c.read_indexes_failed
    }),
    ("etcd_server_slow_read_indexes_total", "Read indexes that came too late.", |c| {
        &c.slow_read_indexes
    }),
    ("etcd_server_slow_apply_total", "Entries that took long to apply.", |c| &c.slow_applies),
    (
        "etcd_server_heartbeat_send_failures_total",
        "Heartbeats sent too late by this leader.",
        |c| &c.late_heartbeats,
    ),
    ("etcd_mvcc_put_total", "Puts by this member.", |c| &c.puts),
    ("etcd_mvcc_delete_total", "Deletes by this member.", |c| &c.deletes),
    ("etcd_mvcc_range_total", "Ranges by this member.", |c| &c.ranges),
    ("etcd_mvcc_txn_total", "Requests of several operations by this member.", |c| &c.txns),
    // The names of etcd 3.4, of which 3.5 has the third alone.
    ("etcd_debugging_mvcc_put_total", "Puts by this member.", |c| &c.puts),
    ("etcd_debugging_mvcc_delete_total", "Deletes by this member.", |c| &c.deletes),
    ("etcd_debugging_mvcc_range_total", "Ranges by this member.", |c| &c.ranges),
    ("etcd_debugging_mvcc_txn_total", "Requests of several operations by this member.", |c| {
        &c.txns
    }),
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
    ("etcd_debugging_store_watch_requests_total", "Requests to watch the v2 tree.", |c| {
        &c.v2.watch_requests
    }),
];

/// The last two only grow, and are gauges in etcd.
const GAUGES: [Row; 4] = [
    ("etcd_server_snapshot_apply_in_progress_total", "1 while a snapshot is installed.", |c| {
        &c.snapshot_installs
    }),
    ("etcd_debugging_mvcc_db_compaction_last", "End of the last compaction, unix seconds.", |c| {
        &c.compaction_last
    }),
    ("etcd_debugging_mvcc_total_put_size_in_bytes", "Bytes of keys and values put.", |c| {
        &c.put_bytes
    }),
    ("etcd_disk_wal_write_bytes_total", "Bytes written to the log.", |c| &c.wal_bytes),
];

pub(super) fn add_counted(families: &mut Families, counters: &Counters) {
    for (name, help, count) in COUNTERS {
        families.counter(name, help, &[], as_f64(count(counters).value()));
    }
    for (name, help, count) in GAUGES {
        families.gauge(name, help, as_f64(count(counters).value()));
    }
    for (name, help, times) in histograms(counters) {
        families.histogram(name, help, &[], &times);
    }
    add_applies(families, counters);
    add_v2(families, &counters.v2);
    // Nobody can be promoted yet: the count of what worked is etcd's zero.
    let name = "etcd_server_learner_promote_successes";
    families.counter(name, "Promotions of learners by this leader.", &[], 0.0);
}

fn histograms(counters: &Counters) -> [(&'static str, &'static str, Observed); 14] {
    let c = counters;
    [
        ("etcd_disk_wal_fsync_duration_seconds", "Syncs of the log.", seconds(&c.wal_syncs)),
        ("etcd_disk_wal_write_duration_seconds", "Writes to the log.", seconds(&c.wal_writes)),
        (
            "etcd_disk_backend_commit_duration_seconds",
            "Commits of the database.",
            seconds(&c.commits),
        ),
        (
            "etcd_disk_backend_snapshot_duration_seconds",
            "Reads of the whole database for others.",
            seconds(&c.database_reads),
        ),
        ("etcd_snap_fsync_duration_seconds", "Writes of snapshot files.", seconds(&c.snap_syncs)),
        (
            "etcd_snap_db_fsync_duration_seconds",
            "Syncs of received databases.",
            seconds(&c.snap_db_syncs),
        ),
        (
            "etcd_snap_db_save_total_duration_seconds",
            "Received databases from first byte to last sync.",
            seconds(&c.snap_db_saves),
        ),
        (
            "etcd_debugging_snap_save_marshalling_duration_seconds",
            "Encodings of snapshot files.",
            seconds(&c.snap_encodings),
        ),
        (
            "etcd_debugging_snap_save_total_duration_seconds",
            "Snapshot files, encoded and written.",
            seconds(&c.snap_saves),
        ),
        (
            "etcd_mvcc_hash_rev_duration_seconds",
            "Hashes of the history up to a revision.",
            seconds(&c.revision_hashes),
        ),
        ("etcd_debugging_lease_ttl_total", "Granted times to live.", seconds(&c.lease_ttls)),
        (
            "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
            "Compactions from first to last batch.",
            milliseconds(&c.compactions),
        ),
        (
            "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds",
            "How long each batch of a compaction held up the store.",
            milliseconds(&c.compaction_pauses),
        ),
        (
            "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds",
            "The same: index and database are compacted together.",
            milliseconds(&c.index_pauses),
        ),
    ]
}

/// Kinds of requests that there were; those that there were not have no row, as in etcd.
fn add_applies(families: &mut Families, counters: &Counters) {
    let name = "etcd_server_apply_duration_seconds";
    for (kind, outcomes) in RequestKind::ALL.into_iter().zip(&counters.applies) {
        for (success, times) in ["false", "true"].into_iter().zip(outcomes) {
            if times.total().0 == 0 {
                continue;
            }
            let (version, op) = kind.labels();
            let labels = [("op", op), ("success", success), ("version", version)];
            families.histogram(name, "Time that entries took to apply.", &labels, &seconds(times));
        }
    }
}

/// Actions that there were; those that there were not have no row, as in etcd. The totals hold the
/// failures too. Of these etcd also counts, and then forgets to show, how many they are.
fn add_v2(families: &mut Families, counters: &V2Counters) {
    let tables = [
        ("reads", "Reads of the v2 tree of this member", counters.reads().to_vec()),
        ("writes", "Writes to the v2 tree by this member", counters.writes().to_vec()),
    ];
    for (kind, help, rows) in tables {
        for (action, [worked, failed]) in rows {
            let labels = [("action", action)];
            if worked + failed > 0 {
                let name = format!("etcd_debugging_store_{kind}_total");
                families.counter(&name, &format!("{help}."), &labels, as_f64(worked + failed));
            }
            if failed > 0 {
                let name = format!("etcd_debugging_store_{kind}_failed_total");
                families.counter(&name, &format!("{help} that failed."), &labels, as_f64(failed));
            }
        }
    }
    let name = "etcd_debugging_store_expires_total";
    families.counter(name, "Expired nodes of the v2 tree.", &[], as_f64(counters.expires.value()));
}

fn seconds<B: Bounds>(times: &Times<B>) -> Observed {
    scaled(times, 1.0)
}

fn milliseconds<B: Bounds>(times: &Times<B>) -> Observed {
    scaled(times, 1e3)
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
