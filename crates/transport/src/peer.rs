//! One other member: its streams, pipeline, snapshots and tasks.
//!
//! Owns:       the tasks that dial the peer, its queues and its state of activity.
//! Uses:       the channels (`stream_*`, `pipeline`, `snapshot`, `probe`).
//! Never:      waits in [`Peer::send`].
//! Invariants: a message goes to exactly one channel, chosen as peer-protocol.md 7 says; dropping
//!             the peer ends its tasks and streams.
//! Source:     peer-protocol.md 4-7.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use proto::raftpb::{Message, MessageType};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use types::NodeId;

use crate::activity::{Activity, lock};
use crate::api::{Options, PeerApi, SnapshotBody};
use crate::counters::{PeerCounters, Registry};
use crate::dial::{Connection, DialError, PeerUrl};
use crate::stream_writer::{Refused, StreamSlot};
use crate::url_picker::UrlPicker;
use crate::{limits, pipeline, probe, snapshot, stream_reader};

/// What all peers and connections of one transport share.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) api: Arc<dyn PeerApi>,
    pub(crate) runtime: Handle,
    pub(crate) counters: Registry,
    pub(crate) snapshots_out: Arc<Semaphore>,
    pub(crate) snapshots_in: Arc<Semaphore>,
}

impl Shared {
    pub(crate) fn dial_timeout(&self) -> Duration {
        self.options.election_timeout + limits::DIAL_TIMEOUT_EXTRA
    }
}

/// The two kinds of stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamKind {
    /// Appends, in the compact encoding.
    Append,
    /// Everything else.
    Message,
}

impl StreamKind {
    /// Its name in the path.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Append => "msgapp",
            Self::Message => "message",
        }
    }
}

/// What the tasks of a peer share.
pub(crate) struct PeerCore {
    pub(crate) id: NodeId,
    pub(crate) shared: Arc<Shared>,
    pub(crate) picker: UrlPicker,
    pub(crate) activity: Activity,
    pub(crate) counters: Arc<PeerCounters>,
    append_slot: StreamSlot,
    message_slot: StreamSlot,
}

impl PeerCore {
    pub(crate) fn slot(&self, kind: StreamKind) -> &StreamSlot {
        match kind {
            StreamKind::Append => &self.append_slot,
            StreamKind::Message => &self.message_slot,
        }
    }

    /// Connects to a URL of the peer; a write may stand still for `stall`.
    pub(crate) async fn dial(
        &self,
        url: &PeerUrl,
        stall: Duration,
    ) -> Result<Connection, DialError> {
        let connector = &self.shared.options.connector;
        Connection::open(connector, url, self.shared.dial_timeout(), stall).await
    }

    /// Moves on to the next URL and marks the peer.
    pub(crate) fn failed(&self, url: &PeerUrl, reason: &str) {
        self.picker.unreachable(url);
        self.activity.deactivate(self.id, &self.counters, reason);
    }

    /// Counts a message that found no room. The caller reports the peer unreachable.
    fn dropped(&self) {
        self.counters.dropped_outgoing.add(1);
        self.counters.send_failures.add(1);
    }
}

/// How much is known of another member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    /// A member: streams in both directions.
    Member,
    /// Only its own requests are known: pipeline alone, until membership catches up.
    Remote,
}

/// The message had no room or no channel and is gone.
#[derive(Debug)]
pub(crate) struct Dropped;

pub(crate) struct Peer {
    pub(crate) core: Arc<PeerCore>,
    pipeline: mpsc::Sender<Message>,
    relation: Relation,
    tasks: Mutex<JoinSet<()>>,
}

impl Peer {
    pub(crate) fn start(
        shared: &Arc<Shared>,
        id: NodeId,
        urls: Vec<PeerUrl>,
        relation: Relation,
    ) -> Self {
        let core = Arc::new(PeerCore {
            id,
            shared: Arc::clone(shared),
            picker: UrlPicker::new(urls),
            activity: Activity::default(),
            counters: shared.counters.register(id),
            append_slot: StreamSlot::default(),
            message_slot: StreamSlot::default(),
        });
        let mut tasks = JoinSet::new();
        let pipeline = pipeline::start(&core, &mut tasks);
        if relation == Relation::Member {
            for kind in [StreamKind::Append, StreamKind::Message] {
                tasks.spawn_on(stream_reader::run(Arc::clone(&core), kind), &shared.runtime);
            }
            tasks.spawn_on(probe::run(Arc::clone(&core)), &shared.runtime);
        }
        Self { core, pipeline, relation, tasks: Mutex::new(tasks) }
    }

    /// Queues a message on the channel it belongs to.
    pub(crate) fn send(&self, message: Message) -> Result<(), Dropped> {
        let kinds: &[StreamKind] = match (self.relation, message.message_type) {
            (Relation::Remote, _) => &[],
            (Relation::Member, MessageType::App) => &[StreamKind::Append, StreamKind::Message],
            (Relation::Member, _) => &[StreamKind::Message],
        };
        let mut message = message;
        for &kind in kinds {
            match self.core.slot(kind).try_send(message) {
                Ok(()) => return Ok(()),
                Err(Refused::Detached(returned)) => message = *returned,
                Err(Refused::Full) => {
                    self.core.dropped();
                    return Err(Dropped);
                }
            }
        }
        self.pipeline.try_send(message).map_err(|_full| {
            self.core.dropped();
            Dropped
        })
    }

    /// Sends a snapshot in a task of its own; the outcome is reported from there.
    pub(crate) fn send_snapshot(&self, message: Message, body: Box<dyn SnapshotBody>) {
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        let task = snapshot::send(Arc::clone(&self.core), message, body);
        tasks.spawn_on(task, &self.core.shared.runtime);
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // The tasks end with their set; streams live in the server's connections.
        for kind in [StreamKind::Append, StreamKind::Message] {
            self.core.slot(kind).close();
        }
        if self.core.activity.since().is_some() {
            tracing::info!(peer = %self.core.id, "stopped peer");
        }
    }
}
