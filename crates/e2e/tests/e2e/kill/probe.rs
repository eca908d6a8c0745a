//! How long nobody can write after a kill.

use std::fmt;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::client::Client;

/// Pause between two fresh writes to one survivor.
const PAUSE: Duration = Duration::from_millis(10);
/// Writes under way at once; beyond it none is added.
const UNDER_WAY_MAX: usize = 3000;
/// When to give up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Time from a kill to acknowledged writes that were begun after it.
pub(super) struct Gap {
    /// Until the first, through whichever survivor.
    pub(super) first: Duration,
    /// Until each survivor had acknowledged one.
    pub(super) all: Duration,
    /// Writes begun.
    begun: usize,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, all, begun } = self;
        write!(f, "gap {first:.3?}, through each survivor {all:.3?}, {begun} probes")
    }
}

/// Sends a fresh write to each survivor every 10 ms, none waiting for another, until each has
/// acknowledged one.
///
/// # Panics
/// When that does not happen within [`PATIENCE`].
pub(super) async fn measure(survivors: &[Client], killed: Instant) -> Gap {
    let mut under_way: JoinSet<Option<usize>> = JoinSet::new();
    let mut acknowledged: Vec<Option<Duration>> = vec![None; survivors.len()];
    let mut ticks = tokio::time::interval(PAUSE);
    let mut begun = 0;
    while acknowledged.contains(&None) {
        assert!(killed.elapsed() < PATIENCE, "no write acknowledged: {acknowledged:?}");
        tokio::select! {
            _ = ticks.tick() => {
                for (number, client) in survivors.iter().enumerate() {
                    if acknowledged[number].is_none() && under_way.len() < UNDER_WAY_MAX {
                        begun += 1;
                        let (client, key) = (client.clone(), format!("probe/{number}"));
                        under_way.spawn(async move { client.put(&key).await.ok().map(|_| number) });
                    }
                }
            }
            Some(ended) = under_way.join_next() => {
                if let Some(number) = ended.expect("a probe does not panic") {
                    acknowledged[number].get_or_insert_with(|| killed.elapsed());
                }
            }
        }
    }
    let times = || acknowledged.iter().flatten().copied();
    Gap { first: times().min().unwrap_or_default(), all: times().max().unwrap_or_default(), begun }
}
