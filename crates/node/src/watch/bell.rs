//! One wake-up for all streams that a runtime serves.
//!
//! To wake a task from another thread costs a system call, and the runtime would begin to send while
//! there is more to queue: each event would leave in a write of its own. So the queues that got
//! something are collected, and a task of their runtime wakes their readers.
//!
//! Owns:       the bells of all runtimes, and their tasks.
//! Invariants: a queue that got an item for which its reader was not told yet is in a bell, or in the
//!             hand of a sink that puts it there.
//! Source:     design.md 6 (cross-thread wake-ups).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::{Handle, Id};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::queue::Queue;

/// Wakes the readers of one runtime.
#[derive(Default)]
pub(super) struct Bell {
    queues: Mutex<Vec<Arc<Queue>>>,
    rung: Notify,
}

impl Bell {
    /// Wakes the readers, of every queue once.
    async fn run(self: Arc<Self>) {
        loop {
            self.rung.notified().await;
            let queues = std::mem::take(&mut *self.lock());
            for queue in queues {
                queue.tell_reader();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Queue>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has the readers of queues told, each runtime once.
pub(super) fn ring(queues: Vec<Arc<Queue>>) {
    let mut bells: Vec<Arc<Bell>> = Vec::new();
    for queue in queues {
        let bell = queue.bell();
        if !bells.iter().any(|known| Arc::ptr_eq(known, bell)) {
            bells.push(Arc::clone(bell));
        }
        let bell = Arc::clone(bell);
        bell.lock().push(queue);
    }
    for bell in bells {
        bell.rung.notify_one();
    }
}

/// The bells of the runtimes that have served streams.
#[derive(Default)]
pub(super) struct Bells {
    bells: Mutex<Vec<OfRuntime>>,
}

struct OfRuntime {
    id: Id,
    bell: Arc<Bell>,
    task: JoinHandle<()>,
}

impl Bells {
    /// The bell of the current runtime. Those of runtimes that have ended, whose IDs may come again,
    /// are forgotten.
    pub(super) fn of_current_runtime(&self) -> Arc<Bell> {
        let id = Handle::current().id();
        let mut bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        bells.retain(|known| !known.task.is_finished());
        if let Some(known) = bells.iter().find(|known| known.id == id) {
            return Arc::clone(&known.bell);
        }
        let bell = Arc::<Bell>::default();
        let task = tokio::spawn(Arc::clone(&bell).run());
        bells.push(OfRuntime { id, bell: Arc::clone(&bell), task });
        bell
    }
}

impl Drop for Bells {
    fn drop(&mut self) {
        let bells = self.bells.get_mut().unwrap_or_else(PoisonError::into_inner);
        for of_runtime in bells {
            of_runtime.task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_runtime_has_one_bell_until_it_ends() {
        let bells = Bells::default();
        let one = bells.of_current_runtime();
        assert!(Arc::ptr_eq(&one, &bells.of_current_runtime()));
        let in_another_runtime = || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async { bells.of_current_runtime() })
        };
        std::thread::scope(|scope| {
            let first = scope.spawn(in_another_runtime).join().unwrap();
            let second = scope.spawn(in_another_runtime).join().unwrap();
            assert!(!Arc::ptr_eq(&first, &one) && !Arc::ptr_eq(&first, &second));
        });
        assert!(Arc::ptr_eq(&one, &bells.of_current_runtime()));
    }
}
