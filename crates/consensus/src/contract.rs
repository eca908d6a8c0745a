//! What goes into the driver and what comes out: the protocol's table of contents.
//!
//! Owns:       nothing; all values here are plain data.
//! Uses:       `types`, `proto::raftpb`.
//! Never:      behaviour.
//! Invariants: every field that orders two effects is explicit (`number`, `then`, `must_sync`).
//! Source:     design.md 2 and 4, raft-library.md 3.

use bytes::Bytes;
use proto::raftpb::{ConfChange, ConfState, Entry, HardState, Message, Snapshot, SnapshotMetadata};
use types::{LogIndex, NodeId, RequestId, Term};

/// Settings that do not change while the member runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// This member; not 0.
    pub id: NodeId,
    /// Ticks without a leader before an election, before jitter of up to as many again.
    pub election_ticks: usize,
    /// Ticks between heartbeats of a leader; less than `election_ticks`.
    pub heartbeat_ticks: usize,
    /// Whether an election is preceded by a round that asks without raising the term.
    pub pre_vote: bool,
    /// Source of the election jitter and of the read contexts. It must differ from one start of
    /// the member to the next: a late answer to a read of the previous life must not match.
    pub seed: u64,
}

/// What a member remembers from before it was started.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The WAL snapshot record that the log begins behind; index 0 when there is none.
    pub snapshot: SnapshotMetadata,
    /// The newest hard state in the WAL.
    pub hard_state: HardState,
    /// All entries behind `snapshot`, without gaps.
    pub entries: Vec<Entry>,
    /// The last entry whose effects are in the backend; they were durable in the WAL before.
    pub consistent_index: LogIndex,
}

/// Why a member cannot start from what it recovered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The backend holds effects of entries that the log does not have: the log lost acknowledged
    /// writes.
    #[error("log ends at {last}, below the consistent index {consistent_index} of the backend")]
    LogEndsBelowConsistentIndex {
        /// Last index of the log.
        last: LogIndex,
        /// What the backend has applied.
        consistent_index: LogIndex,
    },
    /// The recorded commit index points behind the end of the log.
    #[error("log ends at {last}, below the recorded commit index {commit}")]
    LogEndsBelowCommit {
        /// Last index of the log.
        last: LogIndex,
        /// Commit index of the hard state.
        commit: LogIndex,
    },
    /// The entries do not follow the snapshot and each other.
    #[error("log entry {found} where {expected} was expected")]
    LogGap {
        /// Index that should have come.
        expected: LogIndex,
        /// Index that came.
        found: LogIndex,
    },
    /// The term falls from one entry to the next.
    #[error("log entry {index} has term {term}, below its predecessor's {previous}")]
    TermFalls {
        /// The entry.
        index: LogIndex,
        /// Its term.
        term: Term,
        /// Term of the entry before.
        previous: Term,
    },
    /// The settings are not usable; the text is the library's.
    #[error("invalid raft options: {0}")]
    Options(String),
    /// The recorded configuration is not one that raft can run.
    #[error("invalid configuration in the snapshot record: {0}")]
    ConfState(String),
}

/// Everything that can happen to a member.
#[derive(Clone, Debug)]
pub enum Input {
    /// One heartbeat interval has passed.
    Tick,
    /// A message from another member.
    Message(Message),
    /// Requests to be put in the log; all those of one drain become one message.
    Propose(Vec<(RequestId, Bytes)>),
    /// The same, but only by this member as the leader of this term: what it may ask for only as
    /// such is never forwarded to another leader. Refused as [`RejectReason::NotLeading`] otherwise.
    ProposeAsLeader {
        /// The term.
        term: Term,
        /// The requests.
        requests: Vec<(RequestId, Bytes)>,
    },
    /// A configuration change to be put in the log.
    ProposeConfChange(RequestId, ConfChange),
    /// Reads that want to know how far they must wait; all those of one drain share one round.
    ReadIndex(Vec<RequestId>),
    /// Forget every unanswered read: their clients are gone.
    CancelReads,
    /// The [`Effect::Persist`] of this number, and all before it, are durable.
    Persisted(u64),
    /// All entries up to this one have been applied.
    Applied(LogIndex),
    /// A configuration change entry has been judged; answered by [`Effect::ConfState`] and due
    /// before [`Input::Applied`] passes it.
    ConfChangeApplied {
        /// Position of the entry.
        index: LogIndex,
        /// The change, or `None` when the membership rules refused it.
        change: Option<ConfChange>,
    },
    /// The snapshot of [`Effect::InstallSnapshot`] has replaced the state of this member, durably.
    SnapshotInstalled(SnapshotMetadata),
    /// It could not be installed. The log already begins behind it, so the member applies nothing
    /// more: it must be restarted, which installs it again.
    SnapshotInstallFailed,
    /// The snapshot that [`Effect::WantSnapshot`] asked for. When the next drain holds no
    /// [`Effect::SendSnapshot`], it is not needed any more.
    SnapshotReady(Snapshot),
    /// It could not be made; asked for again when the follower still needs it.
    SnapshotUnavailable,
    /// The transfer of an [`Effect::SendSnapshot`] has ended.
    SnapshotSent {
        /// The receiver.
        to: NodeId,
        /// Whether the receiver confirmed it.
        ok: bool,
    },
    /// Messages to this member may have been lost.
    Unreachable(NodeId),
    /// Nobody listens any more where this member was connected until just now: its process has
    /// most likely ended. A hint that may be wrong; see docs/decisions/0025.
    PeerGone(NodeId),
    /// Hand the leadership to this member.
    TransferLeader(NodeId),
    /// Start an election now.
    Campaign,
    /// Drop the in-memory log up to and including this index; never above what is applied.
    Compact(LogIndex),
}

