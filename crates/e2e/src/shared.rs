//! Something costly that tests of one program use together, while at least one of them runs.
//!
//! Owns:       a weak reference; the tests own the thing.
//! Never:      anything that outlives the last test that uses it: a static would never be dropped,
//!             and its processes would stay.
//! Invariants: at any time at most one of it exists.

use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Where tests meet. Put it into a `static`.
#[derive(Debug)]
pub struct Shared<T> {
    slot: Mutex<Weak<T>>,
}

impl<T> Shared<T> {
    /// Nothing is made yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { slot: Mutex::new(Weak::new()) }
    }

    /// What the other tests use at this moment, or a new one.
    pub fn get(&self, make: impl FnOnce() -> T) -> Arc<T> {
        // A test whose `make` panicked has failed; the others may try again.
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = slot.upgrade() {
            return found;
        }
        let made = Arc::new(make());
        *slot = Arc::downgrade(&made);
        made
    }
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_at_one_time_get_the_same() {
        static NUMBER: Shared<u32> = Shared::new();
        let first = NUMBER.get(|| 1);
        assert_eq!(*NUMBER.get(|| 2), 1);
        drop(first);
        assert_eq!(*NUMBER.get(|| 3), 3);
    }
}
