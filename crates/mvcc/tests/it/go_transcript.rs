//! Requests that two Go servers (3.4.23 and 3.5.1) answered alike, with their answers.
//!
//! Each line of `golden/go.jsonl` is one request and what both servers said: replies with all their
//! pairs and header revisions, errors, and the hash of the `key` bucket now and then. Where the
//! releases differ from 3.7 the line has what 3.7 says: `keys_only` without leases. Pairs of equal
//! rank in a sorted range, whose order etcd leaves open, are in key order.

use bytes::Bytes;
use mvcc::kv::{KvView, Pair};
use mvcc::{DeleteReply, OpReply, PutReply, RangeReply, TxnReply};
use proto::etcdserverpb::compare::TargetUnion;
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use types::{EtcdError, LeaseId};

use crate::rows::{Fixture, bytes, op};

const OPS_MAX: usize = 128;

#[test]
fn replies_revisions_and_hashes_are_those_of_go() {
    let mut replayer = Replayer::default();
    for (number, line) in include_str!("golden/go.jsonl").lines().enumerate() {
        let line: Value = serde_json::from_str(line).unwrap();
        let got = replayer.run(&line["do"]).unwrap_or_else(|error| json!({"error": error.text()}));
        assert_eq!(got, line["want"], "line {}: {}", number + 1, line["do"]);
        let restored = replayer.fixture.rows.restore();
        assert_eq!(restored.store, replayer.fixture.store, "line {}", number + 1);
        assert_eq!(restored.attachments, replayer.attachments(), "line {}", number + 1);
    }
}

/// A store with the least of a lease table: which leases exist and what hangs on them.
#[derive(Default)]
struct Replayer {
    fixture: Fixture,
    leases: BTreeSet<LeaseId>,
    attached: BTreeMap<Bytes, LeaseId>,
}

impl Replayer {
    fn run(&mut self, request: &Value) -> Result<Value, EtcdError> {
        let (kind, body) = request.as_object().unwrap().iter().next().unwrap();
        Ok(match kind.as_str() {
            "range" => {
                mvcc::check_range(&range(body))?;
                show_range(&self.fixture.range(&range(body))?)
            }
            "put" => {
                mvcc::check_put(&put(body))?;
                let outcome =
                    self.fixture.store.put(&put(body), &|id| self.leases.contains(&id))?;
                self.took(&outcome.ops, &outcome.attach);
                show_put(&outcome.reply)
            }
            "del" => {
                let outcome = self.fixture.store.delete_range(&delete(body));
                self.took(&outcome.ops, &outcome.attach);
                show_delete(&outcome.reply)
            }
            "txn" => self.txn(&txn(body))?,
            "grant" => self.grant(LeaseId(body.as_i64().unwrap()))?,
            "revoke" => self.revoke(LeaseId(body.as_i64().unwrap()))?,
            "compact" => {
                let at = body.as_i64().unwrap();
                self.fixture.store.clone().compact(at)?;
                self.fixture.compact_fully(at);
                json!({"rev": self.fixture.store.current_revision()})
            }
            "hash" => {
                let Fixture { store, rows } = &self.fixture;
                let reply = store.hash_kv(body.as_i64().unwrap(), rows).unwrap()?;
                json!({"hash": reply.hash, "compact": reply.compact_revision})
            }
            other => panic!("{other}"),
        })
    }

    fn txn(&mut self, request: &TxnRequest) -> Result<Value, EtcdError> {
        mvcc::check_txn(request, OPS_MAX)?;
        let Fixture { store, rows } = &mut self.fixture;
        let outcome = store.txn(request, &|id| self.leases.contains(&id), rows).unwrap()?;
        self.took(&outcome.ops, &outcome.attach);
        Ok(show_txn(&outcome.reply))
    }

    fn grant(&mut self, id: LeaseId) -> Result<Value, EtcdError> {
        if !self.leases.insert(id) {
            return Err(EtcdError::LeaseExist);
        }
        Ok(json!({"ttl": 9000}))
    }

    fn revoke(&mut self, id: LeaseId) -> Result<Value, EtcdError> {
        if !self.leases.remove(&id) {
            return Err(EtcdError::LeaseNotFound);
        }
        let keys = self.attached.iter().filter(|(_, lease)| **lease == id);
        let keys: Vec<Bytes> = keys.map(|(key, _)| key.clone()).collect();
        let outcome = self.fixture.store.delete_keys(&keys);
        self.took(&outcome.ops, &outcome.attach);
        Ok(json!({"rev": outcome.reply.revision}))
    }

    fn took(&mut self, ops: &[types::Op], attach: &[(Bytes, LeaseId, LeaseId)]) {
        self.fixture.rows.write(ops);
        self.fixture.store.check_invariants();
        for (key, old, new) in attach {
            let had = match new.0 {
                0 => self.attached.remove(key),
                _ => self.attached.insert(key.clone(), *new),
            };
            assert_eq!(had.unwrap_or_default(), *old, "{key:?}");
        }
    }

