//! One client's stream of watchers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use mvcc::watch::{Created, Start, WatchSpec, WatcherKey};

use super::queue::{Queue, Queues, Taken, WatchCharge, WatchItem};
use super::{Table, WatchHub};
use crate::shared::Shared;

/// A stream with its watchers; they are removed when it is dropped.
pub struct WatchStream {
    shared: Arc<Shared>,
    id: u64,
    queue: Arc<Queue>,
}

impl WatchStream {
    pub(crate) fn open(shared: &Arc<Shared>) -> Self {
        let hub = &shared.watch;
        let id = hub.next_stream.fetch_add(1, Ordering::Relaxed);
        let bell = hub.bells.of_current_runtime();
        let queue = Arc::new(Queue::new(Arc::clone(&hub.queued_bytes), bell));
        hub.streams.fetch_add(1, Ordering::AcqRel);
        hub.lock_table().queues.insert(id, Arc::clone(&queue));
        // What was published while nobody listened is skipped now. Whoever saw no stream has left
        // the lock with its order to skip.
        drop(hub.lock_waiting());
        hub.waiting_bell.notify_one();
        Self { shared: Arc::clone(shared), id, queue }
    }

    /// Makes a watcher and queues the answer. `wanted` is its ID, 0 for a free one; `revision` is
    /// the first one of interest, 0 for whatever comes next.
    pub fn create(&self, wanted: i64, spec: WatchSpec, revision: i64) {
        let start = {
            let published = self.shared.read();
            let store = published.machine.store();
            Start {
                revision,
                current: store.current_revision(),
                compacted: store.compacted_revision(),
            }
        };
        let hub = self.hub();
        let mut table = hub.lock_table();
        let created = table.watchers.create(self.id, wanted, spec, start);
        match created {
            Ok(Created { id, compacted }) => {
                self.queue.push(WatchItem::Created { id, revision: start.current });
                if let Some(compact_revision) = compacted {
                    self.queue.push(WatchItem::Compacted { id, compact_revision });
                }
            }
            Err(refusal) => {
                self.queue.push(WatchItem::Refused { refusal, revision: start.current });
            }
        }
        let is_behind = table.watchers.wanted_history().is_some();
        drop(table);
        if is_behind {
            hub.catch_up_bell.notify_one();
        }
    }

    /// Removes a watcher and queues the answer; nothing for one that is not there.
    pub fn cancel(&self, id: i64) {
        let revision = self.current_revision();
        let mut table = self.hub().lock_table();
        if table.watchers.cancel(WatcherKey { stream: self.id, id }) {
            self.queue.push(WatchItem::Canceled { id, revision });
        }
    }

    /// Queues how far the stream is, if all its watchers are there; at least everything that was
    /// applied when this was called has been told before.
    pub async fn request_progress(&self) {
        let target = self.current_revision();
        let mut published = self.hub().published.subscribe();
        if published.wait_for(|published| *published >= target).await.is_err() {
            return;
        }
        let table = self.hub().lock_table();
        if let Some(revision) = table.watchers.progress_of(self.id) {
            self.queue.push(WatchItem::Progress { id: None, revision });
        }
    }

    /// Queues how far those watchers are that asked to be told and had no event since the last call.
    pub fn notify_progress(&self) {
        let hub = self.hub();
        let Table { watchers, queues, .. } = &mut *hub.lock_table();
        let mut sink: Queues<'_> = hub.sink(queues);
        watchers.notify_progress(self.id, &mut sink);
    }

    /// The next responses, as many as make a piece of a good size, and what they hold in the stream's
    /// account. Safe to be dropped and called again.
    pub async fn next(&self) -> (Vec<WatchItem>, WatchCharge) {
        loop {
            match self.queue.next().await {
                Taken::Items(items, charge) => return (items, charge),
                Taken::Room => {
                    let hub = self.hub();
                    hub.lock_table().watchers.unblock(self.id);
                    hub.catch_up_bell.notify_one();
                }
            }
        }
    }

    /// Whether the queue has room for answers to further requests.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.queue.has_room()
    }

    fn hub(&self) -> &WatchHub {
        &self.shared.watch
    }

    fn current_revision(&self) -> i64 {
        self.shared.read().machine.store().current_revision()
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        let hub = self.hub();
        let mut table = hub.lock_table();
        table.watchers.remove_stream(self.id);
        table.queues.remove(&self.id);
        drop(table);
        hub.streams.fetch_sub(1, Ordering::AcqRel);
    }
}
