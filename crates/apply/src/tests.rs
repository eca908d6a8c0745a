//! Tests of the machine as a whole, at its boundary: entries in, rows and replies out.

mod harness;

mod auth;
mod cluster_entries;
mod go_logs;
mod kv_rules;
mod lease_rules;
mod malformed;
mod members;
mod restarts;
mod restoring;

/// The shell shares the machine between threads behind a lock.
const fn is_shared_between_threads<T: Send + Sync>() {}
const _: () = is_shared_between_threads::<crate::Machine>();
