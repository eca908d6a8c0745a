//! A data directory on a file system that fills up. Needs root, to mount one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use e2e::{Cluster, Exit, Program, until};

use super::{Acknowledged, Place, assert_no_panic};

const PATIENCE: Duration = Duration::from_secs(60);
/// Room for one preallocated log segment of 64 MB and a small database.
const SMALL: &str = "size=72m";
const LARGE: &str = "size=400m";
/// Bytes of each value written.
const VALUE_BYTES: usize = 100_000;

/// A tmpfs, unmounted on drop.
struct Mount(PathBuf);

impl Mount {
    fn new(path: &Path, options: &str) -> Self {
        std::fs::create_dir_all(path).expect("create mount point");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", options, "etch-e2e"]).arg(path));
        Self(path.to_owned())
    }

    fn resize(&self, options: &str) {
        run(Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.0));
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a process that a failing test left behind may still hold files in it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn run(command: &mut Command) {
    let status = command.status().expect("start mount");
    assert!(status.success(), "{command:?}: {status}");
}

#[test]
fn a_full_disk_stops_the_member_and_loses_nothing() {
    let place = Place::new("disk-full");
    let mount = Mount::new(&place.directory.join("small"), SMALL);
    let spec = place.single("f").set("data-dir", mount.0.join("f.etcd").to_string_lossy());
    let mut etcd = spec.start();
    let mut acknowledged = Acknowledged::default();
    let value = "v".repeat(VALUE_BYTES);
    let mut number = 0;
    // The end comes when the database or the next segment finds no room.
    let exit = until(PATIENCE, || {
        let api = if number % 4 == 0 { '2' } else { '3' };
        acknowledged.write(etcd.client(), &format!("{api}-{number}"), &value);
        number += 1;
        etcd.exit()
    });
    assert_eq!(exit, Some(Exit::Code(1)), "after {number} writes");
    let log = etcd.log();
    assert_no_panic(&log);
    let fatal = log.lines().find(|line| line.contains("\"level\":\"fatal\""));
    let fatal = fatal.unwrap_or_else(|| panic!("no fatal line in:\n{log}"));
    assert!(fatal.to_lowercase().contains("no space"), "{fatal}");
    assert!(acknowledged.0.len() > 20, "{} writes before the disk was full", acknowledged.0.len());

    // Without room the start fails as clearly.
    let (exit, log) = start_in_vain(&spec);
    assert_no_panic(&log);
    assert!(matches!(exit, Exit::Code(0 | 1)), "{exit:?}\n{log}");

    mount.resize(LARGE);
    let mut etcd = spec.start();
    acknowledged.assert_all_on(etcd.client());
    acknowledged.write_some(etcd.client(), "after", 5);
    assert_eq!(etcd.terminate(), Exit::Signal(15));
    assert_no_panic(&etcd.log());
}

#[test]
fn a_cluster_goes_on_when_the_disk_of_one_is_full() {
    let mount_point = e2e::TempDir::new("disk-full-one");
    let mount = Mount::new(&mount_point.join("small"), SMALL);
    let small = mount.0.join("m2.etcd");
    let place = |number, spec: e2e::Spec| match number {
        2 => spec.set("data-dir", small.to_string_lossy()),
        _ => spec,
    };
    let mut cluster = Cluster::start_with("disk-full-one", &[Program::Ours; 3], place);
    let mut acknowledged = Acknowledged::default();
    let value = "v".repeat(VALUE_BYTES);
    let server = cluster.member(0).client();
    let mut number = 0;
    let exit = until(PATIENCE, || {
        // The one that stops may have been the leader: then this write may go without an answer.
        acknowledged.write(server, &format!("3-{number}"), &value);
        number += 1;
        cluster.member_mut(2).exit()
    });
    assert_eq!(exit, Some(Exit::Code(1)), "after {number} writes");
    let resumed = until(PATIENCE, || acknowledged.write(server, "3-resumed", "yes").then_some(()));
    assert!(resumed.is_some(), "the others do not go on");
    mount.resize(LARGE);
    cluster.member_mut(2).restart();
    acknowledged.write_some(server, "after", 5);
    for member in cluster.members() {
        acknowledged.assert_all_on(member.client());
        assert_no_panic(&member.log());
    }
    drop(cluster);
    drop(mount);
}

/// Starts on the full disk: it may refuse, or serve until the first write that finds no room.
fn start_in_vain(spec: &e2e::Spec) -> (Exit, String) {
    let mut etcd = spec.spawn();
    let exit = until(Duration::from_secs(10), || etcd.exit());
    let exit = exit.unwrap_or_else(|| {
        etcd.kill9();
        Exit::Code(0)
    });
    (exit, etcd.log())
}
