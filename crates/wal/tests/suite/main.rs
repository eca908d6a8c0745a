//! Tests of the log and of snapshot files at their public boundary.

mod crash;
mod damage;
mod format;
mod lifecycle;
mod snap_files;
mod support;
