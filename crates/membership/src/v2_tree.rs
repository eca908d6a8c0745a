//! The membership inside the v2 tree, where Go 3.4 to 3.6 members look for it.
//!
//! Owns:       the paths and values under `/0`.
//! Uses:       `json`, `rows::parse_id`.
//! Never:      the tree itself: writes are returned as values, leaves come in as pairs.
//! Invariants: [`writes`] are the store operations of Go, one for one, so that the v2 index moves
//!             alike on every member.
//! Source:     disk-formats.md 3.1, api-v2.md 4.1 and 8.1.

use types::{ClusterId, NodeId};

use crate::{Change, ClusterVersion, Member, Membership, json, rows};

/// Where the cluster version is kept.
pub const VERSION_PATH: &str = "/0/version";
/// Parent of the members.
pub const MEMBERS_PATH: &str = "/0/members";
/// Parent of the IDs of removed members.
pub const REMOVED_PATH: &str = "/0/removed_members";

/// One operation on the v2 store, always without expiration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "path and value of the v2 store")]
pub enum V2Write {
    /// Fails when the node exists.
    Create { path: String, value: String },
    /// Writes whatever was there.
    Set { path: String, value: String },
    /// Fails when the node does not exist.
    Update { path: String, value: String },
    /// Removes a directory with all below it.
    DeleteTree { path: String },
}

/// Leaves of a v2 tree that do not make a membership.
#[derive(Debug, thiserror::Error)]
#[error("corrupt v2 node {path}: expected {expected}")]
pub struct V2TreeError {
    /// The node.
    pub path: String,
    /// What should have been there.
    pub expected: &'static str,
    /// The parser's view, if there was one.
    #[source]
    pub source: Option<json::JsonError>,
}

/// Directory of a member.
#[must_use]
pub fn member_path(id: NodeId) -> String {
    format!("{MEMBERS_PATH}/{id}")
}

/// Node with what the cluster decided about a member.
#[must_use]
pub fn raft_attributes_path(id: NodeId) -> String {
    format!("{MEMBERS_PATH}/{id}/raftAttributes")
}

/// Node with what a member published.
#[must_use]
pub fn attributes_path(id: NodeId) -> String {
    format!("{MEMBERS_PATH}/{id}/attributes")
}

/// Node that marks a removed member.
#[must_use]
pub fn removed_path(id: NodeId) -> String {
    format!("{REMOVED_PATH}/{id}")
}

/// The member whose published attributes live at `path`, if it is such a path: a v2 PUT there is
/// a membership entry (peer-protocol.md 12.6).
#[must_use]
pub fn attributes_owner(path: &str) -> Option<NodeId> {
    let id = path.strip_prefix(MEMBERS_PATH)?.strip_prefix('/')?.strip_suffix("/attributes")?;
    rows::parse_id(id.as_bytes()).filter(|_| !id.is_empty())
}

/// What a change writes. `after` is the membership with the change applied.
#[must_use]
pub fn writes(change: &Change, after: &Membership) -> Vec<V2Write> {
    match change {
        Change::AddVoter(member) | Change::AddLearner(member) => vec![V2Write::Create {
            path: raft_attributes_path(member.id),
            value: json::raft_attributes_to_json(&member.peer_urls, member.is_learner),
        }],
        Change::Promote(id)
        | Change::UpdatePeerUrls(id, _)
        | Change::OverwriteRaftAttributes { id, .. } => after
            .members
            .get(id)
            .map(|member| V2Write::Update {
                path: raft_attributes_path(*id),
                value: json::raft_attributes_to_json(&member.peer_urls, member.is_learner),
            })
            .into_iter()
            .collect(),
        Change::Remove(id) => vec![
            V2Write::DeleteTree { path: member_path(*id) },
            V2Write::Create { path: removed_path(*id), value: String::new() },
        ],
        Change::None => Vec::new(),
    }
}

/// What publishing writes.
#[must_use]
pub fn attributes_write(id: NodeId, name: &str, client_urls: &[String]) -> V2Write {
    V2Write::Set { path: attributes_path(id), value: json::attributes_to_json(name, client_urls) }
}

