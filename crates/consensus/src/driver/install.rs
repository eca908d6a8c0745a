//! Snapshots in both directions, configuration changes and compaction: where raft's state and the
//! applied state meet.
//!
//! Owns:       the snapshot being received, the request for one to send.
//! Uses:       the in-memory log.
//! Never:      a snapshot kept for later: it is made when a follower needs it, so that its
//!             configuration contains the follower.
//! Invariants: a configuration change behind a received snapshot is not applied on top of it; the
//!             next snapshot is not taken before the one before it is installed.
//! Source:     raft-library.md 3 (order), 4 (traps 7 and 8), peer-protocol.md 12.4.

use super::*;
use crate::admit;
use proto::raftpb::SnapshotMetadata;
use raft::SnapshotStatus;

/// What this member receives and what it was asked to send.
#[derive(Default)]
pub(super) struct Snapshots {
    incoming: Incoming,
    /// Index of the last snapshot received: raft's configuration is at least that new.
    floor: u64,
    asked_for: Option<u64>,
}

#[derive(Default)]
enum Incoming {
    #[default]
    None,
    /// Handed out; neither its record in the log nor its installation has been confirmed.
    Persisting { number: u64, index: u64, installed: bool },
    /// Its record is durable.
    Installing { index: u64 },
}

impl Snapshots {
    /// Whether the log is about to begin behind a snapshot.
    pub(super) fn is_persisting(&self) -> bool {
        matches!(self.incoming, Incoming::Persisting { .. })
    }

    /// Whether the applied state is behind the log's beginning.
    pub(super) fn is_installing(&self) -> bool {
        !matches!(self.incoming, Incoming::None)
    }

    /// Takes note of a durable write, and returns the index of a snapshot that is now installed.
    fn persisted(&mut self, durable: u64) -> Option<u64> {
        let Incoming::Persisting { number, index, installed } = self.incoming else { return None };
        if durable < number {
            return None;
        }
        self.incoming = if installed { Incoming::None } else { Incoming::Installing { index } };
        installed.then_some(index)
    }

    /// Takes note of an installation, and returns its index when its record is durable too: the
    /// two confirmations come from different threads.
    fn installed(&mut self, confirmed: u64) -> Option<u64> {
        match &mut self.incoming {
            Incoming::Persisting { index, installed, .. } if *index == confirmed => {
                *installed = true;
                None
            }
            Incoming::Installing { index } if *index == confirmed => {
                self.incoming = Incoming::None;
                Some(confirmed)
            }
            _ => panic!("snapshot {confirmed} was installed, but not handed out"),
        }
    }

    /// Stays where it is: only a restart finds the snapshot again.
    pub(super) fn install_failed(&mut self) {
        debug_assert!(self.is_installing(), "a snapshot that failed was being installed");
    }
}

impl Driver {
    /// The log begins behind a received snapshot from here on.
    pub(super) fn begin_behind(&mut self, number: u64, snapshot: &eraftpb::Snapshot) {
        let snapshot = translate::snapshot_out(snapshot.clone());
        self.node.mut_store().restart_behind(snapshot.metadata.index, snapshot.metadata.term);
        self.apply.replace_by_snapshot();
        let index = snapshot.metadata.index;
        self.snapshots.floor = index;
        self.snapshots.incoming = Incoming::Persisting { number, index, installed: false };
        self.effects.push(Effect::InstallSnapshot(snapshot));
    }

    /// A write is durable, with which a snapshot may have become part of the log.
    pub(super) fn snapshot_persisted(&mut self, durable: u64) {
        if let Some(index) = self.snapshots.persisted(durable) {
            self.jump_to(index);
        }
    }

    pub(super) fn snapshot_installed(&mut self, metadata: &SnapshotMetadata) {
        if let Some(index) = self.snapshots.installed(metadata.index) {
            self.jump_to(index);
        }
    }

    fn jump_to(&mut self, index: u64) {
        self.apply.jump_to(index);
        self.node.advance_apply_to(index);
    }

    /// Answers raft's wish for a snapshot, one follower at a time.
    pub(super) fn ask_for_snapshot(&mut self) {
        if !self.leads() {
            self.node.mut_store().forget_wanted();
        } else if self.snapshots.asked_for.is_none()
            && let Some(to) = self.node.store().wanted()
        {
            self.snapshots.asked_for = Some(to);
            self.effects.push(Effect::WantSnapshot { to: NodeId(to) });
        }
    }

    pub(super) fn snapshot_ready(&mut self, snapshot: Snapshot) {
        let Some(to) = self.snapshots.asked_for.take() else { return };
        self.node.mut_store().forget_wanted();
        if self.leads() && self.is_useful(&snapshot.metadata, to) {
            self.node.mut_store().offer(to, translate::snapshot_in(snapshot));
            self.node.raft.send_append(to);
            self.node.mut_store().withdraw_offer();
        }
    }

    /// Whether a follower that has this snapshot can go on from the log, and would accept it.
    fn is_useful(&self, metadata: &SnapshotMetadata, to: u64) -> bool {
        let members = &metadata.conf_state;
        self.node.raft.prs().get(to).is_some()
            && admit::metadata_is_sane(metadata)
            && (members.voters.contains(&to) || members.learners.contains(&to))
            && metadata.index + 1 >= self.node.store().first()
            && metadata.index <= self.node.raft.raft_log.committed
    }

    pub(super) fn snapshot_unavailable(&mut self) {
        // Raft wants it again with the follower's next heartbeat response.
        self.snapshots.asked_for = None;
        self.node.mut_store().forget_wanted();
    }

    pub(super) fn snapshot_sent(&mut self, to: NodeId, ok: bool) {
        let status = if ok { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        self.node.report_snapshot(to.0, status);
    }

    pub(super) fn conf_change_applied(&mut self, index: LogIndex, change: Option<ConfChange>) {
        let asked = self.apply.answered(index.0);
        assert!(asked, "the change at {index} was judged, but not handed out");
        if index.0 > self.snapshots.floor
            && let Some(change) = change.as_ref().and_then(translate::conf_change_in)
        {
            self.change_configuration(&change);
        }
        let conf_state = self.conf_state();
        self.effects.push(Effect::ConfState { index, conf_state });
    }

    fn change_configuration(&mut self, change: &eraftpb::ConfChange) {
        let was_member = self.is_member();
        // An error means that no voter would be left. All members judge alike, so nothing changes.
        if self.node.apply_conf_change(change).is_err() {
            return;
        }
        let is_member = self.is_member();
        self.removed = !is_member && (was_member || self.removed);
        if self.removed && self.leads() {
            // raft-rs lets a removed leader lead on, and panics at the next acknowledgement.
            let term = self.node.raft.term;
            self.node.raft.become_follower(term, raft::INVALID_ID);
        }
    }

    fn is_member(&self) -> bool {
        self.node.raft.prs().get(self.id.0).is_some()
    }

    /// Drops the log up to `index`, but never what apply may still read.
    pub(super) fn compact(&mut self, index: LogIndex) {
        let index = index.0.min(self.apply.applied());
        self.node.mut_store().compact(index);
    }
}
