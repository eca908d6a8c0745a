//! Where applied changes live between apply and the database file.
//!
//! Owns:       the overlay (changes not yet in the file) and the engine behind it.
//! Uses:       `types` for rows, `bolt` for the file, `disk` underneath.
//! Never:      raft, requests, threads; the flusher thread of `node` drives it.
//! Invariants: a reader that looks at active, then flushing, then a view taken last misses no row;
//!             a batch that became durable ended on an entry boundary.
//! Source:     design.md 5; storage-engine.md "Shape".

mod engine;
mod memory;
mod overlay;
mod reader;

pub use engine::{BoltEngine, Engine, EngineError, Sizes, UncheckedEngine, View, Visit};
pub use memory::MemoryEngine;
pub use overlay::{Overlay, Rows};
pub use reader::Reader;
