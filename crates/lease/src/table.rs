//! The table of leases.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use types::{EtcdError, LeaseId};

/// Longest time to live that can be asked for, in seconds; more is refused.
pub const TTL_MAX_SECONDS: i64 = 9_000_000_000;

/// One lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// Granted time to live, in seconds.
    pub ttl_seconds: i64,
    /// What was left of it at the last checkpoint, in seconds; 0 when there was none.
    pub remaining_ttl_seconds: i64,
    keys: BTreeSet<Bytes>,
}

impl Lease {
    /// The attached keys in order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &Bytes> {
        self.keys.iter()
    }
}

/// All leases by their ID.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    leases: BTreeMap<LeaseId, Lease>,
}

impl Table {
    /// A table without leases.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts back a lease as it was stored, without keys; they follow by [`Table::attach`].
    pub fn restore(&mut self, id: LeaseId, ttl_seconds: i64, remaining_ttl_seconds: i64) {
        let lease = Lease { ttl_seconds, remaining_ttl_seconds, keys: BTreeSet::new() };
        self.leases.insert(id, lease);
    }

    /// Grants a lease and returns the time to live it got: at least `ttl_min_seconds`, which each
    /// member derives from its election timeout.
    ///
    /// # Errors
    ///
    /// In this order: `LeaseNotFound` for ID 0, `LeaseTTLTooLarge`, `LeaseExist`.
    pub fn grant(
        &mut self,
        id: LeaseId,
        ttl_seconds: i64,
        ttl_min_seconds: i64,
    ) -> Result<i64, EtcdError> {
        if id == LeaseId(0) {
            return Err(EtcdError::LeaseNotFound);
        }
        if ttl_seconds > TTL_MAX_SECONDS {
            return Err(EtcdError::LeaseTTLTooLarge);
        }
        if self.exists(id) {
            return Err(EtcdError::LeaseExist);
        }
        let ttl_seconds = ttl_seconds.max(ttl_min_seconds);
        self.restore(id, ttl_seconds, 0);
        Ok(ttl_seconds)
    }

    /// Removes a lease and returns its keys in order: all of them are to be deleted.
    ///
    /// # Errors
    ///
    /// When there is no such lease.
    pub fn revoke(&mut self, id: LeaseId) -> Result<Vec<Bytes>, EtcdError> {
        let lease = self.leases.remove(&id).ok_or(EtcdError::LeaseNotFound)?;
        Ok(lease.keys.into_iter().collect())
    }

    /// Whether the lease exists.
    #[must_use]
    pub fn exists(&self, id: LeaseId) -> bool {
        self.leases.contains_key(&id)
    }

    /// Hangs a key on a lease; `false` when there is no such lease.
    pub fn attach(&mut self, id: LeaseId, key: Bytes) -> bool {
        self.leases.get_mut(&id).map(|lease| lease.keys.insert(key)).is_some()
    }

    /// Takes a key off a lease; `false` when there is no such lease.
    pub fn detach(&mut self, id: LeaseId, key: &[u8]) -> bool {
        self.leases.get_mut(&id).map(|lease| lease.keys.remove(key)).is_some()
    }

    /// Carries out what a write reported: key, old lease, new lease; zero is none. A lease that is
    /// gone already (it is being revoked) is left out.
    pub fn reattach(&mut self, changes: &[(Bytes, LeaseId, LeaseId)]) {
        for (key, old, new) in changes {
            self.detach(*old, key);
            self.attach(*new, key.clone());
        }
    }

    /// Records what is left of a lease; `false` when there is no such lease, which is no error.
    pub fn checkpoint(&mut self, id: LeaseId, remaining_ttl_seconds: i64) -> bool {
        let Some(lease) = self.leases.get_mut(&id) else { return false };
        lease.remaining_ttl_seconds = remaining_ttl_seconds;
        true
    }

    /// A lease.
    #[must_use]
    pub fn get(&self, id: LeaseId) -> Option<&Lease> {
        self.leases.get(&id)
    }

    /// The keys of a lease in order; none when there is no such lease.
    #[must_use]
    pub fn keys(&self, id: LeaseId) -> Vec<Bytes> {
        self.get(id).map(|lease| lease.keys.iter().cloned().collect()).unwrap_or_default()
    }

    /// All IDs in order.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = LeaseId> {
        self.leases.keys().copied()
    }

    /// All leases in order of their IDs.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (LeaseId, &Lease)> {
        self.leases.iter().map(|(id, lease)| (*id, lease))
    }

    /// Asserts what always holds between calls.
    ///
    /// # Panics
    ///
    /// When it does not hold.
    pub fn check_invariants(&self) {
        let mut attached = BTreeSet::new();
        for (id, lease) in &self.leases {
            assert_ne!(*id, LeaseId(0), "lease without an ID");
            for key in &lease.keys {
                assert!(attached.insert(key), "key {key:?} of lease {id} hangs on another too");
            }
        }
    }
}
