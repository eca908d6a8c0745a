//! Watchers of the v2 tree: the product's own, polled by hand.
//!
//! Source:     `node::v2_watch`, `node::apply_thread`.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use node::{V2Events, V2Next, V2Watch, V2Watchers};
use types::V2Error;
use v2store::{Event, Watch, WatcherId};

use super::Shell;
use crate::config::Plant;

/// Every so many indexes the planted bug strikes.
const DUPLICATE_EVERY: u64 = 10;

/// The watchers of one life.
pub(super) struct V2Hub {
    watchers: V2Watchers,
    left: Arc<Mutex<Vec<WatcherId>>>,
    /// Never used: a member that ends drops everything.
    _closing: tokio::sync::watch::Sender<bool>,
}

impl V2Hub {
    pub(super) fn new() -> Self {
        let left: Arc<Mutex<Vec<WatcherId>>> = Arc::default();
        let leaving = Arc::clone(&left);
        let leave = Arc::new(move |id| {
            leaving.lock().unwrap_or_else(PoisonError::into_inner).push(id);
        });
        let (closing, closed) = tokio::sync::watch::channel(false);
        Self { watchers: V2Watchers::new(leave, closed), left, _closing: closing }
    }

    fn take_out(&mut self) {
        let left = std::mem::take(&mut *self.left.lock().unwrap_or_else(PoisonError::into_inner));
        left.into_iter().for_each(|id| self.watchers.leave(id));
    }

    /// A snapshot took the tree from one state to another.
    pub(super) fn jumped(&mut self, earlier: &v2store::Store, now: &v2store::Store) {
        self.take_out();
        self.watchers.jumped(earlier, now);
    }
}

impl Shell {
    pub(super) fn v2_notify(&mut self, event: &Event, removed: &[String]) {
        self.v2_hub.take_out();
        self.v2_hub.watchers.notify([(event.clone(), removed)]);
        let is_planted = self.limits.plant == Some(Plant::DuplicateV2);
        if is_planted && event.node.modified_index.is_multiple_of(DUPLICATE_EVERY) {
            self.v2_hub.watchers.notify([(event.clone(), removed)]);
        }
    }

    pub(crate) fn v2_watch(&mut self, watch: &Watch) -> Result<V2Watch, V2Error> {
        self.v2_hub.take_out();
        self.v2_hub.watchers.register(self.machine.v2(), watch)
    }
}

/// What has come for a watcher, if anything has.
pub(crate) fn v2_poll(events: &mut V2Events) -> Option<V2Next> {
    match pin!(events.next()).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(next) => Some(next),
        Poll::Pending => None,
    }
}
