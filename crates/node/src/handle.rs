//! What the edges see of a member: propose and inspect; reads are in `reads`.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use apply::{Machine, Reply, Response};
use bytes::Bytes;
use consensus::Input;
use membership::strict::{Connections, Rule};
use membership::{ClusterVersion, Member};
use prost::Message as _;
use proto::etcdserverpb::{InternalRaftRequest, RequestHeader};
use proto::raftpb::{ConfChange, ConfChangeType};
use proto::v2_request::V2Request;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use transport::{CallPool, Transport};
use types::{ClusterId, EtcdError, LogIndex, NodeId, RequestId, Term, V2Error, limits};
use v2store::Event;

use crate::apply_thread::ApplyQueue;
use crate::counters::Counters;
use crate::desk;
use crate::options::Options;
use crate::profile::{self, Stage};
use crate::read_threads::ReadThreads;
use crate::request_id::RequestIds;
use crate::shared::{Shared, StopReason};
use crate::waiters::{DeskNumber, Outcome};
use crate::watch::{WatchFigures, WatchStream};

/// Proposals that may wait at one time, for a leader or for their outcome; further ones are refused
/// with `too many requests`.
const PROPOSALS_PENDING_MAX: usize = 20_000;
/// Largest v2 request: a form of the largest size, and what its entry adds. `--max-request-bytes`
/// does not apply to v2, as in etcd.
const V2_REQUEST_MAX_BYTES: u64 = limits::V2_FORM_MAX_BYTES as u64 + 64 * 1024;
/// Pause before a proposal is tried again that raft certainly did not take.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// The outcome of a v3 proposal.
#[derive(Debug)]
pub struct ProposeReply {
    /// What the request did.
    pub response: Response,
    /// Store revision after it.
    pub revision: i64,
    /// Term of its entry.
    pub term: Term,
}

/// The outcome of a v2 proposal.
#[derive(Debug)]
pub struct V2Outcome {
    /// What the request did.
    pub result: Result<Event, V2Error>,
    /// Position of its entry.
    pub raft_index: LogIndex,
    /// Term of its entry.
    pub raft_term: Term,
}

/// A member at a glance.
#[derive(Clone, Debug)]
pub struct Status {
    /// This member.
    pub member_id: NodeId,
    /// Its cluster.
    pub cluster_id: ClusterId,
    /// The leader; 0 when unknown.
    pub leader: NodeId,
    /// Current term.
    pub term: Term,
    /// Commit index.
    pub commit: LogIndex,
    /// Applied index.
    pub applied: LogIndex,
    /// Store revision.
    pub revision: i64,
    /// Bytes of the database file.
    pub db_size: u64,
    /// Bytes of it in use.
    pub db_size_in_use: u64,
    /// Whether this member is a learner.
    pub is_learner: bool,
    /// Cluster version, once decided.
    pub cluster_version: Option<ClusterVersion>,
    /// Raised alarms, as member ID and kind.
    pub alarms: Vec<proto::etcdserverpb::AlarmMember>,
}

/// A cheap handle on a running member.
#[derive(Clone)]
pub struct Handle {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) cluster_id: ClusterId,
    pub(crate) options: Options,
    pub(crate) ids: RequestIds,
    pub(crate) pending: AtomicUsize,
    pub(crate) apply: Arc<ApplyQueue>,
    pub(crate) transport: Transport,
    /// Calls that are forwarded to the leader.
    pub(crate) calls: CallPool,
    pub(crate) read_threads: ReadThreads,
    pub(crate) started: std::time::Instant,
}

/// Takes a waiter out again when its client is gone.
pub(crate) struct Registered<'a> {
    inner: &'a Inner,
    id: RequestId,
    answered: bool,
}

impl<'a> Registered<'a> {
    pub(crate) fn new(inner: &'a Inner, id: RequestId) -> Self {
        Self { inner, id, answered: false }
    }

    /// The waiter was taken out by whoever answered it.
    pub(crate) fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.inner.shared.waiters.forget(self.id);
        }
    }
}

struct Pending<'a>(&'a AtomicUsize);

