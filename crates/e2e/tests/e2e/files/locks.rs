//! Two servers on one data directory: the second notices, the first is not disturbed.

use std::path::Path;
use std::time::Duration;

use e2e::{Addresses, Etcd, Exit, Program, Spec};

use super::load;
use super::site::Site;

/// Go and ours wait ten seconds for a predecessor that is stopping.
const PATIENCE: Duration = Duration::from_secs(40);

/// A server on the same directory, with an address of its own.
fn beside(site: &Site, program: Program, dir: &Path, addresses: &Addresses) -> Spec {
    Etcd::builder(program)
        .member("m0", addresses.claim(), &site.path("beside"))
        .set("data-dir", dir.to_string_lossy())
        .log_file(site.path(&format!("beside-{program:?}.log")))
}

fn assert_ours_stays_out(first: Program) {
    let (site, addresses) = (Site::new("locked"), Addresses::new());
    let dir = site.path("dir");
    let server = site.start(first, &dir, &[]);
    load::v3(&server, &["put", "k", "before"]);
    let (exit, log) = beside(&site, Program::Ours, &dir, &addresses).run_to_end(PATIENCE);
    assert_eq!(exit, Exit::Code(1), "{log}");
    let database = dir.join("member/snap/db");
    let expected =
        format!("cannot open database {}: another process has locked it", database.display());
    assert!(log.contains(&expected), "{log}");
    load::v3(&server, &["put", "k", "after"]);
    assert!(server.is_healthy());
}

#[test]
fn ours_stays_out_of_a_running_go_34() {
    assert_ours_stays_out(Program::GoEtcd34);
}

#[test]
fn ours_stays_out_of_a_running_go_351() {
    assert_ours_stays_out(Program::GoEtcd351);
}

#[test]
fn ours_stays_out_of_a_running_ours() {
    assert_ours_stays_out(Program::Ours);
}

/// Go waits for ever; it says so after ten seconds and has opened nothing.
#[test]
fn go_stays_out_of_a_running_ours() {
    let (site, addresses) = (Site::new("locked"), Addresses::new());
    let dir = site.path("dir");
    let mut ours = site.start(Program::Ours, &dir, &[]);
    load::v3(&ours, &["put", "k", "before"]);
    let mut waiting: Vec<Etcd> = [
        (Program::GoEtcd34, "another etcd process is using"),
        (Program::GoEtcd351, "db file is flocked by another process"),
    ]
    .into_iter()
    .map(|(program, notice)| {
        let go = beside(&site, program, &dir, &addresses).spawn();
        go.wait_log(notice, PATIENCE);
        go
    })
    .collect();
    assert!(waiting.iter_mut().all(|go| go.exit().is_none() && !go.is_healthy()));
    load::v3(&ours, &["put", "k", "after"]);
    drop(waiting);
    ours.kill9();
    ours.restart();
    assert_eq!(load::v3(&ours, &["get", "k"]), "k\nafter\n");
}
