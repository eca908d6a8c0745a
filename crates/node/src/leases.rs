//! Leases as the edges and other members ask for them.
//!
//! Owns:       which member answers: grants and revokes go through the log, everything about time
//!             is the leader's and forwarded to it.
//! Uses:       `Leasing` for deadlines, `transport::CallPool` for the way to the leader.
//! Never:      decides about time.
//! Invariants: a renewal is acknowledged only by a member whose role is beyond doubt, and of a lease
//!             whose revoke is not on its way.
//! Source:     api-v3.md 4; peer-protocol.md 2.5.

use std::time::Duration;

use apply::{Reply, Response};
use bytes::Bytes;
use consensus::Input;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use prost::Message as _;
use proto::etcdserverpb as pb;
use proto::leasepb::{LeaseInternalRequest, LeaseInternalResponse};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use transport::client::Call;
use types::{EtcdError, LeaseId, NodeId, RequestId, Term};

use crate::handle::{Handle, ProposeReply, Registered};
use crate::leasing::Attempt;
use crate::waiters::DeskNumber;

/// How long a question about a lease waits for this member to apply what is committed.
const APPLY_PATIENCE: Duration = Duration::from_secs(1);
/// Pause before the leader is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// What is known about the time of a lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseTtl {
    /// Seconds left, cut to whole ones; below zero when it is overdue.
    pub ttl_seconds: i64,
    /// Seconds that were granted.
    pub granted_ttl_seconds: i64,
    /// The keys that hang on it, when they were asked for.
    pub keys: Vec<Bytes>,
}

impl Handle {
    /// Grants a lease; ID 0 is replaced by one that this member draws.
    ///
    /// # Errors
    /// As [`Handle::propose`].
    pub async fn lease_grant(
        &self,
        mut request: pb::LeaseGrantRequest,
    ) -> Result<ProposeReply, EtcdError> {
        while request.id == 0 {
            let drawn = self.inner().ids.next().0 & i64::MAX.unsigned_abs();
            request.id = i64::try_from(drawn).unwrap_or(0);
        }
        self.propose(pb::InternalRaftRequest { lease_grant: Some(request), ..Default::default() })
            .await
    }

    /// Revokes a lease with all its keys.
    ///
    /// # Errors
    /// As [`Handle::propose`].
    pub async fn lease_revoke(&self, id: LeaseId) -> Result<ProposeReply, EtcdError> {
        let lease_revoke = Some(pb::LeaseRevokeRequest { id: id.0 });
        self.propose(pb::InternalRaftRequest { lease_revoke, ..Default::default() }).await
    }

    /// Gives a lease its whole time to live again, by the leader; returns it in seconds. The renewal
    /// of a lease that has expired waits until it is revoked.
    ///
    /// # Errors
    /// `LeaseNotFound` when it does not exist (any more); else why the leader could not be asked.
    pub async fn lease_renew(&self, id: LeaseId) -> Result<i64, EtcdError> {
        let deadline = self.deadline();
        loop {
            let leader = self.leader_to_ask(deadline).await?;
            let renewed = if leader == self.local() {
                self.renew_here(id, deadline).await?
            } else {
                let body = pb::LeaseKeepAliveRequest { id: id.0 }.encode_to_vec().into();
                self.ask(leader, "/leases", body, deadline, |body| renewed_ttl(id, body)).await?
            };
            if let Some(ttl_seconds) = renewed {
                return Ok(ttl_seconds);
            }
            pause(deadline).await?;
        }
    }

    /// What is left of a lease, as the leader knows it.
    ///
    /// # Errors
    /// `LeaseNotFound`, `LeaderChanged`; else why the leader could not be asked.
    pub async fn lease_time_to_live(
        &self,
        id: LeaseId,
        with_keys: bool,
    ) -> Result<LeaseTtl, EtcdError> {
        let deadline = self.deadline();
        loop {
            let leader = self.leader_to_ask(deadline).await?;
            if leader == self.local() {
                self.wait_applied().await?;
                return self.time_to_live_here(id, with_keys);
            }
            let request = pb::LeaseTimeToLiveRequest { id: id.0, keys: with_keys };
            let body = LeaseInternalRequest { lease_time_to_live_request: Some(request) };
            let body = body.encode_to_vec().into();
            let read = |body| time_to_live(id, body);
            if let Some(found) = self.ask(leader, "/leases/internal", body, deadline, read).await? {
                return Ok(found);
            }
            pause(deadline).await?;
        }
    }

