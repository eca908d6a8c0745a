//! Seeded random requests to Go's servers and to ours, compared reply for reply.
//!
//! Each server is a cluster of one member and gets the same operations in the same order. What may
//! differ is in `tests/differential/accepted.toml`, field by field, with a reason; a row that no run
//! uses fails the test. `ETCH_DIFFERENTIAL_SEED` and `ETCH_DIFFERENTIAL_OPERATIONS` choose other runs:
//! one to be replayed, or a long one; `ETCH_DIFFERENTIAL_AGAINST=3.5.1` leaves out other servers;
//! `ETCH_DIFFERENTIAL_TRACE=1` prints all replies.
//!
//! Owns:       the servers and the operations.
//! Never:      comparison of IDs, raft terms and indexes, or of times closer than a second.
//! Invariants: the same seed makes the same operations, as long as the first server answers alike.
//! Source:     issue "the surface", Must show 2.

mod accepted;
mod mutations;
mod proxy;
mod reply;
mod run;
mod schema;
mod v2;
mod v2_reply;
mod v2_requests;
mod v3;
mod v3_requests;
mod v3_ties;
mod v3_txn;
mod v3_watch;

use accepted::Accepted;
use e2e::{Addresses, Etcd, Program, TempDir, eventually, http};
use run::{Plan, Side};

/// Operations and seeds of each run in CI.
const OPERATIONS: u32 = 1000;
const SEEDS: [u64; 2] = [1, 2];

#[test]
fn v2_replies_equal_those_of_3_4() {
    let programs = [Program::GoEtcd34, Program::Ours];
    let new = |server: &Etcd| v2::Server::new(server.client());
    differential("v2", &programs, new, v2_requests::Requests::new);
}

#[test]
fn v3_replies_equal_those_of_3_4_and_3_5() {
    let programs = [Program::GoEtcd34, Program::GoEtcd351, Program::Ours];
    let new = |server: &Etcd| v3::Server::new(server.client());
    differential("v3", &programs, new, v3_requests::Requests::new);
}

/// Runs all plans on fresh servers each; the last program is ours.
fn differential<S: Side, G: run::Generator<Operation = S::Operation>>(
    api: &'static str,
    programs: &[Program],
    side: impl Fn(&Etcd) -> S,
    generator: impl Fn(u64) -> G,
) {
    let mut accepted = Accepted::load(api);
    let (plans, mut is_whole) = plans(api);
    let against = std::env::var("ETCH_DIFFERENTIAL_AGAINST").ok();
    let is_wanted = |program: &&Program| {
        **program == Program::Ours || against.as_ref().is_none_or(|only| name(**program) == only)
    };
    let wanted: Vec<Program> = programs.iter().filter(is_wanted).copied().collect();
    is_whole &= wanted == programs;
    let mut reports = Vec::new();
    for plan in plans {
        let servers = Servers::start(&format!("differential-{api}-{}", plan.seed), &wanted);
        let mut sides: Vec<(&str, S)> =
            servers.members.iter().map(|server| (server.0, side(&server.1))).collect();
        reports.extend(run::run(plan, &mut sides, &mut generator(plan.seed), &mut accepted));
    }
    assert!(reports.is_empty(), "{} differences\n\n{}", reports.len(), reports.join("\n"));
    if is_whole {
        assert_eq!(accepted.unused(), [""; 0], "rows of accepted.toml that nothing needs");
    }
}

/// What to run, and whether that is all that CI runs.
fn plans(api: &'static str) -> (Vec<Plan>, bool) {
    let number = |name: &str| {
        let value = std::env::var(format!("ETCH_DIFFERENTIAL_{name}")).ok()?;
        Some(value.parse::<u64>().unwrap_or_else(|error| panic!("{name}={value}: {error}")))
    };
    let seed = number("SEED");
    let operations = number("OPERATIONS").and_then(|number| u32::try_from(number).ok());
    let seeds = seed.map_or(SEEDS.to_vec(), |seed| vec![seed]);
    let (operations, is_shorter) = (operations.unwrap_or(OPERATIONS), operations.is_some());
    let is_traced = number("TRACE").is_some();
    let plan = |seed| Plan { api, seed, operations, is_traced };
    (seeds.into_iter().map(plan).collect(), seed.is_none() && !is_shorter)
}

fn name(program: Program) -> &'static str {
    match program {
        Program::GoEtcd34 => "3.4.23",
        Program::GoEtcd351 => "3.5.1",
        _ => "ours",
    }
}

/// One server of each program.
struct Servers {
    // Dropped first: processes end before their directory and addresses go.
    members: Vec<(&'static str, Etcd)>,
    _addresses: Addresses,
    _directory: TempDir,
}

impl Servers {
    fn start(label: &str, programs: &[Program]) -> Self {
        let (addresses, directory) = (Addresses::new(), TempDir::new(label));
        let start = |(number, program): (usize, &Program)| {
            let spec = Etcd::builder(*program)
                .member(&format!("m{number}"), addresses.claim(), directory.path())
                .set("enable-v2", "true");
            let server = spec.start();
            // The version of the cluster takes an index of the v2 store when it is decided.
            eventually("the version of the cluster", e2e::etcd::START_PATIENCE, || {
                let reply = http::get(server.client(), "/version").ok()?;
                (!reply.body.contains("not_decided")).then_some(())
            });
            (name(*program), server)
        };
        let members = programs.iter().enumerate().map(start).collect();
        Self { members, _addresses: addresses, _directory: directory }
    }
}
