//! The raft thread's pulse: whether what this member says about its own role can be believed.
//!
//! Owns:       when the thread last came by, and how often it was held up.
//! Never:      asks anybody; `Handle::ensure_leadership` does, when the pulse is not regular.
//! Invariants: a thread that has been held up since the last confirmation is never taken for sound.
//! Source:     etcd's `ensureLeadership` (its issue 15247).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Ticks without a sign of the thread after which it counts as held up. By then the cluster may be
/// about to choose another leader.
const MISSED_TICKS_MAX: u32 = 3;

/// The pulse.
#[derive(Debug)]
pub(crate) struct Beat {
    origin: Instant,
    last_ms: AtomicU64,
    /// How often the thread was held up.
    stalls: AtomicU64,
    /// How many of these had happened when the role was last confirmed.
    confirmed: AtomicU64,
}

impl Beat {
    pub(crate) fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Self { origin: Instant::now(), last_ms: zero(), stalls: zero(), confirmed: zero() }
    }

    /// The thread comes by, as it does at every tick; whether it was held up before.
    pub(crate) fn strike(&self, now: Instant, tick: Duration) -> bool {
        let now_ms = self.millis(now);
        let before_ms = self.last_ms.swap(now_ms, Ordering::AcqRel);
        let is_late = is_late(before_ms, now_ms, tick);
        if is_late {
            self.stalls.fetch_add(1, Ordering::AcqRel);
        }
        is_late
    }

    /// `None` when the thread comes by regularly; else what to [`Beat::confirm`] once the role
    /// has been asked for.
    pub(crate) fn doubt(&self, now: Instant, tick: Duration) -> Option<u64> {
        let stalls = self.stalls.load(Ordering::Acquire);
        let is_silent = is_late(self.last_ms.load(Ordering::Acquire), self.millis(now), tick);
        let is_confirmed = self.confirmed.load(Ordering::Acquire) >= stalls;
        (is_silent || !is_confirmed).then_some(stalls)
    }

    /// The role was confirmed by others, asked after the doubt arose.
    pub(crate) fn confirm(&self, doubt: u64) {
        self.confirmed.fetch_max(doubt, Ordering::AcqRel);
    }

    fn millis(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.origin);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

fn is_late(before_ms: u64, now_ms: u64, tick: Duration) -> bool {
    let allowed = u64::try_from((tick * MISSED_TICKS_MAX).as_millis()).unwrap_or(u64::MAX);
    now_ms.saturating_sub(before_ms) > allowed
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(100);

    #[test]
    fn a_stall_is_doubted_until_it_is_confirmed() {
        let beat = Beat::new();
        let at = |ms: u64| beat.origin + Duration::from_millis(ms);
        assert!(!beat.strike(at(100), TICK));
        assert_eq!(beat.doubt(at(400), TICK), None);
        assert_eq!(beat.doubt(at(401), TICK), Some(0), "silent now");
        assert!(beat.strike(at(900), TICK));
        assert_eq!(beat.doubt(at(900), TICK), Some(1), "back, but what happened meanwhile?");
        beat.confirm(0);
        assert_eq!(beat.doubt(at(1_000), TICK), Some(1));
        beat.confirm(1);
        assert_eq!(beat.doubt(at(1_000), TICK), None);
        assert!(beat.strike(at(1_500), TICK));
        assert_eq!(beat.doubt(at(1_500), TICK), Some(2));
    }
}
