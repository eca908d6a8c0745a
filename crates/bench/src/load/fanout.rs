//! Writes that are done when all their watchers have seen them.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

use super::channel::Failure;
use super::engine::Engine;
use crate::numbers::size;

/// Writes under way, one per writer.
#[derive(Debug)]
pub(super) struct FanOut {
    engine: Rc<Engine>,
    writes: Vec<Write>,
    is_broken: Cell<bool>,
}

#[derive(Debug, Default)]
struct Write {
    missing: Cell<u64>,
    sent: Cell<u64>,
    done: Notify,
}

impl FanOut {
    /// For so many writers.
    pub(super) fn new(engine: Rc<Engine>, writers: u64) -> Rc<Self> {
        let writes = (0..writers).map(|_| Write::default()).collect();
        Rc::new(Self { engine, writes, is_broken: Cell::new(false) })
    }

    /// A writer is about to write what so many watchers are to see.
    pub(super) fn begin(&self, writer: u64, watchers: u64, sent: u64) {
        if let Some(write) = self.writes.get(size(writer)) {
            write.missing.set(watchers);
            write.sent.set(sent);
        }
    }

    /// A watcher has got what this writer wrote.
    pub(super) fn delivered(&self, writer: u64) {
        let write = self.writes.get(size(writer)).filter(|write| write.missing.get() > 0);
        let Some(write) = write else {
            return self.failed(&Failure::Answer("an event that nobody waits for".to_owned()));
        };
        self.engine.event(Some(write.sent.get()));
        write.missing.set(write.missing.get() - 1);
        if write.missing.get() == 0 {
            write.done.notify_one();
        }
    }

    /// A watcher ended: nothing will be complete any more.
    pub(super) fn failed(&self, failure: &Failure) {
        self.engine.failed(failure);
        self.is_broken.set(true);
        self.writes.iter().for_each(|write| write.done.notify_one());
    }

    /// Waits until all watchers have got what this writer wrote; `false` when they never will.
    pub(super) async fn complete(&self, writer: u64) -> bool {
        let Some(write) = self.writes.get(size(writer)) else { return false };
        while !self.is_broken.get() && write.missing.get() > 0 {
            write.done.notified().await;
        }
        !self.is_broken.get()
    }
}