/// What a new cluster version writes.
#[must_use]
pub fn version_write(version: ClusterVersion) -> V2Write {
    V2Write::Set { path: VERSION_PATH.to_owned(), value: version.to_string() }
}

impl Membership {
    /// The whole membership as leaves of a fresh tree, in the order in which to create them.
    #[must_use]
    pub fn to_v2_leaves(&self) -> Vec<(String, String)> {
        let mut leaves = Vec::new();
        for member in self.members.values() {
            let raft = json::raft_attributes_to_json(&member.peer_urls, member.is_learner);
            leaves.push((raft_attributes_path(member.id), raft));
            if member.is_started() || !member.client_urls.is_empty() {
                let published = json::attributes_to_json(&member.name, &member.client_urls);
                leaves.push((attributes_path(member.id), published));
            }
        }
        leaves.extend(self.removed.iter().map(|id| (removed_path(*id), String::new())));
        leaves.extend(self.version.map(|version| (VERSION_PATH.to_owned(), version.to_string())));
        leaves
    }

    /// Reads the membership out of the leaves (path and value of each file) of a v2 tree. Leaves
    /// outside the paths of this module are passed over.
    ///
    /// # Errors
    /// A leaf is malformed, or a member has published itself without ever having been added.
    pub fn from_v2_leaves(
        cluster_id: ClusterId,
        leaves: impl IntoIterator<Item = (impl AsRef<str>, impl AsRef<str>)>,
    ) -> Result<Self, V2TreeError> {
        let mut membership = Self::new(cluster_id);
        let mut added = Vec::new();
        for (path, value) in leaves {
            let (path, value) = (path.as_ref(), value.as_ref());
            if let Some(rest) = path.strip_prefix(MEMBERS_PATH).and_then(|r| r.strip_prefix('/')) {
                let (id, leaf) = rest.split_once('/').unwrap_or((rest, ""));
                let id = parse_id(path, id)?;
                added.extend((leaf == "raftAttributes").then_some(id));
                let member = membership.members.entry(id).or_insert_with(|| blank(id));
                read_leaf(member, path, leaf, value)?;
            } else if let Some(id) =
                path.strip_prefix(REMOVED_PATH).and_then(|rest| rest.strip_prefix('/'))
            {
                membership.removed.insert(parse_id(path, id)?);
            } else if path == VERSION_PATH {
                let version = ClusterVersion::parse(value);
                membership.version =
                    Some(version.ok_or_else(|| corrupt(path, "a cluster version", None))?);
            }
        }
        match membership.members.keys().find(|id| !added.contains(id)) {
            Some(id) => Err(corrupt(&raft_attributes_path(*id), "raft attributes", None)),
            None => Ok(membership),
        }
    }
}

fn read_leaf(member: &mut Member, path: &str, leaf: &str, value: &str) -> Result<(), V2TreeError> {
    match leaf {
        "raftAttributes" => {
            let parsed = json::raft_attributes_from_json(value.as_bytes());
            (member.peer_urls, member.is_learner) =
                parsed.map_err(|source| corrupt(path, "raft attributes", Some(source)))?;
        }
        "attributes" => {
            let parsed = json::attributes_from_json(value.as_bytes());
            (member.name, member.client_urls) =
                parsed.map_err(|source| corrupt(path, "attributes", Some(source)))?;
        }
        _ => return Err(corrupt(path, "raftAttributes or attributes", None)),
    }
    Ok(())
}

fn blank(id: NodeId) -> Member {
    Member { id, ..Member::default() }
}

fn parse_id(path: &str, id: &str) -> Result<NodeId, V2TreeError> {
    rows::parse_id(id.as_bytes())
        .filter(|id| *id != NodeId(0))
        .ok_or_else(|| corrupt(path, "a hexadecimal member id", None))
}

fn corrupt(path: &str, expected: &'static str, source: Option<json::JsonError>) -> V2TreeError {
    V2TreeError { path: path.to_owned(), expected, source }
}

#[cfg(test)]
mod tests;
