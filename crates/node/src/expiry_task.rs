//! Revokes expired leases through the log, while this member leads.
//!
//! Owns:       the revokes that are on their way.
//! Uses:       `Leasing` for which and how many at a time, `Handle` for the log.
//! Invariants: a revoke is proposed by the leader of the term in which the lease expired, or by
//!             nobody: never forwarded, never tried again in another term.
//! Source:     api-v3.md 4.5.

use std::time::Duration;

use prost::Message as _;
use proto::etcdserverpb::{InternalRaftRequest, LeaseRevokeRequest, RequestHeader};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use types::{EtcdError, LeaseId, Term};

use crate::handle::Handle;

/// Runs until the member stops.
pub(crate) async fn run(handle: Handle) {
    let shared = &handle.inner().shared;
    let mut ticks = tokio::time::interval(Duration::from_millis(lease::CHECK_INTERVAL_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut revokes = JoinSet::new();
    let mut stopped = std::pin::pin!(handle.stopped());
    loop {
        tokio::select! {
            _ = ticks.tick() => shared.leasing.check(&shared.raft),
            Some(revoked) = revokes.join_next() => match revoked {
                Ok(id) => shared.leasing.revoke_finished(id),
                Err(error) => tracing::error!(%error, "revoking an expired lease"),
            },
            _ = &mut stopped => return,
        }
        while let Some((term, id)) = shared.leasing.next_revoke(&shared.raft) {
            revokes.spawn(revoke(handle.clone(), term, id));
        }
    }
}

async fn revoke(handle: Handle, term: Term, id: LeaseId) -> LeaseId {
    let outcome = handle
        .propose_as_leader(term, |request| {
            let entry = InternalRaftRequest {
                header: Some(RequestHeader { id: request.0, ..RequestHeader::default() }),
                lease_revoke: Some(LeaseRevokeRequest { id: id.0 }),
                ..InternalRaftRequest::default()
            };
            entry.encode_to_vec().into()
        })
        .await;
    match outcome {
        Ok(()) => {
            handle.inner().shared.counters.leases_expired.add(1);
            tracing::debug!(lease = %id, "revoked expired lease");
        }
        // A client was faster, or another member has taken over.
        Err(EtcdError::LeaseNotFound | EtcdError::NotLeader | EtcdError::Stopped) => {}
        Err(error) => tracing::warn!(lease = %id, %error, "failed to revoke expired lease"),
    }
    id
}
