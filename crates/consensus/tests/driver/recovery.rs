//! Starting from what a crash left.

use bytes::Bytes;
use consensus::{Driver, Effect, Input, Recovered, StartError};
use proto::raftpb::{ConfState, Entry, HardState, SnapshotMetadata};
use types::{LogIndex, NodeId, Term};

use crate::harness::{Net, options};

fn entries(positions: &[(u64, u64)]) -> Vec<Entry> {
    positions.iter().map(|&(index, term)| Entry { index, term, ..Entry::default() }).collect()
}

fn recovered() -> Recovered {
    Recovered {
        snapshot: SnapshotMetadata {
            conf_state: ConfState { voters: vec![1, 2, 3], ..ConfState::default() },
            index: 10,
            term: 2,
        },
        hard_state: HardState { term: 3, vote: 2, commit: 12 },
        entries: entries(&[(11, 2), (12, 3), (13, 3), (14, 3)]),
        consistent_index: LogIndex(0),
    }
}

fn applied(driver: &mut Driver) -> Vec<u64> {
    let effects = driver.drain().into_iter();
    let applies = effects.filter_map(|effect| match effect {
        Effect::Apply(entries) => Some(entries),
        _ => None,
    });
    applies.flatten().map(|entry| entry.index).collect()
}

#[test]
fn committed_entries_behind_the_snapshot_come_again() {
    let mut driver = Driver::new(options(1, 1), recovered()).unwrap();
    assert_eq!(applied(&mut driver), [11, 12]);
    let status = driver.status();
    assert_eq!((status.term, status.vote, status.commit), (Term(3), NodeId(2), LogIndex(12)));
    assert_eq!((status.first_index, status.last_index), (LogIndex(11), LogIndex(14)));
    assert_eq!(driver.conf_state().voters, [1, 2, 3]);
}

#[test]
fn what_the_backend_has_applied_was_committed() {
    let ahead = Recovered { consistent_index: LogIndex(14), ..recovered() };
    let mut driver = Driver::new(options(1, 1), ahead).unwrap();
    assert_eq!(applied(&mut driver), [11, 12, 13, 14]);
    assert_eq!(driver.status().commit, LogIndex(14));
}

#[test]
fn a_term_that_only_the_log_proves_counts() {
    let torn = Recovered { hard_state: HardState { term: 2, vote: 3, commit: 11 }, ..recovered() };
    let status = Driver::new(options(1, 1), torn).unwrap().status();
    assert_eq!((status.term, status.vote), (Term(3), NodeId(0)));
}

#[test]
fn broken_logs_are_named() {
    let error = |recovered| Driver::new(options(1, 1), recovered).err().unwrap();
    assert_eq!(
        error(Recovered { consistent_index: LogIndex(15), ..recovered() }),
        StartError::LogEndsBelowConsistentIndex {
            last: LogIndex(14),
            consistent_index: LogIndex(15)
        }
    );
    assert_eq!(
        error(Recovered { hard_state: HardState { term: 3, vote: 0, commit: 15 }, ..recovered() }),
        StartError::LogEndsBelowCommit { last: LogIndex(14), commit: LogIndex(15) }
    );
    assert_eq!(
        error(Recovered { entries: entries(&[(11, 2), (13, 2)]), ..recovered() }),
        StartError::LogGap { expected: LogIndex(12), found: LogIndex(13) }
    );
    assert_eq!(
        error(Recovered { entries: entries(&[(12, 2)]), ..recovered() }),
        StartError::LogGap { expected: LogIndex(11), found: LogIndex(12) }
    );
    assert_eq!(
        error(Recovered { entries: entries(&[(11, 3), (12, 2)]), ..recovered() }),
        StartError::TermFalls { index: LogIndex(12), term: Term(2), previous: Term(3) }
    );
    let mut joint = recovered();
    joint.snapshot.conf_state.learners = vec![1];
    assert!(matches!(error(joint), StartError::ConfState(_)));
    let zero = Driver::new(options(0, 1), Recovered::default()).err().unwrap();
    assert!(matches!(zero, StartError::Options(_)));
}

#[test]
fn a_member_loses_what_it_never_acknowledged_and_catches_up() {
    let mut net = Net::founded(&[1, 2, 3], 11);
    net.elect(1);
    net.propose(1, 1, "put a");
    net.settle();
    net.slow_disks.insert(3);
    net.propose(1, 2, "put b");
    net.settle();
    assert!(!net.peer(3).writes.is_empty());
    net.crash(3, 0, false);
    net.slow_disks.clear();
    net.tick(5);
    net.assert_all_applied(&["put a", "put b"]);
}

#[test]
fn a_whole_cluster_comes_back() {
    let mut net = Net::founded(&[1, 2, 3], 11);
    net.elect(1);
    for request in 0..5 {
        net.propose(1, request, "put a");
    }
    net.settle();
    net.checkpoint(2);
    for id in [1, 2, 3] {
        net.crash(id, 0, false);
    }
    net.wire.clear();
    net.settle();
    let leader = net.wait_for_leader();
    net.propose(leader, 9, "put z");
    net.tick(3);
    net.assert_all_applied(&["put a", "put a", "put a", "put a", "put a", "put z"]);
}

#[test]
fn a_lone_survivor_goes_on() {
    let mut net = Net::founded(&[1, 2, 3], 11);
    net.elect(1);
    net.propose(1, 1, "put a");
    net.settle();
    let wal = net.peer(2).durable.clone();
    let forced = consensus::force_new_cluster(
        NodeId(2),
        wal.hard_state,
        wal.entries,
        &wal.snapshot.conf_state,
        LogIndex(net.peer(2).applied),
    );
    let recovered = Recovered {
        snapshot: SnapshotMetadata::default(),
        hard_state: forced.hard_state,
        entries: forced.kept.into_iter().chain(forced.appended).collect(),
        consistent_index: LogIndex(net.peer(2).applied),
    };
    let mut driver = Driver::new(options(2, 5), recovered).unwrap();
    for effect in driver.drain() {
        let Effect::Apply(entries) = effect else { continue };
        for entry in entries {
            if entry.entry_type == proto::raftpb::EntryType::ConfChange {
                let change = proto::raftpb::ConfChange::decode(entry.data).ok();
                driver.step(Input::ConfChangeApplied { index: LogIndex(entry.index), change });
            }
            driver.step(Input::Applied(LogIndex(entry.index)));
        }
    }
    assert_eq!(driver.conf_state().voters, [2]);
    driver.step(Input::Campaign);
    driver.drain();
    assert_eq!(driver.status().leader, NodeId(2));
    driver.step(Input::Propose(vec![(types::RequestId(1), Bytes::from_static(b"x"))]));
    assert!(driver.drain().iter().any(|effect| matches!(effect, Effect::Persist { .. })));
}
