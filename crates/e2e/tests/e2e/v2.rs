//! What the v2 API promises across trouble: watches through restarts, elections and snapshots, many
//! idle long-polls, many TTLs that run out together.
//!
//! Uses:       our server only. Single answers are the checklist's, random ones the differential's.
//! Source:     api-v2.md 1.12, 3; docs/decisions/0013 to 0015.

mod expiry;
mod poll;
mod watches;

use std::net::SocketAddr;

use e2e::http;

/// Writes a key and returns the store index.
#[track_caller]
fn put(server: SocketAddr, key: &str, form: &str) -> u64 {
    try_put(server, key, form).expect("the write is answered")
}

/// Writes a key; `None` when its outcome is not known.
fn try_put(server: SocketAddr, key: &str, form: &str) -> Option<u64> {
    let reply = http::form(server, "PUT", &format!("/v2/keys/{key}"), form).ok()?;
    let index = reply.header("X-Etcd-Index")?.parse().ok()?;
    matches!(reply.status, 200 | 201).then_some(index)
}

/// The store index of a member.
#[track_caller]
fn index_of(server: SocketAddr) -> u64 {
    let reply = http::get(server, "/v2/keys/").expect("the root is answered");
    let index = reply.header("X-Etcd-Index").expect("an index");
    index.parse().expect("a number")
}
