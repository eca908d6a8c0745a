//! Thins out floods of equal messages, as etcd's logger does.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, SystemTime};

use config::LogLevel;

/// Equal messages written per second before thinning starts.
const FIRST: u32 = 100;
/// Of the further ones in that second, one in so many is written.
const THEREAFTER: u32 = 100;
/// Counters kept; messages that share one are counted together. zap has as many per level.
const SLOTS: usize = 4096;

/// Counts messages per second.
pub(super) struct Sampler {
    /// Second and count, by the hash of level and message.
    slots: Vec<(u64, u32)>,
}

impl Sampler {
    pub(super) fn new() -> Self {
        Self { slots: vec![(0, 0); SLOTS] }
    }

    /// Counts one message and decides whether it is written.
    pub(super) fn admits(&mut self, now: SystemTime, level: LogLevel, message: &str) -> bool {
        let second = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        let mut hasher = DefaultHasher::new();
        (level as u8, message).hash(&mut hasher);
        // The remainder is below SLOTS, which fits.
        let at = usize::try_from(hasher.finish() % SLOTS as u64).unwrap_or(0);
        let Some(slot) = self.slots.get_mut(at) else { return true };
        if slot.0 != second {
            *slot = (second, 0);
        }
        slot.1 = slot.1.saturating_add(1);
        slot.1 <= FIRST || (slot.1 - FIRST).is_multiple_of(THEREAFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floods_are_thinned_and_start_afresh_each_second() {
        let mut sampler = Sampler::new();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let mut admitted = |now, count: u32| {
            (0..count).filter(|_| sampler.admits(now, LogLevel::Warn, "again")).count()
        };
        assert_eq!(admitted(now, 1000), 109);
        assert_eq!(admitted(now + Duration::from_secs(1), 50), 50);
    }
}
