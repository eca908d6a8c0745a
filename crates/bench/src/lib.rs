//! Measuring: what a server costs per request, and how it stands against others.
//!
//! Owns:       the report of a load; the servers that `compare` starts.
//! Uses:       servers from outside: their sockets, `/metrics`, /proc; the claims and directories of
//!             `e2e`; messages of `proto`.
//! Never:      code of the server; `--unsafe-no-fsync`; a figure of a load in which a request failed
//!             without saying so.
//! Invariants: generator and servers are separate processes, so CPU is counted by the kernel.
//! Source:     issue 4, parts a and b.

pub mod report;

pub mod compare;
pub mod profile;
