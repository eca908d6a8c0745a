//! The machine: one entry in, one outcome out.
//!
//! Owns:       the state and the positions of raft's replay, of the database and of the v2 rows.
//! Uses:       every other module of the crate.
//! Never:      rules about one kind of request; those are in the module named after it.
//! Invariants: [`Machine::check_invariants`].
//! Source:     peer-protocol.md 15.1, 15.2; design.md 4 (restart as Go does).

use mvcc::History;
use proto::entry::{EntryPayload, decode_payload};
use proto::etcdserverpb::{AlarmMember, InternalRaftRequest};
use proto::raftpb::{ConfState, Entry, EntryType};
use types::{EtcdError, LogIndex, Op, RequestId, Term};

use crate::alarms::Alarms;
use crate::cluster::{Cluster, Effect, Stage};
use crate::contract::{Applied, Fault, Frozen, Local, Reply, Response, Settings};
use crate::kind::RequestKind;
use crate::position::{V2Position, meta_ops};
use crate::v2;

/// A position in the log with its term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) index: LogIndex,
    pub(crate) term: Term,
}

/// The replicated state of one member.
#[derive(Debug)]
pub struct Machine {
    pub(crate) settings: Settings,
    pub(crate) kv: mvcc::Store,
    pub(crate) leases: lease::Table,
    pub(crate) alarms: Alarms,
    pub(crate) cluster: Cluster,
    pub(crate) conf_state: ConfState,
    pub(crate) v2: v2store::Store,
    /// While the rows of the tree are ahead of the replay: the tree as the replay has it, for the
    /// sake of its history (docs/format/v2-rows.md).
    pub(crate) v2_replay: Option<v2store::Store>,
    /// The last entry that raft handed over, replayed ones included.
    pub(crate) applied: Position,
    /// The last entry whose v3 effects are in the state.
    pub(crate) consistent: Position,
    /// The last entry whose v2 effects are in the state.
    pub(crate) v2_applied: Position,
    pub(crate) storage_bytes: i64,
}

impl Machine {
    /// Applies the next committed entry, which must be a normal one.
    ///
    /// # Errors
    /// This member cannot go on: the entry is out of turn or malformed, or the database failed. The
    /// machine must not be used again.
    pub fn apply(&mut self, entry: &Entry, history: &dyn History) -> Result<Applied, Fault> {
        let stage = self.begin(entry)?;
        if entry.entry_type != EntryType::Normal {
            return Err(bad_entry(entry, "a conf change came as a normal entry"));
        }
        let mut applied =
            Applied { index: LogIndex(entry.index), term: Term(entry.term), ..Applied::default() };
        let payload =
            decode_payload(&entry.data).map_err(|error| bad_entry(entry, &error.to_string()))?;
        match payload {
            EntryPayload::Empty if stage == Stage::New => {
                applied.local.push(Local::FirstEntryOfTerm);
            }
            EntryPayload::Empty => {}
            EntryPayload::V2(request) => {
                applied.request_id = RequestId(request.id);
                applied.kind = (stage == Stage::New).then(|| RequestKind::of_v2(&request));
                self.apply_v2(stage, entry, &request, &mut applied)?;
            }
            EntryPayload::V3(request) => {
                applied.request_id = request_id(&request);
                applied.kind = (stage == Stage::New).then(|| RequestKind::of_v3(&request));
                let reply = self.apply_v3(stage, entry, &request, history, &mut applied)?;
                applied.reply = reply.map(Reply::V3);
            }
        }
        self.finish(stage, &mut applied);
        Ok(applied)
    }

    /// The rows that must go with every commit: consistent index, its term, position of the v2 rows.
    #[must_use]
    pub fn meta_ops(&self) -> Vec<Op> {
        let v2 = V2Position {
            cluster_id: self.settings.cluster_id,
            index: self.v2_applied.index,
            term: self.v2_applied.term,
            v2_index: self.v2.index(),
        };
        meta_ops(self.consistent.index, self.consistent.term, v2)
    }

    /// The state for a `.snap` file or a snapshot to a peer; `None` while entries are being
    /// replayed, because its parts then stand at different positions.
    #[must_use]
    pub fn freeze(&self) -> Option<Frozen> {
        if self.is_replaying() {
            return None;
        }
        Some(Frozen {
            index: self.consistent.index,
            term: self.consistent.term,
            v2: self.v2.clone(),
            conf_state: self.conf_state.clone(),
            membership: self.cluster.members().clone(),
        })
    }

    /// Whether entries at or below the consistent index are still to come again.
    #[must_use]
    pub fn is_replaying(&self) -> bool {
        self.applied.index < self.consistent.index
    }

    /// The key-value store.
    #[must_use]
    pub fn store(&self) -> &mvcc::Store {
        &self.kv
    }

    /// The leases.
    #[must_use]
    pub fn leases(&self) -> &lease::Table {
        &self.leases
    }

    /// The v2 tree.
    #[must_use]
    pub fn v2(&self) -> &v2store::Store {
        &self.v2
    }

    /// Tells the v2 tree this member's wall clock: it fixes the `ttl` that later events show and
    /// never what an entry does.
    pub fn observe_time(&mut self, now_unix_ns: i64) {
        self.v2.observe_time(now_unix_ns);
        if let Some(replay) = &mut self.v2_replay {
            replay.observe_time(now_unix_ns);
        }
    }

    /// The members, as far as they are known yet while replaying.
    #[must_use]
    pub fn membership(&self) -> &membership::Membership {
        self.cluster.members()
    }

    /// The raised alarms.
    #[must_use]
    pub fn alarms(&self) -> Vec<AlarmMember> {
        self.alarms.iter().collect()
    }

