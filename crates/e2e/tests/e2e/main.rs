//! End-to-end tests: real server processes, real clients, a module per subject.
//!
//! Owns:       nothing beyond each test.
//! Uses:       the harness of this crate.
//! Invariants: without the feature `real` only our own server and root-less means are used.

mod checklist_v2;
mod checklist_v3;
mod leases;
mod quickstart;
mod trouble;
mod v2;

#[cfg(feature = "real")]
mod clients;
#[cfg(feature = "real")]
mod differential;
#[cfg(feature = "real")]
mod files;
#[cfg(feature = "real")]
mod gate;
#[cfg(feature = "real")]
mod kill;
#[cfg(feature = "real")]
mod mixed;
#[cfg(feature = "real")]
mod transcripts;
