//! Wire types: the client API (generated) and raft's own messages (by hand).
//!
//! Owns:       the protobuf encodings of everything that leaves or enters the process.
//! Uses:       `prost`, `tonic` for the generated part, `bytes`.
//! Never:      behaviour; domain types are converted to and from these at the edges.
//! Invariants: generated files equal what `cargo xtask codegen` writes; `raftpb` emits zeros as
//!             Go etcd 3.6 and older do and accepts every encoding that Go has used.
//! Source:     api-v3.md 1; peer-protocol.md 10; raft-library.md 1.

pub mod entry;
pub mod raftpb;
pub mod v2_request;

/// Users, roles and permissions.
#[expect(missing_docs, clippy::all, reason = "generated code")]
pub mod authpb {
    include!("generated/authpb.rs");
}

/// The client API and the log entries of the v3 store.
#[expect(missing_docs, unused_qualifications, clippy::all, reason = "generated code")]
pub mod etcdserverpb {
    include!("generated/etcdserverpb.rs");
}

/// Leases as stored and forwarded.
#[expect(missing_docs, reason = "generated code")]
pub mod leasepb {
    include!("generated/leasepb.rs");
}

/// Membership entries of the log since 3.6.
#[expect(missing_docs, reason = "generated code")]
pub mod membershippb {
    include!("generated/membershippb.rs");
}

/// Key-value pairs and events.
#[expect(missing_docs, reason = "generated code")]
pub mod mvccpb {
    include!("generated/mvccpb.rs");
}
