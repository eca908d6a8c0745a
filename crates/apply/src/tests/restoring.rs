//! What a restart trusts, and what it refuses (docs/format/engine-rows.md, disk-formats.md 4, 11).

use bytes::Bytes;
use types::{Bucket, LogIndex, NodeId, Term};

use super::harness::{
    CLUSTER, Peer, Rows, add, member, promote, put, remove, settings, snapshot, update, v2_put, v3,
};
use crate::{Fault, Local, Machine, SnapshotBase};

/// A peer with three members (one removed since), v2 and v3 data and its entries.
fn peer_with_log() -> (Peer, Vec<proto::raftpb::Entry>) {
    let mut peer = Peer::new();
    let mut log = Vec::new();
    let learner = membership::Member { is_learner: true, ..member(3) };
    let changes =
        [add(&member(1)), add(&member(2)), add(&learner), promote(3), remove(2), add(&member(2))];
    for change in changes {
        let entry = peer.next_conf(&change);
        let _ = peer.apply(&entry);
        log.push(entry);
    }
    let data = [
        v2_put("/0/version", "3.4.0").encode(),
        v2_put("/0/members/1/attributes", r#"{"name":"m1","clientURLs":["http://c:1"]}"#).encode(),
        v2_put("/1/a", "1").encode(),
        v3(&put("k", "v")),
    ];
    for data in data {
        let entry = peer.next(data);
        let _ = peer.apply(&entry);
        log.push(entry);
    }
    peer.flush();
    (peer, log)
}

fn restart(rows: &Rows, base: SnapshotBase, log: &[proto::raftpb::Entry]) -> Peer {
    let from = usize::try_from(base.index.0).unwrap();
    let mut peer = Peer::restored(rows.clone(), settings(), base);
    for entry in &log[from..] {
        let applied = peer.apply(entry);
        assert!(applied.reply.is_none(), "nobody waits for a replayed entry");
        assert!(applied.events.is_empty(), "v3 effects are in the database already");
    }
    peer.flush();
    peer
}

#[test]
fn trusted_rows_need_no_log() {
    let (peer, _) = peer_with_log();
    let base = snapshot(&peer.machine);
    let mut restarted = Peer::restored(peer.durable.clone(), settings(), base);
    restarted.flush();
    assert_eq!(restarted.machine.state_hash(), peer.machine.state_hash());
    assert_eq!(restarted.durable, peer.durable);
}

#[test]
fn replay_over_trusted_rows_moves_only_the_configuration() {
    let (peer, log) = peer_with_log();
    let mut restarted = Peer::restored(peer.durable.clone(), settings(), SnapshotBase::default());
    assert!(restarted.machine.is_replaying());
    assert!(restarted.machine.freeze().is_none());
    assert_eq!(restarted.machine.membership(), peer.machine.membership());
    for entry in &log {
        let applied = restarted.apply(entry);
        assert!(applied.ops.is_empty() && applied.local.is_empty(), "{applied:?}");
    }
    assert_eq!(restarted.conf_state, peer.conf_state, "the refused change is refused again");
    assert_eq!(restarted.machine.state_hash(), peer.machine.state_hash());
    assert!(restarted.machine.freeze().is_some());
}

#[test]
fn untrusted_v2_rows_are_rebuilt_from_the_log() {
    let (peer, log) = peer_with_log();
    let garbage = |rows: &mut Rows| rows.put(Bucket::V2, b"/1/stale", b"\xff");
    type Spoil<'a> = (&'a str, &'a dyn Fn(&mut Rows));
    let spoil: [Spoil<'_>; 5] = [
        ("no position", &|rows| {
            rows.0.remove(&(Bucket::V2Meta, Bytes::from_static(b"position")));
        }),
        ("another cluster", &|rows| edit_position(rows, 8)),
        ("another index", &|rows| edit_position(rows, 16)),
        ("another term", &|rows| edit_position(rows, 24)),
        ("another format", &|rows| edit_position(rows, 0)),
    ];
    for (what, spoil) in spoil {
        let mut rows = peer.durable.clone();
        spoil(&mut rows);
        garbage(&mut rows);
        let restarted = restart(&rows, SnapshotBase::default(), &log);
        assert_eq!(restarted.machine.state_hash(), peer.machine.state_hash(), "{what}");
        assert_eq!(restarted.durable, peer.durable, "{what}");
    }
}

#[test]
fn stale_member_rows_are_rewritten_at_the_consistent_index() {
    let (peer, log) = peer_with_log();
    let mut rows = peer.durable.clone();
    rows.0.remove(&(Bucket::V2Meta, Bytes::from_static(b"position")));
    // As 3.5.1 leaves them: a promoted learner, no client URLs, a member removed long ago.
    let stale = br#"{"id":3,"peerURLs":["http://127.0.0.1:2383"],"isLearner":true}"#;
    rows.put(Bucket::Members, b"3", stale);
    rows.put(Bucket::Members, b"1", br#"{"id":1,"peerURLs":["http://old:1"]}"#);
    rows.put(Bucket::Members, b"2", br#"{"id":2,"peerURLs":["http://127.0.0.1:2382"]}"#);
    rows.0.remove(&(Bucket::MembersRemoved, Bytes::from_static(b"2")));
    let restarted = restart(&rows, SnapshotBase::default(), &log);
    assert_eq!(restarted.durable, peer.durable);
    assert_eq!(restarted.machine.membership(), peer.machine.membership());

    // With a storage version, as 3.6 writes it, the rows are right whatever the log says.
    rows.put(Bucket::Meta, b"storageVersion", b"3.6.0");
    let restarted = restart(&rows, SnapshotBase::default(), &log);
    assert_eq!(restarted.rows.row(Bucket::Members, b"3"), Some(&stale[..]));
    assert!(restarted.machine.membership().members[&NodeId(3)].is_learner);
}

#[test]
fn rebuilding_tells_the_shell_about_members() {
    let (peer, log) = peer_with_log();
    let mut rows = peer.durable.clone();
    rows.0.remove(&(Bucket::V2Meta, Bytes::from_static(b"position")));
    let mut restarted = Peer::restored(rows, settings(), SnapshotBase::default());
    assert_eq!(restarted.machine.membership().members.len(), 0);
    let locals: Vec<Local> = log.iter().flat_map(|entry| restarted.apply(entry).local).collect();
    let added = locals.iter().filter(|local| matches!(local, Local::MemberAdded(_))).count();
    assert_eq!(added, 3);
    assert!(locals.contains(&Local::MemberRemoved(NodeId(2))));
}

#[test]
fn own_removal_is_told_again_after_a_restart() {
    let mut peer = Peer::new();
    let mut log = Vec::new();
    for change in [add(&member(1)), add(&member(2)), remove(1)] {
        let entry = peer.next_conf(&change);
        let _ = peer.apply(&entry);
        log.push(entry);
    }
    peer.flush();
    let mut restarted = Peer::restored(peer.durable, settings(), SnapshotBase::default());
    let locals: Vec<Local> = log.iter().flat_map(|entry| restarted.apply(entry).local).collect();
    assert_eq!(locals, [Local::SelfRemoved]);
}

#[test]
fn a_received_snapshot_of_a_go_leader_is_taken_over() {
    let (leader, _) = peer_with_log();
    let mut rows = leader.durable.clone();
    rows.0.retain(|(bucket, _), _| !matches!(bucket, Bucket::V2 | Bucket::V2Meta));
    let base = snapshot(&leader.machine);
    let mut received = Peer::restored(rows, settings(), base);
    assert!(!received.machine.is_replaying());
    received.flush();
    assert_eq!(received.machine.state_hash(), leader.machine.state_hash());
    assert_eq!(received.durable, leader.durable);
}

#[test]
fn a_snapshot_without_a_tree_leaves_the_member_rows_in_charge() {
    let (peer, _) = peer_with_log();
    let mut rows = peer.durable.clone();
    rows.0.retain(|(bucket, _), _| !matches!(bucket, Bucket::V2 | Bucket::V2Meta));
    let base = SnapshotBase { v2: None, ..snapshot(&peer.machine) };
    let (machine, restored) = Machine::restore(&rows, settings(), base).unwrap();
    assert_eq!(machine.membership(), peer.machine.membership());
    assert!(restored.notes.iter().any(|note| note.contains("taken from the database")));
    let raft_attributes = |machine: &Machine| machine.v2().files("/0/members/1");
    assert_eq!(raft_attributes(&machine), raft_attributes(&peer.machine));
}

#[test]
fn a_database_behind_its_snapshot_is_refused() {
    let base = SnapshotBase { index: LogIndex(5), term: Term(2), ..SnapshotBase::default() };
    let fault = Machine::restore(&Rows::default(), settings(), base).unwrap_err();
    assert!(matches!(fault, Fault::BehindSnapshot { database: 0, snapshot: 5 }));
}

#[test]
fn a_cluster_beyond_this_process_is_refused() {
    let mut rows = Rows::default();
    rows.put(Bucket::Cluster, b"clusterVersion", b"3.6.0");
    let fault = Machine::restore(&rows, settings(), SnapshotBase::default()).unwrap_err();
    assert!(matches!(fault, Fault::ClusterVersionTooHigh { .. }));
}

#[test]
fn damaged_rows_are_faults() {
    let cases: [(Bucket, &[u8], &[u8]); 11] = [
        (Bucket::Meta, b"consistent_index", b"123"),
        (Bucket::Meta, b"term", b""),
        (Bucket::Meta, b"finishedCompactRev", b"x"),
        (Bucket::Auth, b"authRevision", b"1"),
        (Bucket::Key, b"short", b""),
        (Bucket::Lease, b"\0\0\0\0\0\0\0\x01", b"\x08\x02"),
        (Bucket::Lease, b"1", b"\x08\x01"),
        (Bucket::Alarm, b"\xff", b""),
        (Bucket::Members, b"xyz", b"{}"),
        (Bucket::Members, b"1", b"{"),
        (Bucket::Cluster, b"clusterVersion", b"three"),
    ];
    for (bucket, key, value) in cases {
        let mut rows = Rows::default();
        rows.put(bucket, key, value);
        let fault = Machine::restore(&rows, settings(), SnapshotBase::default()).unwrap_err();
        assert!(matches!(fault, Fault::BadRow { .. }), "{bucket:?} {key:?}: {fault}");
    }
    // Trusted v2 rows must make a tree.
    let (peer, _) = peer_with_log();
    let mut rows = peer.durable;
    rows.put(Bucket::V2, b"/1/zz", b"\xff");
    let fault = Machine::restore(&rows, settings(), SnapshotBase::default()).unwrap_err();
    assert!(matches!(fault, Fault::BadRow { bucket: "etchV2", .. }), "{fault}");
}

#[test]
fn unfinished_compaction_is_resumed() {
    let mut rows = Rows::default();
    let mark = |revision: i64| types::RevKey::new(revision, 0).to_live();
    rows.put(Bucket::Meta, b"scheduledCompactRev", &mark(8));
    rows.put(Bucket::Meta, b"finishedCompactRev", &mark(5));
    let (machine, restored) = Machine::restore(&rows, settings(), SnapshotBase::default()).unwrap();
    assert_eq!(restored.resume_compaction, Some(8));
    assert_eq!(machine.store().current_revision(), 8);
    rows.put(Bucket::Meta, b"finishedCompactRev", &mark(8));
    let (_, restored) = Machine::restore(&rows, settings(), SnapshotBase::default()).unwrap();
    assert_eq!(restored.resume_compaction, None);
}

#[test]
fn meta_rows_say_where_the_machine_stands() {
    let (peer, log) = peer_with_log();
    let row = |bucket, key: &[u8]| peer.durable.row(bucket, key).unwrap().to_vec();
    assert_eq!(row(Bucket::Meta, b"consistent_index"), (log.len() as u64).to_be_bytes());
    assert_eq!(row(Bucket::Meta, b"term"), 2_u64.to_be_bytes());
    let position = row(Bucket::V2Meta, b"position");
    assert_eq!(position[1..9], CLUSTER.0.to_be_bytes());
    assert_eq!(position[25..], peer.machine.v2().index().to_be_bytes());
}

#[test]
fn update_of_an_unknown_member_stays_refused_in_replay() {
    let mut peer = Peer::new();
    let mut log = Vec::new();
    for change in [add(&member(1)), update(&member(8)), add(&member(8))] {
        let entry = peer.next_conf(&change);
        let _ = peer.apply(&entry);
        log.push(entry);
    }
    peer.flush();
    let restarted = restart(&peer.durable, SnapshotBase::default(), &log);
    assert_eq!(restarted.conf_state, peer.conf_state);
}

fn edit_position(rows: &mut Rows, at: usize) {
    let key = (Bucket::V2Meta, Bytes::from_static(b"position"));
    let mut row = rows.0[&key].to_vec();
    row[at] ^= 0x40;
    rows.0.insert(key, row.into());
}
