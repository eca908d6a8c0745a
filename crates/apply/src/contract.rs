//! What goes into the machine and what comes out of it, as plain values.
//!
//! Owns:       the shapes of the contract between the machine and the shell.
//! Uses:       `types`, `mvcc`, `v2store`, `membership`, `proto` for rows and replies.
//! Never:      behaviour.
//! Invariants: a `Fault` is never shown to a client; a `Reply` is the same on every member.
//! Source:     design.md 4 and 5; peer-protocol.md 12.4 and 15.

use std::ops::ControlFlow;

use bytes::Bytes;
use membership::{ClusterVersion, Member, Membership, MembershipError};
use mvcc::{DeleteReply, HistoryFault, PutReply, RangeReply, TxnReply};
use proto::etcdserverpb::AlarmMember;
use proto::raftpb;
use types::{
    Bucket, ClusterId, EtcdError, LeaseId, LogIndex, NodeId, Op, RequestId, Term, V2Error,
};

use crate::kind::RequestKind;

/// The rows of the database at one moment, as restart reads them.
pub trait Source {
    /// One row.
    ///
    /// # Errors
    /// The database cannot be read.
    fn get(&self, bucket: Bucket, key: &[u8]) -> Result<Option<Bytes>, HistoryFault>;

    /// All rows with keys at or above `from`, ascending, until `visit` breaks.
    ///
    /// # Errors
    /// The database cannot be read.
    #[expect(clippy::type_complexity, reason = "an alias would hide what implementors write")]
    fn scan(
        &self,
        bucket: Bucket,
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), HistoryFault>;

    /// All rows of bucket `key`, as one run of [`crate::read_run`] or several, each behind the one
    /// before: whoever has threads makes several at a time.
    ///
    /// # Errors
    /// The database cannot be read, or a row is malformed.
    fn key_runs(&self) -> Result<Vec<mvcc::Run>, Fault>;
}

/// What a machine is told about its place; all of it is fixed for the life of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// This member.
    pub local: NodeId,
    /// The cluster it belongs to.
    pub cluster_id: ClusterId,
    /// `--max-learners`; must be equal on all members.
    pub max_learners: usize,
    /// Quota of the v3 buckets in bytes; at or below zero it is off.
    pub quota_bytes: i64,
    /// Election time-out, of which the smallest lease TTL is derived (peer-protocol.md 15.10).
    pub election_timeout_ms: u64,
    /// The version this process stands for; a higher cluster version is a fault.
    pub server_version: ClusterVersion,
}

impl Settings {
    /// The smallest TTL a lease is granted: one and a half election time-outs in whole seconds,
    /// rounded up; 2 by default.
    #[must_use]
    pub fn lease_ttl_min_seconds(&self) -> i64 {
        let half_longer_ms = self.election_timeout_ms.saturating_mul(3) / 2;
        i64::try_from(half_longer_ms.div_ceil(1_000)).unwrap_or(i64::MAX)
    }
}

/// The newest raft snapshot on this member: where raft's replay starts.
#[derive(Clone, Debug, Default)]
pub struct SnapshotBase {
    /// Its position; zero when there is none and replay starts at the first entry.
    pub index: LogIndex,
    /// Its term.
    pub term: Term,
    /// Its payload, the v2 tree; `None` when there is no snapshot.
    pub v2: Option<v2store::Store>,
    /// Its configuration, of the WAL record or else of the `.snap` file; empty at index zero.
    pub conf_state: raftpb::ConfState,
}

/// What restoring found besides the machine itself.
#[derive(Debug, Default)]
pub struct Restored {
    /// Things an operator should read, in plain words, one line each.
    pub notes: Vec<String>,
    /// Rows to be written before those of any entry, all in one batch and together with
    /// [`crate::Machine::meta_ops`], or a crash could leave half of them trusted.
    pub ops: Vec<Op>,
    /// A compaction that was scheduled and not finished: deletion has to go on at this revision.
    pub resume_compaction: Option<i64>,
}

/// The outcome of one entry.
#[derive(Debug, Default)]
#[must_use]
pub struct Applied {
    /// Position of the entry.
    pub index: LogIndex,
    /// Term of the entry.
    pub term: Term,
    /// Who waits for it; zero for nobody.
    pub request_id: RequestId,
    /// What kind of request was carried out; `None` for replayed and empty entries.
    pub kind: Option<RequestKind>,
    /// What to tell the waiter; `None` for replayed and empty entries.
    pub reply: Option<Reply>,
    /// Store revision after the entry.
    pub revision: i64,
    /// Rows to be written together with [`crate::Machine::meta_ops`] of the same position.
    pub ops: Vec<Op>,
    /// Changes of v3 keys, all at `revision`.
    pub events: Vec<mvcc::Event>,
    /// Changes of the v2 tree, membership's own included.
    pub v2_events: Vec<v2store::Event>,
    /// For each of them the paths of all nodes that it removed, as `v2store::Applied` says.
    pub v2_removed: Vec<Vec<String>>,
    /// What this member alone has to do about it.
    pub local: Vec<Local>,
}