    /// The leases that this member knows, and its revision: on the leader the one that expires
    /// first in front.
    #[must_use]
    pub fn leases(&self) -> (Vec<LeaseId>, i64) {
        let shared = &self.inner().shared;
        let (mut expiries, revision) = {
            let published = shared.read();
            let machine = &published.machine;
            let revision = machine.store().current_revision();
            let Some(expiries) = shared.leasing.expiries(&shared.raft) else {
                return (machine.leases().ids().collect(), revision);
            };
            (expiries, revision)
        };
        // Of many leases this takes long: apply must not wait for it.
        expiries.sort_unstable();
        (expiries.into_iter().map(|(_, id)| id).collect(), revision)
    }

    /// Renews as the leader; `None` when this member is not, or not certainly.
    pub(crate) async fn renew_here(
        &self,
        id: LeaseId,
        deadline: Instant,
    ) -> Result<Option<i64>, EtcdError> {
        if !self.ensure_leadership(deadline).await {
            return Ok(None);
        }
        self.clear_checkpoint(id).await?;
        let shared = &self.inner().shared;
        let mut is_applied = false;
        loop {
            match shared.leasing.renew(&shared.raft, id) {
                Attempt::Renewed(ttl_seconds) => {
                    shared.counters.leases_renewed.add(1);
                    return Ok(Some(ttl_seconds));
                }
                Attempt::NotLeading => return Ok(None),
                Attempt::Unknown if is_applied => return Err(EtcdError::LeaseNotFound),
                // Its grant may be on the way.
                Attempt::Unknown => {
                    self.wait_applied().await?;
                    is_applied = true;
                }
                Attempt::Expired(mut revoked) => {
                    let ended = async {
                        tokio::select! {
                            _ = revoked.changed() => Ok(()),
                            _ = self.stopped() => Err(EtcdError::Stopped),
                        }
                    };
                    timeout_at(deadline, ended).await.map_err(|_| EtcdError::Timeout)??;
                    is_applied = true;
                }
            }
        }
    }

    /// What this member as the leader knows of a lease.
    pub(crate) fn time_to_live_here(
        &self,
        id: LeaseId,
        with_keys: bool,
    ) -> Result<LeaseTtl, EtcdError> {
        let shared = &self.inner().shared;
        let published = shared.read();
        let lease = published.machine.leases().get(id).ok_or(EtcdError::LeaseNotFound)?;
        let ttl_seconds = shared.leasing.remaining_seconds(&shared.raft, id);
        let keys = lease.keys().filter(|_| with_keys).cloned().collect();
        Ok(LeaseTtl {
            ttl_seconds: ttl_seconds.ok_or(EtcdError::LeaderChanged)?,
            granted_ttl_seconds: lease.ttl_seconds,
            keys,
        })
    }

