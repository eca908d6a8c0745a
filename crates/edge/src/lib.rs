//! Client edges: gRPC, the v2 API and the small HTTP endpoints, all on one port.
//!
//! Owns:       decoding, shape checks and encoding of client requests.
//! Uses:       `node::Handle` for everything that has state.
//! Never:      state of its own; files.
//! Invariants: what a client sends can neither panic the server nor hold memory beyond the limits.
//! Source:     design.md 6; api-v2.md, api-v3.md; server-config.md 9.

pub mod grpc;
pub mod http;
pub mod v2http;

mod authority;
mod connection;
mod pings;
mod router;
mod socket;
mod target;

pub use connection::{Limits, serve_connection};
pub use router::Router;
