//! The driver at its boundary: inputs in, effects out, on a network and disks made of values.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod chaos;
mod election;
mod harness;
mod members;
mod reads;
mod recovery;
mod single;
mod snapshot;
mod wire;
