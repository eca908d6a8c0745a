//! What clients of a server see, of both APIs, fit to be compared with that of another server.

use e2e::{Etcd, http};
use serde_json::Value;

use super::load::{revision, v3};

/// Everything that must be the same after a change of the program.
#[derive(Debug, PartialEq)]
pub(super) struct Picture {
    pub(super) revision: i64,
    /// All keys, at the current revision and at the oldest that can be read.
    pub(super) kvs: [Value; 2],
    /// HashKV at the same revisions.
    pub(super) hashes: [Value; 2],
    /// The whole v2 tree, and a hidden key.
    pub(super) v2: [Value; 2],
    pub(super) members: Value,
}

impl Picture {
    /// Asks for everything; `tag` names the load whose hidden v2 key is looked at.
    #[track_caller]
    pub(super) fn of(server: &Etcd, tag: &str) -> Self {
        let revision = revision(server);
        let hash = json(server, &["endpoint", "hashkv", &at(revision)]);
        let compacted = hash[0]["HashKV"]["compact_revision"].as_i64().unwrap_or(0);
        // Go 3.5 gives no hash of the compacted revision itself.
        let oldest = compacted.max(0) + 1;
        Self {
            revision,
            kvs: [kvs(server, revision), kvs(server, oldest)],
            hashes: [hash_at(server, revision), hash_at(server, oldest)],
            v2: [
                tree(server, "/v2/keys/?recursive=true&sorted=true"),
                tree(server, &format!("/v2/keys/{tag}/_hidden")),
            ],
            members: json(server, &["member", "list"])["members"].take(),
        }
    }

    /// Asserts that there is something in it on each side.
    #[track_caller]
    pub(super) fn assert_full(&self) {
        let count = |value: &Value| value.as_array().map_or(0, Vec::len);
        assert!(count(&self.kvs[0]) > 5 && count(&self.kvs[1]) > 2, "{:?}", self.kvs);
        assert!(count(&self.v2[0]["nodes"]) > 0 && self.v2[1].is_object(), "{:?}", self.v2);
        assert_ne!(self.hashes[0], self.hashes[1]);
    }
}

fn kvs(server: &Etcd, revision: i64) -> Value {
    json(server, &["get", "", "--prefix", &at(revision)])["kvs"].take()
}

fn hash_at(server: &Etcd, revision: i64) -> Value {
    let hash = json(server, &["endpoint", "hashkv", &at(revision)])[0]["HashKV"].take();
    assert!(hash["hash"].is_u64(), "{hash}");
    serde_json::json!([revision, hash["hash"], hash["compact_revision"]])
}

fn tree(server: &Etcd, path: &str) -> Value {
    let reply = http::get(server.client(), path).expect("v2 request");
    assert_eq!(reply.status, 200, "{path}: {reply:?}");
    let mut event: Value = serde_json::from_str(&reply.body).expect("JSON of v2");
    without_ttl(&mut event);
    event["node"].take()
}

/// What remains of a TTL depends on the moment; the time of expiry stays.
fn without_ttl(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("ttl");
            fields.values_mut().for_each(without_ttl);
        }
        Value::Array(items) => items.iter_mut().for_each(without_ttl),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[track_caller]
fn json(server: &Etcd, arguments: &[&str]) -> Value {
    let mut arguments = arguments.to_vec();
    arguments.extend(["-w", "json"]);
    serde_json::from_str(&v3(server, &arguments)).expect("JSON of etcdctl")
}

fn at(revision: i64) -> String {
    format!("--rev={revision}")
}
