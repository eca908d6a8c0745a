//! Logs of real Go servers: the same entries must give the same rows, tree and hash.

use bytes::Bytes;
use membership::ClusterVersion;
use proto::raftpb::{Entry, EntryType};
use types::{Bucket, ClusterId, NodeId, RevKey};

use super::harness::{Peer, settings, snapshot};
use crate::{Settings, SnapshotBase};

/// One member's life: puts, deletes, transactions, leases, a compaction, v2 requests with expiry,
/// a learner added, moved and removed.
const GO_3_4_23: &str = include_str!("data/go-3.4.23.log");
const GO_3_5_1: &str = include_str!("data/go-3.5.1.log");

#[derive(Default)]
struct Recorded {
    settings: Option<Settings>,
    entries: Vec<Entry>,
    rows: Vec<(Bucket, Bytes, Bytes)>,
    snapshot: Option<(u64, v2store::Store)>,
    hash_kv: u32,
}

fn unhex(text: &str) -> Bytes {
    let digits = text.trim_start_matches('-').as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn read(text: &str) -> Recorded {
    let mut recorded = Recorded::default();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (kind, rest) = line.split_once(' ').unwrap();
        let fields: Vec<&str> = rest.split(' ').collect();
        let number = |at: usize| fields[at].parse::<u64>().unwrap();
        match kind {
            "N" => {
                let (local, cluster_id) = (NodeId(number(0)), ClusterId(number(1)));
                recorded.settings = Some(Settings { local, cluster_id, ..settings() });
            }
            "E" => recorded.entries.push(Entry {
                index: number(0),
                term: number(1),
                entry_type: if fields[2] == "1" {
                    EntryType::ConfChange
                } else {
                    EntryType::Normal
                },
                data: unhex(fields[3]),
            }),
            "R" => {
                let bucket = |name: &&Bucket| name.name() == fields[0].as_bytes();
                let bucket = *Bucket::ALL.iter().find(bucket).unwrap();
                recorded.rows.push((bucket, unhex(fields[1]), unhex(fields[2])));
            }
            "S" => {
                let (index, json) = rest.split_once(' ').unwrap();
                let tree = v2store::Store::from_json(json.as_bytes()).unwrap();
                recorded.snapshot = Some((index.parse().unwrap(), tree));
            }
            "H" => recorded.hash_kv = u32::try_from(number(0)).unwrap(),
            other => panic!("{other}"),
        }
    }
    recorded
}

/// Carries out the compaction that the log scheduled.
fn compact(peer: &mut Peer) {
    let at = peer.machine.store().pending_compaction().expect("the log holds one");
    let rows: Vec<_> = peer
        .rows
        .bucket(Bucket::Key)
        .map(|(key, pair)| {
            let (revision, tombstone) = RevKey::parse(key).unwrap();
            (revision, tombstone, mvcc::kv::key_of(pair).unwrap())
        })
        .collect();
    let mut ops = peer.machine.compact_step(&rows, at);
    ops.extend(peer.machine.compact_finish(at));
    peer.rows.write(&ops);
}

fn replay(recorded: &Recorded) -> Peer {
    let (snapshot_index, tree) = recorded.snapshot.as_ref().unwrap();
    let mut peer = Peer::with(recorded.settings.clone().unwrap());
    for entry in &recorded.entries {
        let _ = peer.apply(entry);
        if entry.index == *snapshot_index {
            assert_eq!(peer.machine.v2(), tree, "the tree of Go's .snap file");
        }
    }
    compact(&mut peer);
    peer.flush();
    peer
}

#[test]
fn rows_tree_and_hash_are_those_of_go() {
    for (text, version) in [(GO_3_4_23, (3, 4)), (GO_3_5_1, (3, 5))] {
        let recorded = read(text);
        let peer = replay(&recorded);
        for (bucket, key, value) in &recorded.rows {
            // 3.5.1 never overwrites a member's row, so that published URLs are missing.
            if version == (3, 5) && *bucket == Bucket::Members {
                continue;
            }
            let found = peer.rows.row(*bucket, key);
            assert_eq!(found, Some(&value[..]), "{version:?} {bucket:?} {key:?}");
        }
        let is_ours = |bucket: &Bucket, key: &Bytes| {
            matches!(bucket, Bucket::V2 | Bucket::V2Meta)
                || (*bucket == Bucket::Meta && (key == "term" || key == "confState"))
        };
        for (bucket, key) in peer.rows.0.keys().filter(|(bucket, key)| !is_ours(bucket, key)) {
            let known = recorded.rows.iter().any(|(b, k, _)| (b, k) == (bucket, key));
            assert!(known, "{version:?} has no row {bucket:?} {key:?}");
        }
        let hash = peer.machine.store().hash_kv(0, &peer.rows).unwrap().unwrap();
        assert_eq!(hash.hash, recorded.hash_kv, "{version:?}");
        let expected = ClusterVersion::new(version.0, version.1);
        assert_eq!(peer.machine.cluster_version(), Some(expected));
    }
}

#[test]
fn adopting_a_go_database_gives_what_its_log_gives() {
    for text in [GO_3_4_23, GO_3_5_1] {
        let recorded = read(text);
        let expected = replay(&recorded);
        let mut rows = super::harness::Rows::default();
        for (bucket, key, value) in &recorded.rows {
            rows.put(*bucket, key, value);
        }
        // Once from the first entry, once from the snapshot that Go left.
        let (index, tree) = recorded.snapshot.clone().unwrap();
        let from_snapshot = SnapshotBase {
            index: types::LogIndex(index),
            term: types::Term(2),
            v2: Some(tree),
            conf_state: snapshot(&expected.machine).conf_state,
        };
        for base in [SnapshotBase::default(), from_snapshot] {
            let skipped = usize::try_from(base.index.0).unwrap();
            let settings = recorded.settings.clone().unwrap();
            let mut peer = Peer::restored(rows.clone(), settings, base);
            for entry in &recorded.entries[skipped..] {
                let _ = peer.apply(entry);
            }
            peer.flush();
            assert_eq!(peer.machine.state_hash(), expected.machine.state_hash());
            assert_eq!(peer.machine.freeze().unwrap().term, types::Term(2));
            assert_eq!(peer.machine.membership(), expected.machine.membership());
            assert_eq!(peer.machine.v2(), expected.machine.v2());
            assert_eq!(peer.machine.store().digest(), expected.machine.store().digest());
            assert_eq!(peer.machine.leases(), expected.machine.leases());
            for bucket in [Bucket::V2, Bucket::Members, Bucket::MembersRemoved, Bucket::Key] {
                assert!(peer.rows.bucket(bucket).eq(expected.rows.bucket(bucket)), "{bucket:?}");
            }
        }
    }
}
