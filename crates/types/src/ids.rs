//! Newtypes for the identifiers and positions of raft and of etcd.

use std::fmt;

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident($inner:ty), $format:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $format, self.0)
            }
        }

        impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }
    };
}

id_type!(
    /// Raft identity of a member, printed as unpadded lower-case hex. Zero means "none".
    NodeId(u64),
    "{:x}"
);
id_type!(
    /// Identity of a cluster, printed as unpadded lower-case hex.
    ClusterId(u64),
    "{:x}"
);
id_type!(
    /// Raft term.
    Term(u64),
    "{}"
);
id_type!(
    /// Position in the raft log; the first entry has index 1.
    LogIndex(u64),
    "{}"
);
id_type!(
    /// Cluster-wide unique number of one proposed request (peer-protocol.md 14).
    RequestId(u64),
    "{}"
);
id_type!(
    /// Lease identity, printed as unpadded lower-case hex as `etcdctl` does. Zero means "none".
    LeaseId(i64),
    "{:x}"
);

impl LogIndex {
    /// The position right behind this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
