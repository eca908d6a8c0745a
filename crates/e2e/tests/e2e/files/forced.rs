//! `--force-new-cluster` on directories of a three-member cluster.

use e2e::{Cluster, Etcd, Program, Spec};

use super::load;
use super::picture::Picture;
use super::site::{CHECKPOINTS, FORCED, Site};

/// The picture without the members, of which one is left.
fn without_members(mut picture: Picture) -> Picture {
    picture.members.take();
    picture
}

/// A member of `cluster` alone on a copy of its directory.
fn forced(cluster: &Cluster, number: usize, program: Program) -> Spec {
    let spec = cluster.member(number).spec().clone().program(program);
    let dir = spec.data_dir();
    let copy = cluster.directory().join(format!("{number}-{program:?}"));
    e2e::tempdir::copy_tree(&dir, &copy);
    FORCED
        .iter()
        .fold(spec, |spec, (option, value)| spec.set(option, *value))
        .set("data-dir", copy.to_string_lossy())
        .set("enable-v2", "true")
}

#[track_caller]
fn assert_alone(server: &Etcd, tag: &str, expected: &Picture) {
    let picture = Picture::of(server, tag);
    let members = picture.members.as_array().expect("a list of members");
    assert_eq!(members.len(), 1, "{members:?}");
    assert_eq!(members[0]["clientURLs"][0], server.client_url());
    assert_eq!(&without_members(picture), expected);
}

#[test]
fn one_of_three_members_goes_on_alone() {
    let mut cluster = Cluster::start_with("forced", &[Program::Ours; 3], |_, spec| {
        let spec = spec.set("enable-v2", "true");
        CHECKPOINTS.iter().fold(spec, |spec, (option, value)| spec.set(option, *value))
    });
    load::both(cluster.member(0), "three");
    // Every member has applied everything once it has answered linearizable reads.
    let pictures: Vec<Picture> =
        cluster.members().iter().map(|member| Picture::of(member, "three")).collect();
    assert_eq!(pictures[1], pictures[0]);
    assert_eq!(pictures[2], pictures[0]);
    let expected = without_members(pictures.into_iter().next().expect("three pictures"));
    expected.assert_full();
    cluster.member_mut(2).terminate();
    for number in 0..2 {
        cluster.member_mut(number).kill9();
    }
    for number in 0..3 {
        for program in [Program::Ours, Program::GoEtcd351, Program::GoEtcd34] {
            let mut server = forced(&cluster, number, program).start();
            assert_alone(&server, "three", &expected);
            load::v3(&server, &["put", "alone", "yes"]);
            load::v2(&server, "PUT", "/v2/keys/alone", "value=yes");
            if program == Program::Ours {
                check_later_start(&mut server);
            }
            server.terminate();
        }
    }
}

/// The next start, without the flag and after a kill, is an ordinary one.
#[track_caller]
fn check_later_start(server: &mut Etcd) {
    let after = Picture::of(server, "three");
    server.kill9();
    *server = server.spec().clone().unset("force-new-cluster").start();
    assert_eq!(Picture::of(server, "three"), after);
}

/// Go's tool keeps the rows of our v2 tree, but they are of another cluster and not to be trusted.
#[test]
fn a_snapshot_restored_by_go_is_opened() {
    let site = Site::new("restored");
    let dir = site.path("dir");
    let mut ours = site.start(Program::Ours, &dir, &CHECKPOINTS);
    load::both(&ours, "snap");
    let before = Picture::of(&ours, "snap");
    ours.terminate();
    let peer = format!("http://{}", ours.peer());
    let restored = site.path("restored");
    let mut restore = std::process::Command::new(Program::GoEtcdutl351.path());
    restore
        .args(["snapshot", "restore", "--skip-hash-check", "--name=m0"])
        .arg(dir.join("member/snap/db"))
        .arg(format!("--data-dir={}", restored.display()))
        .arg(format!("--initial-cluster=m0={peer}"))
        .arg(format!("--initial-advertise-peer-urls={peer}"))
        .arg("--initial-cluster-token=another");
    let _ = e2e::etcdctl::run(restore, "", e2e::etcd::STOP_PATIENCE).success();
    let mut ours = site.start(Program::Ours, &restored, &CHECKPOINTS);
    let empty = e2e::http::get(ours.client(), "/v2/keys/snap").expect("GET");
    assert_eq!(empty.status, 404, "v2 data is not part of a snapshot: {empty:?}");
    load::v2(&ours, "PUT", "/v2/keys/snap/_hidden", "value=new");
    let after = Picture::of(&ours, "snap");
    assert_eq!((&after.kvs, &after.hashes), (&before.kvs, &before.hashes));
    assert_ne!(after.members[0]["ID"], before.members[0]["ID"]);
    ours.terminate();
    let mut go = site.start(Program::GoEtcd351, &restored, &[]);
    assert_eq!(Picture::of(&go, "snap"), after);
    go.terminate();
}
