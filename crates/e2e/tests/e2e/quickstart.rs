//! The first minute of a new user, with nothing installed but Rust.

use e2e::{Addresses, Etcd, Program, TempDir, http};

#[test]
fn one_member_says_version_and_health() {
    let (addresses, directory) = (Addresses::new(), TempDir::new("quickstart"));
    let etcd =
        Etcd::builder(Program::Ours).member("q", addresses.claim(), directory.path()).start();
    let version = http::get(etcd.client(), "/version").expect("GET /version");
    assert_eq!(version.status, 200);
    assert!(version.body.starts_with(r#"{"etcdserver":""#), "{}", version.body);
}
