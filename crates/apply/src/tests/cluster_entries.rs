//! Entries about members and versions in both styles, and v2 entries as such.

use bytes::Bytes;
use membership::ClusterVersion;
use proto::etcdserverpb::InternalRaftRequest;
use proto::membershippb::{
    Attributes, ClusterMemberAttrSetRequest, ClusterVersionSetRequest, DowngradeInfoSetRequest,
};
use proto::v2_request::V2Request;
use types::{Bucket, NodeId, RequestId, V2Code};

use super::harness::{Peer, add, member, remove, v2_put, v3, with_header};
use crate::{Fault, Local, Reply};

/// The publish entry of a Go 3.5.1 member, as captured (peer-protocol.md 12.6): fields 5 to 16 are
/// there with zeros, 8 and 17 are not.
fn captured_publish(id: u64, json: &str) -> Bytes {
    let path = format!("/0/members/{id:x}/attributes");
    let mut bytes = b"\x08\xef\xe1\xa2\x90\xf8\xee\xbb\xd5\x3a\x12\x03PUT\x1a".to_vec();
    bytes.push(u8::try_from(path.len()).unwrap());
    bytes.extend(path.as_bytes());
    bytes.push(0x22);
    bytes.push(u8::try_from(json.len()).unwrap());
    bytes.extend(json.as_bytes());
    bytes.extend(b"\x28\0\x32\0\x38\0\x48\0\x50\0\x58\0\x60\0\x68\0\x70\0\x78\0\x80\x01\0");
    bytes.into()
}

fn v3_publish(id: u64, name: &str, url: &str) -> InternalRaftRequest {
    let member_attributes =
        Some(Attributes { name: name.to_owned(), client_urls: vec![url.to_owned()] });
    let set = ClusterMemberAttrSetRequest { member_id: id, member_attributes };
    InternalRaftRequest { cluster_member_attr_set: Some(set), ..with_header(3) }
}

fn v3_version(text: &str) -> InternalRaftRequest {
    let set = ClusterVersionSetRequest { ver: text.to_owned() };
    InternalRaftRequest { cluster_version_set: Some(set), ..with_header(3) }
}

fn peer_with_member(id: u64) -> Peer {
    let mut peer = Peer::new();
    let _ = peer.conf_change(&add(&member(id)));
    peer
}

fn v2_value(peer: &Peer, path: &str) -> Option<String> {
    peer.machine.v2().get(path, false, false).ok()?.node.value
}