/// A reply to whoever proposed the entry.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a box would cost v2 requests more than the copy")]
pub enum Reply {
    /// To a v3 request.
    V3(Result<Response, EtcdError>),
    /// To a v2 request.
    V2(Result<v2store::Event, V2Error>),
    /// To a membership change: the members after it.
    Members(Result<Vec<Member>, MembershipError>),
}

/// A v3 response without its header.
#[derive(Debug)]
pub enum Response {
    /// To a range that went through the log.
    Range(RangeReply),
    /// To a put.
    Put(PutReply),
    /// To a delete range.
    DeleteRange(DeleteReply),
    /// To a transaction.
    Txn(TxnReply),
    /// To a compaction; physical deletion follows.
    Compaction,
    /// To a lease grant, with the TTL that was granted.
    LeaseGrant {
        /// The lease.
        id: LeaseId,
        /// Seconds.
        ttl: i64,
    },
    /// To a lease revoke.
    LeaseRevoke,
    /// To a lease checkpoint.
    LeaseCheckpoint,
    /// To an alarm request: the alarms it is about.
    Alarm(Vec<AlarmMember>),
    /// To requests whose answer carries nothing.
    Empty,
}

/// Something that only this member has to do after an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Local {
    /// A member joined; the transport needs a peer unless it is this one.
    MemberAdded(Member),
    /// A member left.
    MemberRemoved(NodeId),
    /// Peer URLs, learner state, name or client URLs of a member changed.
    MemberUpdated(Member),
    /// This member is no longer in the cluster and has to stop.
    SelfRemoved,
    /// The quota was passed by this entry: propose a NOSPACE alarm for this member.
    ProposeNoSpaceAlarm,
    /// A compaction was accepted: rows up to this revision may go, once the batch is durable.
    CompactionScheduled(i64),
    /// A lease was granted; a leader keeps its deadline.
    LeaseGranted {
        /// The lease.
        id: LeaseId,
        /// Its time to live in seconds.
        ttl_seconds: i64,
    },
    /// A lease was revoked.
    LeaseRevoked(LeaseId),
    /// A leader's first entry of its term: pending reads are retried, a leader starts its duties.
    FirstEntryOfTerm,
    /// The cluster version changed.
    ClusterVersionSet(ClusterVersion),
    /// The set of alarms changed.
    AlarmsChanged,
    /// The replay of the log has arrived at another v2 tree than the rows of the database hold.
    V2RowsDiffer,
}

/// What the machine decided about a conf change, before raft was told.
#[derive(Clone, Debug)]
#[must_use]
pub struct ConfDecision {
    /// What raft is to be told; `None`: nothing changes.
    pub change: Option<raftpb::ConfChange>,
    pub(crate) request_id: RequestId,
    pub(crate) outcome: Result<membership::Change, MembershipError>,
}

/// Replicated state at one position, cheap to take and unaffected by what follows.
#[derive(Clone, Debug)]
pub struct Frozen {
    /// Position.
    pub index: LogIndex,
    /// Term of the entry there.
    pub term: Term,
    /// The v2 tree, membership included.
    pub v2: v2store::Store,
    /// raft's configuration.
    pub conf_state: raftpb::ConfState,
    /// The members.
    pub membership: Membership,
}

/// A failure of this member, or of the entry for all members; the process must stop.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The database could not be read, or holds rows that no etcd writes.
    #[error("read database: {0}")]
    History(#[from] HistoryFault),
    /// A row has a value that cannot be understood.
    #[error("row {key} of bucket {bucket}: {reason}")]
    BadRow {
        /// Bucket name.
        bucket: &'static str,
        /// Row key, printable.
        key: String,
        /// What was expected and found.
        reason: String,
    },
    /// A committed entry that no etcd writes.
    #[error("apply entry {index}: {reason}")]
    BadEntry {
        /// Its position.
        index: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A committed entry of a kind that this version does not implement.
    #[error("apply entry {index}: {kind} is not supported yet")]
    Unsupported {
        /// Its position.
        index: u64,
        /// Its kind.
        kind: &'static str,
    },
    /// The database belongs to a cluster with auth switched on.
    #[error("auth is not supported yet, and this database has it enabled")]
    AuthEnabled,
    /// The cluster has moved beyond this process.
    #[error(
        "invalid downgrade; server version is lower than determined cluster version \
         (current-server-version: {server}, determined-cluster-version: {cluster})"
    )]
    ClusterVersionTooHigh {
        /// The cluster's.
        cluster: ClusterVersion,
        /// Ours.
        server: ClusterVersion,
    },
    /// An entry came out of turn.
    #[error("apply entry {found}: expected entry {expected}")]
    OutOfOrder {
        /// The next position.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// The database is older than the raft snapshot it belongs to.
    #[error("database file (index {database}) does not match with snapshot (index {snapshot})")]
    BehindSnapshot {
        /// Its consistent index.
        database: u64,
        /// Position of the snapshot.
        snapshot: u64,
    },
    /// The v2 tree of the raft snapshot names no proper members.
    #[error("read members of the raft snapshot: {reason}")]
    BadSnapshot {
        /// What is wrong with it.
        reason: String,
    },
}
