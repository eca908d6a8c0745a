//! The handle: peers, routing of messages, and life cycle.
//!
//! Owns:       the peers and remotes.
//! Uses:       `peer`, `server`.
//! Never:      decides who is a member; the node says so with `add_peer` and `remove_peer`.
//! Invariants: no ID is a peer and a remote with streams at once; `send` takes no lock for long.
//! Source:     peer-protocol.md 7.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use proto::raftpb::{Message, MessageType};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use types::NodeId;

use crate::api::{Options, PeerApi, SnapshotBody};
use crate::counters::{PeerCounters, Registry};
use crate::limits;
use crate::peer::{Peer, PeerCore, Relation, Shared, StreamKind};
use crate::server::{self, PeerListener};
use crate::url_picker::parse_urls;

/// One member's connections to all others; a cheap handle.
#[derive(Clone)]
pub struct Transport(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    peers: RwLock<Peers>,
    stopped: watch::Sender<bool>,
}

#[derive(Default)]
struct Peers {
    members: BTreeMap<NodeId, Peer>,
    remotes: BTreeMap<NodeId, Peer>,
}

impl Peers {
    fn find(&self, id: NodeId) -> Option<&Peer> {
        self.members.get(&id).or_else(|| self.remotes.get(&id))
    }
}

impl Transport {
    /// A transport without peers, whose tasks run on `runtime`.
    #[must_use]
    pub fn start(options: Options, api: Arc<dyn PeerApi>, runtime: &Handle) -> Self {
        let shared = Arc::new(Shared {
            options,
            api,
            runtime: runtime.clone(),
            counters: Registry::default(),
            snapshots_out: Arc::new(Semaphore::new(limits::SNAPSHOTS_OUT_MAX)),
            snapshots_in: Arc::new(Semaphore::new(limits::SNAPSHOTS_IN_MAX)),
        });
        let (stopped, _receiver) = watch::channel(false);
        Self(Arc::new(Inner { shared, peers: RwLock::default(), stopped }))
    }

    /// Queues messages for their receivers, in order. Never waits: what finds no room is dropped
    /// and its receiver reported with [`PeerApi::unreachable`], once per call.
    pub fn send(&self, messages: Vec<Message>) {
        let superseded = superseded_acks(&messages);
        let mut unreachable = BTreeSet::new();
        let peers = self.peers();
        for (position, message) in messages.into_iter().enumerate() {
            let to = NodeId(message.to);
            if to == NodeId(0) || superseded.contains(&position) {
                continue;
            }
            if message.message_type == MessageType::Snap {
                tracing::error!(to = %to, "snapshot message without its database, not sent");
                unreachable.insert(to);
                continue;
            }
            match peers.find(to) {
                None => tracing::debug!(to = %to, "dropped a message to an unknown member"),
                Some(peer) => {
                    if peer.send(message).is_err() {
                        unreachable.insert(to);
                    }
                }
            }
        }
        drop(peers);
        for id in unreachable {
            self.0.shared.api.unreachable(id);
        }
    }

    /// Sends a `MsgSnap` with its database; the outcome comes with [`PeerApi::snapshot_sent`], never
    /// on the calling thread unless the receiver is being removed.
    pub fn send_snapshot(&self, message: Message, body: Box<dyn SnapshotBody>) {
        let to = NodeId(message.to);
        if let Some(peer) = self.peers().members.get(&to) {
            peer.send_snapshot(message, body);
            return;
        }
        tracing::warn!(to = %to, "dropped a snapshot to an unknown member");
        let shared = Arc::clone(&self.0.shared);
        let runtime = shared.runtime.clone();
        runtime.spawn(async move { shared.api.snapshot_sent(to, false) });
    }

    /// Adds a member to talk to; no effect if it is there already.
    pub fn add_peer(&self, id: NodeId, urls: &[String]) {
        if id == self.0.shared.options.local_id || *self.0.stopped.borrow() {
            return;
        }
        let mut peers = self.peers_mut();
        if peers.members.contains_key(&id) {
            return;
        }
        tracing::info!(peer = %id, ?urls, "added peer");
        let peer = Peer::start(&self.0.shared, id, parse_urls(urls), Relation::Member);
        peers.members.insert(id, peer);
        // Its pipeline takes over; what was queued for the remote is raft's to repeat.
        let remote = peers.remotes.remove(&id);
        drop(peers);
        drop(remote);
    }

    /// Adds a member that is only known by its own requests, until the log catches up; no effect if
    /// it is known or there are [`limits::REMOTES_MAX`] of them.
    pub fn add_remote(&self, id: NodeId, urls: &[String]) {
        let local = id == self.0.shared.options.local_id;
        if local || *self.0.stopped.borrow() || self.peers().find(id).is_some() {
            return;
        }
        let mut peers = self.peers_mut();
        if peers.find(id).is_some() || peers.remotes.len() >= limits::REMOTES_MAX {
            return;
        }
        tracing::info!(peer = %id, ?urls, "added remote");
        let remote = Peer::start(&self.0.shared, id, parse_urls(urls), Relation::Remote);
        peers.remotes.insert(id, remote);
    }

