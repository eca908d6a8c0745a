//! What the HTTP endpoints ask of a member, so that tests can answer it without one.

use std::future::Future;

use membership::{ClusterVersion, Member as ClusterMember};
use node::{Handle, V2Watch};
use proto::etcdserverpb::{AlarmMember, RangeRequest};
use proto::v2_request::V2Request;
use types::{ClusterId, EtcdError, LogIndex, NodeId, Term, V2Error};
use v2store::{Event, Watch};

/// Where raft stands, for `X-Raft-Index` and `X-Raft-Term`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position {
    pub(crate) commit: LogIndex,
    pub(crate) term: Term,
}

/// A member as the HTTP endpoints see it.
pub(crate) trait Member: Sync {
    /// Identity of its cluster.
    fn cluster_id(&self) -> ClusterId;
    /// The leader it knows; 0 for none.
    fn leader(&self) -> NodeId;
    /// Where raft stands.
    fn position(&self) -> Position;
    /// All members by ID.
    fn members(&self) -> Vec<ClusterMember>;
    /// Whether it does not vote.
    fn is_learner(&self) -> bool;
    /// The version that all members speak.
    fn cluster_version(&self) -> Option<ClusterVersion>;
    /// All raised alarms.
    fn alarms(&self) -> Vec<AlarmMember>;
    /// Reads the v2 tree of this member.
    fn v2_get(&self, path: &str, recursive: bool, sorted: bool) -> Result<Event, V2Error>;
    /// Registers a watcher of the v2 tree of this member.
    fn v2_watch(
        &self,
        watch: Watch,
    ) -> impl Future<Output = Result<Result<V2Watch, V2Error>, EtcdError>> + Send;
    /// Puts a v2 request through the log.
    fn propose_v2(
        &self,
        request: V2Request,
    ) -> impl Future<Output = Result<Result<Event, V2Error>, EtcdError>> + Send;
    /// Waits until everything committed before is applied here.
    fn linearize(&self) -> impl Future<Output = Result<(), EtcdError>> + Send;
    /// Reads at most one key of this member's store.
    fn read_one_key(&self) -> impl Future<Output = Result<(), EtcdError>> + Send;
}

impl Member for Handle {
    fn cluster_id(&self) -> ClusterId {
        Self::cluster_id(self)
    }

    fn leader(&self) -> NodeId {
        Self::leader(self)
    }

    fn position(&self) -> Position {
        let status = self.status();
        Position { commit: status.commit, term: status.term }
    }

    fn members(&self) -> Vec<ClusterMember> {
        self.with_machine(|machine| machine.membership().members.values().cloned().collect())
    }

    fn is_learner(&self) -> bool {
        self.with_machine(|machine| {
            let local = machine.membership().members.get(&self.local());
            local.is_some_and(|member| member.is_learner)
        })
    }

    fn cluster_version(&self) -> Option<ClusterVersion> {
        self.with_machine(apply::Machine::cluster_version)
    }

    fn alarms(&self) -> Vec<AlarmMember> {
        self.with_machine(|machine| machine.alarms().into_iter().collect())
    }

    fn v2_get(&self, path: &str, recursive: bool, sorted: bool) -> Result<Event, V2Error> {
        Self::v2_get(self, path, recursive, sorted)
    }

    async fn v2_watch(&self, watch: Watch) -> Result<Result<V2Watch, V2Error>, EtcdError> {
        self.watch_v2(watch).await
    }

    async fn propose_v2(&self, request: V2Request) -> Result<Result<Event, V2Error>, EtcdError> {
        Self::propose_v2(self, request).await.map(|outcome| outcome.result)
    }

    async fn linearize(&self) -> Result<(), EtcdError> {
        Self::linearize(self).await
    }

    async fn read_one_key(&self) -> Result<(), EtcdError> {
        // Both ends at the smallest key: the whole store.
        let smallest = bytes::Bytes::from_static(b"\0");
        let request = RangeRequest {
            key: smallest.clone(),
            range_end: smallest,
            limit: 1,
            keys_only: true,
            serializable: true,
            ..RangeRequest::default()
        };
        self.range(request).await.map(drop)
    }
}

#[cfg(test)]
pub(crate) mod fake;
