//! Transports that talk to each other, and raw requests against one, over real sockets.

#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod errors;
mod exchange;
mod faults;
mod snapshots;
mod support;
