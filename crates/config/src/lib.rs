//! What the `etcd` binary is told: command line and environment, turned into one checked [`Config`].
//!
//! Owns:       the flag table, its defaults, and every text that a wrong setting produces.
//! Uses:       `std` and `thiserror` only.
//! Never:      logging (notes are returned), opening of sockets or files outside [`datadir`],
//!             name resolution except through a closure that the caller passes.
//! Invariants: a [`Config`] that [`parse`] returns has passed every check that needs no network
//!             and no existing data; bootstrap checks are in [`bootstrap`], since they hold only for
//!             a member without a log.
//! Source:     reference/server-config.md 1-3, 6, 8, 11, 12; texts compared with 3.4.23 and 3.5.1.

pub mod serving;
pub mod settings;
pub mod url;
pub mod version;

pub mod bootstrap;
pub mod datadir;
pub mod flags;
pub mod load;

mod args;
mod build;
mod duration;
mod environment;
mod usage;

pub use load::{ConfigError, Note, NoteLevel, Outcome, parse};
pub use serving::Serving;
pub use settings::{ClusterState, Config, LogFormat, LogLevel, LogOutput};
pub use url::{EndpointUrl, Scheme};
