//! What becomes of a message.
//!
//! Owns:       which links are cut.
//! Uses:       the run's numbers.
//! Never:      messages themselves.
//! Invariants: a proposal that was forwarded never arrives twice: a stream of the product either
//!             delivers it once or loses it.
//! Source:     peer-protocol.md 2 to 4 (streams and pipeline).

use std::collections::BTreeSet;

use rand::Rng;
use rand::rngs::StdRng;
use types::NodeId;

use crate::config::NetworkConfig;

/// The links between members.
#[derive(Debug)]
pub(crate) struct Network {
    config: NetworkConfig,
    /// Directed links that carry nothing.
    cut: BTreeSet<(NodeId, NodeId)>,
}

impl Network {
    pub(crate) fn new(config: NetworkConfig) -> Self {
        Self { config, cut: BTreeSet::new() }
    }

    /// Delays after which the message arrives: none when it is lost.
    pub(crate) fn fate(
        &self,
        rng: &mut StdRng,
        link: (NodeId, NodeId),
        may_repeat: bool,
    ) -> Vec<u64> {
        if self.cut.contains(&link) || rng.random_ratio(self.config.loss, 1_000) {
            return Vec::new();
        }
        let copies =
            if may_repeat && rng.random_ratio(self.config.duplicate, 1_000) { 2 } else { 1 };
        (0..copies).map(|_| self.delay_us(rng)).collect()
    }

    pub(crate) fn is_cut(&self, link: (NodeId, NodeId)) -> bool {
        self.cut.contains(&link)
    }

    pub(crate) fn delay_us(&self, rng: &mut StdRng) -> u64 {
        let usual = rng.random_range(20..=self.config.delay_us.max(21));
        let late = rng.random_ratio(self.config.late, 1_000);
        if late { usual * rng.random_range(2..=50) } else { usual }
    }

    /// Draws a new partition among these members, one-way links included.
    pub(crate) fn repartition(&mut self, rng: &mut StdRng, ids: &[NodeId]) {
        self.cut.clear();
        match rng.random_range(0..5) {
            0 | 1 => {}
            2 => {
                let side: Vec<bool> = ids.iter().map(|_| rng.random()).collect();
                self.cut_where(ids, |from, to| side[from] != side[to]);
            }
            3 => {
                let alone = rng.random_range(0..ids.len().max(1));
                let (incoming, outgoing) =
                    [(true, true), (true, false), (false, true)][rng.random_range(0..3)];
                self.cut_where(ids, |from, to| {
                    (outgoing && from == alone) || (incoming && to == alone)
                });
            }
            _ => {
                let mut links = Vec::new();
                for _ in 0..ids.len() * ids.len() {
                    links.push(rng.random_bool(0.3));
                }
                self.cut_where(ids, |from, to| links[from * ids.len() + to]);
            }
        }
    }

    fn cut_where(&mut self, ids: &[NodeId], is_cut: impl Fn(usize, usize) -> bool) {
        for (from, from_id) in ids.iter().enumerate() {
            for (to, to_id) in ids.iter().enumerate() {
                if from != to && is_cut(from, to) {
                    self.cut.insert((*from_id, *to_id));
                }
            }
        }
    }

    /// Ends all faults.
    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        self.config.loss = 0;
        self.config.duplicate = 0;
        self.config.late = 0;
    }
}