impl<'a> Pending<'a> {
    fn enter(count: &'a AtomicUsize) -> Result<Self, EtcdError> {
        let pending = Self(count);
        if count.fetch_add(1, Ordering::Relaxed) >= PROPOSALS_PENDING_MAX {
            return Err(EtcdError::RequestTooManyRequests);
        }
        Ok(pending)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Handle {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    /// This member.
    #[must_use]
    pub fn local(&self) -> NodeId {
        self.inner.shared.local
    }

    /// Its cluster.
    #[must_use]
    pub fn cluster_id(&self) -> ClusterId {
        self.inner.cluster_id
    }

    /// The settings that the member runs with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.inner.options
    }

    /// Puts a v3 request through the log.
    ///
    /// # Errors
    /// The error that every member computed for it, or why its outcome is unknown.
    pub fn propose(
        &self,
        mut request: InternalRaftRequest,
    ) -> impl Future<Output = Result<ProposeReply, EtcdError>> + Send + use<'_> {
        profile::mark(Stage::Received);
        // Encoded here, so that the future holds the bytes and not the large message.
        let id = self.next_id();
        request.header = Some(RequestHeader { id: id.0, ..RequestHeader::default() });
        self.propose_encoded(id, request.encode_to_vec().into())
    }

    /// A number for a request of this member, for its header.
    #[must_use]
    pub fn next_id(&self) -> RequestId {
        self.inner.ids.next()
    }

    /// Puts an encoded `InternalRaftRequest` through the log, whose header holds this number.
    ///
    /// # Errors
    /// As [`Handle::propose`].
    pub async fn propose_encoded(
        &self,
        id: RequestId,
        data: Bytes,
    ) -> Result<ProposeReply, EtcdError> {
        let outcome = self.submit(id, data, self.inner.options.max_request_bytes).await?;
        let Outcome { reply, revision, term, .. } = outcome;
        match reply? {
            Reply::V3(result) => Ok(ProposeReply { response: result?, revision, term }),
            Reply::V2(_) | Reply::Members(_) => Err(EtcdError::Unhealthy),
        }
    }

    /// Puts a v2 request through the log.
    ///
    /// # Errors
    /// Why its outcome is unknown; errors of the v2 store are in the outcome.
    pub async fn propose_v2(&self, mut request: V2Request) -> Result<V2Outcome, EtcdError> {
        let id = self.next_id();
        request.id = id.0;
        let outcome = self.submit(id, request.encode(), V2_REQUEST_MAX_BYTES).await?;
        match outcome.reply? {
            Reply::V2(result) => {
                Ok(V2Outcome { result, raft_index: outcome.index, raft_term: outcome.term })
            }
            Reply::V3(_) | Reply::Members(_) => Err(EtcdError::Unhealthy),
        }
    }

