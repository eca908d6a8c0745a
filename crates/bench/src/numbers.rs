//! Conversions between numbers that cannot go wrong for what is counted here.

use std::time::Duration;

/// Exact below 2^53, and rounded above.
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// An index or a size; the machine has 64 bits.
pub(crate) fn size(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// A count of something in memory.
pub(crate) fn count(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

/// Nanoseconds; 584 years fit.
pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The whole part of a number that is not negative.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and there is no other conversion"
)]
pub(crate) fn whole(value: f64) -> u64 {
    value.max(0.0) as u64
}

/// `part / whole`, 0 when there is no whole.
pub(crate) fn per(part: f64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part / float(whole) }
}
