//! One member's place: servers of any program started in turn on directories and their copies.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use e2e::tempdir::copy_tree;
use e2e::{Addresses, Etcd, Program, Spec, TempDir};

/// Few entries between two checkpoints, so that `.snap` files exist and the log was let go.
pub(super) const CHECKPOINTS: [(&str, &str); 2] =
    [("snapshot-count", "100"), ("snapshot-catchup-entries", "10")];
/// Go 3.4 and 3.5 know no catch-up flag.
pub(super) const GO_CHECKPOINTS: [(&str, &str); 1] = [("snapshot-count", "100")];
/// Starts a cluster of one out of any directory.
pub(super) const FORCED: [(&str, &str); 1] = [("force-new-cluster", "true")];

/// Settings of frequent checkpoints that a program knows.
pub(super) fn checkpoints(program: Program) -> &'static [(&'static str, &'static str)] {
    if program == Program::Ours { &CHECKPOINTS } else { &GO_CHECKPOINTS }
}

/// The address and name under which all servers of a test run, one after the other.
pub(super) struct Site {
    directory: TempDir,
    host: Ipv4Addr,
    // Holds the claim as long as the test runs.
    _addresses: Addresses,
}

impl Site {
    pub(super) fn new(label: &str) -> Self {
        let addresses = Addresses::new();
        let host = addresses.claim();
        Self { directory: TempDir::new(label), host, _addresses: addresses }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Copies a directory, as it is at this moment, under a new name.
    pub(super) fn copy(&self, from: &Path, name: &str) -> PathBuf {
        let to = self.path(name);
        copy_tree(from, &to);
        to
    }

    /// A member that has `data_dir`.
    pub(super) fn describe(
        &self,
        program: Program,
        data_dir: &Path,
        settings: &[(&str, &str)],
    ) -> Spec {
        let spec = Etcd::builder(program)
            .member("m0", self.host, self.directory.path())
            .set("data-dir", data_dir.to_string_lossy())
            .log_file(data_dir.with_extension("log"))
            .set("enable-v2", "true");
        settings.iter().fold(spec, |spec, (option, value)| spec.set(option, *value))
    }

    /// Starts a member that has `data_dir`.
    #[track_caller]
    pub(super) fn start(
        &self,
        program: Program,
        data_dir: &Path,
        settings: &[(&str, &str)],
    ) -> Etcd {
        self.describe(program, data_dir, settings).start()
    }
}
