use types::NodeId;

use super::*;

fn member() -> Member {
    Member {
        id: NodeId(0xad3c_d5bb_ed8f_0325),
        name: "m1".to_owned(),
        client_urls: vec!["http://127.0.0.1:13201".to_owned()],
        ..Member::default()
    }
}

const BELOW: [Option<ClusterVersion>; 3] = [
    None,
    Some(ClusterVersion { major: 3, minor: 4 }),
    Some(ClusterVersion { major: 3, minor: 5 }),
];

#[test]
fn below_three_six_entries_are_v2_requests() {
    for version in BELOW {
        let expected = V2Request {
            method: "PUT".to_owned(),
            path: "/0/members/ad3cd5bbed8f0325/attributes".to_owned(),
            val: r#"{"name":"m1","clientURLs":["http://127.0.0.1:13201"]}"#.to_owned(),
            ..V2Request::default()
        };
        assert_eq!(publish_attributes(&member(), version), Proposal::V2(expected), "{version:?}");
        let next = ClusterVersion::new(3, 4);
        let Proposal::V2(set) = set_cluster_version(next, version) else {
            panic!("v3-style at {version:?}");
        };
        assert_eq!((&*set.method, &*set.path, &*set.val), ("PUT", "/0/version", "3.4.0"));
    }
}

#[test]
fn from_three_six_on_entries_are_v3_requests() {
    let version = Some(ClusterVersion::new(3, 6));
    let Proposal::V3(publish) = publish_attributes(&member(), version) else {
        panic!("v2-style");
    };
    let set = publish.cluster_member_attr_set.unwrap();
    assert_eq!(set.member_id, 0xad3c_d5bb_ed8f_0325);
    assert_eq!(set.member_attributes.unwrap().client_urls, ["http://127.0.0.1:13201"]);
    let Proposal::V3(raise) = set_cluster_version(ClusterVersion::new(3, 7), version) else {
        panic!("v2-style");
    };
    assert_eq!(raise.cluster_version_set.unwrap().ver, "3.7.0");
}
