//! The figures of a scrape: what a member says about itself, put under etcd's names.

use std::sync::Arc;

use node::{Handle, Status, WatchFigures};
use transport::counters::{Counter, PeerCounters, Transfers};
use types::NodeId;

use super::families::{Families, Observed};
use crate::http::process::{Process, as_f64};

/// Everything that a scrape shows beside the counters of the edges.
pub(crate) struct Figures {
    pub(super) status: Status,
    pub(super) compact_revision: i64,
    pub(super) quota_bytes: i64,
    pub(super) keys: usize,
    pub(super) proposals_pending: usize,
    pub(super) v2_watchers: usize,
    pub(super) watches: WatchFigures,
    pub(super) open_reads: usize,
    pub(super) server_version: String,
    pub(super) peers: Vec<Peer>,
    pub(super) process: Option<Process>,
}

/// One peer, or one that was.
pub(super) struct Peer {
    pub(super) id: NodeId,
    /// `None` for a former peer.
    pub(super) is_active: Option<bool>,
    pub(super) counters: Arc<PeerCounters>,
}

/// A counter of a peer: name, help, label, value.
type PeerCounter = (&'static str, &'static str, &'static str, fn(&PeerCounters) -> &Counter);

const PEER_COUNTERS: [PeerCounter; 8] = [
    ("sent_bytes_total", "Bytes sent to peers.", "To", |c| &c.sent_bytes),
    ("received_bytes_total", "Bytes received from peers.", "From", |c| &c.received_bytes),
    ("sent_failures_total", "Failed sends to peers.", "To", |c| &c.send_failures),
    ("received_failures_total", "Failed receives from peers.", "From", |c| &c.receive_failures),
    ("snapshot_send_success", "Snapshots sent.", "To", |c| &c.snapshots_sent),
    ("snapshot_send_failures", "Failed sends of snapshots.", "To", |c| &c.snapshot_send_failures),
    ("snapshot_receive_success", "Snapshots received.", "From", |c| &c.snapshots_received),
    ("snapshot_receive_failures", "Failed receives of snapshots.", "From", |c| {
        &c.snapshot_receive_failures
    }),
];

impl Figures {
    /// Takes them from a running member.
    pub(crate) fn collect(handle: &Handle, server_version: &str, process: Option<Process>) -> Self {
        let transport = handle.transport();
        let (members, compact_revision, keys) = handle.with_machine(|machine| {
            let members: Vec<NodeId> = machine.membership().members.keys().copied().collect();
            (members, machine.store().compacted_revision(), machine.store().index_len())
        });
        let peers = transport.counters().into_iter().map(|(id, counters)| {
            let is_member = members.contains(&id);
            let is_active = is_member.then(|| transport.active_since(id).is_some());
            Peer { id, is_active, counters }
        });
        Self {
            status: handle.status(),
            compact_revision,
            quota_bytes: handle.options().quota_bytes,
            keys,
            proposals_pending: handle.proposals_pending(),
            v2_watchers: handle.v2_watchers(),
            watches: handle.watch_figures(),
            open_reads: handle.open_reads(),
            server_version: server_version.to_owned(),
            peers: peers.collect(),
            process,
        }
    }

    pub(super) fn add_to(&self, families: &mut Families) {
        self.add_raft(families);
        self.add_versions(families);
        self.add_store(families);
        self.add_watches(families);
        self.add_alarms(families);
        for peer in &self.peers {
            self.add_peer(families, peer);
        }
        if let Some(process) = &self.process {
            add_process(families, process);
        }
    }

    fn add_raft(&self, families: &mut Families) {
        let status = &self.status;
        let flag = |value: bool| f64::from(u8::from(value));
        let has_leader = status.leader != NodeId(0);
        let is_leader = has_leader && status.leader == status.member_id;
        let gauges = [
            ("has_leader", "Whether this member knows a leader: 1 or 0.", flag(has_leader)),
            ("is_leader", "Whether this member is the leader: 1 or 0.", flag(is_leader)),
            ("is_learner", "Whether this member is a learner: 1 or 0.", flag(status.is_learner)),
            ("proposals_committed_total", "Commit index.", as_f64(status.commit.0)),
            ("proposals_applied_total", "Applied index.", as_f64(status.applied.0)),
            (
                "proposals_pending",
                "Proposals that wait for their outcome.",
                as_f64(self.proposals_pending as u64),
            ),
        ];
        for (name, help, value) in gauges {
            families.gauge(&format!("etcd_server_{name}"), help, value);
        }
    }

    fn add_versions(&self, families: &mut Families) {
        let id = self.status.member_id.to_string();
        let labels = [("server_id", id.as_str())];
        families.labelled_gauge("etcd_server_id", "ID of this member, in hex.", &labels, 1.0);
        let labels = [("server_version", self.server_version.as_str())];
        let help = "Version of this server.";
        families.labelled_gauge("etcd_server_version", help, &labels, 1.0);
        if let Some(version) = self.status.cluster_version {
            let short = format!("{}.{}", version.major, version.minor);
            let labels = [("cluster_version", short.as_str())];
            let help = "Version that all members of the cluster speak.";
            families.labelled_gauge("etcd_cluster_version", help, &labels, 1.0);
        }
    }

    fn add_store(&self, families: &mut Families) {
        let status = &self.status;
        let gauges = [
            ("etcd_mvcc_db_total_size_in_bytes", "Size of the database.", as_f64(status.db_size)),
            (
                "etcd_debugging_mvcc_db_total_size_in_bytes",
                "Size of the database, under its name in etcd 3.4.",
                as_f64(status.db_size),
            ),
            (
                "etcd_mvcc_db_open_read_transactions",
                "Reads under way that keep a revision open.",
                as_f64(self.open_reads as u64),
            ),
            (
                "etcd_mvcc_db_total_size_in_use_in_bytes",
                "Bytes of the database that are in use.",
                as_f64(status.db_size_in_use),
            ),
            (
                "etcd_debugging_mvcc_keys_total",
                "Keys in the index, deleted ones that have history included.",
                as_f64(self.keys as u64),
            ),
            (
                "etcd_debugging_mvcc_current_revision",
                "Current revision of the store.",
                signed(status.revision),
            ),
            (
                "etcd_debugging_mvcc_compact_revision",
                "Revision of the last compaction; -1 before the first.",
                signed(self.compact_revision),
            ),
            (
                "etcd_debugging_store_watchers",
                "Watchers of the v2 tree.",
                as_f64(self.v2_watchers as u64),
            ),
            (
                "etcd_server_quota_backend_bytes",
                "Quota of the database in bytes.",
                signed(self.quota_bytes),
            ),
        ];
        for (name, help, value) in gauges {
            families.gauge(name, help, value);
        }
    }

    fn add_watches(&self, families: &mut Families) {
        let watches = &self.watches;
        let gauges = [
            ("watch_stream_total", "Open streams of watchers.", watches.streams),
            ("watcher_total", "Watchers.", watches.watchers),
            ("slow_watcher_total", "Watchers that are behind.", watches.slow_watchers),
        ];
        for (name, help, value) in gauges {
            let name = format!("etcd_debugging_mvcc_{name}");
            families.gauge(&name, help, as_f64(value as u64));
        }
        let name = "etcd_debugging_mvcc_events_total";
        families.counter(name, "Events given to watchers.", &[], as_f64(watches.events_sent));
    }

    /// A row for each alarm that is raised, as etcd 3.6 has it.
    fn add_alarms(&self, families: &mut Families) {
        for alarm in &self.status.alarms {
            let id = NodeId(alarm.member_id).to_string();
            let kind = alarm.alarm().as_str_name();
            let labels = [("alarm_type", kind), ("server_id", id.as_str())];
            let name = "etcd_debugging_server_alarms";
            families.labelled_gauge(name, "Raised alarms.", &labels, 1.0);
        }
    }

    fn add_peer(&self, families: &mut Families, peer: &Peer) {
        let local = self.status.member_id.to_string();
        let remote = peer.id.to_string();
        let both = [("Local", local.as_str()), ("Remote", remote.as_str())];
        if let Some(is_active) = peer.is_active {
            let active = f64::from(u8::from(is_active));
            let help = "Whether the connection to a peer is up: 1 or 0.";
            families.labelled_gauge("etcd_network_active_peers", help, &both, active);
            let name = "etcd_network_known_peers";
            families.labelled_gauge(name, "Members that this one talks to.", &both, 1.0);
        }
        let disconnects = as_f64(peer.counters.disconnects.value());
        let name = "etcd_network_disconnected_peers_total";
        families.counter(name, "Lost connections to peers.", &both, disconnects);
        for (name, help, label, counter) in PEER_COUNTERS {
            let is_snapshot = name.starts_with("snapshot");
            let prefix = if is_snapshot { "etcd_network_" } else { "etcd_network_peer_" };
            let value = as_f64(counter(&peer.counters).value());
            families.counter(&format!("{prefix}{name}"), help, &[(label, &remote)], value);
        }
        let name = "etcd_network_peer_round_trip_time_seconds";
        let trips = &peer.counters.round_trips;
        let observed = observed(0.0001, &trips.buckets, &trips.count, &trips.sum_micros);
        families.histogram(name, "Round trips of probes.", &[("To", &remote)], &observed);
        let ways = [
            ("send", "To", "Snapshots being sent.", &peer.counters.snapshots_out),
            ("receive", "From", "Snapshots being received.", &peer.counters.snapshots_in),
        ];
        for (way, label, help, transfers) in ways {
            let labels = [(label, remote.as_str())];
            let name = format!("etcd_network_snapshot_{way}_inflights_total");
            families.labelled_gauge(&name, help, &labels, as_f64(transfers.under_way()));
            let name = format!("etcd_network_snapshot_{way}_total_duration_seconds");
            let observed = observed_of(transfers);
            families.histogram(&name, "Time that whole snapshots took.", &labels, &observed);
        }
    }
}

fn observed_of(transfers: &Transfers) -> Observed {
    observed(0.1, &transfers.buckets, &transfers.count, &transfers.sum_micros)
}

/// Bounds that double from the first on.
fn observed(first: f64, buckets: &[Counter], count: &Counter, sum_micros: &Counter) -> Observed {
    let mut bound = first;
    let mut cumulative = 0;
    let buckets = buckets.iter().map(|bucket| {
        cumulative += bucket.value();
        let entry = (bound, cumulative);
        bound *= 2.0;
        entry
    });
    Observed {
        buckets: buckets.collect(),
        count: count.value(),
        sum: as_f64(sum_micros.value()) / 1e6,
    }
}

fn add_process(families: &mut Families, process: &Process) {
    let unlimited = as_f64(u64::MAX);
    let files = as_f64(process.open_files);
    let files_max = as_f64(process.open_files_max);
    let virtual_max = process.virtual_max_bytes.map_or(unlimited, as_f64);
    let gauges = [
        ("os_fd_used", "Open file descriptors.", files),
        ("os_fd_limit", "Limit of open file descriptors.", files_max),
        ("process_open_fds", "Open file descriptors.", files),
        ("process_max_fds", "Limit of open file descriptors.", files_max),
        ("process_virtual_memory_bytes", "Virtual memory.", as_f64(process.virtual_bytes)),
        ("process_virtual_memory_max_bytes", "Limit of virtual memory.", virtual_max),
        ("process_resident_memory_bytes", "Resident memory.", as_f64(process.resident_bytes)),
        ("process_start_time_seconds", "Start, in unix seconds.", process.start_unix_seconds),
    ];
    for (name, help, value) in gauges {
        families.gauge(name, help, value);
    }
    let help = "User and system time of this process, in seconds.";
    families.counter("process_cpu_seconds_total", help, &[], process.cpu_seconds);
}

fn signed(value: i64) -> f64 {
    let size = as_f64(value.unsigned_abs());
    if value < 0 { -size } else { size }
}
