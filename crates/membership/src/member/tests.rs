//! Validation tables and the effects of changes.

use super::*;

fn member(id: u64, url: &str) -> Member {
    Member { id: NodeId(id), peer_urls: vec![url.to_owned()], ..Member::default() }
}

fn learner(id: u64, url: &str) -> Member {
    Member { is_learner: true, ..member(id, url) }
}

/// Voters 1 and 2, learner 3, removed 9.
fn membership() -> Membership {
    let mut membership = Membership::new(ClusterId(1));
    for voter in [member(1, "http://a:1"), member(2, "http://b:1")] {
        let _ = membership.apply(&Change::AddVoter(voter));
    }
    let _ = membership.apply(&Change::AddLearner(learner(3, "http://c:1")));
    membership.removed.insert(NodeId(9));
    membership.check_invariants();
    membership
}

fn conf_change(change_type: ConfChangeType, node_id: u64, context: &[u8]) -> ConfChange {
    ConfChange { id: 77, change_type, node_id, context: Bytes::copy_from_slice(context) }
}

fn add(member: &Member) -> ConfChange {
    let kind =
        if member.is_learner { ConfChangeType::AddLearnerNode } else { ConfChangeType::AddNode };
    conf_change(kind, member.id.0, &json::conf_change_context(member, false))
}

fn promote(id: u64) -> ConfChange {
    let member = Member { id: NodeId(id), ..Member::default() };
    conf_change(ConfChangeType::AddNode, id, &json::conf_change_context(&member, true))
}

fn update(member: &Member) -> ConfChange {
    conf_change(ConfChangeType::UpdateNode, member.id.0, &json::conf_change_context(member, false))
}

fn remove(id: u64) -> ConfChange {
    conf_change(ConfChangeType::RemoveNode, id, b"")
}

