//! Directories of Go, opened by ours.

use std::path::Path;
use std::time::Duration;

use e2e::etcd::STOP_PATIENCE;
use e2e::{Etcd, Exit, Program, http};

use super::load;
use super::picture::Picture;
use super::site::{CHECKPOINTS, Site, checkpoints};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn dirs_of_go_34() {
    adopt(Program::GoEtcd34, "3.4.0");
}

#[test]
fn dirs_of_go_351() {
    adopt(Program::GoEtcd351, "3.5.0");
}

/// Until auth is supported, its data must not become readable by everybody.
#[test]
fn a_dir_with_auth_is_refused() {
    let site = Site::new("auth");
    let dir = site.path("dir");
    let mut go = site.start(Program::GoEtcd34, &dir, &[]);
    let _ = load::v3(&go, &["user", "add", "root:secret"]);
    let _ = load::v3(&go, &["user", "grant-role", "root", "root"]);
    let _ = load::v3(&go, &["auth", "enable"]);
    go.terminate();
    let (exit, log) = site.describe(Program::Ours, &dir, &[]).run_to_end(STOP_PATIENCE);
    assert_eq!(exit, Exit::Code(1), "{log}");
    let expected =
        r#""restore state: auth is not supported yet, and this database has it enabled""#;
    assert!(log.contains(expected), "{log}");
    go.restart();
}

fn adopt(program: Program, version: &str) {
    let site = Site::new("from-go");
    let dir = site.path("dir");
    let mut go = site.start(program, &dir, &[]);
    load::both(&go, "early");
    load::v2(&go, "PUT", "/v2/keys/early/expiring", "value=v&ttl=9000");
    wait_cluster_version(&go, version);
    let early = Picture::of(&go, "early");
    go.kill9();
    let copy = site.copy(&dir, "early");
    assert_ours_answers(&site, &copy, "early", &early);
    let mut go = site.start(program, &dir, checkpoints(program));
    load::both(&go, "late");
    let late = Picture::of(&go, "late");
    late.assert_full();
    go.kill9();
    let killed = site.copy(&dir, "killed");
    assert_ours_answers(&site, &killed, "late", &late);
    let mut go = site.start(program, &dir, checkpoints(program));
    go.terminate();
    assert_ours_answers(&site, &dir, "late", &late);
}

/// Ours serves what Go served, v2 without being told to, and goes on from there.
#[track_caller]
fn assert_ours_answers(site: &Site, dir: &Path, tag: &str, expected: &Picture) {
    let spec = site.describe(Program::Ours, dir, &CHECKPOINTS).unset("enable-v2");
    let mut ours = spec.start();
    assert_eq!(&Picture::of(&ours, tag), expected);
    load::both(&ours, "ours");
    let after = Picture::of(&ours, "ours");
    ours.kill9();
    ours.restart();
    assert_eq!(Picture::of(&ours, "ours"), after);
    ours.terminate();
}

/// The leader sets the cluster version some time after its start, with an entry of its own.
#[track_caller]
pub(super) fn wait_cluster_version(server: &Etcd, version: &str) {
    let wanted = format!("\"etcdcluster\":\"{version}\"");
    e2e::eventually(&wanted, PATIENCE, || {
        let reply = http::get(server.client(), "/version").ok()?;
        reply.body.contains(&wanted).then_some(())
    });
}
