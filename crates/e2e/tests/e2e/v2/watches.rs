//! Long-polls that wait, and the history that answers them.

use std::net::SocketAddr;
use std::time::Duration;

use e2e::{Addresses, Cluster, Etcd, Program, TempDir, eventually, http};

use super::poll::{Poll, modified_index};
use super::{index_of, put};

const PATIENCE: Duration = Duration::from_secs(30);
/// Long-polls of the idle test, unless fewer descriptors are allowed.
const IDLE_POLLS: u64 = 10_000;
/// Size of the values that a member has to miss.
const VALUE_BYTES: usize = 512 * 1024;
/// Entries that a leader keeps behind its snapshot, where a follower has to need one.
const CATCHUP_ENTRIES: u64 = 5;
/// What an idle long-poll may cost in the server, its connection included.
const IDLE_POLL_BYTES: u64 = 64 * 1024;

/// The commit index that a member tells.
#[track_caller]
fn raft_index_of(server: SocketAddr) -> u64 {
    let reply = http::get(server, "/v2/keys/").expect("the root is answered");
    reply.header("X-Raft-Index").and_then(|index| index.parse().ok()).expect("an index")
}

/// What a member says about an index of the past: the event, or the refusal.
#[track_caller]
fn past(server: SocketAddr, since: u64) -> String {
    let target = format!("/v2/keys/?wait=true&recursive=true&waitIndex={since}");
    let reply = http::get(server, &target).expect("the past is answered at once");
    format!("{} {}", reply.status, reply.body)
}

#[test]
fn the_history_of_a_member_outlives_its_restarts() {
    let mut cluster = Cluster::start_with("v2-history", &[Program::Ours; 3], |_, spec| {
        spec.set("snapshot-count", "300")
    });
    let server = cluster.member(0).client();
    put(server, "dir/gone", "value=v");
    let removed = http::request(server, "DELETE", "/v2/keys/dir?recursive=true", &[], "");
    assert_eq!(removed.expect("the directory goes").status, 200);
    while index_of(server) < 1_100 {
        let index = put(server, "k", "value=v");
        if index.is_multiple_of(100) {
            put(server, "_hidden", "value=v");
        }
    }
    for (round, clean) in [(1, false), (2, true)] {
        if clean {
            cluster.member_mut(round).terminate();
        } else {
            cluster.member_mut(round).kill9();
        }
        cluster.member_mut(round).restart();
        let restarted = cluster.member(round).client();
        // Its start is an event of its own, which the others have to hear of.
        let newest = eventually("the members to agree", PATIENCE, || {
            Some(index_of(restarted)).filter(|index| *index == index_of(server))
        });
        for since in [newest - 10, newest - 100, newest - 500, newest - 999, newest - 1000, 5, 1] {
            assert_eq!(past(restarted, since), past(server, since), "index {since}");
        }
        assert!(past(restarted, newest - 1000).contains("\"errorCode\":401"));
        assert!(past(restarted, newest - 999).starts_with("200 "));
    }
}

#[test]
fn a_long_poll_on_a_follower_outlives_the_leader() {
    let mut cluster = Cluster::start("v2-leader-kill", Program::Ours, 3);
    let leader = cluster.wait_leader(PATIENCE);
    let follower = (leader + 1) % 3;
    let server = cluster.member(follower).client();
    let mut once = Poll::open(server, "/k?wait=true").expect("a long-poll");
    let mut stream =
        Poll::open(server, "/?wait=true&recursive=true&stream=true").expect("a stream");
    assert!(once.head.starts_with("HTTP/1.1 200 OK\r\n") && once.head.contains("X-Etcd-Index: "));
    let before = put(server, "other", "value=before");
    cluster.member_mut(leader).kill9();
    let index = eventually("a new leader", PATIENCE, || super::try_put(server, "k", "value=v"));
    assert_eq!(once.index(), index);
    assert!(once.next().expect("a proper end").is_none());
    // Whatever an unanswered write came to: every event once and in order.
    let mut last = stream.index();
    assert_eq!(last, before);
    while last < index {
        let next = stream.index();
        assert_eq!(next, last + 1);
        last = next;
    }
}