#[test]
fn validation_table() {
    use MembershipError as E;
    let moved = |member: Member| Ok(Change::UpdatePeerUrls(member.id, member.peer_urls));
    let cases = [
        (add(&member(4, "http://d:1")), Ok(Change::AddVoter(member(4, "http://d:1")))),
        (add(&member(1, "http://d:1")), Err(E::IdExists)),
        (add(&member(3, "http://d:1")), Err(E::IdExists)),
        (add(&member(4, "http://b:1")), Err(E::PeerUrlExists)),
        (add(&member(4, "http://c:1")), Err(E::PeerUrlExists)),
        (add(&member(9, "http://d:1")), Err(E::IdRemoved)),
        (add(&learner(4, "http://d:1")), Err(E::TooManyLearners)),
        (add(&learner(4, "http://a:1")), Err(E::PeerUrlExists)),
        (add(&learner(1, "http://a:1")), Err(E::IdExists)),
        (promote(3), Ok(Change::Promote(NodeId(3)))),
        (promote(1), Err(E::NotLearner)),
        (promote(4), Err(E::IdNotFound)),
        (promote(9), Err(E::IdRemoved)),
        (remove(1), Ok(Change::Remove(NodeId(1)))),
        (remove(3), Ok(Change::Remove(NodeId(3)))),
        (remove(4), Err(E::IdNotFound)),
        (remove(9), Err(E::IdRemoved)),
        (update(&member(1, "http://e:1")), moved(member(1, "http://e:1"))),
        (update(&member(1, "http://a:1")), moved(member(1, "http://a:1"))),
        (update(&member(1, "http://b:1")), Err(E::PeerUrlExists)),
        (update(&member(4, "http://e:1")), Err(E::IdNotFound)),
        (update(&member(9, "http://e:1")), Err(E::IdRemoved)),
        (conf_change(ConfChangeType::AddNode, 4, b"{"), Err(E::BadContext)),
        (conf_change(ConfChangeType::AddNode, 4, b""), Err(E::BadContext)),
        (conf_change(ConfChangeType::AddNode, 4, br#"{"id":5,"peerURLs":[]}"#), Err(E::BadContext)),
        (conf_change(ConfChangeType::UpdateNode, 1, b"x"), Err(E::BadContext)),
        (conf_change(ConfChangeType::RemoveNode, 0, b""), Ok(Change::None)),
    ];
    let membership = membership();
    for (change, expected) in cases {
        assert_eq!(membership.validate(&change), expected, "{change:?}");
    }
}

#[test]
fn learner_limit_is_a_setting() {
    let mut membership = membership();
    membership.max_learners = 2;
    assert!(membership.validate(&add(&learner(4, "http://d:1"))).is_ok());
}

#[test]
fn every_change_writes_the_rows_that_mirror_it() {
    let mut membership = membership();
    let mut rows = membership.to_rows();
    let changes = [
        Change::AddVoter(member(4, "http://d:1")),
        Change::Promote(NodeId(3)),
        Change::UpdatePeerUrls(NodeId(1), vec!["http://x:1".to_owned(), "http://y:1".to_owned()]),
        Change::Remove(NodeId(2)),
        Change::None,
    ];
    for change in &changes {
        rows.extend(membership.apply(change));
        membership.check_invariants();
    }
    rows.extend(membership.set_attributes(NodeId(4), "four", &["http://d:2".to_owned()]));
    rows.extend(membership.set_version(ClusterVersion::new(3, 4)));
    assert!(membership.set_attributes(NodeId(2), "late", &[]).is_empty());

    let mut mirror = BTreeMap::new();
    for Op { bucket, key, value } in rows {
        match value {
            Some(value) => mirror.insert((bucket, key), value),
            None => mirror.remove(&(bucket, key)),
        };
    }
    let pairs = mirror.into_iter().map(|((bucket, key), value)| (bucket, key, value));
    assert_eq!(Membership::from_rows(ClusterId(1), pairs).unwrap(), membership);
    assert_eq!(membership.voters().count(), 3);
    assert_eq!(membership.members[&NodeId(4)].name, "four");
}

/// As seen on 3.4.23: `member update` of a learner makes the others take it for a voter.
#[test]
fn old_update_of_a_learner_forgets_that_it_is_one() {
    let mut membership = membership();
    let go_entry = update(&member(3, "http://z:1"));
    let change = membership.validate(&go_entry).unwrap();
    let expected = Change::OverwriteRaftAttributes {
        id: NodeId(3),
        peer_urls: vec!["http://z:1".to_owned()],
        is_learner: false,
    };
    assert_eq!(change, expected);
    let _ = membership.apply(&change);
    assert_eq!(membership.validate(&promote(3)), Err(MembershipError::NotLearner));
}

#[test]
fn update_of_a_learner_keeps_it_one_when_we_propose_or_the_cluster_is_new() {
    let urls = ["http://z:1".to_owned()];
    let kept = Ok(Change::UpdatePeerUrls(NodeId(3), urls.to_vec()));
    let mut membership = membership();
    let ours =
        conf_change(ConfChangeType::UpdateNode, 3, &membership.update_context(NodeId(3), &urls));
    assert_eq!(membership.validate(&ours), kept);
    let _ = membership.set_version(ClusterVersion::new(3, 6));
    assert_eq!(membership.validate(&update(&member(3, "http://z:1"))), kept);
}

#[test]
fn errors_are_worded_for_clients() {
    use types::EtcdError;
    let cases = [
        (MembershipError::IdRemoved, EtcdError::MemberNotFound),
        (MembershipError::IdNotFound, EtcdError::MemberNotFound),
        (MembershipError::IdExists, EtcdError::MemberExist),
        (MembershipError::PeerUrlExists, EtcdError::PeerURLExist),
        (MembershipError::TooManyLearners, EtcdError::TooManyLearners),
        (MembershipError::NotLearner, EtcdError::MemberNotLearner),
        (MembershipError::BadContext, EtcdError::MemberBadURLs),
    ];
    for (error, expected) in cases {
        assert_eq!(error.to_etcd_error(), expected);
        assert!(error.to_string().starts_with("membership: "));
    }
}
