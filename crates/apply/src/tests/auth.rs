//! Auth is a later issue: what it does must stop this member, not pass by unseen.

use proto::etcdserverpb::{
    AuthDisableRequest, AuthEnableRequest, AuthRoleListRequest, AuthStatusRequest,
    AuthUserAddRequest, AuthUserGetRequest, InternalAuthenticateRequest, InternalRaftRequest,
};
use types::{Bucket, EtcdError};

use super::harness::{Peer, Rows, settings, v3, v3_reply, with_header};
use crate::{Fault, Machine, SnapshotBase};

#[test]
fn changes_are_faults() {
    let none = with_header(1);
    let cases = [
        InternalRaftRequest { auth_enable: Some(AuthEnableRequest {}), ..none.clone() },
        InternalRaftRequest { auth_disable: Some(AuthDisableRequest {}), ..none.clone() },
        InternalRaftRequest { auth_user_add: Some(AuthUserAddRequest::default()), ..none.clone() },
    ];
    for request in cases {
        let mut peer = Peer::new();
        let entry = peer.next(v3(&request));
        let fault = peer.try_apply(&entry).unwrap_err();
        assert!(matches!(fault, Fault::Unsupported { index: 1, .. }), "{fault}");
        assert!(fault.to_string().ends_with("is not supported yet"), "{fault}");
    }
}

#[test]
fn requests_without_an_effect_pass() {
    let none = with_header(1);
    let get = AuthUserGetRequest::default();
    let cases = [
        InternalRaftRequest { auth_status: Some(AuthStatusRequest {}), ..none.clone() },
        InternalRaftRequest { auth_user_get: Some(get), ..none.clone() },
        InternalRaftRequest { auth_role_list: Some(AuthRoleListRequest {}), ..none.clone() },
    ];
    let mut peer = Peer::new();
    for request in cases {
        let applied = peer.request(&request);
        assert!(applied.ops.is_empty());
        assert!(v3_reply(applied).is_ok());
    }
    let authenticate = Some(InternalAuthenticateRequest::default());
    let applied = peer.request(&InternalRaftRequest { authenticate, ..none });
    assert_eq!(v3_reply(applied).err(), Some(EtcdError::AuthNotEnabled));
}

#[test]
fn a_database_with_auth_on_is_refused() {
    let mut rows = Rows::default();
    rows.put(Bucket::Auth, b"authEnabled", &[0]);
    assert!(Machine::restore(&rows, settings(), SnapshotBase::default()).is_ok());
    rows.put(Bucket::Auth, b"authEnabled", &[1]);
    let fault = Machine::restore(&rows, settings(), SnapshotBase::default()).unwrap_err();
    assert!(matches!(fault, Fault::AuthEnabled));
    assert!(fault.to_string().starts_with("auth is not supported yet"));
}

#[test]
fn auth_revision_is_written_once_and_kept() {
    let key = &b"authRevision"[..];
    assert_eq!(Peer::new().rows.row(Bucket::Auth, key), Some(&[0, 0, 0, 0, 0, 0, 0, 1][..]));
    let mut rows = Rows::default();
    rows.put(Bucket::Auth, key, &[0, 0, 0, 0, 0, 0, 0, 4]);
    let peer = Peer::restored(rows, settings(), SnapshotBase::default());
    assert_eq!(peer.rows.row(Bucket::Auth, key), Some(&[0, 0, 0, 0, 0, 0, 0, 4][..]));
}
