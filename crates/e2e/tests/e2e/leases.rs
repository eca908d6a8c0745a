//! Leases over time: through every member, over changes of the leader and restarts, and many at once.
//!
//! Owns:       nothing beyond each test.
//! Uses:       our server, the byte client of the harness.
//! Invariants: a lease lives for the time that its holder was last told, whatever happens meanwhile.
//! Source:     api-v3.md 4.

pub(crate) mod client;
mod lifetime;
mod members;
mod storm;
