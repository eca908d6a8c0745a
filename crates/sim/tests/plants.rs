//! The judges can see: each planted bug is caught.

use sim::{Config, Plant, Shape, run};

/// Runs seeds with a bug until one is caught, and returns by which invariants within the range.
fn caught(plant: Plant, shape: Shape, outside_only: bool, seeds: std::ops::Range<u64>) -> String {
    let mut invariants = Vec::new();
    for seed in seeds {
        let config = Config { outside_only, ..Config::new(seed, shape).with_plant(plant) };
        if let Err(failure) = run(&config) {
            invariants.push(failure.violation.invariant);
        }
    }
    invariants.sort_unstable();
    invariants.dedup();
    invariants.join(", ")
}

#[test]
fn early_acknowledgement_is_caught() {
    let by = caught(Plant::EarlyAck, Shape::Three, false, 0..5);
    assert!(by.contains("applied before durable"), "{by}");
}

#[test]
fn early_acknowledgement_loses_entries_that_were_applied() {
    let by = caught(Plant::EarlyAck, Shape::Any, true, 0..20);
    assert!(by.contains("state machine safety"), "{by}");
}

#[test]
fn early_acknowledgement_of_a_lone_leader_is_caught() {
    assert_eq!(caught(Plant::EarlyAck, Shape::Single, false, 0..5), "applied before durable");
}

#[test]
fn early_acknowledgement_of_a_lone_leader_loses_entries() {
    let by = caught(Plant::EarlyAck, Shape::Single, true, 0..20);
    assert!(by.contains("state machine safety"), "{by}");
}

#[test]
fn forgotten_vote_is_caught() {
    let by = caught(Plant::ForgottenVote, Shape::Three, false, 0..10);
    assert!(by.contains("persistence of the vote"), "{by}");
}

#[test]
fn skipped_apply_is_caught() {
    let by = caught(Plant::SkippedApply, Shape::Three, false, 0..10);
    assert!(by.contains("state hash"), "{by}");
}

#[test]
fn skipped_apply_of_a_lone_member_is_caught() {
    assert!(!caught(Plant::SkippedApply, Shape::Single, false, 0..10).is_empty());
}

#[test]
fn event_lost_at_catch_up_is_caught() {
    let by = caught(Plant::LostEvent, Shape::Three, false, 0..10);
    assert!(by.contains("watch"), "{by}");
}

#[test]
fn progress_told_too_early_is_caught() {
    let by = caught(Plant::EarlyProgress, Shape::Three, false, 0..10);
    assert!(by.contains("watch progress"), "{by}");
}

#[test]
fn lease_revoked_early_is_caught() {
    let by = caught(Plant::EarlyRevoke, Shape::Three, false, 0..10);
    assert!(by.contains("lease lives"), "{by}");
}

#[test]
fn v2_event_delivered_twice_is_caught() {
    let by = caught(Plant::DuplicateV2, Shape::Three, false, 0..10);
    assert!(by.contains("v2 watch"), "{by}");
}

#[test]
fn log_cut_before_the_commit_is_caught() {
    assert_eq!(caught(Plant::EarlyCut, Shape::Any, false, 0..10), "start");
}
