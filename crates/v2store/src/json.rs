//! Bodies of v2 answers (api-v2.md 1.6, 2, 5.3), byte for byte as Go sends them.

use gojson::Object;
use types::V2Error;

use crate::{Event, NodeView, Stats, path, time};

/// The body of a successful answer or of a watch: keys without the name space `/1`, a newline
/// behind. `ttl` is computed from `now_unix_ns` unless the event has fixed it.
#[must_use]
pub fn event_body(event: &Event, now_unix_ns: i64) -> String {
    let mut out = String::new();
    push_event(&mut out, event, Keys::Stripped, Some(now_unix_ns));
    out.push('\n');
    out
}

/// The body of a successful write with `noValueOnSuccess=true`.
#[must_use]
pub fn action_body(event: &Event) -> String {
    let mut out = String::new();
    let mut object = Object::open(&mut out);
    object.string("action", event.action.name());
    object.finish();
    out.push('\n');
    out
}

/// The body of a failed request.
#[must_use]
pub fn error_body(error: &V2Error) -> String {
    let mut out = String::new();
    let mut object = Object::open(&mut out);
    object.number("errorCode", error.code.number().into());
    object.string("message", error.code.message());
    let cause = strip(&error.cause);
    if !cause.is_empty() {
        object.string("cause", cause);
    }
    object.number("index", error.index);
    object.finish();
    out.push('\n');
    out
}

/// The body of `/v2/stats/store`, without a newline; the watch hub knows the watchers.
#[must_use]
pub fn stats_body(stats: &Stats, watchers: u64) -> String {
    let mut out = String::new();
    push_stats(&mut out, &Stats { watchers, ..*stats });
    out
}

/// Whether keys show their name space: snapshots do, answers do not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys {
    Full,
    Stripped,
}

/// Writes an event; without a time only a `ttl` that the event has fixed is shown.
pub(crate) fn push_event(out: &mut String, event: &Event, keys: Keys, now: Option<i64>) {
    let mut object = Object::open(out);
    object.string("action", event.action.name());
    push_node(object.key("node"), &event.node, keys, now);
    if let Some(prev_node) = &event.prev_node {
        push_node(object.key("prevNode"), prev_node, keys, now);
    }
    if event.refresh && keys == Keys::Full {
        object.boolean("refresh", true);
    }
    object.finish();
}

pub(crate) fn push_stats(out: &mut String, stats: &Stats) {
    let mut object = Object::open(out);
    for (name, value) in stats.fields() {
        object.number(name, value);
    }
    object.finish();
}

fn push_node(out: &mut String, node: &NodeView, keys: Keys, now: Option<i64>) {
    let mut object = Object::open(out);
    let key = if keys == Keys::Stripped { strip(&node.key) } else { &node.key };
    if !key.is_empty() {
        object.string("key", key);
    }
    if let Some(value) = &node.value {
        object.string("value", value);
    }
    if node.dir {
        object.boolean("dir", true);
    }
    if let Some(expiration) = node.expiration {
        object.string("expiration", &time::format(expiration));
        let from_now = || now.map(|now| time::ttl_seconds(expiration, now));
        if let Some(ttl) = node.ttl.or_else(from_now).filter(|ttl| *ttl != 0) {
            object.signed("ttl", ttl);
        }
    }
    if let Some(nodes) = node.nodes.as_ref().filter(|nodes| !nodes.is_empty()) {
        gojson::push_list(object.key("nodes"), nodes, |out, node| push_node(out, node, keys, now));
    }
    if node.modified_index != 0 {
        object.number("modifiedIndex", node.modified_index);
    }
    if node.created_index != 0 {
        object.number("createdIndex", node.created_index);
    }
    object.finish();
}

fn strip(key: &str) -> &str {
    key.strip_prefix(path::KEYS).unwrap_or(key)
}

#[cfg(test)]
mod tests;
