//! Alarm entries, entries about members and versions, and what is not supported.
//!
//! Owns:       nothing.
//! Uses:       `alarms`, `cluster`.
//! Never:      ignores a kind of request that has an effect somewhere else.
//! Invariants: every kind of peer-protocol.md 15 is handled here, in `kv` or in `leases`.
//! Source:     peer-protocol.md 13 and 15; design.md 4.

use membership::ClusterVersion;
use proto::etcdserverpb::InternalRaftRequest;
use proto::raftpb::Entry;
use types::{EtcdError, NodeId};

use crate::cluster::Stage;
use crate::contract::{Applied, Fault, Local, Response};
use crate::kv::V3Result;
use crate::machine::{Machine, bad_entry};

impl Machine {
    /// Carries out a v3-style entry about members or versions, at any stage; `None` when it is of
    /// another kind.
    pub(crate) fn apply_cluster(
        &mut self,
        stage: Stage,
        entry: &Entry,
        request: &InternalRaftRequest,
        applied: &mut Applied,
    ) -> Result<Option<Response>, Fault> {
        let effect = if let Some(set) = &request.cluster_version_set {
            let version = parse_version(entry, &set.ver)?;
            self.cluster.set_version(stage, version, self.settings.server_version)?
        } else if let Some(set) = &request.cluster_member_attr_set {
            let Some(attributes) = &set.member_attributes else {
                return Err(bad_entry(entry, "member attributes are missing"));
            };
            let id = NodeId(set.member_id);
            self.cluster
                .publish(stage, id, &attributes.name, &attributes.client_urls)
                .map_err(|reason| bad_entry(entry, &reason))?
        } else if let Some(set) = &request.downgrade_info_set {
            self.cluster.set_downgrade(stage, set.enabled.then_some(&*set.ver))
        } else {
            return Ok(None);
        };
        self.absorb_cluster(effect, applied);
        Ok(Some(Response::Empty))
    }

    /// Carries out an alarm request and answers the kinds without an effect; `None` for an unknown
    /// kind.
    pub(crate) fn apply_system(
        &mut self,
        entry: &Entry,
        request: &InternalRaftRequest,
        applied: &mut Applied,
    ) -> Result<Option<V3Result>, Fault> {
        if let Some(alarm) = &request.alarm {
            let (members, ops) = self.alarms.apply(alarm);
            if !ops.is_empty() {
                applied.local.push(Local::AlarmsChanged);
            }
            applied.ops.extend(ops);
            return Ok(Some(Ok(Response::Alarm(members))));
        }
        if let Some(kind) = auth_change(request) {
            return Err(Fault::Unsupported { index: entry.index, kind });
        }
        if request.authenticate.is_some() {
            // Auth is off, or restoring would have failed; this is then the answer everywhere.
            return Ok(Some(Err(EtcdError::AuthNotEnabled)));
        }
        Ok(is_without_effect(request).then_some(Ok(Response::Empty)))
    }
}

/// Reads a version out of an entry.
pub(crate) fn parse_version(entry: &Entry, text: &str) -> Result<ClusterVersion, Fault> {
    ClusterVersion::parse(text)
        .ok_or_else(|| bad_entry(entry, &format!("cluster version {text:?} is malformed")))
}

/// The name of a request that changes users, roles or the auth switch.
fn auth_change(request: &InternalRaftRequest) -> Option<&'static str> {
    let kinds = [
        (request.auth_enable.is_some(), "auth enable"),
        (request.auth_disable.is_some(), "auth disable"),
        (request.auth_user_add.is_some(), "auth user add"),
        (request.auth_user_delete.is_some(), "auth user delete"),
        (request.auth_user_change_password.is_some(), "auth user change password"),
        (request.auth_user_grant_role.is_some(), "auth user grant role"),
        (request.auth_user_revoke_role.is_some(), "auth user revoke role"),
        (request.auth_role_add.is_some(), "auth role add"),
        (request.auth_role_delete.is_some(), "auth role delete"),
        (request.auth_role_grant_permission.is_some(), "auth role grant permission"),
        (request.auth_role_revoke_permission.is_some(), "auth role revoke permission"),
    ];
    kinds.into_iter().find_map(|(is_set, kind)| is_set.then_some(kind))
}

fn is_without_effect(request: &InternalRaftRequest) -> bool {
    request.auth_status.is_some()
        || request.auth_user_get.is_some()
        || request.auth_user_list.is_some()
        || request.auth_role_get.is_some()
        || request.auth_role_list.is_some()
        || request.downgrade_version_test.is_some()
}
