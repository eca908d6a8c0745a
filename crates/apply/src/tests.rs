//! Tests of the machine as a whole, at its boundary: entries in, rows and replies out.

mod harness;

mod auth;
mod cluster_entries;
mod kv_rules;
mod lease_rules;
mod malformed;
mod members;
mod restarts;
mod restoring;
