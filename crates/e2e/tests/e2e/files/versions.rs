//! A cluster version of 3.5.0 closes the way back to 3.4.

use e2e::etcd::STOP_PATIENCE;
use e2e::{Exit, Program};

use super::from_go::wait_cluster_version;
use super::load;
use super::picture::Picture;
use super::site::{CHECKPOINTS, FORCED, Site};

/// What 3.4 says of a directory whose cluster version is above its own.
const REFUSAL: &str = "cluster cannot be downgraded (current version: 3.4.23 is lower than \
                       determined cluster version: 3.5)";

/// Only a Go leader raises the version; ours then keeps it, and still takes v2 writes.
#[test]
fn a_raised_version_is_kept_and_shuts_out_34() {
    let site = Site::new("raised");
    let dir = site.path("dir");
    let mut ours = site.start(Program::Ours, &dir, &CHECKPOINTS);
    load::both(&ours, "before");
    wait_cluster_version(&ours, "3.4.0");
    ours.terminate();
    let mut go = site.start(Program::GoEtcd351, &dir, &[]);
    wait_cluster_version(&go, "3.5.0");
    go.terminate();
    ours.restart();
    wait_cluster_version(&ours, "3.5.0");
    load::both(&ours, "after");
    let expected = Picture::of(&ours, "after");
    expected.assert_full();
    ours.kill9();
    for settings in [&[][..], &FORCED] {
        let name = format!("refused-{}", settings.len());
        let copy = site.copy(&dir, &name);
        let spec = site.describe(Program::GoEtcd34, &copy, settings);
        let (exit, log) = spec.run_to_end(STOP_PATIENCE);
        assert!(exit != Exit::Code(0) && log.contains(REFUSAL), "{exit:?}: {log}");
    }
    let copy = site.copy(&dir, "accepted");
    let mut go = site.start(Program::GoEtcd351, &copy, &FORCED);
    assert_eq!(Picture::of(&go, "after"), expected);
    wait_cluster_version(&go, "3.5.0");
    go.terminate();
}
