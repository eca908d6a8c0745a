//! Tests of the store at its boundary: requests in, replies and rows out.

// The attribute says what is so for a test binary anyway: clippy takes only modules that carry it
// for test code.
#[cfg(test)]
mod rows;

#[cfg(test)]
mod check;
#[cfg(test)]
mod compaction;
#[cfg(test)]
mod go_transcript;
#[cfg(test)]
mod hash;
#[cfg(test)]
mod kv;
#[cfg(test)]
mod model;
#[cfg(test)]
mod range;
#[cfg(test)]
mod read_txn;
#[cfg(test)]
mod txn;
#[cfg(test)]
mod watch;
