//! Waiting for something to become true, with a deadline.

use std::time::{Duration, Instant};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks until `probe` gives a value; `None` when `patience` has run out.
pub fn until<T>(patience: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(PAUSE);
    }
}

/// As [`until`], failing the test with `what` it waited for.
///
/// # Panics
/// When `patience` has run out.
#[track_caller]
pub fn eventually<T>(what: &str, patience: Duration, probe: impl FnMut() -> Option<T>) -> T {
    match until(patience, probe) {
        Some(found) => found,
        None => panic!("waited {patience:?} in vain for: {what}"),
    }
}
