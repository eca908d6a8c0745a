//! Virtual time: what happens next.
//!
//! Owns:       the queue of events.
//! Uses:       nothing.
//! Never:      a clock.
//! Invariants: events at the same time happen in the order in which they were added.

use std::collections::BTreeMap;

use bytes::Bytes;
use consensus::Input;
use proto::raftpb::Message;
use types::{NodeId, RequestId};

use crate::turn::Task;

/// One life of a member, from a start to a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) id: NodeId,
    pub(crate) number: u64,
}

/// Something that happens.
#[derive(Debug)]
pub(crate) enum Event {
    Tick(Life),
    Task(Life, Task),
    Post(Life, Box<Input>),
    /// A message arrives, as bytes.
    Deliver(Bytes),
    /// The image of a database has arrived; it is written.
    SnapshotArrives {
        sender: Life,
        message: Box<Message>,
        image: Vec<u8>,
    },
    /// It gets its name and is handed to raft.
    SnapshotReceived {
        sender: Life,
        receiver: Life,
        message: Box<Message>,
    },
    /// A member's own chores: publishing itself, the leader's duties, purging.
    Chores(Life),
    /// A removed member has had time to send its last messages.
    Leave(Life),
    Restart(NodeId),
    Client(usize),
    /// A client that watches.
    WatchClient(usize),
    /// A client that watches the v2 tree.
    V2WatchClient(usize),
    /// The holders of leases.
    LeaseClient,
    /// A member's watch hub: publishing, catching up.
    Watch(Life),
    GiveUp(RequestId),
    Admin,
    Crash,
    Partition,
    DiskFault,
    TransferLeader,
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    now_us: u64,
    added: u64,
    events: BTreeMap<(u64, u64), Event>,
}

impl Schedule {
    pub(crate) fn now_us(&self) -> u64 {
        self.now_us
    }

    pub(crate) fn after(&mut self, delay_us: u64, event: Event) {
        self.added += 1;
        self.events.insert((self.now_us + delay_us, self.added), event);
    }

    /// Takes the next event, and moves time to it.
    pub(crate) fn next(&mut self) -> Option<Event> {
        let ((at_us, _), event) = self.events.pop_first()?;
        self.now_us = at_us;
        Some(event)
    }
}
