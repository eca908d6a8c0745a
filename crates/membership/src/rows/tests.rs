//! Rows that real databases hold, and rows that make no membership.

use super::*;

const MEMBER: &str =
    r#"{"id":4335944934765476193,"peerURLs":["http://127.77.1.6:2380"],"isLearner":true}"#;

#[test]
fn rows_of_a_real_database_are_understood() {
    let rows = [
        (Bucket::Cluster, "clusterVersion", "3.4.0"),
        (Bucket::Cluster, "downgrade", r#"{"target-version":"","enabled":false}"#),
        (Bucket::Members, "3c2c5ef20259b961", MEMBER),
        (Bucket::MembersRemoved, "cd7007125cd85742", "removed"),
        (Bucket::Key, "x", "y"),
    ];
    let membership = Membership::from_rows(ClusterId(1), rows).unwrap();
    assert_eq!(membership.version, Some(ClusterVersion::new(3, 4)));
    assert!(membership.removed.contains(&NodeId(0xcd70_0712_5cd8_5742)));
    let row = member_row(&membership.members[&NodeId(0x3c2c_5ef2_0259_b961)]);
    assert_eq!((&*row.key, row.value.unwrap()), (&b"3c2c5ef20259b961"[..], MEMBER.into()));
    let again = membership.to_rows().into_iter().map(|op| (op.bucket, op.key, op.value.unwrap()));
    assert_eq!(Membership::from_rows(ClusterId(1), again).unwrap(), membership);
}

#[test]
fn removed_wins_over_present() {
    let rows = [
        (Bucket::Members, "3c2c5ef20259b961", MEMBER),
        (Bucket::MembersRemoved, "3c2c5ef20259b961", "removed"),
    ];
    assert!(Membership::from_rows(ClusterId(1), rows).unwrap().members.is_empty());
}

#[test]
fn corrupt_rows_are_named() {
    let cases = [
        (Bucket::Members, "xyz", MEMBER),
        (Bucket::Members, "", MEMBER),
        (Bucket::Members, "1", MEMBER),
        (Bucket::Members, "0", r#"{"id":0}"#),
        (Bucket::Members, "3c2c5ef20259b961", "{"),
        (Bucket::MembersRemoved, "+1", "removed"),
        (Bucket::MembersRemoved, "11111111111111111", "removed"),
        (Bucket::Cluster, "clusterVersion", "three"),
    ];
    for row in cases {
        let error = Membership::from_rows(ClusterId(1), [row]).unwrap_err();
        assert_eq!((error.bucket, error.key.as_str()), (row.0, row.1));
    }
}
