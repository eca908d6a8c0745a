//! How a member starts from what it recovered.
//!
//! Owns:       nothing.
//! Uses:       raft-rs's configuration.
//! Never:      the backend's applied index as raft's: it may be above what raft knows to be
//!             committed.
//! Invariants: what is handed to raft-rs passes its own start checks, which panic.
//! Source:     design.md 4 (restart), disk-formats.md 4, raft-library.md 3 (config), 4 (trap 8).

use super::*;
use crate::admit;
use proto::raftpb::{HardState, SnapshotMetadata};
use raft::{Config, ReadOnlyOption};
use types::limits;

/// Builds the driver.
pub(super) fn start(options: &Options, recovered: Recovered) -> Result<Driver, StartError> {
    check_log(&recovered)?;
    let hard_state = effective_hard_state(&recovered)?;
    let config = config(options, &recovered.snapshot);
    let last_change = last_committed_change(&recovered, hard_state.commit);
    config.validate().map_err(|error| StartError::Options(error.to_string()))?;
    let log = MemoryLog::new(
        translate::hard_state_in(hard_state),
        translate::conf_state_in(&recovered.snapshot.conf_state),
        (recovered.snapshot.index, recovered.snapshot.term),
        recovered.entries.into_iter().map(translate::entry_in).collect(),
    );
    let logger = slog::Logger::root(slog::Discard, slog::o!());
    let mut node = RawNode::new(&config, log, &logger)
        .map_err(|error| StartError::ConfState(error.to_string()))?;
    let mut jitter = Jitter::new(options.id, options.seed, options.election_ticks);
    let timeout_ticks = jitter.draw();
    node.raft.set_randomized_election_timeout(timeout_ticks);
    let seen = Seen { term: hard_state.term, leader: 0, role: StateRole::Follower };
    Ok(Driver {
        id: options.id,
        node,
        effects: Vec::new(),
        jitter,
        timeout_ticks,
        seen,
        reads: ReadRounds::new(options.id, options.seed),
        reads_term: 0,
        proposals: Vec::new(),
        leader_proposals: Vec::new(),
        conf_changes: VecDeque::new(),
        writes: ready::Writes::new(hard_state.term, hard_state.vote),
        apply: ready::ApplyQueue::new(recovered.snapshot.index),
        snapshots: install::Snapshots::default(),
        held_votes: Vec::new(),
        removed: false,
        first_campaign: Some(last_change),
        pre_vote: options.pre_vote,
        gave_up_in: 0,
    })
}

/// The last configuration change among the committed entries, or where they begin: from there on the
/// configuration in force is that of the cluster, as far as this member knows it.
fn last_committed_change(recovered: &Recovered, commit: u64) -> LogIndex {
    let changes = recovered
        .entries
        .iter()
        .rev()
        .filter(|entry| entry.index <= commit && entry.entry_type != raftpb::EntryType::Normal);
    LogIndex(changes.map(|entry| entry.index).next().unwrap_or(recovered.snapshot.index))
}

fn config(options: &Options, snapshot: &SnapshotMetadata) -> Config {
    Config {
        id: options.id.0,
        election_tick: options.election_ticks,
        heartbeat_tick: options.heartbeat_ticks,
        applied: snapshot.index,
        max_size_per_msg: limits::RAFT_MESSAGE_SIZE_MAX_BYTES,
        max_inflight_msgs: limits::RAFT_INFLIGHT_MAX,
        check_quorum: true,
        pre_vote: options.pre_vote,
        read_only_option: ReadOnlyOption::Safe,
        batch_append: true,
        max_uncommitted_size: limits::RAFT_UNCOMMITTED_MAX_BYTES,
        max_committed_size_per_ready: limits::RAFT_COMMITTED_PER_READY_MAX_BYTES,
        ..Config::default()
    }
}

fn check_log(recovered: &Recovered) -> Result<(), StartError> {
    let snapshot = &recovered.snapshot;
    if snapshot.index > 0 && !admit::metadata_is_sane(snapshot) {
        return Err(StartError::ConfState(format!("{:?}", snapshot.conf_state)));
    }
    let (mut index, mut term) = (snapshot.index, snapshot.term);
    for entry in &recovered.entries {
        if entry.index != index + 1 {
            return Err(StartError::LogGap {
                expected: LogIndex(index + 1),
                found: LogIndex(entry.index),
            });
        }
        if entry.term < term {
            return Err(StartError::TermFalls {
                index: LogIndex(entry.index),
                term: Term(entry.term),
                previous: Term(term),
            });
        }
        (index, term) = (entry.index, entry.term);
    }
    Ok(())
}

/// Raises what the last hard state says to what the rest of the recovered state proves.
fn effective_hard_state(recovered: &Recovered) -> Result<HardState, StartError> {
    let Recovered { snapshot, hard_state, entries, consistent_index } = recovered;
    let last = entries.last().map_or(snapshot.index, |entry| entry.index);
    let last_term = entries.last().map_or(snapshot.term, |entry| entry.term);
    if last < consistent_index.0 {
        return Err(StartError::LogEndsBelowConsistentIndex {
            last: LogIndex(last),
            consistent_index: *consistent_index,
        });
    }
    let commit = hard_state.commit.max(consistent_index.0).max(snapshot.index);
    if last < commit {
        return Err(StartError::LogEndsBelowCommit {
            last: LogIndex(last),
            commit: LogIndex(commit),
        });
    }
    // Entries are written before the hard state that belongs to them, so a torn write can leave a
    // log whose term is not recorded. No vote was cast in that term, or it would be recorded.
    let (term, vote) = if hard_state.term < last_term {
        (last_term, 0)
    } else {
        (hard_state.term, hard_state.vote)
    };
    Ok(HardState { term, vote, commit })
}
