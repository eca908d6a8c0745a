//! Wire types: the client API (generated) and raft's own messages (by hand).
//!
//! Owns:       the protobuf encodings of everything that leaves or enters the process.
//! Uses:       `prost`, `tonic` for the generated part, `bytes`.
//! Never:      behaviour; domain types are converted to and from these at the edges.
//! Invariants: generated files equal what `cargo xtask codegen` writes; `raftpb` emits zeros as
//!             Go etcd 3.6 and older do and accepts every encoding that Go has used.
//! Source:     api-v3.md 1; peer-protocol.md 10; raft-library.md 1.

pub mod codec;
pub mod entry;
pub mod raftpb;
mod stored;
pub mod v2_request;

pub use stored::StoredKeyValue;

/// Users, roles and permissions.
#[expect(missing_docs, reason = "generated code")]
pub mod authpb {
    include!("generated/authpb.rs");
}

/// The client API and the log entries of the v3 store.
#[expect(
    missing_docs,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::missing_errors_doc,
    clippy::too_many_lines,
    reason = "generated code"
)]
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
#[expect(missing_docs, reason = "generated code, and the message it is generated around")]
pub mod mvccpb {
    include!("generated/mvccpb.rs");

    /// A pair as stored; replies carry it as [`crate::StoredKeyValue`], without decoding.
    #[derive(Clone, PartialEq, ::prost::Message)]
    pub struct KeyValue {
        #[prost(bytes = "bytes", tag = "1")]
        pub key: ::prost::bytes::Bytes,
        #[prost(int64, tag = "2")]
        pub create_revision: i64,
        #[prost(int64, tag = "3")]
        pub mod_revision: i64,
        #[prost(int64, tag = "4")]
        pub version: i64,
        #[prost(bytes = "bytes", tag = "5")]
        pub value: ::prost::bytes::Bytes,
        #[prost(int64, tag = "6")]
        pub lease: i64,
    }
}
