//! The server: listeners, bootstrap over the network, the member, its edges and its end.
//!
//! Owns:       sockets, runtimes, signals; the order of start and stop.
//! Uses:       `node`, `edge`, `transport`, `config`.
//! Never:      protocol decisions.
//! Invariants: every listener is bound before any file is touched; clients are served only after
//!             the member has published itself.
//! Source:     server-config.md 8, 9, 11; design.md 6.

mod bootstrap;
mod clients;
mod error;
mod listeners;
mod run;
mod shutdown;

pub use error::StartError;
pub use run::{Exit, run};
