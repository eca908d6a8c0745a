//! What a member may use during one step, and what comes out of it.
//!
//! Owns:       nothing beyond the step.
//! Uses:       plain values.
//! Never:      the other members: everything leaves through here.
//! Invariants: a member changes nothing outside of itself but through its turn.

use std::sync::Arc;

use apply::Reply;
use backend::View;
use consensus::{RejectReason, Role};
use proto::raftpb::{Entry, Message};
use rand::rngs::StdRng;
use types::{NodeId, RequestId};

/// A step that a member has to do; each is one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Task {
    /// The raft thread: step all inputs, execute the effects.
    Raft,
    /// The wal thread: write a group.
    LogWrite,
    /// The wal thread: sync the group and settle what waited for it.
    LogSync,
    /// The apply thread: a chunk of entries, or one step of a configuration change or installation.
    Apply,
    /// The flusher: take the rows.
    FlushTake,
    /// The flusher: commit them.
    FlushCommit,
    /// The checkpoint: write the `.snap` file.
    CheckpointSave,
    /// The checkpoint: its log record is durable, the log may shrink.
    CheckpointRelease,
    /// A snapshot for a follower: make it out of a capture.
    SnapshotBuild,
    /// The compactor: read a batch of rows.
    Compact,
    /// Housekeeping: delete old files.
    Purge,
}

/// A snapshot on its way to a follower.
pub(crate) struct Transfer {
    pub(crate) message: Message,
    pub(crate) view: Arc<dyn View>,
}

/// A log write, as far as oracles care.
#[derive(Clone, Debug)]
pub(crate) struct LogNote {
    /// Index, term, fingerprint of the content.
    pub(crate) entries: Vec<(u64, u64, u64)>,
    /// Term, vote and commit index, if they are written.
    pub(crate) hard_state: Option<(u64, u64, u64)>,
    /// Position of a received snapshot.
    pub(crate) snapshot: Option<(u64, u64)>,
}

/// An applied entry.
#[derive(Debug)]
pub(crate) struct AppliedNote {
    pub(crate) entry: Entry,
    pub(crate) revision: i64,
    pub(crate) request: RequestId,
    pub(crate) reply: Option<Reply>,
    /// State hash behind it; `None` while entries are being replayed.
    pub(crate) state_hash: Option<u64>,
    /// Term and voters at this member.
    pub(crate) term: u64,
    pub(crate) voters: Vec<u64>,
}

/// A fact for the oracles.
#[derive(Debug)]
pub(crate) enum Note {
    Role {
        term: u64,
        leader: NodeId,
        role: Role,
    },
    Handed(LogNote),
    Synced(LogNote),
    Applied(Box<AppliedNote>),
    /// An event of the v2 tree, with the paths that it removed.
    V2Event(Box<v2store::Event>, Vec<String>),
    Rejected(Vec<RequestId>, RejectReason),
    /// A read that may now be served here.
    ReadReady(RequestId),
    ReadDropped(Vec<RequestId>),
    Installed {
        index: u64,
        state_hash: Option<u64>,
    },
    Checkpoint(u64),
    SelfRemoved,
}

/// One step of one member.
pub(crate) struct Turn<'a> {
    pub(crate) rng: &'a mut StdRng,
    pub(crate) now_us: u64,
    pub(crate) messages: Vec<Message>,
    pub(crate) transfers: Vec<Transfer>,
    pub(crate) wake: Vec<Task>,
    pub(crate) notes: Vec<Note>,
}

impl<'a> Turn<'a> {
    pub(crate) fn new(rng: &'a mut StdRng, now_us: u64) -> Self {
        Self {
            rng,
            now_us,
            messages: Vec::new(),
            transfers: Vec::new(),
            wake: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Asks for a step; more than one request for the same step is one.
    pub(crate) fn wake(&mut self, task: Task) {
        self.wake.push(task);
    }
}