#[test]
fn publish_works_alike_in_both_styles() {
    const ID: u64 = 0xad3c_d5bb_ed8f_0325;
    let json = r#"{"name":"m1","clientURLs":["http://127.0.0.1:13201"]}"#;
    let mut v2_style = peer_with_member(ID);
    let entry = v2_style.next(captured_publish(ID, json));
    let applied = v2_style.apply(&entry);
    assert_eq!(applied.request_id, RequestId(0x3aaa_ef77_8208_b0ef));
    assert!(matches!(applied.reply, Some(Reply::V2(Ok(_)))));
    assert!(matches!(&applied.local[..], [Local::MemberUpdated(member)] if member.name == "m1"));

    let mut v3_style = peer_with_member(ID);
    let applied = v3_style.request(&v3_publish(ID, "m1", "http://127.0.0.1:13201"));
    assert_eq!(applied.revision, 1);

    for peer in [&v2_style, &v3_style] {
        let row = peer.rows.row(Bucket::Members, b"ad3cd5bbed8f0325").unwrap();
        assert!(row.ends_with(br#""name":"m1","clientURLs":["http://127.0.0.1:13201"]}"#));
        let path = "/0/members/ad3cd5bbed8f0325/attributes";
        assert_eq!(v2_value(peer, path).as_deref(), Some(json));
        assert!(peer.rows.row(Bucket::V2, path.as_bytes()).is_some());
    }
    assert_eq!(v2_style.machine.state_hash(), v3_style.machine.state_hash());
}

#[test]
fn publish_of_strangers_is_a_fault_and_of_the_removed_is_skipped() {
    let mut peer = peer_with_member(1);
    let _ = peer.conf_change(&add(&member(2)));
    let _ = peer.conf_change(&remove(2));
    let v2_index = peer.machine.v2().index();
    let applied = peer.v2_request(&v2_put("/0/members/2/attributes", r#"{"name":"late"}"#));
    assert!(applied.ops.is_empty());
    assert!(
        matches!(applied.reply, Some(Reply::V2(Err(error))) if error.code == V2Code::KeyNotFound)
    );
    let _ = peer.request(&v3_publish(2, "late", "u"));
    assert_eq!(peer.machine.v2().index(), v2_index);

    for data in [v2_put("/0/members/3/attributes", "{}").encode(), v3(&v3_publish(3, "x", "u"))] {
        let entry = peer.next(data);
        assert!(matches!(peer.try_apply(&entry), Err(Fault::BadEntry { .. })));
    }
}

#[test]
fn version_works_alike_in_both_styles() {
    let mut v2_style = Peer::new();
    let applied = v2_style.v2_request(&v2_put("/0/version", "3.4.0"));
    assert_eq!(applied.local, [Local::ClusterVersionSet(ClusterVersion::new(3, 4))]);
    let mut v3_style = Peer::new();
    let _ = v3_style.request(&v3_version("3.4.0"));
    for peer in [&v2_style, &v3_style] {
        assert_eq!(peer.machine.cluster_version(), Some(ClusterVersion::new(3, 4)));
        assert_eq!(peer.rows.row(Bucket::Cluster, b"clusterVersion"), Some(&b"3.4.0"[..]));
        assert_eq!(v2_value(peer, "/0/version").as_deref(), Some("3.4.0"));
    }
}

#[test]
fn a_version_beyond_ours_or_no_version_is_a_fault() {
    for data in [v2_put("/0/version", "3.6.0").encode(), v3(&v3_version("3.6.0"))] {
        let mut peer = Peer::new();
        let entry = peer.next(data);
        let fault = peer.try_apply(&entry).unwrap_err();
        let text = fault.to_string();
        assert!(matches!(fault, Fault::ClusterVersionTooHigh { .. }));
        assert!(text.starts_with("invalid downgrade; server version is lower"), "{text}");
    }
    for text in ["", "3", "x.y.z"] {
        let mut peer = Peer::new();
        let entry = peer.next(v2_put("/0/version", text).encode());
        assert!(matches!(peer.try_apply(&entry), Err(Fault::BadEntry { .. })), "{text:?}");
    }
}

#[test]
fn downgrade_info_is_kept_as_go_writes_it() {
    let mut peer = Peer::new();
    let info = |enabled, ver: &str| {
        let set = DowngradeInfoSetRequest { enabled, ver: ver.to_owned() };
        InternalRaftRequest { downgrade_info_set: Some(set), ..with_header(3) }
    };
    let _ = peer.request(&info(true, "3.4.0"));
    let row = |peer: &Peer| peer.rows.row(Bucket::Cluster, b"downgrade").map(<[u8]>::to_vec);
    let enabled = br#"{"target-version":"3.4.0","enabled":true}"#;
    assert_eq!(row(&peer), Some(enabled.to_vec()));
    let _ = peer.request(&info(false, "3.4.0"));
    let disabled = br#"{"target-version":"","enabled":false}"#;
    assert_eq!(row(&peer), Some(disabled.to_vec()));
}

#[test]
fn user_requests_reach_the_tree_in_either_envelope() {
    let request = v2_put("/1/foo", "bar");
    let mut bare = Peer::new();
    let applied = bare.v2_request(&request);
    assert_eq!(applied.request_id, RequestId(9));
    assert_eq!((applied.v2_events.len(), applied.v2_removed.len()), (1, 1));
    assert_eq!(applied.revision, 1, "v2 uses no v3 revision");
    let Some(Reply::V2(Ok(event))) = applied.reply else { panic!("no event") };
    assert_eq!(event.node.key, "/1/foo");

    let mut wrapped = Peer::new();
    let envelope = InternalRaftRequest { v2: request.encode(), ..Default::default() };
    let applied = wrapped.request(&envelope);
    assert!(matches!(applied.reply, Some(Reply::V2(Ok(_)))));
    assert_eq!(bare.machine.state_hash(), wrapped.machine.state_hash());
    assert_eq!(bare.rows, wrapped.rows);
}

#[test]
fn v2_errors_are_replies() {
    let mut peer = Peer::new();
    let _ = peer.v2_request(&v2_put("/1/file", "x"));
    let under_file = v2_put("/1/file/below", "x");
    let unknown = V2Request { method: "FETCH".to_owned(), ..v2_put("/1/a", "") };
    let conditional = V2Request { prev_index: 77, ..v2_put("/1/file", "y") };
    for (request, code) in [
        (under_file, V2Code::NotDirectory),
        (unknown, V2Code::RaftInternal),
        (conditional, V2Code::CompareFailed),
    ] {
        let applied = peer.v2_request(&request);
        assert!(applied.ops.is_empty(), "{request:?}");
        let Some(Reply::V2(Err(error))) = applied.reply else { panic!("{request:?}") };
        assert_eq!(error.code, code, "{request:?}");
    }
}

#[test]
fn user_keys_that_look_like_members_stay_user_keys() {
    let mut peer = peer_with_member(1);
    for path in ["/1/0/members/1/attributes", "/0/members/1/attributes/more", "/1/0/version"] {
        let applied = peer.v2_request(&v2_put(path, "text"));
        assert!(matches!(applied.reply, Some(Reply::V2(_))), "{path}");
        assert_eq!(peer.machine.membership().members[&NodeId(1)].name, "", "{path}");
    }
    assert_eq!(peer.machine.cluster_version(), None);
}
