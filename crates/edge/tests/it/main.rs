//! Tests of the client port at its boundary: one member in this process, its disk in memory, clients
//! at the other end of in-memory connections.

// The attribute says what is so for a test binary anyway: clippy takes only modules that carry it
// for test code.
#[cfg(test)]
mod member;
#[cfg(test)]
mod raw;

#[cfg(test)]
mod calls;
#[cfg(test)]
mod kv;
#[cfg(test)]
mod lease;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod slow;
#[cfg(test)]
mod v2;
