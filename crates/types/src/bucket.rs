//! The top-level buckets of the database and one change of a row in them.

use bytes::Bytes;

/// A top-level bucket of `member/snap/db` (disk-formats.md 6), in file order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are etcd's; the two of our own are explained")]
pub enum Bucket {
    Alarm,
    Auth,
    AuthRoles,
    AuthUsers,
    Cluster,
    /// Our own: one row for each node of the v2 tree (docs/format/v2-rows.md).
    V2,
    /// Our own: whether and up to where the v2 rows are to be trusted.
    V2Meta,
    Key,
    Lease,
    Members,
    MembersRemoved,
    Meta,
}

impl Bucket {
    /// All buckets in file order.
    pub const ALL: [Self; 12] = [
        Self::Alarm,
        Self::Auth,
        Self::AuthRoles,
        Self::AuthUsers,
        Self::Cluster,
        Self::V2,
        Self::V2Meta,
        Self::Key,
        Self::Lease,
        Self::Members,
        Self::MembersRemoved,
        Self::Meta,
    ];

    /// The name of the bucket in the file.
    #[must_use]
    pub fn name(self) -> &'static [u8] {
        match self {
            Self::Alarm => b"alarm",
            Self::Auth => b"auth",
            Self::AuthRoles => b"authRoles",
            Self::AuthUsers => b"authUsers",
            Self::Cluster => b"cluster",
            Self::V2 => b"etchV2",
            Self::V2Meta => b"etchV2Meta",
            Self::Key => b"key",
            Self::Lease => b"lease",
            Self::Members => b"members",
            Self::MembersRemoved => b"members_removed",
            Self::Meta => b"meta",
        }
    }
}

/// One change of a row: `None` deletes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// Where.
    pub bucket: Bucket,
    /// Row key.
    pub key: Bytes,
    /// New value, or `None` for deletion.
    pub value: Option<Bytes>,
}

impl Op {
    /// A row to be written.
    #[must_use]
    pub fn put(bucket: Bucket, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self { bucket, key: key.into(), value: Some(value.into()) }
    }

    /// A row to be removed.
    #[must_use]
    pub fn delete(bucket: Bucket, key: impl Into<Bytes>) -> Self {
        Self { bucket, key: key.into(), value: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_listed_in_file_order() {
        assert!(Bucket::ALL.windows(2).all(|pair| pair[0].name() < pair[1].name()));
    }
}
