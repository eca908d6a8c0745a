//! In which of its two styles an entry about members or versions is written.
//!
//! Owns:       the one place that decides it.
//! Uses:       `proto`, `membership` for JSON and versions.
//! Never:      fills in request IDs; the proposer does.
//! Invariants: v2-style if and only if the cluster version is below 3.6 or not known: 3.4 panics
//!             on v3-style entries, 3.7 on v2-style ones, 3.5 and 3.6 read both.
//! Source:     peer-protocol.md 12.6, 13, 18.

use membership::{ClusterVersion, Member};
use proto::etcdserverpb::InternalRaftRequest;
use proto::membershippb::{Attributes, ClusterMemberAttrSetRequest, ClusterVersionSetRequest};
use proto::v2_request::V2Request;

/// The first cluster version whose entries are v3-style.
const V3_STYLE_FROM: ClusterVersion = ClusterVersion { major: 3, minor: 6 };

/// A request to be put into the log, without its ID.
#[derive(Clone, Debug, PartialEq)]
pub enum Proposal {
    /// As a bare v2 request.
    V2(V2Request),
    /// As a v3 request.
    V3(Box<InternalRaftRequest>),
}

/// The entry that publishes name and client URLs of a member.
#[must_use]
pub fn publish_attributes(member: &Member, cluster: Option<ClusterVersion>) -> Proposal {
    if is_v3_style(cluster) {
        let attributes =
            Attributes { name: member.name.clone(), client_urls: member.client_urls.clone() };
        return Proposal::V3(Box::new(InternalRaftRequest {
            cluster_member_attr_set: Some(ClusterMemberAttrSetRequest {
                member_id: member.id.0,
                member_attributes: Some(attributes),
            }),
            ..Default::default()
        }));
    }
    let path = format!("/0/members/{}/attributes", member.id);
    let json = membership::json::attributes_to_json(&member.name, &member.client_urls);
    Proposal::V2(put(path, json))
}

/// The entry that sets the cluster version.
#[must_use]
pub fn set_cluster_version(next: ClusterVersion, cluster: Option<ClusterVersion>) -> Proposal {
    if is_v3_style(cluster) {
        return Proposal::V3(Box::new(InternalRaftRequest {
            cluster_version_set: Some(ClusterVersionSetRequest { ver: next.to_string() }),
            ..Default::default()
        }));
    }
    Proposal::V2(put("/0/version".to_owned(), next.to_string()))
}

fn is_v3_style(cluster: Option<ClusterVersion>) -> bool {
    cluster.is_some_and(|version| version >= V3_STYLE_FROM)
}

fn put(path: String, val: String) -> V2Request {
    V2Request { method: "PUT".to_owned(), path, val, ..Default::default() }
}

#[cfg(test)]
mod tests;
