//! A cluster of members started from environment variables.
//!
//! Owns:       the members' processes, their directory and addresses.
//! Invariants: members are named m0, m1, ... and share one token per cluster.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::address::Addresses;
use crate::etcd::{Etcd, START_PATIENCE, Spec, StartStyle, client_url, peer_url};
use crate::program::Program;
use crate::tempdir::TempDir;
use crate::{http, wait};

/// How long a member that is not frozen may take to answer.
const METRICS_PATIENCE: Duration = Duration::from_secs(2);

/// Members that began together.
#[derive(Debug)]
pub struct Cluster {
    // Dropped first: processes end before their directory and addresses go.
    members: Vec<Etcd>,
    specs: Vec<Spec>,
    hosts: Vec<Ipv4Addr>,
    addresses: Addresses,
    directory: TempDir,
}

impl Cluster {
    /// Starts `count` members of `program` and waits until all are healthy.
    #[must_use]
    #[track_caller]
    pub fn start(label: &str, program: Program, count: usize) -> Self {
        Self::start_with(label, &vec![program; count], |_, spec| spec)
    }

    /// Starts one member per program; `adjust` may change the description of each.
    #[must_use]
    #[track_caller]
    pub fn start_with(
        label: &str,
        programs: &[Program],
        adjust: impl Fn(usize, Spec) -> Spec,
    ) -> Self {
        let mut cluster = Self::describe(label, programs, adjust);
        cluster.spawn_all();
        for member in &mut cluster.members {
            member.wait_ready(START_PATIENCE);
        }
        cluster
    }

    /// Prepares addresses, directory and descriptions; starts nothing.
    #[must_use]
    pub fn describe(
        label: &str,
        programs: &[Program],
        adjust: impl Fn(usize, Spec) -> Spec,
    ) -> Self {
        let addresses = Addresses::new();
        let directory = TempDir::new(label);
        let hosts = addresses.claim_many(programs.len());
        let peers: Vec<String> = hosts
            .iter()
            .enumerate()
            .map(|(number, host)| format!("m{number}={}", peer_url(*host)))
            .collect();
        let describe = |(number, program): (usize, &Program)| {
            let spec = Etcd::builder(*program)
                .style(StartStyle::Environment)
                .member(&format!("m{number}"), hosts[number], directory.path())
                .set("initial-cluster", peers.join(","))
                .set("initial-cluster-token", label)
                .set("initial-cluster-state", "new");
            let spec = if program.is_go_34() { spec.set("enable-v2", "true") } else { spec };
            adjust(number, spec)
        };
        let specs = programs.iter().enumerate().map(describe).collect();
        Self { members: Vec::new(), specs, hosts, addresses, directory }
    }

    /// Starts all described members without waiting.
    pub fn spawn_all(&mut self) {
        self.members = self.specs.iter().map(Spec::spawn).collect();
    }

    /// Descriptions of the members, in order.
    #[must_use]
    pub fn specs(&self) -> &[Spec] {
        &self.specs
    }

    /// Ends all members, empties their data directories and starts them as `program`, on the same
    /// addresses: so both clusters have the same IDs. Waits until all are healthy.
    #[track_caller]
    pub fn start_over(&mut self, program: Program) {
        self.members.clear();
        for spec in &mut self.specs {
            *spec = spec.clone().program(program);
            let data_dir = spec.data_dir();
            if data_dir.exists() {
                std::fs::remove_dir_all(data_dir).expect("remove data directory");
            }
        }
        self.spawn_all();
        for member in &mut self.members {
            member.wait_ready(START_PATIENCE);
        }
    }

    /// Directory that holds data directories and logs.
    #[must_use]
    pub fn directory(&self) -> &TempDir {
        &self.directory
    }

    /// Addresses, to claim more of them.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Loopback addresses of the members.
    #[must_use]
    pub fn hosts(&self) -> &[Ipv4Addr] {
        &self.hosts
    }

    /// Client URLs of all members.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        self.hosts.iter().map(|host| client_url(*host)).collect()
    }

    /// A member.
    #[must_use]
    pub fn member(&self, number: usize) -> &Etcd {
        &self.members[number]
    }

    /// A member, to stop or restart it.
    pub fn member_mut(&mut self, number: usize) -> &mut Etcd {
        &mut self.members[number]
    }

    /// All members.
    #[must_use]
    pub fn members(&self) -> &[Etcd] {
        &self.members
    }

    /// All members, to stop or restart them.
    pub fn members_mut(&mut self) -> &mut [Etcd] {
        &mut self.members
    }

    /// Describes a further member `m<next>` that joins the existing cluster; add it with a client
    /// first, then [`Cluster::join`].
    #[must_use]
    pub fn describe_joiner(&mut self, program: Program) -> (String, Spec) {
        let number = self.specs.len();
        let name = format!("m{number}");
        let host = self.addresses.claim();
        let peer = peer_url(host);
        let known = self.specs[0].setting("initial-cluster").unwrap_or_default();
        let spec = self.specs[0]
            .clone()
            .program(program)
            .member(&name, host, self.directory.path())
            .set("initial-cluster", format!("{known},{name}={peer}"))
            .set("initial-cluster-state", "existing");
        self.hosts.push(host);
        self.specs.push(spec.clone());
        (peer, spec)
    }

    /// Starts a described joiner and takes it among the members; does not wait.
    pub fn join(&mut self, spec: &Spec) -> &mut Etcd {
        self.members.push(spec.spawn());
        self.members.last_mut().expect("just pushed")
    }

    /// Number of the member that says it is leader.
    ///
    /// # Panics
    /// When none does in time.
    #[track_caller]
    pub fn wait_leader(&self, patience: Duration) -> usize {
        wait::eventually("a leader", patience, || self.leader())
    }

    /// Number of the member whose metrics say that it is leader, if any.
    #[must_use]
    pub fn leader(&self) -> Option<usize> {
        self.members.iter().position(|member| {
            let metrics = http::get_within(member.client(), "/metrics", METRICS_PATIENCE);
            metrics
                .is_ok_and(|reply| reply.body.lines().any(|line| line == "etcd_server_is_leader 1"))
        })
    }
}
