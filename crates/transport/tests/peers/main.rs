//! Transports that talk to each other, and raw requests against one, over real sockets.

mod errors;
mod exchange;
mod faults;
mod snapshots;
mod support;
