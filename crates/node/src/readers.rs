//! Reads under way that hold a revision open: compaction deletes nothing that they still need.
//!
//! Owns:       the registered revisions.
//! Never:      a read's data; the decision what a compaction keeps (`mvcc`).
//! Invariants: whoever registers under the read lock a revision that can be read then finds all of it
//!             until its guard is dropped, or for as long as the limit says; after that the store
//!             refuses the next step (`mvcc::RangeCursor::step`), so a short answer is impossible.
//! Source:     design.md 2 (readers).

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use types::{EtcdError, limits};

/// How long a read can keep deletions waiting.
const PROTECTED_MAX: Duration = Duration::from_secs(limits::READ_PROTECTED_MAX_SECONDS);
/// How often a waiting compaction looks whether the member has stopped.
const POLL: Duration = Duration::from_millis(100);

/// The registered reads of a member.
#[derive(Default)]
pub(crate) struct Readers {
    state: Mutex<State>,
    left: Condvar,
}

#[derive(Default)]
struct State {
    next: u64,
    /// Revision and number of each read, and when it began.
    registered: BTreeMap<(i64, u64), Instant>,
}

/// Keeps a revision open until it is dropped.
#[must_use]
pub(crate) struct OpenRevision {
    readers: Arc<Readers>,
    key: (i64, u64),
}

impl Drop for OpenRevision {
    fn drop(&mut self) {
        self.readers.lock().registered.remove(&self.key);
        self.readers.left.notify_all();
    }
}

impl Readers {
    /// Registers a revision. The caller holds the read lock under which it was found readable.
    ///
    /// # Errors
    /// `RequestTooManyRequests` when too many are registered.
    pub(crate) fn open(self: &Arc<Self>, revision: i64) -> Result<OpenRevision, EtcdError> {
        let mut state = self.lock();
        if state.registered.len() >= limits::READS_PROTECTED_MAX {
            return Err(EtcdError::RequestTooManyRequests);
        }
        state.next += 1;
        let key = (revision, state.next);
        state.registered.insert(key, Instant::now());
        drop(state);
        Ok(OpenRevision { readers: Arc::clone(self), key })
    }

    /// How many are registered.
    pub(crate) fn len(&self) -> usize {
        self.lock().registered.len()
    }

    /// Waits until no read needs what a compaction at `at` deletes, or those that do have been under
    /// way for too long. `false` when the member stops.
    pub(crate) fn wait_below(&self, at: i64, stopped: &dyn Fn() -> bool) -> bool {
        self.wait_below_for(at, PROTECTED_MAX, stopped)
    }

    fn wait_below_for(&self, at: i64, limit: Duration, stopped: &dyn Fn() -> bool) -> bool {
        let mut state = self.lock();
        loop {
            if stopped() {
                return false;
            }
            let below = state.registered.range(..(at, 0));
            let waits_for = below.map(|(_, began)| limit.saturating_sub(began.elapsed())).max();
            match waits_for {
                None => return true,
                Some(Duration::ZERO) => {
                    tracing::warn!(
                        revision = at,
                        "compaction goes on in spite of a read that has taken too long"
                    );
                    return true;
                }
                Some(left) => {
                    let waited = self.left.wait_timeout(state, left.min(POLL));
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free_at(readers: &Readers, at: i64) -> bool {
        readers.lock().registered.range(..(at, 0)).next().is_none()
    }

    #[test]
    fn only_reads_of_older_revisions_keep_a_compaction_waiting() {
        let readers = Arc::new(Readers::default());
        let at_seven = readers.open(7).unwrap();
        assert!(readers.wait_below(7, &|| false));
        assert!(!free_at(&readers, 8));
        let at_five = readers.open(5).unwrap();
        drop(at_seven);
        assert!(free_at(&readers, 5) && !free_at(&readers, 6));
        let waiting = Arc::clone(&readers);
        let compaction = std::thread::spawn(move || waiting.wait_below(8, &|| false));
        drop(at_five);
        assert!(compaction.join().unwrap());
    }

    #[test]
    fn a_stuck_read_does_not_hold_a_compaction_for_ever() {
        let readers = Arc::new(Readers::default());
        let _stuck = readers.open(5).unwrap();
        assert!(readers.wait_below_for(6, Duration::from_millis(1), &|| false));
        assert!(!readers.wait_below(6, &|| true));
    }

    #[test]
    fn reads_are_counted() {
        let readers = Arc::new(Readers::default());
        let open: Vec<_> =
            (0..limits::READS_PROTECTED_MAX).map(|_| readers.open(1).unwrap()).collect();
        assert_eq!(readers.open(1).err(), Some(EtcdError::RequestTooManyRequests));
        drop(open);
        assert!(readers.open(1).is_ok());
    }
}
