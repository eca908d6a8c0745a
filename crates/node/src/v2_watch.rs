//! Watchers of the v2 tree: from the apply thread to the connections of their clients.
//!
//! Owns:       [`V2Watchers`], the senders to the connections, and the hub that says who is told.
//! Uses:       `v2store::Hub`.
//! Never:      waits for a client: one that falls behind is cut.
//! Invariants: registration happens between two entries, so the index that it reports, the history
//!             that it looks into and the events that follow leave no gap; a connection that ends
//!             takes its watcher with it; whoever may have missed an event is cut, never left waiting.
//! Source:     api-v2.md 3; docs/decisions/0014-v2-watchers-and-snapshots.md.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use types::{EtcdError, V2Error, limits};
use v2store::{Event, Hub, Registered, Store, Watch, WatcherId, json};

use crate::apply_thread::ApplyJob;
use crate::handle::Handle;

/// An event on its way to watchers. Its body is made once, whoever of them comes first.
#[derive(Debug)]
pub struct V2Notice {
    event: Arc<Event>,
    body: OnceLock<Bytes>,
}

impl V2Notice {
    fn new(event: Arc<Event>) -> Self {
        Self { event, body: OnceLock::new() }
    }

    /// The event.
    #[must_use]
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// The event as a line of JSON.
    #[must_use]
    pub fn body(&self) -> Bytes {
        let make = || Bytes::from(json::event_body(&self.event, unix_ns()));
        self.body.get_or_init(make).clone()
    }
}

/// What comes next for a watcher.
#[derive(Clone, Debug)]
pub enum V2Next {
    /// An event; the only one unless the watcher is a stream.
    Event(Arc<V2Notice>),
    /// Nothing more: the watcher got its one event.
    End,
    /// Nothing more, and there may have been events: the server stops, the client was too slow, or
    /// this member does not know what happened. The client has to ask again.
    Cut,
}

/// A registered watcher.
#[derive(Debug)]
pub struct V2Watch {
    /// Store index at the registration.
    pub index: u64,
    /// What it is told.
    pub events: V2Events,
}

/// The events of one watcher; dropping it takes the watcher out.
#[derive(Debug)]
pub struct V2Events {
    first: Option<Arc<V2Notice>>,
    /// `None` for a watcher that the history has answered.
    live: Option<Live>,
    stream: bool,
    is_over: bool,
    closing: watch::Receiver<bool>,
    _slot: Slot,
}

impl V2Events {
    /// Waits for what comes next.
    pub async fn next(&mut self) -> V2Next {
        if self.is_over {
            return V2Next::End;
        }
        let next = match self.first.take() {
            Some(first) => Some(first),
            None => self.receive().await,
        };
        self.is_over = !self.stream || next.is_none();
        next.map_or(V2Next::Cut, V2Next::Event)
    }

    /// Whether nothing more will come.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// The next event from the apply thread; `None` when none can come.
    async fn receive(&mut self) -> Option<Arc<V2Notice>> {
        let Self { live, closing, .. } = self;
        let received = async {
            match live {
                Some(live) => live.receiver.recv().await,
                // A stream that the history has answered stays open and silent, as in etcd.
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            received = received => received,
            _ = closing.wait_for(|closing| *closing) => None,
        }
    }
}

/// A watcher in the registry, which is taken out again when its connection ends.
struct Live {
    id: WatcherId,
    receiver: mpsc::Receiver<Arc<V2Notice>>,
    leave: V2Leave,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Live").field(&self.id).finish()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // The registry drops the sender when it takes a watcher out by itself.
        if !self.receiver.is_closed() {
            (self.leave)(self.id);
        }
    }
}

/// How a watcher's end reaches the registry.
pub type V2Leave = Arc<dyn Fn(WatcherId) + Send + Sync>;

/// One of the places for watchers; free again when dropped.
#[derive(Debug)]
struct Slot(Arc<AtomicUsize>);

