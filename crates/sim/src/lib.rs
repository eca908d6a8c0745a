//! A deterministic cluster of the shipping core: every member boots through `node::boot::open` on
//! a simulated disk, and one seed drives time, network, disks, faults and clients.
//!
//! Owns:       virtual time, the network, the execution of consensus effects in small steps, the
//!             oracles that judge what happened.
//! Uses:       the core crates, `wal`, `backend`, `simdisk`, `node::boot`.
//! Never:      a clock, a thread, a socket, ambient randomness.
//! Invariants: equal configurations give equal traces; every step is a separate event, so that a
//!             crash can fall between any two.
//! Source:     design.md 9; style.md 9; docs/simulation.md.

mod config;
mod outcome;
mod trace;

mod member;
mod network;
mod schedule;
mod shell;
mod turn;

mod clients;
mod oracle;
mod requests;

mod admin;
mod chores;
mod faults;
mod lease_clients;
mod liveness;
mod transfers;
mod v2_watch_clients;
mod watch_clients;
mod world;

pub use config::{Config, Plant, Shape};
pub use outcome::{Failure, Outcome, Violation};
pub use world::run;
