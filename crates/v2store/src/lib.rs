//! The v2 store: a tree of files and directories under one index.
//!
//! Owns:       the tree, its index, the expirations, the history of the last 1000 events, counters,
//!             the matching of watchers.
//! Uses:       `types` for errors, `proto::v2_request` for requests, `gojson`, `serde_json`.
//! Never:      I/O, clock, timers, HTTP validation. Expirations are absolute times that arrive in
//!             requests; nothing expires before a SYNC request says what time it is.
//! Invariants: `/0` and `/1` always exist; every node's indexes are at most the store's; every node
//!             with an expiration, and no other, is in the deadline set; a failed request changes
//!             nothing but a counter.
//! Source:     api-v2.md 1.5 to 1.13, 2, 4, 8; etcd 3.4 `server/etcdserver/api/v2store`.

pub mod path;

pub mod event;
pub mod history;
pub mod json;
pub mod rows;
pub mod snapshot;
pub mod stats;
pub mod time;
pub mod watch;

mod missed;
mod node;
mod operations;
mod store;

pub use event::{Action, Event, NodeView};
pub use history::History;
pub use missed::Missed;
pub use rows::{RowChange, RowError};
pub use snapshot::SnapshotError;
pub use stats::Stats;
pub use store::{Applied, Lifetime, Store};
pub use watch::{Delivery, Hub, Registered, Watch, WatcherId};