    fn attachments(&self) -> Vec<(LeaseId, Bytes)> {
        self.attached.iter().map(|(key, lease)| (*lease, key.clone())).collect()
    }
}

fn text(body: &Value, name: &str) -> Bytes {
    bytes(body[name].as_str().unwrap_or_default())
}

fn number(body: &Value, name: &str) -> i64 {
    body[name].as_i64().unwrap_or_default()
}

fn flag(body: &Value, name: &str) -> bool {
    body[name].as_bool().unwrap_or_default()
}

fn small(body: &Value, name: &str) -> i32 {
    i32::try_from(number(body, name)).unwrap()
}

fn range(body: &Value) -> RangeRequest {
    RangeRequest {
        key: text(body, "key"),
        range_end: text(body, "end"),
        limit: number(body, "limit"),
        revision: number(body, "revision"),
        sort_order: small(body, "sort_order"),
        sort_target: small(body, "sort_target"),
        serializable: false,
        keys_only: flag(body, "keys_only"),
        count_only: flag(body, "count_only"),
        min_mod_revision: number(body, "min_mod_revision"),
        max_mod_revision: number(body, "max_mod_revision"),
        min_create_revision: number(body, "min_create_revision"),
        max_create_revision: number(body, "max_create_revision"),
    }
}

fn put(body: &Value) -> PutRequest {
    PutRequest {
        key: text(body, "key"),
        value: text(body, "value"),
        lease: number(body, "lease"),
        prev_kv: flag(body, "prev_kv"),
        ignore_value: flag(body, "ignore_value"),
        ignore_lease: flag(body, "ignore_lease"),
    }
}

fn delete(body: &Value) -> DeleteRangeRequest {
    let (key, range_end) = (text(body, "key"), text(body, "end"));
    DeleteRangeRequest { key, range_end, prev_kv: flag(body, "prev_kv") }
}

fn txn(body: &Value) -> TxnRequest {
    let list = |name: &str| body[name].as_array().unwrap().clone();
    TxnRequest {
        compare: list("cmp").iter().map(compare).collect(),
        success: list("then").iter().map(request_op).collect(),
        failure: list("else").iter().map(request_op).collect(),
    }
}

fn request_op(body: &Value) -> RequestOp {
    let (kind, body) = body.as_object().unwrap().iter().next().unwrap();
    op(match kind.as_str() {
        "range" => Request::RequestRange(range(body)),
        "put" => Request::RequestPut(put(body)),
        "del" => Request::RequestDeleteRange(delete(body)),
        "txn" => Request::RequestTxn(txn(body)),
        other => panic!("{other}"),
    })
}

fn compare(body: &Value) -> Compare {
    let operand = || number(body, "operand");
    let union = match number(body, "target") {
        0 => TargetUnion::Version(operand()),
        1 => TargetUnion::CreateRevision(operand()),
        2 => TargetUnion::ModRevision(operand()),
        3 => TargetUnion::Value(text(body, "operand")),
        _ => TargetUnion::Lease(operand()),
    };
    Compare {
        result: small(body, "result"),
        target: small(body, "target"),
        key: text(body, "key"),
        range_end: text(body, "end"),
        target_union: (!body["operand"].is_null()).then_some(union),
    }
}

fn show_pair(pair: &Pair) -> Value {
    let view = KvView::parse(pair).unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    json!([
        text(view.key),
        view.create_revision,
        view.mod_revision,
        view.version,
        text(view.value),
        view.lease
    ])
}

fn show_pairs(pairs: &[Pair]) -> Value {
    pairs.iter().map(show_pair).collect()
}

fn show_range(reply: &RangeReply) -> Value {
    let RangeReply { kvs, more, count, revision } = reply;
    json!({"kvs": show_pairs(kvs), "more": more, "count": count, "rev": revision})
}

fn show_put(reply: &PutReply) -> Value {
    json!({"prev": reply.prev_kv.as_ref().map(show_pair), "rev": reply.revision})
}

fn show_delete(reply: &DeleteReply) -> Value {
    let DeleteReply { deleted, prev_kvs, revision } = reply;
    json!({"deleted": deleted, "prev": show_pairs(prev_kvs), "rev": revision})
}

fn show_txn(reply: &TxnReply) -> Value {
    let show = |reply: &OpReply| match reply {
        OpReply::Range(reply) => json!({"range": show_range(reply)}),
        OpReply::Put(reply) => json!({"put": show_put(reply)}),
        OpReply::DeleteRange(reply) => json!({"del": show_delete(reply)}),
        OpReply::Txn(reply) => json!({"txn": show_txn(reply)}),
    };
    let responses: Vec<Value> = reply.responses.iter().map(show).collect();
    json!({"ok": reply.succeeded, "res": responses, "rev": reply.revision})
}
