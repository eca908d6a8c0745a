//! Directories of ours, opened by Go.

use std::path::{Path, PathBuf};

use e2e::Program;

use super::load;
use super::picture::Picture;
use super::site::{CHECKPOINTS, FORCED, Site, checkpoints};

const GO: [Program; 2] = [Program::GoEtcd34, Program::GoEtcd351];

/// Every Go server answers from a copy what ours answered.
#[track_caller]
fn assert_go_answers(site: &Site, dir: &Path, tag: &str, expected: &Picture) {
    expected.assert_full();
    for program in GO {
        let copy = site.copy(dir, &format!("{tag}-{program:?}"));
        let mut go = site.start(program, &copy, &FORCED);
        assert_eq!(&Picture::of(&go, tag), expected, "{program:?} on {tag}");
        load::v3(&go, &["put", "go", "on"]);
        load::v2(&go, "PUT", "/v2/keys/go", "value=on");
        go.terminate();
    }
}

#[test]
fn dirs_after_a_stop_and_after_a_kill() {
    let site = Site::new("to-go");
    let dir = site.path("dir");
    let mut ours = site.start(Program::Ours, &dir, &CHECKPOINTS);
    load::both(&ours, "stop");
    let stopped = Picture::of(&ours, "stop");
    ours.terminate();
    assert!(snap_files(&dir) > 0, "no checkpoint was made");
    assert_go_answers(&site, &dir, "stop", &stopped);
    ours.restart();
    load::both(&ours, "kill");
    let killed = Picture::of(&ours, "kill");
    load::v3(&ours, &["put", "last", "words"]);
    ours.kill9();
    let copy = site.copy(&dir, "look");
    let mut ours = site.start(Program::Ours, &copy, &[]);
    let after = Picture::of(&ours, "kill");
    assert_eq!((after.revision, &after.v2), (killed.revision + 1, &killed.v2));
    ours.terminate();
    assert_go_answers(&site, &dir, "kill", &after);
}

/// Without a `.snap` file Go replays the whole log, of which the database has all effects already.
#[test]
fn dirs_without_a_checkpoint() {
    let site = Site::new("to-go-early");
    let dir = site.path("dir");
    let mut ours = site.start(Program::Ours, &dir, &[]);
    load::both(&ours, "early");
    let picture = Picture::of(&ours, "early");
    ours.kill9();
    assert_eq!(snap_files(&dir), 0);
    assert_go_answers(&site, &dir, "early", &picture);
}

#[test]
fn to_go_and_back_and_there_again() {
    for program in GO {
        let site = Site::new("round-trip");
        let dir = site.path("dir");
        let mut ours = site.start(Program::Ours, &dir, &CHECKPOINTS);
        load::both(&ours, "ours");
        ours.terminate();
        let mut go = site.start(program, &dir, checkpoints(program));
        load::both(&go, "go");
        let lease = leases_of_go(&go);
        load::v3(&go, &["defrag"]);
        load::v3(&go, &["put", "after", "defrag"]);
        load::v2(&go, "PUT", "/v2/keys/after", "value=defrag");
        let of_go = Picture::of(&go, "go");
        of_go.assert_full();
        go.terminate();
        let mut ours = site.start(Program::Ours, &dir, &CHECKPOINTS);
        assert_eq!(Picture::of(&ours, "go"), of_go, "ours after {program:?}");
        load::both(&ours, "back");
        let of_ours = Picture::of(&ours, "back");
        ours.kill9();
        ours.restart();
        assert_eq!(Picture::of(&ours, "back"), of_ours, "ours after a kill");
        ours.terminate();
        let mut go = site.start(program, &dir, checkpoints(program));
        assert_eq!(Picture::of(&go, "back"), of_ours, "{program:?} after ours");
        let kept = load::v3(&go, &["lease", "timetolive", &lease, "--keys"]);
        assert!(kept.contains("leased-key"), "{kept}");
        go.terminate();
    }
}

/// A v3 lease with a key and a v2 key with a time of expiry, which ours has to carry.
fn leases_of_go(go: &e2e::Etcd) -> String {
    let granted = load::v3(go, &["lease", "grant", "9000"]);
    let lease = granted.split_whitespace().nth(1).expect("lease <id> granted ...").to_owned();
    load::v3(go, &["put", "leased-key", "v", &format!("--lease={lease}")]);
    load::v2(go, "PUT", "/v2/keys/expiring", "value=v&ttl=9000");
    lease
}

