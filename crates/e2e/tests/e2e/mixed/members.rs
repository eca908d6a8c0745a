//! Snapshots to members that lag or start empty, and membership changes, each in both directions.

use std::net::SocketAddr;

use e2e::etcd::{Spec, peer_url};
use e2e::{Exit, Program, http, until};

use super::{AGREEMENT_PATIENCE, Mixed};

const GO: usize = 2;
/// Applied entries between two snapshots, in all members.
const SNAPSHOT_COUNT: &str = "100";
/// Entries that ours keep behind a snapshot.
const CATCHUP_ENTRIES: &str = "50";
/// Writes after which the log of ours begins behind a member that missed them.
const WRITES_OURS: usize = 220;
/// The same for Go 3.5.1, which keeps 5000 entries.
const WRITES_GO: usize = 5_300;
/// Writers at the same time.
const WRITERS: usize = 8;

#[test]
fn members_catch_up_join_and_leave() {
    let programs = [Program::Ours, Program::Ours, Program::GoEtcd351];
    let mut mixed = Mixed::start("mixed-members", &programs, with_small_log);
    ours_catches_up_from_go(&mut mixed);
    go_catches_up_from_ours(&mut mixed);
    let joined_go = go_joins_under_ours(&mut mixed);
    ours_joins_under_go(&mut mixed, joined_go);
    go_learns_under_ours(&mut mixed, joined_go);
    compact_through(&mixed, &[0, joined_go]);
    mixed.exercise("end");
}

fn with_small_log(number: usize, spec: Spec) -> Spec {
    let spec = spec.set("snapshot-count", SNAPSHOT_COUNT);
    if number == GO { spec } else { spec.set("snapshot-catchup-entries", CATCHUP_ENTRIES) }
}

fn ours_catches_up_from_go(mixed: &mut Mixed) {
    mixed.lead(GO);
    let _ = mixed.stop(1);
    write_through_gateway(mixed.cluster.member(GO).client(), WRITES_GO);
    assert_eq!(mixed.leader(), GO);
    mixed.restart(1);
    mixed.cluster.member(1).wait_log("installing snapshot", AGREEMENT_PATIENCE);
    mixed.exercise("ours-caught-up");
}

fn go_catches_up_from_ours(mixed: &mut Mixed) {
    mixed.lead(0);
    let _ = mixed.stop(GO);
    write_through_ours(mixed, 0, "lag");
    assert_eq!(mixed.leader(), 0);
    mixed.restart(GO);
    mixed.cluster.member(GO).wait_log("applied snapshot", AGREEMENT_PATIENCE);
    mixed.exercise("go-caught-up");
}

/// Go's member is replaced by an empty one while ours leads; ours that follows takes the orders.
fn go_joins_under_ours(mixed: &mut Mixed) -> usize {
    mixed.lead(0);
    remove(mixed, 1, GO);
    let joined = add(mixed, 1, Program::GoEtcd351, &[]);
    mixed.cluster.member(joined).wait_log("applied snapshot", AGREEMENT_PATIENCE);
    mixed.exercise("go-joined");
    joined
}

/// Ours is replaced by an empty one while Go's leads: added by ours as a learner, promoted by Go's.
fn ours_joins_under_go(mixed: &mut Mixed, go: usize) {
    mixed.lead(go);
    remove(mixed, go, 1);
    let joined = add(mixed, 0, Program::Ours, &["--learner"]);
    let id = format!("{:x}", mixed.id(joined));
    for number in [0, go] {
        assert!(member_line(mixed, number, &id).ends_with(", true"), "a learner in m{number}");
    }
    let _ = once_allowed(mixed, go, &["member", "promote", &id]);
    for number in mixed.running() {
        let _ = mixed.run(number, &["get", "barrier"]);
        assert!(member_line(mixed, number, &id).ends_with(", false"), "a voter in m{number}");
    }
    mixed.exercise("ours-joined");
}

/// A learner of Go's, added and removed through Go's, updated through ours, while ours leads.
fn go_learns_under_ours(mixed: &mut Mixed, go: usize) {
    mixed.lead(0);
    let learner = add(mixed, go, Program::GoEtcd351, &["--learner"]);
    let id = format!("{:x}", mixed.id(learner));
    let peer = peer_url(mixed.cluster.hosts()[learner]);
    let more = format!("{peer},{}", peer.replace("2380", "2381"));
    let updated = mixed.run(0, &["member", "update", &id, &format!("--peer-urls={more}")]);
    assert!(updated.contains("updated in cluster"), "{updated}");
    for number in mixed.running() {
        if number != learner {
            let _ = mixed.run(number, &["get", "barrier"]);
            assert!(member_line(mixed, number, &id).contains(&more), "URLs in m{number}");
        }
    }
    remove(mixed, go, learner);
}

