use std::sync::Arc;

use membership::ClusterVersion;
use node::{Status, WatchFigures};
use transport::counters::PeerCounters;
use types::{ClusterId, LogIndex, NodeId, Term};

use super::figures::Peer;
use super::*;
use crate::http::process::Process;

fn figures() -> Figures {
    let counters = PeerCounters::default();
    counters.sent_bytes.add(100);
    counters.received_bytes.add(200);
    counters.round_trips.buckets[1].add(2);
    counters.round_trips.buckets[3].add(1);
    counters.round_trips.count.add(4);
    counters.round_trips.sum_micros.add(2_500_000);
    let status = Status {
        member_id: NodeId(0xab),
        cluster_id: ClusterId(1),
        leader: NodeId(0xab),
        term: Term(3),
        commit: LogIndex(12),
        applied: LogIndex(11),
        revision: 5,
        db_size: 40_960,
        db_size_in_use: 4096,
        is_learner: false,
        cluster_version: Some(ClusterVersion::new(3, 4)),
        alarms: Vec::new(),
    };
    let process = Process {
        cpu_seconds: 1.25,
        start_unix_seconds: 1e9,
        virtual_bytes: 7,
        virtual_max_bytes: None,
        resident_bytes: 8,
        open_files: 9,
        open_files_max: 10,
    };
    Figures {
        status,
        compact_revision: -1,
        quota_bytes: 2 << 30,
        keys: 6,
        proposals_pending: 1,
        v2_watchers: 7,
        watches: WatchFigures { streams: 2, watchers: 5, slow_watchers: 1, events_sent: 30 },
        open_reads: 4,
        server_version: "3.5.12".to_owned(),
        peers: vec![Peer { id: NodeId(0xcd), is_active: Some(true), counters: Arc::new(counters) }],
        process: Some(process),
    }
}

