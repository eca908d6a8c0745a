//! One number over everything that is replicated.
//!
//! Owns:       nothing.
//! Uses:       the parts' own rows and digest.
//! Never:      what may differ between members: physical compaction, counters, history of events,
//!             checkpoints that are not persisted, sizes.
//! Invariants: equal on members that applied the same entries, whenever they restarted.
//! Source:     design.md 9 (simulation: equal state hash at equal applied index).

use crate::machine::Machine;

/// FNV-1a over length-prefixed fields.
struct Hasher(u64);

impl Hasher {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;

    fn field(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.bytes(bytes);
    }

    fn number(&mut self, number: u64) {
        self.bytes(&number.to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(Self::PRIME);
        }
    }
}

impl Machine {
    /// A hash over all replicated state at the consistent index; meaningful once nothing is being
    /// replayed any more.
    #[must_use]
    pub fn state_hash(&self) -> u64 {
        let mut hasher = Hasher(Hasher::OFFSET);
        hasher.number(self.consistent.index.0);
        hasher.number(self.consistent.term.0);
        hasher.number(u64::from(self.kv.digest()));
        for (id, lease) in self.leases.iter() {
            hasher.number(id.0.cast_unsigned());
            hasher.number(lease.ttl_seconds.cast_unsigned());
            lease.keys().for_each(|key| hasher.field(key));
        }
        for alarm in self.alarms.iter() {
            hasher.number(alarm.member_id);
            hasher.number(u64::from(alarm.alarm.cast_unsigned()));
        }
        for row in self.cluster.members().to_rows() {
            hasher.field(&row.key);
            hasher.field(&row.value.unwrap_or_default());
        }
        hasher.field(self.cluster.downgrade().map_or(&[], |row| row));
        for list in [&self.conf_state.voters, &self.conf_state.learners] {
            hasher.number(list.len() as u64);
            list.iter().for_each(|id| hasher.number(*id));
        }
        hasher.number(self.v2.index());
        for (path, row) in self.v2.rows() {
            hasher.field(path.as_bytes());
            hasher.field(&row);
        }
        hasher.0
    }
}