    /// Stops talking to a member; what is queued for it is dropped.
    pub fn remove_peer(&self, id: NodeId) {
        let mut peers = self.peers_mut();
        let removed = (peers.members.remove(&id), peers.remotes.remove(&id));
        drop(peers);
        // Outside the lock: the end of a peer may call the node.
        drop(removed);
    }

    /// Talks to exactly these members from now on. Connections to those known already stay, and with
    /// them what is queued and under way.
    pub fn set_peers(&self, members: &BTreeMap<NodeId, Vec<String>>) {
        let (known, gone): (Vec<NodeId>, Vec<NodeId>) = {
            let peers = self.peers();
            let all: BTreeSet<NodeId> =
                peers.members.keys().chain(peers.remotes.keys()).copied().collect();
            all.into_iter().partition(|id| members.contains_key(id))
        };
        gone.into_iter().for_each(|id| self.remove_peer(id));
        for (id, urls) in members {
            if known.contains(id) {
                self.update_peer(*id, urls);
            }
            self.add_peer(*id, urls);
        }
    }

    /// Takes new URLs for a member; open connections stay.
    pub fn update_peer(&self, id: NodeId, urls: &[String]) {
        if let Some(peer) = self.peers().members.get(&id) {
            peer.core.picker.update(parse_urls(urls));
            tracing::info!(peer = %id, ?urls, "updated peer");
        }
    }

    /// Stops talking to everyone.
    pub fn remove_all(&self) {
        let removed = std::mem::take(&mut *self.peers_mut());
        drop(removed);
    }

    /// Since when a member can be reached; `None` while it cannot.
    #[must_use]
    pub fn active_since(&self, id: NodeId) -> Option<Instant> {
        self.peers().members.get(&id)?.core.activity.since()
    }

    /// Members that can be reached, ascending.
    #[must_use]
    pub fn connected_peers(&self) -> Vec<NodeId> {
        let active = |(id, peer): (&NodeId, &Peer)| peer.core.activity.since().map(|_since| *id);
        self.peers().members.iter().filter_map(active).collect()
    }

    /// Whether the member has opened both of its streams here.
    #[must_use]
    pub fn has_streams(&self, id: NodeId) -> bool {
        self.peers().members.get(&id).is_some_and(|peer| {
            [StreamKind::Append, StreamKind::Message]
                .into_iter()
                .all(|kind| peer.core.slot(kind).is_attached())
        })
    }

    /// Counters of every member there has been.
    #[must_use]
    pub fn counters(&self) -> Vec<(NodeId, Arc<PeerCounters>)> {
        self.0.shared.counters.all()
    }

    /// Serves a peer listener until `shutdown` is ready or the transport is stopped. May run several
    /// times at once, for several listeners.
    pub async fn serve(
        &self,
        listener: impl Into<PeerListener>,
        shutdown: impl Future<Output = ()>,
    ) {
        let mut stopped = self.0.stopped.subscribe();
        let either = async move {
            tokio::select! {
                () = shutdown => {}
                // An error would mean that the transport is gone, which is the same.
                _stopped = stopped.wait_for(|stopped| *stopped) => {}
            }
        };
        server::serve(self.clone(), listener.into(), either).await;
    }

    /// Serves one connection that somebody else accepted, such as a TLS listener.
    pub async fn serve_connection<T>(&self, io: T)
    where
        T: AsyncRead + AsyncWrite + Send + Unpin,
    {
        server::serve_connection(self.clone(), io).await;
    }

    /// Drops all peers and ends [`Transport::serve`].
    pub async fn stop(&self) {
        self.0.stopped.send_replace(true);
        self.remove_all();
        // Aborted tasks are dropped by their runtime; give it the chance to do so.
        tokio::task::yield_now().await;
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    pub(crate) fn peer_core(&self, id: NodeId) -> Option<Arc<PeerCore>> {
        self.peers().members.get(&id).map(|peer| Arc::clone(&peer.core))
    }

    fn peers(&self) -> RwLockReadGuard<'_, Peers> {
        self.0.peers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn peers_mut(&self) -> RwLockWriteGuard<'_, Peers> {
        self.0.peers.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Positions of acknowledgements that a later one to the same leader makes superfluous.
fn superseded_acks(messages: &[Message]) -> BTreeSet<usize> {
    let mut superseded = BTreeSet::new();
    let mut latest: BTreeMap<u64, &Message> = BTreeMap::new();
    for (position, message) in messages.iter().enumerate().rev() {
        if message.message_type != MessageType::AppResp || message.reject {
            continue;
        }
        match latest.get(&message.to) {
            Some(later) if later.term == message.term && later.index >= message.index => {
                superseded.insert(position);
            }
            _ => {
                latest.insert(message.to, message);
            }
        }
    }
    superseded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_ack_of_a_term_is_kept() {
        let ack = |to, term, index, reject| Message {
            message_type: MessageType::AppResp,
            to,
            term,
            index,
            reject,
            ..Message::default()
        };
        let messages = [
            ack(1, 2, 5, false),
            ack(2, 2, 5, false),
            ack(1, 2, 6, true),
            ack(1, 2, 7, false),
            ack(1, 3, 7, false),
            Message::default(),
            ack(1, 3, 8, false),
        ];
        let superseded: Vec<usize> = superseded_acks(&messages).into_iter().collect();
        assert_eq!(superseded, [0, 4]);
    }
}
