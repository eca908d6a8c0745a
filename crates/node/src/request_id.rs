//! Cluster-wide unique request numbers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use types::{NodeId, RequestId};

const SUFFIX_BITS: u32 = 48;
const COUNTER_BITS: u32 = 8;
const TIME_MASK: u64 = (1 << (SUFFIX_BITS - COUNTER_BITS)) - 1;

/// Member ID, start time and counter in one number (peer-protocol.md 14): 16, 40 and 8 bits; the
/// lower 48 are counted up as one.
#[derive(Debug)]
pub(crate) struct RequestIds {
    prefix: u64,
    suffix: AtomicU64,
}

impl RequestIds {
    /// A generator for a process started at `since_epoch`.
    pub(crate) fn new(member: NodeId, since_epoch: Duration) -> Self {
        let millis = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
        Self {
            prefix: member.0 << SUFFIX_BITS,
            suffix: AtomicU64::new((millis & TIME_MASK) << COUNTER_BITS),
        }
    }

    /// The next number.
    pub(crate) fn next(&self) -> RequestId {
        let suffix = self.suffix.fetch_add(1, Ordering::Relaxed) + 1;
        RequestId(self.prefix | (suffix & ((1 << SUFFIX_BITS) - 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_carry_member_time_and_counter() {
        let ids = RequestIds::new(NodeId(0xabcd_1234), Duration::from_millis(0x1_02_03));
        assert_eq!(ids.next().0, 0x1234_0000_0102_0301);
        assert_eq!(ids.next().0, 0x1234_0000_0102_0302);
    }
}
