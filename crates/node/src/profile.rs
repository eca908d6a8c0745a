//! Where the time of a proposal goes, for one that is alone. Built in with the Cargo feature `profile`
//! only; without it every mark is an empty function.
//!
//! ```text
//!  Received - Posted - Stepped - Written - Durable - Committed - Applying - Applied - Answered
//!     encode   desk     raft      fsync     raft,      wake-up     apply      wake-up
//!                                           network    of apply               of the client runtime
//! ```
//!
//! Owns:       the time of the last mark of each stage; the samples.
//! Never:      tells requests apart: with more than one under way, samples whose marks are not in
//!             order are dropped, and the others are no longer of one request.
//! Source:     issue 4 b.

/// A point that each proposal passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The edge has handed the request over.
    Received,
    /// It is registered and in raft's inbox.
    Posted,
    /// The raft thread has taken it.
    Stepped,
    /// Its entry goes to the log.
    Written,
    /// The log is synced.
    Durable,
    /// It is committed and goes to apply.
    Committed,
    /// The apply thread has taken it.
    Applying,
    /// It is applied.
    Applied,
    /// Its request has the outcome.
    Answered,
}

#[cfg(not(feature = "profile"))]
mod recorder {
    use super::Stage;

    #[inline]
    pub(crate) fn mark(_stage: Stage) {}

    #[inline]
    pub(crate) fn report() {}
}

#[cfg(feature = "profile")]
mod recorder {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{LazyLock, Mutex, PoisonError};
    use std::time::Instant;

    use super::Stage;

    /// What ends with each mark, in the order of [`Stage`].
    const SPANS: [&str; 9] = [
        "all from edge to answer",
        "encode, hand to desk and inbox",
        "wake raft",
        "raft: propose",
        "log: write and fdatasync",
        "raft: commit (network and followers, if any)",
        "wake apply",
        "apply",
        "wake client runtime",
    ];
    const STAGES: usize = SPANS.len();
    /// Samples kept; further ones are not taken.
    const SAMPLES_MAX: usize = 200_000;

    static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    static MARKS: [AtomicU64; STAGES] = [const { AtomicU64::new(0) }; STAGES];
    static SAMPLES: Mutex<Vec<[u64; STAGES]>> = Mutex::new(Vec::new());

    /// Notes that a proposal has come to this point; at the last one, takes a sample.
    pub(crate) fn mark(stage: Stage) {
        let now_ns = u64::try_from(ORIGIN.elapsed().as_nanos()).unwrap_or(u64::MAX);
        MARKS[stage as usize].store(now_ns, Ordering::Release);
        if stage == Stage::Answered {
            take_sample();
        }
    }

    fn take_sample() {
        let mut marks: [u64; STAGES] =
            std::array::from_fn(|stage| MARKS[stage].load(Ordering::Acquire));
        // With more members it may be committed before the log of this one is synced.
        let (durable, committed) = (Stage::Durable as usize, Stage::Committed as usize);
        let was_durable_first = (marks[durable - 1]..=marks[committed]).contains(&marks[durable]);
        if !was_durable_first {
            marks[durable] = marks[committed];
        }
        if !marks.is_sorted() {
            return;
        }
        let mut spans = [0; STAGES];
        spans[0] = marks[STAGES - 1] - marks[0];
        for stage in 1..STAGES {
            spans[stage] = marks[stage] - marks[stage - 1];
        }
        let mut samples = SAMPLES.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() < SAMPLES_MAX {
            samples.push(spans);
        }
    }

    /// Logs a line for each span and forgets the samples.
    pub(crate) fn report() {
        let samples = std::mem::take(&mut *SAMPLES.lock().unwrap_or_else(PoisonError::into_inner));
        if samples.is_empty() {
            return;
        }
        for stage in (1..STAGES).chain([0]) {
            let mut times: Vec<u64> = samples.iter().map(|spans| spans[stage]).collect();
            times.sort_unstable();
            let micros =
                |ns: u64| format!("{:.1}", std::time::Duration::from_nanos(ns).as_secs_f64() * 1e6);
            let at = |percent: usize| micros(times[(times.len() - 1) * percent / 100]);
            let mean = times.iter().sum::<u64>() / times.len() as u64;
            tracing::info!(
                span = SPANS[stage],
                samples = times.len(),
                mean_us = micros(mean),
                p50_us = at(50),
                p90_us = at(90),
                p99_us = at(99),
                "profile"
            );
        }
    }
}

pub(crate) use recorder::{mark, report};
