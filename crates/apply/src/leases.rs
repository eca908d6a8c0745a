//! Lease grant, revoke and checkpoint entries.
//!
//! Owns:       the rows of the `lease` bucket.
//! Uses:       `lease::Table`, `kv` for the keys of a revoked lease.
//! Never:      time; expiry is proposed by the leader as a revoke.
//! Invariants: a lease is in the table if and only if its row is in the bucket.
//! Source:     peer-protocol.md 15.10; api-v3.md 4.1, 4.2, 4.5.

use membership::ClusterVersion;
use prost::Message as _;
use proto::etcdserverpb::{
    InternalRaftRequest, LeaseCheckpointRequest, LeaseGrantRequest, LeaseRevokeRequest,
};
use proto::leasepb;
use types::{Bucket, LeaseId, Op};

use crate::alarms::lease_cost;
use crate::contract::{Applied, Local, Response};
use crate::kv::{V3Result, within_quota};
use crate::machine::Machine;
use crate::position::lease_key;

/// From this cluster version on checkpoints are kept in the row; older members would not expect it.
const CHECKPOINT_PERSISTED_FROM: ClusterVersion = ClusterVersion { major: 3, minor: 6 };

impl Machine {
    /// Carries out a request about leases; `None` when it is of another kind.
    pub(crate) fn apply_lease(
        &mut self,
        request: &InternalRaftRequest,
        applied: &mut Applied,
    ) -> Option<V3Result> {
        if let Some(grant) = &request.lease_grant {
            Some(self.grant_entry(grant, applied))
        } else if let Some(revoke) = &request.lease_revoke {
            Some(self.revoke_entry(revoke, applied))
        } else {
            let checkpoint = request.lease_checkpoint.as_ref()?;
            Some(Ok(self.checkpoint_entry(checkpoint, applied)))
        }
    }

    fn grant_entry(&mut self, request: &LeaseGrantRequest, applied: &mut Applied) -> V3Result {
        self.alarms.check_write(lease_cost)?;
        let over_quota = self.is_over_quota(lease_cost());
        let id = LeaseId(request.id);
        let ttl = self.leases.grant(id, request.ttl, self.settings.lease_ttl_min_seconds())?;
        applied.ops.push(row(id, ttl, 0));
        applied.local.push(Local::LeaseGranted { id, ttl_seconds: ttl });
        within_quota(over_quota, Response::LeaseGrant { id, ttl }, applied)
    }

    fn revoke_entry(&mut self, request: &LeaseRevokeRequest, applied: &mut Applied) -> V3Result {
        self.alarms.check_corrupt()?;
        let keys = self.leases.revoke(LeaseId(request.id))?;
        self.delete_lease_keys(&keys, applied);
        applied.ops.push(Op::delete(Bucket::Lease, lease_key(request.id)));
        applied.local.push(Local::LeaseRevoked(LeaseId(request.id)));
        Ok(Response::LeaseRevoke)
    }

    /// Unknown leases are passed over: they were revoked while the entry was on its way. A checkpoint
    /// that is taken back is taken out of the row at any version, which then is the row of the grant:
    /// a member that finds the old one after a restart would end the lease too early.
    fn checkpoint_entry(
        &mut self,
        request: &LeaseCheckpointRequest,
        applied: &mut Applied,
    ) -> Response {
        let is_persisted =
            self.cluster.version().is_some_and(|version| version >= CHECKPOINT_PERSISTED_FROM);
        for checkpoint in &request.checkpoints {
            let (id, remaining) = (LeaseId(checkpoint.id), checkpoint.remaining_ttl);
            self.leases.checkpoint(id, remaining);
            let is_written = is_persisted || remaining == 0;
            if let Some(lease) = self.leases.get(id).filter(|_| is_written) {
                applied.ops.push(row(id, lease.ttl_seconds, remaining));
            }
        }
        Response::LeaseCheckpoint
    }
}

fn row(id: LeaseId, ttl: i64, remaining_ttl: i64) -> Op {
    let lease = leasepb::Lease { id: id.0, ttl, remaining_ttl };
    Op::put(Bucket::Lease, lease_key(id.0), lease.encode_to_vec())
}
