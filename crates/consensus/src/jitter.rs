//! Election jitter from a seed.
//!
//! Owns:       the sequence of election timeouts.
//! Uses:       nothing.
//! Never:      ambient randomness; raft-rs draws from a thread-local generator whenever it resets
//!             its timer, and the driver overwrites every such draw with one from here.
//! Invariants: equal seed, member and number of draws give an equal timeout.
//! Source:     raft thesis 3.4 and 9.3, raft-library.md 2 (sans-IO row).

use types::NodeId;

/// The sequence of timeouts of one member.
pub(crate) struct Jitter {
    state: u64,
    election_ticks: usize,
}

impl Jitter {
    /// Starts the sequence.
    pub(crate) fn new(id: NodeId, seed: u64, election_ticks: usize) -> Self {
        Self { state: mix(seed ^ mix(id.0)), election_ticks }
    }

    /// Draws the next timeout, in `election_ticks..2 * election_ticks`.
    pub(crate) fn draw(&mut self) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let spread = self.election_ticks as u64;
        let extra = mix(self.state) % spread.max(1);
        self.election_ticks + usize::try_from(extra).unwrap_or(0)
    }
}

/// Spreads the bits of a number over all of its places (the finaliser of SplitMix64).
pub(crate) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_stay_in_range_and_repeat_by_seed() {
        let draws = |id, seed| {
            let mut jitter = Jitter::new(NodeId(id), seed, 10);
            (0..100).map(|_| jitter.draw()).collect::<Vec<_>>()
        };
        assert!(draws(1, 1).iter().all(|ticks| (10..20).contains(ticks)));
        assert_eq!(draws(1, 1), draws(1, 1));
        assert_ne!(draws(1, 1), draws(2, 1));
        assert_ne!(draws(1, 1), draws(1, 2));
        for ticks in 10..20 {
            assert!(draws(3, 3).contains(&ticks), "never draws {ticks}");
        }
    }
}