const EXPECTED: &str = "\
etcd_cluster_version{cluster_version=\"3.4\"} 1
etcd_debugging_lease_granted_total 0
etcd_debugging_lease_renewed_total 0
etcd_debugging_lease_revoked_total 0
etcd_debugging_mvcc_compact_revision -1
etcd_debugging_mvcc_current_revision 5
etcd_debugging_mvcc_db_compaction_keys_total 0
etcd_debugging_mvcc_db_compaction_last 0
etcd_debugging_mvcc_db_total_size_in_bytes 40960
etcd_debugging_mvcc_delete_total 0
etcd_debugging_mvcc_events_total 30
etcd_debugging_mvcc_keys_total 6
etcd_debugging_mvcc_put_total 0
etcd_debugging_mvcc_range_total 0
etcd_debugging_mvcc_slow_watcher_total 1
etcd_debugging_mvcc_total_put_size_in_bytes 0
etcd_debugging_mvcc_txn_total 0
etcd_debugging_mvcc_watch_stream_total 2
etcd_debugging_mvcc_watcher_total 5
etcd_debugging_server_lease_expired_total 0
etcd_debugging_store_expires_total 0
etcd_debugging_store_watch_requests_total 0
etcd_debugging_store_watchers 7
etcd_disk_wal_write_bytes_total 0
etcd_mvcc_db_open_read_transactions 4
etcd_mvcc_db_total_size_in_bytes 40960
etcd_mvcc_db_total_size_in_use_in_bytes 4096
etcd_mvcc_delete_total 0
etcd_mvcc_put_total 0
etcd_mvcc_range_total 0
etcd_mvcc_txn_total 0
etcd_network_active_peers{Local=\"ab\",Remote=\"cd\"} 1
etcd_network_disconnected_peers_total{Local=\"ab\",Remote=\"cd\"} 0
etcd_network_known_peers{Local=\"ab\",Remote=\"cd\"} 1
etcd_network_peer_received_bytes_total{From=\"cd\"} 200
etcd_network_peer_received_failures_total{From=\"cd\"} 0
etcd_network_peer_round_trip_time_seconds_bucket{To=\"cd\",le=\"0.0001\"} 0
etcd_network_peer_round_trip_time_seconds_bucket{To=\"cd\",le=\"0.0002\"} 2
etcd_network_peer_round_trip_time_seconds_bucket{To=\"cd\",le=\"0.0004\"} 2
etcd_network_peer_round_trip_time_seconds_bucket{To=\"cd\",le=\"0.0008\"} 3
etcd_network_peer_round_trip_time_seconds_bucket{To=\"cd\",le=\"3.2768\"} 3
etcd_network_peer_round_trip_time_seconds_bucket{To=\"cd\",le=\"+Inf\"} 4
etcd_network_peer_round_trip_time_seconds_sum{To=\"cd\"} 2.5
etcd_network_peer_round_trip_time_seconds_count{To=\"cd\"} 4
etcd_network_peer_sent_bytes_total{To=\"cd\"} 100
etcd_network_peer_sent_failures_total{To=\"cd\"} 0
etcd_network_snapshot_receive_failures{From=\"cd\"} 0
etcd_network_snapshot_receive_inflights_total{From=\"cd\"} 0
etcd_network_snapshot_receive_success{From=\"cd\"} 0
etcd_network_snapshot_send_failures{To=\"cd\"} 0
etcd_network_snapshot_send_inflights_total{To=\"cd\"} 0
etcd_network_snapshot_send_success{To=\"cd\"} 0
etcd_server_has_leader 1
etcd_server_health_failures 0
etcd_server_health_success 0
etcd_server_heartbeat_send_failures_total 0
etcd_server_id{server_id=\"ab\"} 1
etcd_server_is_leader 1
etcd_server_is_learner 0
etcd_server_leader_changes_seen_total 0
etcd_server_learner_promote_successes 0
etcd_server_proposals_applied_total 11
etcd_server_proposals_committed_total 12
etcd_server_proposals_failed_total 0
etcd_server_proposals_pending 1
etcd_server_quota_backend_bytes 2147483648
etcd_server_read_indexes_failed_total 0
etcd_server_slow_apply_total 0
etcd_server_slow_read_indexes_total 0
etcd_server_snapshot_apply_in_progress_total 0
etcd_server_version{server_version=\"3.5.12\"} 1
os_fd_limit 10
os_fd_used 9
process_cpu_seconds_total 1.25
process_max_fds 10
process_open_fds 9
process_resident_memory_bytes 8
process_start_time_seconds 1000000000
process_virtual_memory_bytes 7
process_virtual_memory_max_bytes 18446744073709552000
promhttp_metric_handler_requests_in_flight 0
promhttp_metric_handler_requests_total{code=\"200\"} 0
promhttp_metric_handler_requests_total{code=\"500\"} 0
promhttp_metric_handler_requests_total{code=\"503\"} 0
";

#[test]
fn a_scrape_shows_every_figure_once_by_name() {
    let text = Metrics::new().text(&figures(), &Counters::default(), None).unwrap();
    let text = String::from_utf8(text).unwrap();
    let is_shown = |line: &&str| {
        let is_middle_bucket = (4..15).any(|power| {
            let bound = 0.0001 * f64::from(1 << power);
            line.contains(&format!("le=\"{bound}\""))
        });
        let (row, _) = line.rsplit_once(' ').unwrap();
        let name = row.split('{').next().unwrap();
        let is_histogram = ["_bucket", "_sum", "_count"].iter().any(|end| name.ends_with(end));
        let is_empty_histogram = is_histogram && !name.contains("round_trip");
        !line.starts_with('#') && !is_middle_bucket && !is_empty_histogram
    };
    let shown: Vec<&str> = text.lines().filter(is_shown).collect();
    assert_eq!(shown, EXPECTED.lines().collect::<Vec<_>>());
}

#[test]
fn types_are_those_of_etcd() {
    let text =
        String::from_utf8(Metrics::new().text(&figures(), &Counters::default(), None).unwrap())
            .unwrap();
    for line in [
        "# TYPE etcd_server_proposals_committed_total gauge",
        "# TYPE etcd_network_peer_sent_bytes_total counter",
        "# TYPE etcd_network_active_peers gauge",
        "# TYPE etcd_network_peer_round_trip_time_seconds histogram",
        "# TYPE etcd_server_health_success counter",
        "# TYPE process_cpu_seconds_total counter",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}");
    }
}

#[test]
fn without_peers_and_process_the_rest_is_shown() {
    let mut figures = figures();
    figures.peers.clear();
    figures.process = None;
    figures.status.leader = NodeId(0);
    figures.status.cluster_version = None;
    let text =
        String::from_utf8(Metrics::new().text(&figures, &Counters::default(), None).unwrap())
            .unwrap();
    assert!(text.contains("\netcd_server_has_leader 0\n"));
    assert!(text.contains("\netcd_server_is_leader 0\n"));
    assert!(!text.contains("peer") && !text.contains("process_") && !text.contains("cluster_v"));
}
