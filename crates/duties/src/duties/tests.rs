use super::*;

fn version(text: &str) -> Option<ClusterVersion> {
    ClusterVersion::parse(text)
}

fn leader(v2_enabled: bool) -> Duties {
    let mut duties = Duties::new(Settings { v2_enabled });
    assert_eq!(duties.step(Input::BecameLeader { term: Term(2) }), []);
    duties
}

fn tick(duties: &mut Duties, now_ms: u64) -> usize {
    duties.step(Input::Tick { now_ms }).len()
}

#[test]
fn versions_are_asked_for_at_once_and_every_four_seconds() {
    let mut duties = leader(true);
    let asked: Vec<usize> =
        [100, 101, 4_099, 4_100, 4_101].map(|now| tick(&mut duties, now)).to_vec();
    assert_eq!(asked, [1, 0, 0, 1, 0]);
}

#[test]
fn only_the_leader_has_duties() {
    let mut duties = Duties::new(Settings { v2_enabled: true });
    let seen = || Input::ClusterVersionsSeen(vec![Some("3.5.1".to_owned())]);
    let clock = || Input::V2Clock { now_ms: 0, unix_ns: 1, has_ttl: true };
    for input in [Input::Tick { now_ms: 0 }, seen(), clock()] {
        assert_eq!(duties.step(input), []);
    }
    let mut deposed = leader(true);
    assert_eq!(deposed.step(Input::LostLeadership), []);
    for input in [Input::Tick { now_ms: 0 }, seen(), clock()] {
        assert_eq!(deposed.step(input), []);
    }
}

#[test]
fn version_is_decided_once() {
    let up = |text: &str| Some(text.to_owned());
    // (v2 enabled, current, seen, proposed)
    type Case<'a> = (bool, Option<&'a str>, &'a [Option<String>], Option<&'a str>);
    let cases: &[Case<'_>] = &[
        (true, None, &[up("3.5.12")], Some("3.4.0")),
        (true, None, &[up("3.5.12"), None, None], Some("3.4.0")),
        (true, None, &[up("3.5.12"), up("3.3.27")], Some("3.3.0")),
        (true, None, &[], Some("3.4.0")),
        (true, None, &[up("nonsense")], Some("3.4.0")),
        (false, None, &[up("3.5.12"), up("3.5.1")], Some("3.5.0")),
        (false, None, &[up("3.5.12"), None], Some("3.4.0")),
        (true, Some("3.4.0"), &[up("3.5.12")], None),
        (false, Some("3.4.0"), &[up("3.5.12")], None),
        (true, Some("3.5.0"), &[up("3.5.12")], None),
        (true, Some("3.6.0"), &[up("3.7.1")], None),
        // A Go leader's "some member is unknown" is lifted to our baseline, and no further.
        (true, Some("3.0.0"), &[up("3.5.12"), up("3.5.1")], Some("3.4.0")),
        (true, Some("3.0.0"), &[up("3.5.12"), None], None),
        (false, Some("3.0.0"), &[up("3.5.12"), up("3.5.1")], Some("3.5.0")),
    ];
    for (v2_enabled, current, seen, expected) in cases {
        let mut duties = leader(*v2_enabled);
        let current = current.and_then(version);
        let _ = duties.step(Input::ClusterVersion(current));
        let actions = duties.step(Input::ClusterVersionsSeen(seen.to_vec()));
        let expected: Vec<Action> = expected
            .and_then(version)
            .map(|next| Action::Propose {
                term: Term(2),
                proposal: set_cluster_version(next, current),
            })
            .into_iter()
            .collect();
        assert_eq!(actions, expected, "{v2_enabled} {current:?} {seen:?}");
        let asks = tick(&mut duties, 0) == 1;
        assert_eq!(asks, may_change(current), "a decided version needs no questions");
    }
}

#[test]
fn sync_is_proposed_only_while_something_can_expire() {
    let clock = |now_ms, has_ttl| Input::V2Clock { now_ms, unix_ns: 77, has_ttl };
    let mut duties = leader(true);
    assert_eq!(duties.step(clock(0, false)), []);
    let expected = V2Request { method: "SYNC".to_owned(), time: 77, ..V2Request::default() };
    assert_eq!(
        duties.step(clock(10, true)),
        [Action::Propose { term: Term(2), proposal: Proposal::V2(expected) }]
    );
    assert_eq!(duties.step(clock(459, true)), []);
    assert_eq!(duties.step(clock(460, true)).len(), 1);
    assert_eq!(duties.step(clock(470, true)), []);
    assert_eq!(duties.step(Input::V2Synced { was_full: false }), []);
    assert_eq!(duties.step(clock(470, true)), []);
    assert_eq!(duties.step(Input::V2Synced { was_full: true }), []);
    assert_eq!(duties.step(clock(470, true)).len(), 1);
    assert_eq!(leader(false).step(clock(0, true)), []);
}

#[test]
fn portions_grow_while_they_are_full_and_begin_small_again() {
    let mut duties = leader(true);
    let mut portions = Vec::new();
    for was_full in [true, true, true, true, true, false, true] {
        portions.push(duties.v2_portion());
        let _ = duties.step(Input::V2Synced { was_full });
    }
    assert_eq!(portions, [64, 128, 256, 512, 1024, 1024, 64]);
    assert_eq!(duties.v2_portion(), 128);
    let _ = duties.step(Input::BecameLeader { term: Term(3) });
    assert_eq!(duties.v2_portion(), 64);
}