fn compact_through(mixed: &Mixed, members: &[usize]) {
    for number in members {
        // No tombstone at the compacted revision: early releases of 3.5 hash those or not, by
        // whether their own compaction has come to them.
        mixed.put(*number, "compacted", "here");
        let revision = mixed.view(*number).expect("status").revision.to_string();
        let done = mixed.run(*number, &["compact", &revision, "--physical"]);
        assert_eq!(done, format!("compacted revision {revision}"));
        // 3.5.1 gives no hash at the compacted revision itself.
        mixed.put(*number, "compacted", "before");
        mixed.assert_same_history();
    }
}

/// Removes `gone` with a request to `through`, once the strict check allows it; it stops by itself.
#[track_caller]
fn remove(mixed: &mut Mixed, through: usize, gone: usize) {
    let id = format!("{:x}", mixed.id(gone));
    let removed = once_allowed(mixed, through, &["member", "remove", &id]);
    assert!(removed.contains("removed from cluster"), "{removed}");
    mixed.down.insert(gone);
    let _ = mixed.cluster.member_mut(gone).wait_exit(AGREEMENT_PATIENCE);
    assert!(!mixed.run(through, &["member", "list"]).contains(&id));
}

/// Adds an empty member with a request to `through`, once the strict check allows it, and starts it.
#[track_caller]
fn add(mixed: &mut Mixed, through: usize, program: Program, flags: &[&str]) -> usize {
    let (peer, spec) = mixed.cluster.describe_joiner(program);
    let name = spec.setting("name").expect("a name").to_owned();
    let peer_flag = format!("--peer-urls={peer}");
    let mut arguments = vec!["member", "add", &name, &peer_flag];
    arguments.extend(flags);
    let added = once_allowed(mixed, through, &arguments);
    let cluster = added
        .lines()
        .find_map(|line| line.strip_prefix("ETCD_INITIAL_CLUSTER=\""))
        .and_then(|line| line.strip_suffix('"'))
        .expect("etcdctl says what the new member has to be told");
    let spec = spec.set("initial-cluster", cluster);
    let is_go = program != Program::Ours;
    let spec = if is_go { spec.unset("snapshot-catchup-entries") } else { spec };
    mixed.join(&spec);
    mixed.cluster.members().len() - 1
}

/// Asks for a membership change until it is made: the strict check counts a member as connected five
/// seconds after it came, and a learner has to be in sync before it is promoted.
#[track_caller]
fn once_allowed(mixed: &Mixed, through: usize, arguments: &[&str]) -> String {
    let mut refusal = String::new();
    let outcome = until(AGREEMENT_PATIENCE, || {
        let finished = mixed.client(through).run(arguments);
        refusal = finished.stderr;
        (finished.exit == Exit::Code(0)).then_some(finished.stdout)
    });
    outcome.unwrap_or_else(|| panic!("{arguments:?} through m{through}: {refusal}"))
}

#[track_caller]
fn member_line(mixed: &Mixed, number: usize, id: &str) -> String {
    let list = mixed.run(number, &["member", "list"]);
    let line = list.lines().find(|line| line.starts_with(id));
    line.unwrap_or_else(|| panic!("{id} is not in:\n{list}")).to_owned()
}

/// Go's gateway from JSON to gRPC writes much faster than one client program per write.
fn write_through_gateway(server: SocketAddr, count: usize) {
    let write = |writer: usize| {
        for number in (writer..count).step_by(WRITERS) {
            // Eight digits are the base64 form of six bytes.
            let body = format!("{{\"key\":\"{number:08}\",\"value\":\"dmFs\"}}");
            let reply = http::request(server, "POST", "/v3/kv/put", &[], &body).expect("a reply");
            assert_eq!(reply.status, 200, "{}", reply.body);
        }
    };
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || write(writer));
        }
    });
}

fn write_through_ours(mixed: &Mixed, number: usize, prefix: &str) {
    let client = mixed.client(number);
    let write = |client: &e2e::Etcdctl, writer: usize| {
        for number in (writer..WRITES_OURS).step_by(WRITERS) {
            let _ = client.run(&["put", &format!("{prefix}{number}"), "value"]).success();
        }
    };
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let client = &client;
            scope.spawn(move || write(client, writer));
        }
    });
}
