//! Plain vocabulary shared by every crate: newtypes, limits and the error tables.
//!
//! Owns:       nothing; all values here are immutable data.
//! Uses:       `std`, `bytes`, `thiserror`.
//! Never:      I/O, clock, wire types, serialisation.
//! Invariants: an identifier is never mixed with another kind of number.
//! Source:     etcd's names for these values (api-v2.md 2, api-v3.md 7 and 9).

pub mod error;
pub mod grpc_text;
pub mod http_text;
pub mod limits;
pub mod v2_error;

pub mod bucket;

mod ids;
mod key_range;
mod revision;

pub use bucket::{Bucket, Op};
pub use error::EtcdError;
pub use ids::{ClusterId, LeaseId, LogIndex, NodeId, RequestId, Term};
pub use key_range::KeyRange;
pub use revision::RevKey;
pub use v2_error::{V2Code, V2Error};
