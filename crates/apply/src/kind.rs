//! What kind of request an entry holds, under the names that etcd counts it by.
//!
//! Owns:       [`RequestKind`].
//! Uses:       `proto`.
//! Never:      a say in what an entry does.
//! Invariants: each kind is in [`RequestKind::ALL`] once.
//! Source:     etcd's `applierV3backend.Apply` and `applyV2Request`.

use proto::etcdserverpb::InternalRaftRequest;
use proto::v2_request::V2Request;

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are etcd's")]
pub enum RequestKind {
    V2Post,
    V2Put,
    V2Delete,
    V2Get,
    V2Sync,
    /// A v2 request with a method that no etcd writes.
    V2Other,
    Range,
    Put,
    DeleteRange,
    Txn,
    Compaction,
    LeaseGrant,
    LeaseRevoke,
    LeaseCheckpoint,
    Alarm,
    ClusterVersionSet,
    ClusterMemberAttrSet,
    DowngradeInfoSet,
    /// What this version does not carry out.
    Other,
}

impl RequestKind {
    /// Number of kinds.
    pub const COUNT: usize = 19;

    /// All kinds, in their own order.
    pub const ALL: [Self; Self::COUNT] = [
        Self::V2Post,
        Self::V2Put,
        Self::V2Delete,
        Self::V2Get,
        Self::V2Sync,
        Self::V2Other,
        Self::Range,
        Self::Put,
        Self::DeleteRange,
        Self::Txn,
        Self::Compaction,
        Self::LeaseGrant,
        Self::LeaseRevoke,
        Self::LeaseCheckpoint,
        Self::Alarm,
        Self::ClusterVersionSet,
        Self::ClusterMemberAttrSet,
        Self::DowngradeInfoSet,
        Self::Other,
    ];

    pub(crate) fn of_v2(request: &V2Request) -> Self {
        match request.method.as_str() {
            "POST" => Self::V2Post,
            "PUT" => Self::V2Put,
            "DELETE" => Self::V2Delete,
            "QGET" => Self::V2Get,
            "SYNC" => Self::V2Sync,
            _ => Self::V2Other,
        }
    }

    pub(crate) fn of_v3(request: &InternalRaftRequest) -> Self {
        let held = [
            (request.put.is_some(), Self::Put),
            (request.txn.is_some(), Self::Txn),
            (request.range.is_some(), Self::Range),
            (request.delete_range.is_some(), Self::DeleteRange),
            (request.compaction.is_some(), Self::Compaction),
            (request.lease_grant.is_some(), Self::LeaseGrant),
            (request.lease_revoke.is_some(), Self::LeaseRevoke),
            (request.lease_checkpoint.is_some(), Self::LeaseCheckpoint),
            (request.alarm.is_some(), Self::Alarm),
            (request.cluster_version_set.is_some(), Self::ClusterVersionSet),
            (request.cluster_member_attr_set.is_some(), Self::ClusterMemberAttrSet),
            (request.downgrade_info_set.is_some(), Self::DowngradeInfoSet),
        ];
        held.into_iter().find_map(|(is_held, kind)| is_held.then_some(kind)).unwrap_or(Self::Other)
    }

    /// Values of etcd's labels `version` and `op`.
    #[must_use]
    pub fn labels(self) -> (&'static str, &'static str) {
        match self {
            Self::V2Post => ("v2", "POST"),
            Self::V2Put => ("v2", "PUT"),
            Self::V2Delete => ("v2", "DELETE"),
            Self::V2Get => ("v2", "QGET"),
            Self::V2Sync => ("v2", "SYNC"),
            Self::V2Other => ("v2", "unknown"),
            Self::Range => ("v3", "Range"),
            Self::Put => ("v3", "Put"),
            Self::DeleteRange => ("v3", "DeleteRange"),
            Self::Txn => ("v3", "Txn"),
            Self::Compaction => ("v3", "Compaction"),
            Self::LeaseGrant => ("v3", "LeaseGrant"),
            Self::LeaseRevoke => ("v3", "LeaseRevoke"),
            Self::LeaseCheckpoint => ("v3", "LeaseCheckpoint"),
            Self::Alarm => ("v3", "Alarm"),
            Self::ClusterVersionSet => ("v3", "ClusterVersionSet"),
            Self::ClusterMemberAttrSet => ("v3", "ClusterMemberAttrSet"),
            Self::DowngradeInfoSet => ("v3", "DowngradeInfoSet"),
            Self::Other => ("v3", "unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proto::etcdserverpb::{CompactionRequest, PutRequest};

    use super::*;

    #[test]
    fn each_kind_has_labels_of_its_own_and_its_place() {
        let labels: BTreeSet<_> = RequestKind::ALL.into_iter().map(RequestKind::labels).collect();
        assert_eq!(labels.len(), RequestKind::COUNT);
        for (place, kind) in RequestKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
        }
    }

    #[test]
    fn kinds_of_requests() {
        let none = InternalRaftRequest::default();
        assert_eq!(RequestKind::of_v3(&none), RequestKind::Other);
        let put = InternalRaftRequest { put: Some(PutRequest::default()), ..none.clone() };
        assert_eq!(RequestKind::of_v3(&put), RequestKind::Put);
        let compaction = Some(CompactionRequest::default());
        let compaction = InternalRaftRequest { compaction, ..none };
        assert_eq!(RequestKind::of_v3(&compaction), RequestKind::Compaction);
        for (method, kind) in [("QGET", RequestKind::V2Get), ("x", RequestKind::V2Other)] {
            let request = V2Request { method: method.to_owned(), ..V2Request::default() };
            assert_eq!(RequestKind::of_v2(&request), kind);
        }
    }
}
