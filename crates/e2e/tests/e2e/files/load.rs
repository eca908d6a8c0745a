//! Writes of every kind that leaves something in a data directory.

use e2e::{Api, Etcd, Etcdctl, Program, http};
use serde_json::Value;

/// v2 writes of one load: more than the entries between two checkpoints.
const V2_WRITES: usize = 130;

/// A v3 client of a server.
pub(super) fn client(server: &Etcd) -> Etcdctl {
    Etcdctl::new(Program::GoEtcdctl351, Api::V3, vec![server.client_url()])
}

/// The output of a v3 command, which must succeed.
#[track_caller]
pub(super) fn v3(server: &Etcd, arguments: &[&str]) -> String {
    client(server).run(arguments).success()
}

/// A v2 write, which must succeed.
#[track_caller]
pub(super) fn v2(server: &Etcd, method: &str, path: &str, body: &str) {
    let reply = http::form(server.client(), method, path, body).expect("v2 request");
    assert!(reply.status < 300, "{method} {path} {body}: {reply:?}");
}

/// The current revision.
#[track_caller]
pub(super) fn revision(server: &Etcd) -> i64 {
    let reply = v3(server, &["get", "none", "-w", "json"]);
    let reply: Value = serde_json::from_str(&reply).expect("JSON of get");
    reply["header"]["revision"].as_i64().expect("a revision")
}

/// Writes on both sides, under names that begin with `tag`.
#[track_caller]
pub(super) fn both(server: &Etcd, tag: &str) {
    v2_tree(server, tag);
    v3_history(server, tag);
}

/// Puts, overwrites, deletes, keys that come back, transactions, a compaction in between.
#[track_caller]
pub(super) fn v3_history(server: &Etcd, tag: &str) {
    let key = |number: usize| format!("{tag}/k{number}");
    for number in 0..8 {
        v3(server, &["put", &key(number), &format!("value {number}")]);
    }
    v3(server, &["del", &key(1)]);
    v3(server, &["del", &key(2), &key(5)]);
    v3(server, &["put", &key(1), "again"]);
    let compact_at = revision(server);
    let transaction = format!(
        "version(\"{key1}\") = \"1\"\n\nput {tag}/t1 a\nput {tag}/t2 b\ndel {key6}\nget {key1}\n\n\
         put {tag}/never x\n\n",
        key1 = key(1),
        key6 = key(6),
    );
    let answer = client(server).run_with_input(&["txn"], &transaction).success();
    assert!(answer.starts_with("SUCCESS"), "{answer}");
    for number in [1, 3, 7] {
        v3(server, &["put", &key(number), "over\nwritten"]);
    }
    v3(server, &["compaction", &compact_at.to_string()]);
    v3(server, &["del", &key(7)]);
    v3(server, &["put", &format!("{tag}/empty"), ""]);
}

/// Keys, directories, hidden and in-order keys, conditions, deletes.
#[track_caller]
pub(super) fn v2_tree(server: &Etcd, tag: &str) {
    let root = format!("/v2/keys/{tag}");
    for number in 0..V2_WRITES {
        let path = format!("{root}/list/e{}", number % 100);
        v2(server, "PUT", &path, &format!("value=x+{number}%E2%82%AC"));
    }
    v2(server, "PUT", &format!("{root}/empty"), "dir=true");
    v2(server, "PUT", &format!("{root}/_hidden"), "value=seen+by+name");
    v2(server, "POST", &format!("{root}/queue"), "value=first");
    v2(server, "POST", &format!("{root}/queue"), "value=second");
    v2(server, "PUT", &format!("{root}/list/e1?prevExist=true"), "value=updated");
    v2(server, "PUT", &format!("{root}/list/e2?prevValue=x+102%E2%82%AC"), "value=swapped");
    v2(server, "DELETE", &format!("{root}/list/e3"), "");
    v2(server, "PUT", &format!("{root}/gone/deep/er"), "value=1");
    v2(server, "DELETE", &format!("{root}/gone?recursive=true"), "");
}
