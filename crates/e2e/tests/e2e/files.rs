//! Data directories in both directions between our server and Go's.
//!
//! Owns:       the directories of each test.
//! Uses:       `site` (servers on copies), `load` (data of all kinds), `picture` (what clients see).
//! Never:      a look into files: what counts is that the other server starts and answers the same.
//! Invariants: one server at a time has a directory, but in `locks`.
//! Source:     disk-formats.md 1, 4, 11; peer-protocol.md 18.

mod forced;
mod from_go;
mod load;
mod locks;
mod members;
mod picture;
mod site;
mod to_go;
mod versions;
