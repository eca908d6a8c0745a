//! Tables of quorum checks.

use types::ClusterId;

use super::*;
use crate::Member;

/// `started` of `voters` voters (IDs from 1) have a name; ID 100 is a learner.
fn membership(voters: u64, started: u64) -> Membership {
    let mut membership = Membership::new(ClusterId(1));
    for id in (1..=voters).chain([100]) {
        let name = if id <= started { format!("m{id}") } else { String::new() };
        let member = Member { id: NodeId(id), name, is_learner: id == 100, ..Member::default() };
        membership.members.insert(member.id, member);
    }
    membership
}

/// Seen by member 1: `long` are healthy, `fresh` connected too recently, all others down.
fn connections(long: &[u64], fresh: &[u64]) -> Connections {
    let long = long.iter().map(|id| (NodeId(*id), 1_000));
    let fresh = fresh.iter().map(|id| (NodeId(*id), 5_000));
    Connections {
        local: NodeId(1),
        active_since_ms: long.chain(fresh).collect(),
        now_ms: 1_000 + HEALTH_INTERVAL_MS + 1,
    }
}

const STARTED: Result<(), EtcdError> = Err(EtcdError::MemberNotEnoughStarted);
const UNHEALTHY: Result<(), EtcdError> = Err(EtcdError::Unhealthy);

#[test]
fn adding_a_voter() {
    let cases = [
        (1, 1, connections(&[], &[]), Ok(()), Ok(())),
        (1, 0, connections(&[], &[]), STARTED, STARTED),
        (2, 2, connections(&[2], &[]), Ok(()), Ok(())),
        (2, 2, connections(&[], &[2]), UNHEALTHY, UNHEALTHY),
        (2, 1, connections(&[2], &[]), STARTED, STARTED),
        (3, 3, connections(&[2, 3], &[]), Ok(()), Ok(())),
        (3, 3, connections(&[2], &[]), UNHEALTHY, UNHEALTHY),
        (3, 2, connections(&[2], &[]), STARTED, STARTED),
        (4, 4, connections(&[2, 3], &[]), Ok(()), UNHEALTHY),
        (4, 3, connections(&[2, 3], &[]), Ok(()), UNHEALTHY),
        (5, 5, connections(&[2, 3, 4], &[]), Ok(()), UNHEALTHY),
        (5, 5, connections(&[2, 3], &[4, 5]), UNHEALTHY, UNHEALTHY),
    ];
    for (voters, started, connections, quorum, all) in cases {
        let membership = membership(voters, started);
        let check = |rule| membership.check_add(false, &connections, rule);
        assert_eq!(check(Rule::Quorum), quorum, "{voters} {started} {connections:?}");
        assert_eq!(check(Rule::All), all, "{voters} {started} {connections:?}");
    }
}

#[test]
fn adding_a_learner_needs_connections_but_no_started_members() {
    let healthy = connections(&[2, 3], &[]);
    assert_eq!(membership(3, 1).check_add(true, &healthy, Rule::Quorum), Ok(()));
    assert_eq!(membership(3, 3).check_add(true, &connections(&[], &[]), Rule::Quorum), UNHEALTHY);
}

#[test]
fn removing() {
    let cases = [
        (3, 3, 3, connections(&[2, 3], &[]), Ok(())),
        (3, 3, 3, connections(&[2], &[]), Ok(())),
        (3, 3, 2, connections(&[2], &[]), UNHEALTHY),
        (3, 3, 1, connections(&[2], &[]), UNHEALTHY),
        (3, 3, 1, connections(&[2, 3], &[]), Ok(())),
        (3, 3, 3, connections(&[2], &[3]), UNHEALTHY),
        (3, 2, 2, connections(&[2], &[]), STARTED),
        (3, 2, 3, connections(&[2], &[]), Ok(())),
        (2, 2, 2, connections(&[2], &[]), Ok(())),
        (1, 1, 1, connections(&[], &[]), STARTED),
        (3, 1, 100, connections(&[], &[]), Ok(())),
    ];
    for (voters, started, id, connections, expected) in cases {
        let result = membership(voters, started).check_remove(NodeId(id), &connections);
        assert_eq!(result, expected, "{voters} {started} {id} {connections:?}");
    }
}

#[test]
fn promoting() {
    for (voters, started, expected) in
        [(1, 1, Ok(())), (3, 3, Ok(())), (3, 2, Ok(())), (3, 1, STARTED)]
    {
        assert_eq!(membership(voters, started).check_promote(), expected, "{voters} {started}");
    }
    let behind = Err(EtcdError::LearnerNotReady);
    for (learner, leader, expected) in
        [(9, 10, Ok(())), (8, 10, behind), (0, 0, Ok(())), (u64::MAX, u64::MAX, Ok(()))]
    {
        assert_eq!(check_learner_ready(learner, leader), expected, "{learner} {leader}");
    }
}