/// Everything the member asks its surroundings to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Effect {
    /// These messages may leave at once.
    Send(Vec<Message>),
    /// Append to the log; effects of this kind are executed in their order.
    Persist {
        /// What [`Input::Persisted`] is to name; rises by gaps.
        number: u64,
        /// Entries to append; the first may overwrite older ones.
        entries: Vec<Entry>,
        /// The new hard state, when it changed.
        hard_state: Option<HardState>,
        /// The position of the snapshot that the log now begins behind, which the
        /// [`Effect::InstallSnapshot`] right before this effect brought.
        snapshot: Option<SnapshotMetadata>,
        /// Whether it must be on stable storage before [`Input::Persisted`].
        must_sync: bool,
        /// Messages that may leave only after it is durable.
        then: Vec<Message>,
    },
    /// Committed entries, in order; configuration changes hold etcd's bytes.
    Apply(Vec<Entry>),
    /// Replace the state of this member by this snapshot, whose database file is at hand. The
    /// [`Effect::Persist`] that comes next in the same drain holds its log record. The order that
    /// lets a crash at any point be recovered from: write the `.snap` file, execute that write,
    /// and when it is durable replace the state and answer [`Input::SnapshotInstalled`]. Until then
    /// no [`Effect::Apply`] comes; messages and log writes go on once the record is durable, so
    /// that the leader does not take a long installation for a death.
    InstallSnapshot(Snapshot),
    /// The configuration in force after an [`Input::ConfChangeApplied`].
    ConfState {
        /// Position of the entry.
        index: LogIndex,
        /// The configuration.
        conf_state: ConfState,
    },
    /// These reads are linearizable once this index is applied.
    ReadReady {
        /// The reads.
        requests: Vec<RequestId>,
        /// What they wait for.
        index: LogIndex,
    },
    /// These reads were not taken: too many are waiting.
    ReadDropped {
        /// The reads.
        requests: Vec<RequestId>,
    },
    /// These proposals are certainly not in the log.
    Rejected {
        /// The proposals.
        requests: Vec<RequestId>,
        /// Why.
        reason: RejectReason,
    },
    /// The term's leader or this member's role changed.
    Role {
        /// Term now.
        term: Term,
        /// Leader now; 0 when unknown.
        leader: NodeId,
        /// This member's role now.
        role: Role,
        /// Whether a known leader was lost or replaced: what was forwarded to it may be gone.
        lost_leader: bool,
    },
    /// A follower is behind the log: make a snapshot of the applied state and answer with
    /// [`Input::SnapshotReady`] or [`Input::SnapshotUnavailable`].
    WantSnapshot {
        /// The follower.
        to: NodeId,
    },
    /// Send this message together with the state its snapshot names; report
    /// [`Input::SnapshotSent`].
    SendSnapshot(Message),
}

/// Why a proposal was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectReason {
    /// No leader is known.
    NoLeader,
    /// This member does not lead the term that the proposal was made for.
    NotLeading,
    /// The leader takes none now: a transfer of the leadership is in progress, or too many bytes
    /// are uncommitted.
    Dropped,
    /// This member is not in the configuration any more.
    Removed,
    /// The queue of proposals is full.
    TooMany,
    /// The configuration change is not one that etcd knows how to make.
    Invalid,
}

/// Part a member plays in its term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Takes what a leader sends.
    #[default]
    Follower,
    /// Asks whether it would win.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
}

/// What a leader knows about another member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgressStatus {
    /// Last index known to be in its log.
    pub matched: LogIndex,
    /// Next index to send to it.
    pub next: LogIndex,
    /// How it is being fed.
    pub state: ProgressState,
    /// Whether it was heard from lately.
    pub recent_active: bool,
}

/// How a leader feeds another member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgressState {
    /// One message at a time, looking for where the logs agree.
    Probe,
    /// A stream of messages.
    Replicate,
    /// A snapshot is on its way.
    Snapshot,
}

/// A member's view of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// This member.
    pub id: NodeId,
    /// Current term.
    pub term: Term,
    /// Who got its vote in it; 0 for none.
    pub vote: NodeId,
    /// Commit index.
    pub commit: LogIndex,
    /// Applied index, as last reported by [`Input::Applied`].
    pub applied: LogIndex,
    /// The leader; 0 when unknown.
    pub leader: NodeId,
    /// This member's role.
    pub role: Role,
    /// Only at a leader: every member's progress, ascending by ID, itself included.
    pub progress: Vec<(NodeId, ProgressStatus)>,
    /// Who the leadership is being handed to.
    pub transferee: Option<NodeId>,
    /// First index in memory.
    pub first_index: LogIndex,
    /// Last index of the log.
    pub last_index: LogIndex,
}