/// With v2 writes alone Go 3.4 leaves the database as it found it, positions of v2 rows included.
#[test]
fn only_v2_writes_of_go() {
    for program in GO {
        let site = Site::new("only-v2");
        let dir = site.path("dir");
        let mut ours = site.start(Program::Ours, &dir, &CHECKPOINTS);
        load::both(&ours, "ours");
        ours.terminate();
        let mut go = site.start(program, &dir, &[]);
        for number in 0..20 {
            load::v2(&go, "PUT", &format!("/v2/keys/ours/list/e{number}"), "value=of+go");
        }
        let of_go = Picture::of(&go, "ours");
        go.kill9();
        for _ in 0..2 {
            ours.restart();
            assert_eq!(Picture::of(&ours, "ours"), of_go, "ours after {program:?}");
            ours.kill9();
        }
    }
}

/// Killed in the middle of writes: ours and Go see the same in what is left, and all that was
/// acknowledged.
#[test]
fn dirs_killed_under_load() {
    let site = Site::new("under-load");
    let dir = site.path("dir");
    let mut ours = site.start(Program::Ours, &dir, &CHECKPOINTS);
    load::both(&ours, "load");
    let (v3, v2) = write_until_killed(&mut ours);
    let mut pictures = Vec::new();
    for program in [Program::Ours, Program::GoEtcd351, Program::GoEtcd34] {
        let copy = site.copy(&dir, &format!("{program:?}"));
        let mut server = site.start(program, &copy, &[]);
        let picture = Picture::of(&server, "load");
        for number in 0..v3 {
            let value =
                load::v3(&server, &["get", &format!("busy/k{number}"), "--print-value-only"]);
            assert_eq!(value, "v\n", "{program:?} lost v3 write {number} of {v3}");
        }
        for number in 0..v2 {
            let path = format!("/v2/keys/busy/k{number}");
            let reply = e2e::http::get(server.client(), &path).expect("v2 request");
            assert_eq!(reply.status, 200, "{program:?} lost v2 write {number} of {v2}");
        }
        server.terminate();
        pictures.push(picture);
    }
    assert_eq!(pictures[1], pictures[0]);
    assert_eq!(pictures[2], pictures[0]);
}

/// Acknowledged writes of each API, when the server is killed under both kinds.
fn write_until_killed(server: &mut e2e::Etcd) -> (usize, usize) {
    const V3_WRITES: usize = 12;
    let (client, address) = (load::client(server), server.client());
    std::thread::scope(|scope| {
        let (done, killed) = std::sync::mpsc::channel();
        let v3 = scope.spawn(move || {
            let mut acknowledged = 0;
            loop {
                let key = format!("busy/k{acknowledged}");
                let put = client.run(&["put", &key, "v", "--command-timeout=2s"]);
                if put.exit != e2e::Exit::Code(0) {
                    return acknowledged;
                }
                acknowledged += 1;
                if acknowledged == V3_WRITES {
                    let _ = done.send(());
                }
            }
        });
        let v2 = scope.spawn(move || {
            (0..)
                .take_while(|number| {
                    let path = format!("/v2/keys/busy/k{number}");
                    let reply = e2e::http::form(address, "PUT", &path, "value=v");
                    reply.is_ok_and(|reply| reply.status == 201)
                })
                .count()
        });
        let _ = killed.recv_timeout(e2e::etcd::START_PATIENCE);
        server.kill9();
        (v3.join().expect("v3 writer"), v2.join().expect("v2 writer"))
    })
}

/// Segments change on both sides: more is written than fits into one.
#[test]
fn logs_that_were_cut() {
    let site = Site::new("cut");
    let dir = site.path("dir");
    let few = [("snapshot-count", "20")];
    let mut server = site.start(Program::Ours, &dir, &few);
    for program in [Program::GoEtcd351, Program::Ours] {
        let segments = segments(&dir).len();
        let value = "0123456789abcdef".repeat(90_000);
        while self::segments(&dir).len() == segments {
            let put = load::client(&server).run_with_input(&["put", "large"], &value);
            assert_eq!(put.success().trim(), "OK");
        }
        load::both(&server, &format!("before-{program:?}"));
        let tag = format!("before-{program:?}");
        let picture = Picture::of(&server, &tag);
        server.terminate();
        server = site.start(program, &dir, &few);
        assert_eq!(Picture::of(&server, &tag), picture, "{program:?}");
    }
}

fn files_ending(dir: &Path, end: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).expect("read directory");
    let paths = entries.map(|entry| entry.expect("directory entry").path());
    paths.filter(|path| path.to_string_lossy().ends_with(end)).collect()
}

fn snap_files(dir: &Path) -> usize {
    files_ending(&dir.join("member/snap"), ".snap").len()
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    files_ending(&dir.join("member/wal"), ".wal")
}
