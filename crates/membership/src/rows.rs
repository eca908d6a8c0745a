//! Rows of the membership in the buckets `members`, `members_removed` and `cluster`.
//!
//! Owns:       the keys and values of those rows.
//! Uses:       `json`.
//! Never:      reads a bucket; rows arrive and leave as values.
//! Invariants: [`Membership::from_rows`] of [`Membership::to_rows`] is the same membership.
//! Source:     disk-formats.md 6.

use types::{Bucket, ClusterId, NodeId, Op};

use crate::{ClusterVersion, Member, Membership, json};

/// Row key of the cluster version.
pub const CLUSTER_VERSION_KEY: &[u8] = b"clusterVersion";

/// A row that cannot belong to a membership.
#[derive(Debug, thiserror::Error)]
#[error("corrupt row {key:?} of bucket {bucket:?}: expected {expected}")]
pub struct RowError {
    /// Where the row is.
    pub bucket: Bucket,
    /// Its key, printable.
    pub key: String,
    /// What should have been there.
    pub expected: &'static str,
    /// The parser's view, if there was one.
    #[source]
    pub source: Option<json::JsonError>,
}

impl Membership {
    /// All rows of the membership.
    #[must_use]
    pub fn to_rows(&self) -> Vec<Op> {
        let members = self.members.values().map(member_row);
        let removed = self.removed.iter().map(|id| removed_row(*id));
        members.chain(removed).chain(self.version.map(version_row)).collect()
    }

    /// Rebuilds a membership from rows; rows of other buckets and other keys of `cluster` (such as
    /// `downgrade`) are passed over.
    ///
    /// # Errors
    /// A row is malformed.
    pub fn from_rows(
        cluster_id: ClusterId,
        rows: impl IntoIterator<Item = (Bucket, impl AsRef<[u8]>, impl AsRef<[u8]>)>,
    ) -> Result<Self, RowError> {
        let mut membership = Self::new(cluster_id);
        for (bucket, key, value) in rows {
            membership.add_row(bucket, key.as_ref(), value.as_ref())?;
        }
        // A row of `members` that survived a removal (old etcd could leave one) stays removed.
        let removed = &membership.removed;
        membership.members.retain(|id, _| !removed.contains(id));
        Ok(membership)
    }

    fn add_row(&mut self, bucket: Bucket, key: &[u8], value: &[u8]) -> Result<(), RowError> {
        let corrupt = |expected, source| RowError {
            bucket,
            key: String::from_utf8_lossy(key).into_owned(),
            expected,
            source,
        };
        match bucket {
            Bucket::Members => {
                let id = parse_id(key).ok_or_else(|| corrupt("a hexadecimal member id", None))?;
                let member = json::member_from_json(value)
                    .map_err(|source| corrupt("a member", Some(source)))?;
                if member.id != id || id == NodeId(0) {
                    return Err(corrupt("the member that the key names", None));
                }
                self.members.insert(id, member);
            }
            Bucket::MembersRemoved => {
                let id = parse_id(key).ok_or_else(|| corrupt("a hexadecimal member id", None))?;
                self.removed.insert(id);
            }
            Bucket::Cluster if key == CLUSTER_VERSION_KEY => {
                let text = std::str::from_utf8(value).ok();
                let version = text.and_then(ClusterVersion::parse);
                self.version = Some(version.ok_or_else(|| corrupt("a cluster version", None))?);
            }
            _ => {}
        }
        Ok(())
    }
}

/// The row of one member.
#[must_use]
pub fn member_row(member: &Member) -> Op {
    Op::put(Bucket::Members, member.id.to_string(), json::member_to_json(member))
}

/// The rows that change when a member leaves.
#[must_use]
pub fn removal_rows(id: NodeId) -> Vec<Op> {
    vec![Op::delete(Bucket::Members, id.to_string()), removed_row(id)]
}

/// The row of the cluster version.
#[must_use]
pub fn version_row(version: ClusterVersion) -> Op {
    Op::put(Bucket::Cluster, CLUSTER_VERSION_KEY, version.to_string())
}

fn removed_row(id: NodeId) -> Op {
    Op::put(Bucket::MembersRemoved, id.to_string(), &b"removed"[..])
}

/// Reads a member ID as etcd prints it: hexadecimal, padded or not.
#[must_use]
pub fn parse_id(text: &[u8]) -> Option<NodeId> {
    if !text.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    u64::from_str_radix(text, 16).ok().map(NodeId)
}

#[cfg(test)]
mod tests;
