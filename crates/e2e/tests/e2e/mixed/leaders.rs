//! Elections, hand-overs, forwarded proposals and reads with leaders of both kinds.

use e2e::{Program, Spec};
use nix::sys::signal::Signal;

use super::{AGREEMENT_PATIENCE, Mixed};

const GO: usize = 2;

/// Crashes of a leader of ours until Go's member wins the election; it has even chances each time.
const CRASHES_MAX: usize = 12;

fn two_of_ours_and_go(label: &str) -> Mixed {
    let programs = [Program::Ours, Program::Ours, Program::GoEtcd351];
    let adjust = |number, spec| if number == GO { with_corruption_checks(spec) } else { spec };
    Mixed::start(label, &programs, adjust)
}

/// Go's member compares hashes with its peers at each start, and all the time while it leads.
fn with_corruption_checks(spec: Spec) -> Spec {
    spec.set("experimental-initial-corrupt-check", "true")
        .set("experimental-corrupt-check-time", "1s")
}

#[test]
fn both_kinds_lead_and_forward() {
    let mut mixed = two_of_ours_and_go("mixed-lead");
    for (round, leader) in [0, GO, 1, GO].into_iter().enumerate() {
        mixed.lead(leader);
        mixed.exercise(&format!("round{round}"));
        assert_eq!(mixed.leader(), leader, "nobody lost the office meanwhile");
    }
    let member = mixed.cluster.member(GO);
    member.wait_log("finished peer corruption check", AGREEMENT_PATIENCE);
    mixed.stop_and_hand_over(GO);
    mixed.exercise("go-left");
    mixed.restart(GO);
    mixed.exercise("go-returned");
    assert_eq!(mixed.run(GO, &["alarm", "list"]), "", "no member was found corrupt");
}

#[test]
fn both_kinds_win_elections_after_crashes() {
    let mut mixed = two_of_ours_and_go("mixed-crash");
    mixed.lead(GO);
    mixed.kill(GO);
    assert!(mixed.is_ours(mixed.leader()), "only ours are left");
    mixed.exercise("ours-elected");
    mixed.restart(GO);
    let mut crashes = 0;
    while mixed.leader() != GO {
        crashes += 1;
        assert!(crashes <= CRASHES_MAX, "Go's member never won an election");
        let leader = mixed.leader();
        mixed.put(GO, "crash", &crashes.to_string());
        mixed.kill(leader);
        let successor = mixed.leader();
        mixed.assert_value_everywhere("crash", &crashes.to_string());
        mixed.put(successor, "crash", "survived");
        mixed.restart(leader);
        mixed.assert_value_everywhere("crash", "survived");
    }
    mixed.exercise("go-elected");
}

#[test]
fn a_leader_that_was_stopped_gives_no_stale_read() {
    let mut mixed = two_of_ours_and_go("mixed-stop");
    for leader in [GO, 0] {
        mixed.lead(leader);
        mixed.put(leader, "seen", "before");
        mixed.cluster.member_mut(leader).signal(Signal::SIGSTOP);
        mixed.down.insert(leader);
        let successor = mixed.leader();
        let value = format!("after m{leader}");
        mixed.put(successor, "seen", &value);
        mixed.cluster.member_mut(leader).signal(Signal::SIGCONT);
        mixed.down.remove(&leader);
        assert_eq!(mixed.run(leader, &["get", "seen", "--print-value-only"]), value);
        mixed.exercise(&format!("continued{leader}"));
    }
}