    /// Adds a member under a new ID.
    ///
    /// # Errors
    /// Those of the strict check, of the membership rules and of proposing.
    pub async fn add_member(
        &self,
        peer_urls: &[String],
        is_learner: bool,
    ) -> Result<(Member, Vec<Member>), EtcdError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let seconds = i64::try_from(now).unwrap_or(i64::MAX);
        let member = membership::bootstrap::joining_member(peer_urls, is_learner, seconds)
            .ok_or(EtcdError::MemberBadURLs)?;
        self.check_strictly(|machine, connections| {
            machine.membership().check_add(is_learner, connections, Rule::Quorum)
        })?;
        let change_type =
            if is_learner { ConfChangeType::AddLearnerNode } else { ConfChangeType::AddNode };
        let context = membership::json::conf_change_context(&member, false);
        let members = self.change_members(change_type, member.id, context).await?;
        Ok((member, members))
    }

    /// Removes a member for good.
    ///
    /// # Errors
    /// Those of the strict check, of the membership rules and of proposing.
    pub async fn remove_member(&self, id: NodeId) -> Result<Vec<Member>, EtcdError> {
        self.check_strictly(|machine, connections| {
            machine.membership().check_remove(id, connections)
        })?;
        self.change_members(ConfChangeType::RemoveNode, id, Bytes::new()).await
    }

    /// Gives a member other peer URLs.
    ///
    /// # Errors
    /// Those of the membership rules and of proposing.
    pub async fn update_member(
        &self,
        id: NodeId,
        peer_urls: &[String],
    ) -> Result<Vec<Member>, EtcdError> {
        let member = Member {
            id,
            peer_urls: peer_urls.to_vec(),
            is_learner: false,
            name: String::new(),
            client_urls: Vec::new(),
        };
        let context = membership::json::conf_change_context(&member, false);
        self.change_members(ConfChangeType::UpdateNode, id, context).await
    }

    /// Waits until the rows that a compaction lets go have left the database of this member.
    ///
    /// As in etcd that has no time limit but the client's.
    ///
    /// # Errors
    /// `Stopped` when the member stops.
    pub async fn wait_compacted(&self, revision: i64) -> Result<(), EtcdError> {
        let mut compacted = self.inner.shared.compacted.subscribe();
        let mut stop = self.inner.shared.watch_stop();
        tokio::select! {
            done = compacted.wait_for(|finished| *finished >= revision) => {
                done.map(drop).map_err(|_| EtcdError::Stopped)
            }
            _ = stop.wait_for(Option::is_some) => Err(EtcdError::Stopped),
        }
    }

    /// Looks at the replicated state under the read lock; keep it short.
    pub fn with_machine<R>(&self, look: impl FnOnce(&Machine) -> R) -> R {
        look(&self.inner.shared.read().machine)
    }

    /// A member at a glance.
    #[must_use]
    pub fn status(&self) -> Status {
        let shared = &self.inner.shared;
        let raft = shared.raft.borrow().clone();
        let sizes = shared.sizes();
        let published = shared.read();
        let machine = &published.machine;
        let local = machine.membership().members.get(&shared.local);
        Status {
            member_id: shared.local,
            cluster_id: self.inner.cluster_id,
            leader: raft.leader,
            term: raft.term,
            commit: shared.committed(),
            applied: shared.applied(),
            revision: machine.store().current_revision(),
            db_size: sizes.total_bytes,
            db_size_in_use: sizes.in_use_bytes,
            is_learner: local.is_some_and(|member| member.is_learner),
            cluster_version: machine.cluster_version(),
            alarms: machine.alarms(),
        }
    }

    /// Whether this member is a learner; without a lock.
    #[must_use]
    pub fn is_learner(&self) -> bool {
        self.inner.shared.is_learner.load(Ordering::Relaxed)
    }

    /// Waits until this member has had no leader for three election time-outs (api-v3.md 9.4).
    pub async fn leader_lost(&self) {
        let mut raft = self.inner.shared.raft.subscribe();
        let patience = 3 * self.inner.options.timing.election_timeout();
        loop {
            if raft.wait_for(|view| view.leader == NodeId(0)).await.is_err() {
                return;
            }
            let found = raft.wait_for(|view| view.leader != NodeId(0));
            if tokio::time::timeout(patience, found).await.is_err() {
                return;
            }
        }
    }

    /// The leader as this member sees it; 0 when unknown.
    #[must_use]
    pub fn leader(&self) -> NodeId {
        self.inner.shared.raft.borrow().leader
    }

    /// Raft's own view, once its thread has published one.
    #[must_use]
    pub fn raft_status(&self) -> Option<consensus::Status> {
        self.inner.shared.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What this member counts about itself.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.inner.shared.counters
    }

    /// Proposals that wait for their outcome.
    #[must_use]
    pub fn proposals_pending(&self) -> usize {
        self.inner.pending.load(Ordering::Relaxed)
    }

    /// The transport, for its counters.
    #[must_use]
    pub fn transport(&self) -> &Transport {
        &self.inner.transport
    }

    /// Lets raft's clock jump ahead, so that the first election comes sooner.
    pub fn advance_ticks(&self, ticks: usize) {
        for _ in 0..ticks {
            self.inner.shared.inbox.control(Input::Tick);
        }
    }

    /// Waits until this member has published itself through the log, which it does after each start.
    pub async fn published(&self) {
        let mut published = self.inner.shared.published_self.subscribe();
        drop(published.wait_for(|done| *done).await);
    }

    /// Tells all streams to clients to end, so that their connections can be closed.
    pub fn close_streams(&self) {
        self.inner.shared.closing.send_replace(true);
    }

    /// Opens a stream of watchers.
    #[must_use]
    pub fn watch_stream(&self) -> WatchStream {
        WatchStream::open(&self.inner.shared)
    }

    /// Numbers about watchers.
    #[must_use]
    pub fn watch_figures(&self) -> WatchFigures {
        self.inner.shared.watch.figures()
    }

    /// The current term, as raft last told it.
    #[must_use]
    pub fn term(&self) -> Term {
        self.inner.shared.raft.borrow().term
    }

    /// Waits until streams to clients have to end: the server or the member stops.
    pub async fn streams_closing(&self) {
        let mut closing = self.inner.shared.closing.subscribe();
        drop(closing.wait_for(|closing| *closing).await);
    }

    /// Waits until the member stops.
    pub async fn stopped(&self) -> StopReason {
        let mut stop = self.inner.shared.watch_stop();
        match stop.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or(StopReason::Requested),
            Err(_) => StopReason::Requested,
        }
    }

    /// Waits until this member knows a leader, at most for the request time-out.
    ///
    /// # Errors
    /// `Timeout` when no leader was found.
    pub async fn wait_for_leader(&self) -> Result<NodeId, EtcdError> {
        self.leader_by(self.deadline()).await
    }

    /// Works at a desk for the requests of the runtime that runs this, so that they go to raft and
    /// come back in batches. Only for a runtime of one thread, and to be spawned on it; requests on
    /// other runtimes go without.
    pub fn desk(&self) -> impl Future<Output = ()> + Send + use<> {
        desk::work(Arc::clone(&self.inner.shared))
    }

    pub(crate) fn submit_quietly(&self, make: impl FnOnce(RequestId) -> Bytes) {
        let id = self.inner.ids.next();
        let _ = self.inner.shared.inbox.client(Input::Propose(vec![(id, make(id))]));
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    async fn change_members(
        &self,
        change_type: ConfChangeType,
        node_id: NodeId,
        context: Bytes,
    ) -> Result<Vec<Member>, EtcdError> {
        let deadline = self.deadline();
        let _pending = Pending::enter(&self.inner.pending)?;
        let leader = self.leader_by(deadline).await?;
        let id = self.inner.ids.next();
        let change = ConfChange { id: id.0, change_type, node_id: node_id.0, context };
        let outcome = self.change_and_wait(id, leader, change, deadline).await?;
        match outcome.reply? {
            Reply::Members(result) => result.map_err(|error| error.to_etcd_error()),
            Reply::V3(_) | Reply::V2(_) => Err(EtcdError::Unhealthy),
        }
    }

    async fn submit(
        &self,
        id: RequestId,
        data: Bytes,
        size_max: u64,
    ) -> Result<Outcome, EtcdError> {
        let outcome = self.try_submit(id, data, size_max).await;
        if outcome.is_err() {
            self.inner.shared.counters.proposals_failed.add(1);
        }
        outcome
    }

    /// Proposes until raft takes it: what raft refused is certainly not in the log.
    async fn try_submit(
        &self,
        id: RequestId,
        data: Bytes,
        size_max: u64,
    ) -> Result<Outcome, EtcdError> {
        let inner = &*self.inner;
        check_lag(inner.shared.committed(), inner.shared.applied())?;
        let _pending = Pending::enter(&inner.pending)?;
        if data.len() as u64 > size_max {
            return Err(EtcdError::RequestTooLarge);
        }
        let deadline = self.deadline();
        loop {
            let leader = self.leader_by(deadline).await?;
            let receiver = desk::post_proposal(&inner.shared, id, leader, data.clone());
            let outcome = self.outcome(id, receiver, deadline).await?;
            match outcome.reply {
                Err(EtcdError::NoLeader) => tokio::time::sleep(RETRY_PAUSE).await,
                _ => return Ok(outcome),
            }
            if Instant::now() >= deadline {
                return Err(self.timeout_error(deadline));
            }
        }
    }

    async fn change_and_wait(
        &self,
        id: RequestId,
        leader: NodeId,
        change: ConfChange,
        deadline: Instant,
    ) -> Result<Outcome, EtcdError> {
        let inner = &*self.inner;
        let term = inner.shared.raft.borrow().term;
        let (sender, receiver) = oneshot::channel();
        inner.shared.waiters.propose(DeskNumber::NONE, leader, term, [(id, sender)]);
        let registered = Registered::new(inner, id);
        // A leader lost between the look at it and the registration has been reported already.
        if inner.shared.raft.borrow().leader != leader {
            return Ok(Outcome::not_taken());
        }
        let input = Input::ProposeConfChange(id, change);
        inner.shared.inbox.client(input).map_err(|_| EtcdError::RequestTooManyRequests)?;
        let outcome = self.outcome(id, receiver, deadline).await;
        drop(registered);
        outcome
    }

    async fn outcome(
        &self,
        id: RequestId,
        receiver: oneshot::Receiver<Outcome>,
        deadline: Instant,
    ) -> Result<Outcome, EtcdError> {
        let registered = Registered::new(&self.inner, id);
        match timeout_at(deadline, receiver).await {
            Ok(Ok(outcome)) => {
                registered.answered();
                profile::mark(Stage::Answered);
                Ok(outcome)
            }
            Ok(Err(_)) => Err(EtcdError::Stopped),
            Err(_) => Err(self.timeout_error(deadline)),
        }
    }

    pub(crate) async fn leader_by(&self, deadline: Instant) -> Result<NodeId, EtcdError> {
        let leader = self.leader();
        if leader != NodeId(0) {
            return Ok(leader);
        }
        let mut raft = self.inner.shared.raft.subscribe();
        let mut stop = self.inner.shared.watch_stop();
        let known = async {
            tokio::select! {
                found = raft.wait_for(|view| view.leader != NodeId(0)) => {
                    found.map(|view| view.leader).map_err(|_| EtcdError::Stopped)
                }
                _ = stop.wait_for(Option::is_some) => Err(EtcdError::Stopped),
            }
        };
        timeout_at(deadline, known).await.map_err(|_| EtcdError::Timeout)?
    }

    fn check_strictly(
        &self,
        check: impl FnOnce(&Machine, &Connections) -> Result<(), EtcdError>,
    ) -> Result<(), EtcdError> {
        if !self.inner.options.strict_reconfig_check {
            return Ok(());
        }
        let connections = self.connections();
        self.with_machine(|machine| check(machine, &connections))
    }

    fn connections(&self) -> Connections {
        let inner = &*self.inner;
        let now = std::time::Instant::now();
        let millis = |at: std::time::Instant| {
            let since = at.saturating_duration_since(inner.started);
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        };
        let ids: Vec<NodeId> =
            self.with_machine(|machine| machine.membership().members.keys().copied().collect());
        let active = ids
            .into_iter()
            .filter_map(|id| inner.transport.active_since(id).map(|since| (id, millis(since))));
        Connections {
            local: inner.shared.local,
            active_since_ms: active.collect(),
            now_ms: millis(now),
        }
    }

    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.inner.options.timing.request_timeout()
    }
}

/// Refuses proposals while apply is too far behind.
fn check_lag(committed: LogIndex, applied: LogIndex) -> Result<(), EtcdError> {
    if committed.0.saturating_sub(applied.0) > limits::APPLIED_LAG_MAX {
        return Err(EtcdError::RequestTooManyRequests);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proposals_are_refused_only_while_apply_is_far_behind() {
        let check = |committed, applied| check_lag(LogIndex(committed), LogIndex(applied));
        assert_eq!(check(5_000, 0), Ok(()));
        assert_eq!(check(5_001, 0), Err(EtcdError::RequestTooManyRequests));
        assert_eq!(check(10_000, 5_000), Ok(()));
        // Right after a snapshot was installed.
        assert_eq!(check(0, 9_000), Ok(()));
    }
}
