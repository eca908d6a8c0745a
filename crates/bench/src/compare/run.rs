//! What all measurements of a run share.
//!
//! Owns:       the directory of the run, its loopback addresses, the runtime of its own requests.
//! Invariants: contenders are loaded in turn, forwards in even rounds and backwards in odd ones.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::options::Scale;
use super::pin::{Cores, Place};
use super::results::{Contender, Sample};
use super::rows::Work;
use super::server::{Cluster, Settings};

/// The run.
#[derive(Debug)]
pub(super) struct Run {
    /// How much is measured.
    pub(super) scale: Scale,
    /// Servers, ours first.
    pub(super) contenders: Vec<Contender>,
    /// Where things run.
    pub(super) cores: Cores,
    /// Drives the runner's own requests.
    pub(super) runtime: tokio::runtime::Runtime,
    /// This program, whose `load` is the generator.
    pub(super) generator: PathBuf,
    /// For data directories and logs; removed at the end.
    pub(super) directory: PathBuf,
    addresses: e2e::Addresses,
    began: Instant,
}

/// What was measured for a piece of work: samples of each contender, ours first.
#[derive(Debug)]
pub(super) struct Measured {
    /// The work.
    pub(super) work: Work,
    /// One list per contender.
    pub(super) samples: Vec<Vec<Sample>>,
    /// What a reader has to know.
    pub(super) note: Option<String>,
}

impl Run {
    /// A run in an existing directory.
    ///
    /// # Errors
    /// When there is no runtime or the path of this program is not known.
    pub(super) fn new(
        scale: Scale,
        contenders: Vec<Contender>,
        cores: Cores,
        directory: PathBuf,
    ) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Self {
            scale,
            contenders,
            cores,
            runtime: runtime.context("start a runtime")?,
            generator: std::env::current_exe().context("find this program")?,
            directory,
            addresses: e2e::Addresses::new(),
            began: Instant::now(),
        })
    }

    /// Says what is being done.
    pub(super) fn say(&self, text: &str) {
        eprintln!("[{:>5.0} s] {text}", self.began.elapsed().as_secs_f64());
    }

    /// Positions of the contenders in the order of a round.
    pub(super) fn order(&self, round: u64) -> Vec<usize> {
        let all = 0..self.contenders.len();
        if round.is_multiple_of(2) { all.collect() } else { all.rev().collect() }
    }

    /// The core of the servers.
    pub(super) fn server_place(&self) -> Place {
        Place::Core(self.cores.server)
    }

    /// Founds one cluster per contender.
    ///
    /// # Errors
    /// When a server does not come up.
    pub(super) fn found(
        &self,
        label: &str,
        members: usize,
        settings: Settings,
        place: Place,
    ) -> Result<Vec<Cluster>> {
        let found = |(number, contender): (usize, &Contender)| {
            let hosts = self.addresses.claim_many(members);
            let directory = self.directory.join(format!("{label}-{number}"));
            Cluster::found(contender, &hosts, directory, settings, place)
        };
        self.contenders.iter().enumerate().map(found).collect()
    }

    /// One empty list per contender.
    pub(super) fn no_samples(&self) -> Vec<Vec<Sample>> {
        vec![Vec::new(); self.contenders.len()]
    }
}

/// Lets the kernel write what is dirty, so that no server pays for another.
pub(super) fn settle() {
    nix::unistd::sync();
}
