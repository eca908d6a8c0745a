//! What a metrics endpoint reports about each peer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use types::NodeId;

use crate::activity::lock;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, count: usize) {
        // Statistics only: a 64-bit count of bytes does not overflow in practice.
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Round trips, with the bounds of etcd's `peer_round_trip_time_seconds`.
#[derive(Debug, Default)]
pub struct RoundTrips {
    /// Probes answered within 0.0001 s times 2 to the power of the position, not cumulative.
    pub buckets: [Counter; ROUND_TRIP_BUCKETS],
    /// All answered probes.
    pub count: Counter,
    /// Sum over all answered probes, microseconds.
    pub sum_micros: Counter,
    /// The latest, microseconds.
    last_micros: AtomicU64,
}

/// Number of bounds of [`RoundTrips`].
pub const ROUND_TRIP_BUCKETS: usize = 16;

impl RoundTrips {
    pub(crate) fn observe(&self, elapsed: Duration) {
        let micros = usize::try_from(elapsed.as_micros()).unwrap_or(usize::MAX);
        let fits = |&bucket: &usize| micros <= 100 << bucket;
        if let Some(bucket) = (0..ROUND_TRIP_BUCKETS).find(fits) {
            self.buckets[bucket].add(1);
        }
        self.count.add(1);
        self.sum_micros.add(micros);
        self.last_micros.store(micros as u64, Ordering::Relaxed);
    }

    /// The latest round trip; zero before the first.
    #[must_use]
    pub fn last(&self) -> Duration {
        Duration::from_micros(self.last_micros.load(Ordering::Relaxed))
    }
}

/// Whole snapshots, with the bounds of etcd's `snapshot_send_total_duration_seconds`, and those that
/// are on their way.
#[derive(Debug, Default)]
pub struct Transfers {
    /// Snapshots done within 0.1 s times 2 to the power of the position, not cumulative.
    pub buckets: [Counter; TRANSFER_BUCKETS],
    /// All that are done.
    pub count: Counter,
    /// Sum over these, microseconds.
    pub sum_micros: Counter,
    /// Under way now.
    under_way: AtomicU64,
}

/// Number of bounds of [`Transfers`].
pub const TRANSFER_BUCKETS: usize = 10;

impl Transfers {
    /// Snapshots under way now.
    #[must_use]
    pub fn under_way(&self) -> u64 {
        self.under_way.load(Ordering::Relaxed)
    }

    pub(crate) fn begin(&self) -> Transfer<'_> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        Transfer { transfers: self, began: Instant::now() }
    }
}

/// A snapshot on its way; it has failed when it is dropped without being told to be done.
#[must_use]
pub(crate) struct Transfer<'a> {
    transfers: &'a Transfers,
    began: Instant,
}

impl Transfer<'_> {
    /// The snapshot is there: only these are timed, as in etcd.
    pub(crate) fn done(self) {
        let elapsed = self.began.elapsed();
        let fits = |&bucket: &usize| elapsed <= Duration::from_millis(100 << bucket);
        if let Some(bucket) = (0..TRANSFER_BUCKETS).find(fits) {
            self.transfers.buckets[bucket].add(1);
        }
        self.transfers.count.add(1);
        let micros = usize::try_from(elapsed.as_micros()).unwrap_or(usize::MAX);
        self.transfers.sum_micros.add(micros);
    }
}

impl Drop for Transfer<'_> {
    fn drop(&mut self) {
        self.transfers.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counters of one peer.
#[derive(Debug, Default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct PeerCounters {
    pub sent_bytes: Counter,
    pub received_bytes: Counter,
    pub sent_messages: Counter,
    pub received_messages: Counter,
    pub send_failures: Counter,
    pub receive_failures: Counter,
    /// Messages for the peer that found a full queue.
    pub dropped_outgoing: Counter,
    /// Messages of the peer that raft had no room for.
    pub dropped_incoming: Counter,
    pub snapshots_sent: Counter,
    pub snapshot_send_failures: Counter,
    pub snapshots_received: Counter,
    pub snapshot_receive_failures: Counter,
    pub snapshots_out: Transfers,
    pub snapshots_in: Transfers,
    /// Times the peer became inactive.
    pub disconnects: Counter,
    pub round_trips: RoundTrips,
}

/// Counters of all peers there have been; those of a removed peer stay.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    peers: Mutex<BTreeMap<NodeId, Arc<PeerCounters>>>,
    /// Collects what senders cause that are neither peer nor remote, so that they need no memory.
    strangers: Arc<PeerCounters>,
}

impl Registry {
    /// Counters of a peer, created when new.
    pub(crate) fn register(&self, id: NodeId) -> Arc<PeerCounters> {
        Arc::clone(lock(&self.peers).entry(id).or_default())
    }

    /// Counters of a peer if known, else the common ones.
    pub(crate) fn find(&self, id: NodeId) -> Arc<PeerCounters> {
        Arc::clone(lock(&self.peers).get(&id).unwrap_or(&self.strangers))
    }

    pub(crate) fn all(&self) -> Vec<(NodeId, Arc<PeerCounters>)> {
        lock(&self.peers).iter().map(|(id, counters)| (*id, Arc::clone(counters))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transfers_are_counted_while_they_last_and_timed_when_they_are_done() {
        let transfers = Transfers::default();
        let (first, second) = (transfers.begin(), transfers.begin());
        assert_eq!(transfers.under_way(), 2);
        first.done();
        assert_eq!((transfers.under_way(), transfers.count.value()), (1, 1));
        assert_eq!(transfers.buckets.iter().map(Counter::value).sum::<u64>(), 1);
        drop(second);
        assert_eq!((transfers.under_way(), transfers.count.value()), (0, 1));
    }
}