impl Slot {
    fn take(count: &Arc<AtomicUsize>) -> Result<Self, EtcdError> {
        let slot = Self(Arc::clone(count));
        if count.fetch_add(1, Ordering::Relaxed) >= limits::V2_WATCHERS_MAX {
            return Err(EtcdError::RequestTooManyRequests);
        }
        Ok(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A registration on its way to the apply thread.
pub(crate) struct V2Order {
    watch: Watch,
    slot: Slot,
    reply: oneshot::Sender<Result<V2Watch, V2Error>>,
}

/// All watchers of one member.
pub struct V2Watchers {
    hub: Hub,
    senders: BTreeMap<WatcherId, mpsc::Sender<Arc<V2Notice>>>,
    leave: V2Leave,
    closing: watch::Receiver<bool>,
}

impl V2Watchers {
    /// No watchers. `leave` is called when a watcher's connection ends; `closing` says when all
    /// have to.
    #[must_use]
    pub fn new(leave: V2Leave, closing: watch::Receiver<bool>) -> Self {
        Self { hub: Hub::new(), senders: BTreeMap::new(), leave, closing }
    }

    /// Registers a watcher at the present state of the store.
    ///
    /// # Errors
    /// Code 401 when events that it asks for have been forgotten.
    pub fn register(&mut self, store: &Store, watch: &Watch) -> Result<V2Watch, V2Error> {
        let slot = Slot(Arc::new(AtomicUsize::new(1)));
        self.register_in(store, watch, slot)
    }

    pub(crate) fn serve(&mut self, store: &Store, order: V2Order) {
        let V2Order { watch, slot, reply } = order;
        // A client that is gone already drops what it gets, and that takes the watcher out.
        drop(reply.send(self.register_in(store, &watch, slot)));
    }

    fn register_in(
        &mut self,
        store: &Store,
        watch: &Watch,
        slot: Slot,
    ) -> Result<V2Watch, V2Error> {
        let (first, live) = match self.hub.register(store, watch)? {
            Registered::Past(event) => (Some(Arc::new(V2Notice::new(event))), None),
            Registered::Live(id) => {
                let room = limits::V2_WATCHER_EVENTS_MAX + limits::V2_WATCHER_BURST_MAX;
                let (sender, receiver) = mpsc::channel(if watch.stream { room } else { 1 });
                self.senders.insert(id, sender);
                (None, Some(Live { id, receiver, leave: Arc::clone(&self.leave) }))
            }
        };
        let events = V2Events {
            first,
            live,
            stream: watch.stream,
            is_over: false,
            closing: self.closing.clone(),
            _slot: slot,
        };
        Ok(V2Watch { index: store.index(), events })
    }

    /// Takes a watcher out whose connection has ended.
    pub fn leave(&mut self, id: WatcherId) {
        self.hub.remove(id);
        self.senders.remove(&id);
    }

    /// How many watchers wait for events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hub.len()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hub.is_empty()
    }

    /// Tells the watchers of events that happened at one time, each with the paths of all nodes that
    /// went. A stream that was not behind before gets all of them.
    pub fn notify<E: Into<Arc<Event>>>(
        &mut self,
        burst: impl IntoIterator<Item = (E, impl AsRef<[String]>)>,
    ) {
        for (place, (event, removed)) in burst.into_iter().enumerate() {
            if self.hub.is_empty() {
                return;
            }
            self.deliver(event.into(), removed.as_ref(), limits::V2_WATCHER_EVENTS_MAX + place);
        }
    }

    /// Delivers an event to those for whom less than `waiting_max` events wait.
    fn deliver(&mut self, event: Arc<Event>, removed: &[String], waiting_max: usize) {
        let deliveries = self.hub.notify(&event, removed);
        if deliveries.is_empty() {
            return;
        }
        let notice = Arc::new(V2Notice::new(event));
        for delivery in deliveries {
            let id = delivery.watcher;
            let Some(sender) = self.senders.get(&id) else { continue };
            let waiting = sender.max_capacity() - sender.capacity();
            let is_lost = waiting >= waiting_max || sender.try_send(Arc::clone(&notice)).is_err();
            if delivery.is_last || is_lost {
                self.leave(id);
            }
        }
    }

    /// Tells the watchers what a snapshot jumped over, or cuts those that may have missed something.
    pub fn jumped(&mut self, earlier: &Store, now: &Store) {
        if self.hub.is_empty() {
            return;
        }
        if let Some(missed) = now.missed_since(earlier) {
            self.notify(missed);
            return;
        }
        let cut = self.hub.give_up(now.index());
        tracing::warn!(
            watchers = cut.len(),
            "cut v2 watchers: a snapshot passed over their events"
        );
        for id in cut {
            self.senders.remove(&id);
        }
    }
}

impl Handle {
    /// Registers a watcher of the v2 tree of this member.
    ///
    /// # Errors
    /// `RequestTooManyRequests` when there are too many watchers, `Stopped` when the member stops;
    /// inside, code 401 when events that it asks for have been forgotten.
    pub async fn watch_v2(&self, watch: Watch) -> Result<Result<V2Watch, V2Error>, EtcdError> {
        let inner = self.inner();
        let slot = Slot::take(&inner.shared.v2_watchers)?;
        let (reply, registered) = oneshot::channel();
        inner.apply.push(ApplyJob::V2Watch(V2Order { watch, slot, reply }));
        tokio::select! {
            registered = registered => registered.map_err(|_| EtcdError::Stopped),
            () = self.streams_closing() => Err(EtcdError::Stopped),
        }
    }

    /// Watchers of the v2 tree of this member, on their way in included.
    #[must_use]
    pub fn v2_watchers(&self) -> usize {
        self.inner().shared.v2_watchers.load(Ordering::Relaxed)
    }
}

/// Only for an event whose `ttl` nobody has fixed.
fn unix_ns() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
