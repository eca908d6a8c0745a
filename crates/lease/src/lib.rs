//! Leases: who exists, for how long, which keys hang on it, and when it expires.
//!
//! Owns:       [`Table`], the part that all members agree on; [`Deadlines`] and [`Revokes`], which
//!             the leader alone keeps and which may be lost at any moment.
//! Uses:       `types`.
//! Never:      a clock: the table knows no time, deadlines are told it. Rows; the caller writes
//!             them. Proposals; the caller makes them.
//! Invariants: [`Table::check_invariants`]: a key hangs on one lease at most;
//!             [`Deadlines::check_invariants`].
//! Source:     api-v3.md 4, peer-protocol.md 15.10.

mod deadlines;
mod revokes;
mod table;

pub use deadlines::{Deadlines, RETRY_MS, Renewal};
pub use revokes::{CHECK_INTERVAL_MS, IN_FLIGHT_MAX, QUEUED_MAX, Revokes};
pub use table::{Lease, TTL_MAX_SECONDS, Table};