#[test]
fn watchers_are_told_what_a_snapshot_passed_over() {
    let mut cluster = Cluster::start_with("v2-jump", &[Program::Ours; 3], |_, spec| {
        let catchup = CATCHUP_ENTRIES.to_string();
        spec.set("snapshot-count", "10").set("snapshot-catchup-entries", catchup)
    });
    let leader = cluster.wait_leader(PATIENCE);
    let (behind, server) = ((leader + 1) % 3, cluster.member(leader).client());
    put(server, "d/k", "value=v");
    let watched = cluster.member(behind).client();
    eventually("the first write", PATIENCE, || {
        http::get(watched, "/v2/keys/d/k").ok().filter(|reply| reply.status == 200)
    });
    let mut stream =
        Poll::open(watched, "/?wait=true&recursive=true&stream=true").expect("a stream");
    let mut inside = Poll::open(watched, "/d/k?wait=true").expect("a long-poll");
    let mut expected = Vec::new();
    cluster.member_mut(behind).signal(nix::sys::signal::Signal::SIGSTOP);
    // More than the sockets between the two take in, so that the connection breaks.
    let value = "x".repeat(VALUE_BYTES);
    for number in 0..50 {
        expected.push(put(server, "k", &format!("value={number}-{value}")));
    }
    eventually("the connection to break", PATIENCE, || {
        let text = http::get(server, "/metrics").ok()?.body;
        let mut peers = text.lines().filter(|line| line.starts_with("etcd_network_active_peers{"));
        peers.any(|line| line.ends_with(" 0")).then_some(())
    });
    // What is sent now is lost; wait until it is out of the leader's log, too.
    let lost_from = raft_index_of(server);
    eventually("a snapshot behind what is lost", PATIENCE, || {
        expected.push(put(server, "k", "value=lost"));
        let log = cluster.member(leader).log();
        let saved = log.lines().rev().find(|line| line.contains("saved snapshot to disk"))?;
        let (_, index) = saved.split_once("\"index\":")?;
        let index: u64 = index.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
        (index > lost_from + CATCHUP_ENTRIES).then_some(())
    });
    let reply = http::request(server, "DELETE", "/v2/keys/d?recursive=true", &[], "");
    let removal = modified_index(&reply.expect("the directory goes").body);
    expected.push(removal);
    cluster.member_mut(behind).signal(nix::sys::signal::Signal::SIGCONT);
    cluster.member(behind).wait_log("installing snapshot", PATIENCE);
    let told: Vec<u64> = expected.iter().map(|_| stream.index()).collect();
    assert_eq!(told, expected);
    assert_eq!(inside.index(), removal, "it existed inside of what was removed");
    let next = put(server, "k", "value=after");
    assert_eq!(stream.index(), next, "the stream goes on");
}

/// One member and its address.
fn single(label: &str) -> (Etcd, TempDir) {
    let directory = TempDir::new(label);
    let host = Addresses::new().claim();
    let member = Etcd::builder(Program::Ours).member("m0", host, directory.path()).start();
    (member, directory)
}

#[test]
fn stopping_the_server_cuts_the_body() {
    let (mut member, _directory) = single("v2-stop");
    put(member.client(), "past", "value=v");
    let targets = ["/k?wait=true", "/k?wait=true&stream=true"];
    let open = |target: &str| Poll::open(member.client(), target).expect("a watch");
    let mut polls: Vec<Poll> = targets.iter().map(|target| open(target)).collect();
    let index = index_of(member.client());
    let mut silent = open(&format!("/past?wait=true&stream=true&waitIndex={index}"));
    assert_eq!(silent.index(), index);
    polls.push(silent);
    let began = std::time::Instant::now();
    member.terminate();
    assert!(began.elapsed() < Duration::from_secs(5), "the watches held up the stop");
    for mut poll in polls {
        assert!(poll.next().is_err(), "the body ended as if it were complete");
    }
}

#[test]
fn ten_thousand_idle_long_polls_cost_little() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit can be read");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("the limit can be raised");
    let polls = IDLE_POLLS.min(hard.saturating_sub(1_000));
    let (member, _directory) = single("v2-idle");
    let server = member.client();
    put(server, "warm", "value=v");
    let before = resident_bytes(member.id());
    let ask = |number| Poll::ask(server, &format!("/idle/{}?wait=true", number % 100));
    let asked: Vec<_> = (0..polls).map(|number| ask(number).expect("a connection")).collect();
    let mut open: Vec<Poll> =
        asked.into_iter().map(|stream| Poll::read_head(stream).expect("a head")).collect();
    let grown = resident_bytes(member.id()).saturating_sub(before);
    eprintln!("{polls} idle long-polls: {} bytes each", grown / polls);
    assert!(grown / polls < IDLE_POLL_BYTES, "{} bytes each", grown / polls);
    assert_eq!(watchers(server), polls);
    // A quarter gets its event, the rest goes away; nobody is left.
    for number in 0..25 {
        put(server, &format!("idle/{number}"), "value=v");
    }
    for (number, poll) in open.iter_mut().enumerate().filter(|(number, _)| number % 100 < 25) {
        assert!(poll.index() > 0, "poll {number}");
        assert!(poll.next().expect("a proper end").is_none());
    }
    drop(open);
    eventually("the watchers to be gone", PATIENCE, || (watchers(server) == 0).then_some(()));
}

fn resident_bytes(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its memory");
    let kib: u64 = line.split_whitespace().nth(1).expect("a size").parse().expect("a number");
    kib * 1024
}

/// How many v2 watchers a member has.
#[track_caller]
fn watchers(server: SocketAddr) -> u64 {
    let text = http::get(server, "/metrics").expect("metrics").body;
    let line = text.lines().find(|line| line.starts_with("etcd_debugging_store_watchers "));
    let number = line.and_then(|line| line.split(' ').nth(1)).expect("the number of watchers");
    number.parse().expect("a whole number")
}
