//! The first minute of a new user, with nothing installed but Rust: our server, plain HTTP.

use e2e::{Addresses, Etcd, Exit, Program, TempDir, http};

#[test]
fn one_member_keeps_a_key_over_a_restart() {
    let (addresses, directory) = (Addresses::new(), TempDir::new("quickstart"));
    let spec = Etcd::builder(Program::Ours).member("q", addresses.claim(), directory.path());
    let mut etcd = spec.start();
    let version = http::get(etcd.client(), "/version").expect("GET /version");
    assert_eq!(version.status, 200);
    assert!(version.body.starts_with(r#"{"etcdserver":""#), "{}", version.body);
    assert_eq!(http::get(etcd.client(), "/health").expect("GET /health").status, 200);
    let put = http::form(etcd.client(), "PUT", "/v2/keys/message", "value=Hello");
    let put = put.expect("PUT");
    assert_eq!(put.status, 201, "{put:?}");
    assert!(put.header("X-Etcd-Index").is_some() && put.header("X-Raft-Term").is_some());
    assert!(etcd.log().contains("ready to serve client requests"));
    for _ in 0..2 {
        let get = http::get(etcd.client(), "/v2/keys/message").expect("GET");
        assert_eq!(get.status, 200);
        assert!(get.body.contains(r#""key":"/message","value":"Hello""#), "{}", get.body);
        assert_eq!(etcd.terminate(), Exit::Signal(15));
        etcd.restart();
    }
    let removed = http::request(etcd.client(), "DELETE", "/v2/keys/message", &[], "");
    assert_eq!(removed.expect("DELETE").status, 200);
    assert_eq!(http::get(etcd.client(), "/v2/keys/message").expect("GET").status, 404);
}