    /// raft's configuration at the applied index.
    #[must_use]
    pub fn conf_state(&self) -> &ConfState {
        &self.conf_state
    }

    /// The last entry that raft handed over, replayed ones included.
    #[must_use]
    pub fn applied_index(&self) -> LogIndex {
        self.applied.index
    }

    /// The last entry whose effects are in the state.
    #[must_use]
    pub fn consistent_index(&self) -> LogIndex {
        self.consistent.index
    }

    /// Term of the entry at the consistent index; what response headers say.
    #[must_use]
    pub fn applied_term(&self) -> Term {
        self.consistent.term
    }

    /// The cluster version.
    #[must_use]
    pub fn cluster_version(&self) -> Option<membership::ClusterVersion> {
        self.cluster.version()
    }

    /// What the machine was told about its place.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Tells how many bytes the v3 buckets take on this member; the quota is compared with it.
    pub fn set_storage_bytes(&mut self, bytes: u64) {
        self.storage_bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    }

    /// Deletes those of the rows that a scheduled compaction does not keep; see
    /// `mvcc::Store::compact_step`. The rows of the schedule must be durable before.
    pub fn compact_step(
        &mut self,
        rows: &[(types::RevKey, bool, bytes::Bytes)],
        at: i64,
    ) -> Vec<Op> {
        self.kv.compact_step(rows, at)
    }

    /// Records that a compaction has deleted all it had to.
    pub fn compact_finish(&mut self, at: i64) -> Vec<Op> {
        self.kv.compact_finish(at)
    }

    /// Asserts what always holds between entries.
    ///
    /// # Panics
    /// When it does not; meant for tests and simulation.
    pub fn check_invariants(&self) {
        self.kv.check_invariants();
        self.leases.check_invariants();
        self.v2.check_invariants();
        self.cluster.members().check_invariants();
        let (applied, consistent) = (self.applied.index, self.consistent.index);
        let v2 = self.v2_applied.index;
        assert!(applied <= consistent, "applied {applied} above consistent {consistent}");
        assert!(
            applied <= v2 && v2 <= consistent,
            "v2 applied {v2} outside {applied} to {consistent}"
        );
    }

    /// Checks that the entry is the next one and tells whether it is new.
    pub(crate) fn begin(&self, entry: &Entry) -> Result<Stage, Fault> {
        let expected = self.applied.index.next();
        if LogIndex(entry.index) != expected {
            return Err(Fault::OutOfOrder { expected: expected.0, found: entry.index });
        }
        if LogIndex(entry.index) <= self.consistent.index {
            Ok(Stage::Replay)
        } else {
            Ok(Stage::New)
        }
    }

    /// Moves all positions over the entry.
    pub(crate) fn finish(&mut self, stage: Stage, applied: &mut Applied) {
        let position = Position { index: applied.index, term: applied.term };
        self.applied = position;
        // At the end of a replay for the term alone: Go 3.4 leaves none in the database.
        if self.consistent.index <= position.index {
            self.consistent = position;
        }
        if self.v2_applied.index <= position.index {
            self.v2_applied = position;
        }
        if stage == Stage::Replay {
            applied.reply = None;
        }
        if stage == Stage::Replay && !self.is_replaying() {
            applied.ops.append(&mut self.cluster.finish_replay());
            if !self.finish_v2_replay() {
                applied.local.push(Local::V2RowsDiffer);
            }
        }
        applied.revision = self.kv.current_revision();
    }

    /// Whether the v2 effects of the next entry are still missing.
    pub(crate) fn wants_v2(&self) -> bool {
        self.v2_applied.index <= self.applied.index
    }

    /// Hands out what a change of the cluster means.
    pub(crate) fn absorb_cluster(&mut self, effect: Effect, applied: &mut Applied) {
        let Effect { ops, v2, local } = effect;
        applied.ops.extend(ops);
        applied.local.extend(local);
        if self.wants_v2() {
            for write in &v2 {
                let _ = v2::absorb(v2::write_to(&mut self.v2, write), applied);
            }
        } else if let Some(replay) = &mut self.v2_replay {
            for write in &v2 {
                let _ = v2::write_to(replay, write);
            }
        }
    }

    /// Carries out a v3 request; `None` for one that was carried out before the restart.
    fn apply_v3(
        &mut self,
        stage: Stage,
        entry: &Entry,
        request: &InternalRaftRequest,
        history: &dyn History,
        applied: &mut Applied,
    ) -> Result<Option<Result<Response, EtcdError>>, Fault> {
        if let Some(response) = self.apply_cluster(stage, entry, request, applied)? {
            return Ok(Some(Ok(response)));
        }
        if stage == Stage::Replay {
            return Ok(None);
        }
        if let Some(reply) = self.apply_kv(request, history, applied)? {
            return Ok(Some(reply));
        }
        if let Some(reply) = self.apply_lease(request, applied) {
            return Ok(Some(reply));
        }
        if let Some(reply) = self.apply_system(entry, request, applied)? {
            return Ok(Some(reply));
        }
        Err(bad_entry(entry, "a request of no known kind"))
    }
}

/// The ID by which the proposer waits: the old field when it is set, else the header's.
fn request_id(request: &InternalRaftRequest) -> RequestId {
    match (request.id, &request.header) {
        (0, Some(header)) => RequestId(header.id),
        (id, _) => RequestId(id),
    }
}

pub(crate) fn bad_entry(entry: &Entry, reason: &str) -> Fault {
    Fault::BadEntry { index: entry.index, reason: reason.to_owned() }
}
