//! Where the programs under test are.

use std::path::{Path, PathBuf};

/// A program that tests start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Our server: `ETCH_ETCD_BIN`, else next to the test program.
    Ours,
    /// Go's server 3.4 (Debian's): `GO_ETCD_34`, else `/usr/bin/etcd`.
    GoEtcd34,
    /// Go's client 3.4 (Debian's): `GO_ETCDCTL_34`, else `/usr/bin/etcdctl`.
    GoEtcdctl34,
    /// Go's server 3.5.1: `etcd` in `GO_ETCD_351_DIR`.
    GoEtcd351,
    /// Go's client 3.5.1: `etcdctl` in `GO_ETCD_351_DIR`.
    GoEtcdctl351,
    /// Go's offline tool 3.5.1: `etcdutl` in `GO_ETCD_351_DIR`.
    GoEtcdutl351,
    /// A Python that has the client libraries python-etcd and etcd3: `CLIENTS_PYTHON`.
    ClientsPython,
    /// The program of `clients/rust`, which uses the crate etcd-client: `CLIENTS_RUST_BIN`.
    ClientsRust,
}

impl Program {
    /// Path of the program.
    ///
    /// # Panics
    /// When it is not there: a missing tool fails the test.
    #[must_use]
    pub fn path(self) -> PathBuf {
        let path = match self {
            Self::Ours => from_env("ETCH_ETCD_BIN").unwrap_or_else(beside_test_program),
            Self::GoEtcd34 => or("GO_ETCD_34", "/usr/bin/etcd"),
            Self::GoEtcdctl34 => or("GO_ETCDCTL_34", "/usr/bin/etcdctl"),
            Self::GoEtcd351 => in_351("etcd"),
            Self::GoEtcdctl351 => in_351("etcdctl"),
            Self::GoEtcdutl351 => in_351("etcdutl"),
            Self::ClientsPython => named("CLIENTS_PYTHON"),
            Self::ClientsRust => named("CLIENTS_RUST_BIN"),
        };
        assert!(
            path.is_file(),
            "{self:?} is missing: no {} (`.ci/run` installs Go's, `cargo build` makes ours)",
            path.display()
        );
        path
    }

    /// Whether this is one of Go's servers of 3.4, whose v2 API and logger need flags.
    #[must_use]
    pub fn is_go_34(self) -> bool {
        matches!(self, Self::GoEtcd34)
    }
}

fn from_env(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn or(variable: &str, default: &str) -> PathBuf {
    from_env(variable).unwrap_or_else(|| PathBuf::from(default))
}

fn named(variable: &str) -> PathBuf {
    from_env(variable).unwrap_or_else(|| panic!("{variable} names no program (see .ci/run)"))
}

fn in_351(name: &str) -> PathBuf {
    let directory = from_env("GO_ETCD_351_DIR")
        .expect("GO_ETCD_351_DIR names the directory of Go's 3.5.1 programs (see .ci/run)");
    directory.join(name)
}

/// Test programs are in `target/<profile>/deps`, binaries one directory above.
fn beside_test_program() -> PathBuf {
    let test = std::env::current_exe().expect("path of the test program");
    let profile = test.parent().and_then(Path::parent).expect("target directory");
    profile.join(format!("etcd{}", std::env::consts::EXE_SUFFIX))
}
