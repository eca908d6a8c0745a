//! Tests of the log and of snapshot files at their public boundary.

#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod crash;
mod damage;
mod format;
mod lifecycle;
mod snap_files;
mod support;
