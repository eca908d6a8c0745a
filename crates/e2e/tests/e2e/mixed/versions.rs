//! Three programs in one cluster: ours, Go 3.4 and Go 3.5.1, both APIs.

use e2e::{Program, eventually, http};
use serde_json::Value;

use super::{AGREEMENT_PATIENCE, Mixed};

#[test]
fn ours_with_3_4_and_3_5() {
    let programs = [Program::Ours, Program::GoEtcd34, Program::GoEtcd351];
    let mut mixed = Mixed::start("mixed-versions", &programs, |number, spec| {
        if number == 2 { spec.set("enable-v2", "true") } else { spec }
    });
    for leader in [2, 0, 1] {
        mixed.lead(leader);
        mixed.exercise(&format!("m{leader}-leads"));
        write_v2_through_all(&mixed, leader);
    }
    assert_no_false_end(&mixed);
    for number in mixed.running() {
        let version = body(&mixed, number, "/version");
        assert_eq!(version["etcdcluster"], "3.4.0", "in m{number}");
        assert_published(&mixed, number);
    }
}

/// Every member lists all names and client URLs, whoever published them and however.
fn assert_published(mixed: &Mixed, number: usize) {
    let list = mixed.run(number, &["member", "list"]);
    for (other, url) in mixed.cluster.endpoints().iter().enumerate() {
        let is_listed = |line: &str| line.contains(&format!("m{other}, ")) && line.contains(url);
        assert!(list.lines().any(is_listed), "m{other} in m{number}:\n{list}");
    }
}

/// Go's members forward this to a leader of ours, which does not answer it yet. 404 would be taken for
/// "member not found" and told to clients as a fact.
fn assert_no_false_end(mixed: &Mixed) {
    let (path, peer) = ("/members/promote/1", mixed.cluster.member(0).peer());
    let reply = http::request(peer, "POST", path, &[], "").expect("a reply");
    assert_eq!(reply.status, 501, "{path}: {}", reply.body);
}

fn write_v2_through_all(mixed: &Mixed, leader: usize) {
    for number in mixed.running() {
        let path = format!("/v2/keys/led-by-{leader}/from-{number}");
        let server = mixed.cluster.member(number).client();
        let reply = http::form(server, "PUT", &path, "value=both").expect("a reply");
        assert_eq!(reply.status, 201, "{}", reply.body);
        let written: Value = serde_json::from_str(&reply.body).expect("JSON");
        for other in mixed.running() {
            eventually("the v2 write to arrive", AGREEMENT_PATIENCE, || {
                (body(mixed, other, &path)["node"] == written["node"]).then_some(())
            });
        }
    }
}

fn body(mixed: &Mixed, number: usize, path: &str) -> Value {
    let reply = http::get(mixed.cluster.member(number).client(), path).expect("a reply");
    serde_json::from_str(&reply.body).expect("JSON")
}
