//! Tests of the store at its boundary: requests in, replies and rows out.

mod rows;

mod check;
mod compaction;
mod go_transcript;
mod hash;
mod kv;
mod model;
mod range;
mod txn;
