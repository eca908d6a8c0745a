//! Paths and values, checked against the `.snap` of a real 3.4.23.

use super::*;

fn member(id: u64, url: &str) -> Member {
    Member { id: NodeId(id), peer_urls: vec![url.to_owned()], ..Member::default() }
}

fn set(path: &str, value: &str) -> V2Write {
    V2Write::Set { path: path.to_owned(), value: value.to_owned() }
}

fn create(path: &str, value: &str) -> V2Write {
    V2Write::Create { path: path.to_owned(), value: value.to_owned() }
}

#[test]
fn writes_are_those_of_go() {
    const ID: NodeId = NodeId(0xcd70_0712_5cd8_5742);
    let mut membership = Membership::new(ClusterId(1));
    let learner = Member { is_learner: true, ..member(ID.0, "http://127.77.1.3:2380") };
    let path = "/0/members/cd7007125cd85742";
    let raft = "/0/members/cd7007125cd85742/raftAttributes";
    let update = |value: &str| V2Write::Update { path: raft.to_owned(), value: value.to_owned() };
    let steps = [
        (
            Change::AddLearner(learner),
            vec![create(raft, r#"{"peerURLs":["http://127.77.1.3:2380"],"isLearner":true}"#)],
        ),
        (Change::Promote(ID), vec![update(r#"{"peerURLs":["http://127.77.1.3:2380"]}"#)]),
        (
            Change::UpdatePeerUrls(
                ID,
                vec!["http://127.77.1.5:2380".into(), "http://127.77.1.3:2380".into()],
            ),
            vec![update(r#"{"peerURLs":["http://127.77.1.5:2380","http://127.77.1.3:2380"]}"#)],
        ),
        (
            Change::Remove(ID),
            vec![
                V2Write::DeleteTree { path: path.to_owned() },
                create("/0/removed_members/cd7007125cd85742", ""),
            ],
        ),
        (Change::None, vec![]),
    ];
    for (change, expected) in steps {
        let _ = membership.apply(&change);
        assert_eq!(writes(&change, &membership), expected);
    }
    let published = attributes_write(ID, "m", &["http://c:1".to_owned()]);
    assert_eq!(
        published,
        set(
            "/0/members/cd7007125cd85742/attributes",
            r#"{"name":"m","clientURLs":["http://c:1"]}"#
        )
    );
    assert_eq!(version_write(ClusterVersion::new(3, 5)), set("/0/version", "3.5.0"));
}

#[test]
fn attribute_paths_name_their_member() {
    assert_eq!(
        attributes_owner("/0/members/ad3cd5bbed8f0325/attributes"),
        Some(NodeId(0xad3c_d5bb_ed8f_0325))
    );
    let others = [
        "/0/members/ad3c/raftAttributes",
        "/0/members//attributes",
        "/0/members/attributes",
        "/0/members/x/attributes",
        "/1/0/members/1/attributes",
        "/0/members/1/2/attributes",
        "/0/members/1/attributes/",
    ];
    for path in others {
        assert_eq!(attributes_owner(path), None, "{path}");
    }
}

#[test]
fn leaves_bring_the_same_membership_back() {
    let mut membership = Membership::new(ClusterId(1));
    for change in [
        Change::AddVoter(member(1, "http://a:1")),
        Change::AddVoter(member(2, "http://b:1")),
        Change::AddLearner(Member { is_learner: true, ..member(3, "http://c:1") }),
        Change::Remove(NodeId(2)),
    ] {
        let _ = membership.apply(&change);
    }
    let _ = membership.set_attributes(NodeId(1), "one", &["http://a:2".to_owned()]);
    let _ = membership.set_version(ClusterVersion::new(3, 4));
    let mut leaves = membership.to_v2_leaves();
    leaves.push(("/1/user".to_owned(), "data".to_owned()));
    leaves.reverse();
    assert_eq!(Membership::from_v2_leaves(ClusterId(1), leaves).unwrap(), membership);
}

#[test]
fn corrupt_leaves_are_named() {
    let cases = [
        ("/0/members/xyz/raftAttributes", "{}"),
        ("/0/members/0/raftAttributes", "{}"),
        ("/0/members/1/raftAttributes", "no json"),
        ("/0/members/1/other", "{}"),
        ("/0/members/1", "{}"),
        ("/0/removed_members/x", ""),
        ("/0/version", "v3"),
    ];
    for leaf in cases {
        let error = Membership::from_v2_leaves(ClusterId(1), [leaf]).unwrap_err();
        assert_eq!(error.path, leaf.0);
    }
    let unborn = Membership::from_v2_leaves(ClusterId(1), [("/0/members/1/attributes", "{}")]);
    assert_eq!(unborn.unwrap_err().path, "/0/members/1/raftAttributes");
}
