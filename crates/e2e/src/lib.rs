//! The harness of the end-to-end tests: real processes on loopback addresses of their own.
//!
//! Owns:       processes it started, their addresses, directories and logs.
//! Uses:       the standard library, signals, a gRPC channel; the programs under test from outside.
//! Never:      async to be seen, crates of the server, fixed addresses, 127.0.0.1.
//! Invariants: a process started here is dead when its value is dropped; its log is printed when the
//!             test fails; every wait has a deadline.
//! Source:     design.md 9; style.md 9.

pub mod address;
pub mod cluster;
pub mod etcd;
pub mod etcdctl;
pub mod http;
pub mod http_stream;
pub mod process;
pub mod program;
pub mod shared;
pub mod tempdir;
pub mod v3;
pub mod wait;

pub use address::Addresses;
pub use cluster::Cluster;
pub use etcd::{Etcd, Spec, StartStyle};
pub use etcdctl::{Api, Etcdctl, Finished};
pub use http_stream::HttpStream;
pub use process::Exit;
pub use program::Program;
pub use shared::Shared;
pub use tempdir::TempDir;
pub use wait::{eventually, until};
