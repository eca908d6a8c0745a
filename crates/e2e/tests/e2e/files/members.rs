//! Directories of a Go cluster whose membership has changed.
//!
//! Go 3.5 before 3.5.20 never overwrites a row of `members`: a learner that was promoted stays one
//! there, and peer URLs that were updated stay old. The truth is in the log and in `.snap`.

use std::time::Duration;

use e2e::etcd::{START_PATIENCE, peer_url};
use e2e::{Api, Cluster, Etcdctl, Program, wait};
use serde_json::Value;

use super::load;
use super::picture::Picture;
use super::site::FORCED;

const PATIENCE: Duration = Duration::from_secs(30);

/// Two founding members of Go 3.5.1, a learner that was promoted, and a member whose peer URLs were
/// updated.
fn changed_cluster() -> Cluster {
    let mut cluster = Cluster::start_with("stale", &[Program::GoEtcd351; 2], |_, spec| {
        spec.set("enable-v2", "true")
            .set("snapshot-count", "100")
            // Else Go wants five quiet seconds before each change.
            .set("strict-reconfig-check", "false")
    });
    load::both(cluster.member(0), "founders");
    let (peer, spec) = cluster.describe_joiner(Program::GoEtcd351);
    let peers = format!("--peer-urls={peer}");
    load::v3(cluster.member(0), &["member", "add", "m2", "--learner", &peers]);
    cluster.join(&spec).wait_log("published local member to cluster", START_PATIENCE);
    let client = load::client(cluster.member(0));
    let learner = format!("{:x}", member(&cluster, "m2")["ID"].as_u64().expect("an ID"));
    wait::eventually("promotion of the learner", PATIENCE, || {
        let promoted = client.run(&["member", "promote", &learner]);
        promoted.stdout.contains("promoted").then_some(())
    });
    cluster.member_mut(2).wait_ready(START_PATIENCE);
    let updated = format!("{:x}", member(&cluster, "m1")["ID"].as_u64().expect("an ID"));
    let urls = format!("--peer-urls={},{}", peer_url(cluster.hosts()[1]), second_url(&cluster));
    load::v3(cluster.member(0), &["member", "update", &updated, &urls]);
    cluster
}

/// One more URL of m1, on which nobody listens.
fn second_url(cluster: &Cluster) -> String {
    format!("http://{}:2390", cluster.hosts()[1])
}

fn member(cluster: &Cluster, name: &str) -> Value {
    let list = load::v3(cluster.member(0), &["member", "list", "-w", "json"]);
    let list: Value = serde_json::from_str(&list).expect("JSON of member list");
    let members = list["members"].as_array().expect("members");
    members.iter().find(|member| member["name"] == name).expect("a member of that name").clone()
}

#[test]
fn promoted_and_updated_members_of_351_are_seen_as_they_are() {
    let mut cluster = changed_cluster();
    let go = Picture::of(cluster.member(0), "founders");
    go.assert_full();
    let text = go.members.to_string();
    assert!(!text.contains("isLearner") && text.contains(&second_url(&cluster)), "{text}");
    replace_one(&mut cluster);
    let before = Picture::of(cluster.member(0), "mixed");
    for number in 0..3 {
        cluster.member_mut(number).terminate();
    }
    force_on_copy(&cluster, &before);
    replace_all(&mut cluster, &before);
}

/// The promoted learner's directory gets our server, among Go's.
fn replace_one(cluster: &mut Cluster) {
    cluster.member_mut(2).terminate();
    let spec = cluster.member(2).spec().clone().program(Program::Ours);
    *cluster.member_mut(2) = spec.start();
    load::both(cluster.member(2), "mixed");
    let (ours, go) =
        (Picture::of(cluster.member(2), "mixed"), Picture::of(cluster.member(0), "mixed"));
    assert_eq!(ours, go);
}

fn force_on_copy(cluster: &Cluster, before: &Picture) {
    let spec = cluster.member(1).spec().clone().program(Program::Ours);
    let copy = cluster.directory().join("copy");
    e2e::tempdir::copy_tree(&spec.data_dir(), &copy);
    let spec = spec.set("data-dir", copy.to_string_lossy()).set(FORCED[0].0, FORCED[0].1);
    let mut ours = spec.start();
    let alone = Picture::of(&ours, "mixed");
    assert_eq!((&alone.kvs, &alone.hashes, &alone.v2), (&before.kvs, &before.hashes, &before.v2));
    let all = before.members.as_array().expect("members");
    let own: Vec<&Value> = all.iter().filter(|member| member["name"] == "m1").collect();
    assert_eq!(alone.members, serde_json::json!(own));
    ours.terminate();
}

/// All three directories get our server; a member goes away, so that the promoted one must vote.
fn replace_all(cluster: &mut Cluster, before: &Picture) {
    for number in 0..3 {
        let spec = cluster.member(number).spec().clone().program(Program::Ours);
        *cluster.member_mut(number) = spec.spawn();
    }
    for number in 0..3 {
        cluster.member_mut(number).wait_ready(START_PATIENCE);
        assert_eq!(&Picture::of(cluster.member(number), "mixed"), before, "m{number}");
    }
    cluster.member_mut(0).kill9();
    let endpoints = cluster.endpoints().split_off(1);
    let rest = Etcdctl::new(Program::GoEtcdctl351, Api::V3, endpoints);
    wait::eventually("a write by the two others", PATIENCE, || {
        rest.run(&["put", "two", "vote"]).stdout.contains("OK").then_some(())
    });
}
