//! The list of cases.
//!
//! Owns:       names and sizes.
//! Uses:       the module of each subject.
//! Never:      work of its own.
//! Invariants: a name keeps its meaning, or figures of different days could not be compared.

mod edge;
mod engine;
mod log;
mod put;
mod range;
mod v2;
mod watch;
mod wire;

use crate::case::Case;

/// Everything that is measured. Sizes are in the modules.
pub const CASES: &[Case] = &[
    // A put from the bytes of the request to those of the reply: check, entry, raft, log, apply.
    Case::of("put", 500, put::one_by_one),
    Case::of("put/batch", 10, put::batch).per(put::BATCH, "request"),
    Case::of("put/new-key", 500, put::new_key),
    Case::of("txn/compare-and-put", 500, put::txn),
    // A get likewise. The two that follow have to be as good as equal.
    Case::of("get/linearizable", 1_000, range::linearizable),
    Case::of("get/fresh", 1_000, range::fresh),
    Case::of("get/old-revisions", 1_000, range::old_revisions),
    Case::of("range/1000", 10, range::thousand).per(1_000, "key"),
    Case::of("range/keys-only", 10, range::keys_only).per(1_000, "key"),
    Case::of("range/page", 10, range::page),
    Case::of("range/count", 10, range::count),
    // The thread of a connection alone, the client's end included.
    Case::of("edge/put", 200, edge::put),
    Case::of("edge/get-linearizable", 200, edge::get_linearizable),
    Case::of("edge/get-serializable", 200, edge::get_serializable),
    Case::of("index/put", 1_000, put::index_put),
    Case::of("index/insert", 1_000, put::index_insert),
    Case::of("watch/one-key", 20, watch::one_key).per(watch::WATCHERS, "event"),
    Case::of("watch/ranges", 200, watch::ranges),
    Case::of("v2/set", 500, v2::set),
    Case::of("v2/get", 500, v2::get),
    Case::of("wire/put-request", 1_000, wire::put_request),
    Case::of("wire/log-entry", 1_000, wire::log_entry),
    Case::of("wire/range-reply", 20, wire::range_reply).per(1_000, "key"),
    Case::of("log/append", 500, log::append),
    Case::of("log/append-batch", 20, log::append_batch).per(log::BATCH, "entry"),
    Case::of("log/append-sync", 20, log::append_sync),
    Case::of("engine/commit", 2, engine::commit).per(engine::ROWS, "row"),
    Case::of("engine/restart", 1, engine::restart).per(engine::RESTART_ROWS, "row"),
];