    /// Waits until this member has applied what is committed now.
    pub(crate) async fn wait_applied(&self) -> Result<(), EtcdError> {
        let shared = &self.inner().shared;
        let (sender, receiver) = oneshot::channel();
        if let Some(id) = shared.waiters.read(DeskNumber::NONE, vec![sender]) {
            shared.waiters.reads_ready(vec![id], shared.committed());
        }
        match tokio::time::timeout(APPLY_PATIENCE, receiver).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(EtcdError::Stopped),
            Err(_) => Err(EtcdError::TimeoutWaitAppliedIndex),
        }
    }

    /// Proposes as the leader of `term` and waits for the outcome; by any other member, or in any
    /// other term, it is not proposed. Meant for what is bounded by its proposer: no limit of
    /// client work holds it back.
    pub(crate) async fn propose_as_leader(
        &self,
        term: Term,
        make: impl FnOnce(RequestId) -> Bytes,
    ) -> Result<(), EtcdError> {
        let inner = self.inner();
        let id = inner.ids.next();
        let (sender, receiver) = oneshot::channel();
        let waiting = [(id, sender)];
        inner.shared.waiters.propose(DeskNumber::NONE, inner.shared.local, term, waiting);
        let _registered = Registered::new(inner, id);
        let requests = vec![(id, make(id))];
        inner.shared.inbox.control(Input::ProposeAsLeader { term, requests });
        let outcome = match timeout_at(self.deadline(), receiver).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => return Err(EtcdError::Stopped),
            Err(_) => return Err(EtcdError::Timeout),
        };
        match outcome.reply? {
            Reply::V3(result) => result.map(drop),
            // What became of it is in the tree; it was applied.
            Reply::V2(_) => Ok(()),
            Reply::Members(_) => Err(EtcdError::Unhealthy),
        }
    }

    /// Whether this member certainly leads. It takes its own word for it unless its raft thread was
    /// held up (a slow disk, a suspended process): then the others may have chosen anew.
    async fn ensure_leadership(&self, deadline: Instant) -> bool {
        let shared = &self.inner().shared;
        let tick = self.options().timing.tick;
        let Some(doubt) = shared.beat.doubt(std::time::Instant::now(), tick) else { return true };
        let is_confirmed = matches!(timeout_at(deadline, self.linearize()).await, Ok(Ok(())))
            && shared.raft.borrow().is_leader;
        if is_confirmed {
            shared.beat.confirm(doubt);
        }
        is_confirmed
    }

    /// A checkpoint of what was left of the lease (a Go leader may have made one) must not outlive
    /// a renewal: the next leader would go by it.
    async fn clear_checkpoint(&self, id: LeaseId) -> Result<(), EtcdError> {
        let is_checkpointed = self.with_machine(|machine| {
            machine.leases().get(id).is_some_and(|lease| lease.remaining_ttl_seconds > 0)
        });
        if !is_checkpointed {
            return Ok(());
        }
        let checkpoints = vec![pb::LeaseCheckpoint { id: id.0, remaining_ttl: 0 }];
        let lease_checkpoint = Some(pb::LeaseCheckpointRequest { checkpoints });
        let request = pb::InternalRaftRequest { lease_checkpoint, ..Default::default() };
        match self.propose(request).await?.response {
            Response::LeaseCheckpoint => Ok(()),
            _ => Err(EtcdError::Unhealthy),
        }
    }

    async fn leader_to_ask(&self, deadline: Instant) -> Result<NodeId, EtcdError> {
        self.leader_by(deadline).await.map_err(|error| match error {
            EtcdError::Timeout => EtcdError::NoLeader,
            other => other,
        })
    }

    /// Asks the leader by one of its peer URLs. `None` when it did not answer properly, or is not
    /// the leader any more: ask again.
    async fn ask<T>(
        &self,
        leader: NodeId,
        path: &str,
        body: Bytes,
        deadline: Instant,
        read: impl Fn(Bytes) -> Option<T>,
    ) -> Result<Option<T>, EtcdError> {
        let urls = self.with_machine(|machine| {
            let member = machine.membership().members.get(&leader);
            member.map(|member| member.peer_urls.clone()).unwrap_or_default()
        });
        let mut raft = self.inner().shared.raft.subscribe();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/protobuf"));
        let call = Call { method: Method::POST, path: path.to_owned(), headers, body };
        for url in urls {
            let limit = deadline.saturating_duration_since(Instant::now());
            let answer = tokio::select! {
                answer = self.inner().calls.call(&url, &call, limit) => answer,
                _ = raft.wait_for(|view| view.leader != leader) => return Ok(None),
                _ = self.stopped() => return Err(EtcdError::Stopped),
            };
            match answer {
                Ok(answer) if answer.status == StatusCode::NOT_FOUND => {
                    return Err(EtcdError::LeaseNotFound);
                }
                Ok(answer) if answer.status == StatusCode::OK => {
                    if let Some(found) = read(answer.body) {
                        return Ok(Some(found));
                    }
                    tracing::warn!(%leader, url, path, "leader's answer cannot be read");
                }
                Ok(answer) => {
                    tracing::debug!(%leader, url, path, status = %answer.status, "leader refused");
                }
                Err(error) => tracing::debug!(%leader, path, %error, "leader was not reached"),
            }
        }
        Ok(None)
    }
}

fn renewed_ttl(id: LeaseId, body: Bytes) -> Option<i64> {
    let answer = pb::LeaseKeepAliveResponse::decode(body).ok()?;
    (answer.id == id.0).then_some(answer.ttl)
}

fn time_to_live(id: LeaseId, body: Bytes) -> Option<LeaseTtl> {
    let answer = LeaseInternalResponse::decode(body).ok()?.lease_time_to_live_response?;
    (answer.id == id.0).then_some(LeaseTtl {
        ttl_seconds: answer.ttl,
        granted_ttl_seconds: answer.granted_ttl,
        keys: answer.keys,
    })
}

/// Waits a moment before another try; an error when there is no time left for one.
async fn pause(deadline: Instant) -> Result<(), EtcdError> {
    if Instant::now() + RETRY_PAUSE >= deadline {
        return Err(EtcdError::Timeout);
    }
    tokio::time::sleep(RETRY_PAUSE).await;
    Ok(())
}
