//! Clusters of our members and Go's: both kinds lead, follow, fail, catch up, join and leave.
//!
//! Owns:       nothing beyond each test.
//! Uses:       the harness; Go's servers 3.4 and 3.5.1, the client of 3.5.1.
//! Invariants: after each step all members hold the same key-value history (equal HashKV).
//! Source:     peer-protocol.md 18.

mod leaders;
mod leases;
mod members;
mod versions;

use std::collections::BTreeSet;
use std::time::Duration;

use e2e::etcd::{START_PATIENCE, Spec};
use e2e::{Api, Cluster, Etcdctl, Exit, Program, eventually};
use serde_json::Value;

/// How long members may take to agree on a leader or a revision.
const AGREEMENT_PATIENCE: Duration = Duration::from_secs(30);
/// Moves of the leadership until the wanted member has it. Ours chooses its successor itself, the
/// one connected the longest, so it takes more than one.
const MOVES_MAX: usize = 6;

/// A cluster of different programs, and which of its members are down.
struct Mixed {
    cluster: Cluster,
    down: BTreeSet<usize>,
}

/// What a member says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct View {
    id: u64,
    leader: u64,
    term: u64,
    revision: u64,
}

impl Mixed {
    fn start(label: &str, programs: &[Program], adjust: impl Fn(usize, Spec) -> Spec) -> Self {
        let cluster = Cluster::start_with(label, programs, adjust);
        Self { cluster, down: BTreeSet::new() }
    }

    fn running(&self) -> Vec<usize> {
        (0..self.cluster.members().len()).filter(|number| !self.down.contains(number)).collect()
    }

    fn is_ours(&self, number: usize) -> bool {
        self.cluster.member(number).spec().runs(Program::Ours)
    }

    fn client(&self, number: usize) -> Etcdctl {
        let endpoint = self.cluster.member(number).client_url();
        Etcdctl::new(Program::GoEtcdctl351, Api::V3, vec![endpoint])
    }

    /// Runs a command against one member; it has to succeed.
    #[track_caller]
    fn run(&self, number: usize, arguments: &[&str]) -> String {
        self.client(number).run(arguments).success().trim_end().to_owned()
    }

    #[track_caller]
    fn put(&self, number: usize, key: &str, value: &str) {
        assert_eq!(self.run(number, &["put", key, value]), "OK");
    }

    /// Linearizable reads through all running members, one after the other.
    #[track_caller]
    fn assert_value_everywhere(&self, key: &str, value: &str) {
        for number in self.running() {
            let found = self.run(number, &["get", key, "--print-value-only"]);
            assert_eq!(found, value, "{key} through m{number}");
        }
    }

    fn view(&self, number: usize) -> Option<View> {
        let finished = self.client(number).run(&["endpoint", "status", "-w", "json"]);
        let reply: Value = serde_json::from_str(&finished.stdout).ok()?;
        let status = reply.get(0)?.get("Status")?;
        let header = status.get("header")?;
        Some(View {
            id: header.get("member_id")?.as_u64()?,
            leader: status.get("leader").and_then(Value::as_u64).unwrap_or(0),
            term: status.get("raftTerm")?.as_u64()?,
            revision: header.get("revision")?.as_u64()?,
        })
    }

    fn id(&self, number: usize) -> u64 {
        self.view(number).expect("status of a running member").id
    }

    /// Waits until all running members name the same running one; its number.
    #[track_caller]
    fn leader(&self) -> usize {
        let running = self.running();
        eventually("agreement on a leader", AGREEMENT_PATIENCE, || {
            let views: Option<Vec<View>> =
                running.iter().map(|number| self.view(*number)).collect();
            let views = views?;
            let agreed = views.windows(2).all(|two| two[0].leader == two[1].leader);
            let place = views.iter().position(|view| view.id == view.leader)?;
            agreed.then(|| running[place])
        })
    }

    /// Makes a member leader by orderly means: `move-leader` at Go's, SIGTERM at ours.
    #[track_caller]
    fn lead(&mut self, wanted: usize) {
        for _ in 0..MOVES_MAX {
            let leader = self.leader();
            if leader == wanted {
                return;
            }
            if self.is_ours(leader) {
                self.stop_and_hand_over(leader);
                self.restart(leader);
            } else {
                let id = format!("{:x}", self.id(wanted));
                let moved = self.run(leader, &["move-leader", &id]);
                assert!(moved.starts_with("Leadership transferred"), "{moved}");
            }
        }
        panic!("m{wanted} did not become leader in {MOVES_MAX} moves");
    }

    /// Stops the leader with SIGTERM; it sees its successor elected, in one election, before it ends.
    #[track_caller]
    fn stop_and_hand_over(&mut self, leader: usize) {
        let next_term = self.view(leader).expect("status of the leader").term + 1;
        let _ = self.stop(leader);
        let log = self.cluster.member(leader).log();
        let (event, term) = if self.is_ours(leader) {
            ("leader elected", format!("\"term\":\"{next_term}\""))
        } else {
            ("became follower", format!("at term {next_term}\""))
        };
        let is_handed_over = log.lines().any(|line| line.contains(event) && line.contains(&term));
        assert!(is_handed_over, "m{leader} ended without a successor at term {next_term}");
        let successor = self.leader();
        assert_eq!(self.view(successor).expect("status of the leader").term, next_term);
    }

    #[track_caller]
    fn stop(&mut self, number: usize) -> Exit {
        self.down.insert(number);
        self.cluster.member_mut(number).terminate()
    }

    fn kill(&mut self, number: usize) {
        self.down.insert(number);
        self.cluster.member_mut(number).kill9();
    }

    #[track_caller]
    fn restart(&mut self, number: usize) {
        self.cluster.member_mut(number).restart();
        self.down.remove(&number);
    }

    /// Starts a further member that was added before.
    #[track_caller]
    fn join(&mut self, spec: &Spec) {
        self.cluster.join(spec).wait_ready(START_PATIENCE);
    }

    /// Writes, transactions and deletes through every member, each seen at once through all.
    #[track_caller]
    fn exercise(&self, tag: &str) {
        for number in self.running() {
            let key = format!("{tag}/{number}");
            self.put(number, &key, "first");
            self.assert_value_everywhere(&key, "first");
            let txn =
                format!("value(\"{key}\") = \"first\"\n\nput {key} second\nput {key}x x\n\n\n\n");
            let done = self.client(number).run_with_input(&["txn"], &txn).success();
            assert!(done.starts_with("SUCCESS"), "{done}");
            self.assert_value_everywhere(&key, "second");
            assert_eq!(self.run(number, &["del", &format!("{key}x")]), "1");
        }
        self.assert_same_history();
    }

    /// All running members reach the same revision and hash the same there.
    #[track_caller]
    fn assert_same_history(&self) {
        let running = self.running();
        let revision = eventually("the same revision everywhere", AGREEMENT_PATIENCE, || {
            let views: Option<Vec<View>> =
                running.iter().map(|number| self.view(*number)).collect();
            let views = views?;
            let is_same = views.windows(2).all(|two| two[0].revision == two[1].revision);
            is_same.then(|| views[0].revision)
        });
        let hash = |number: usize| {
            let revision = format!("--rev={revision}");
            let reply = self.run(number, &["endpoint", "hashkv", &revision, "-w", "json"]);
            let reply: Value = serde_json::from_str(&reply).expect("JSON");
            let reply = &reply[0]["HashKV"];
            (reply["hash"].as_u64().expect("a hash"), reply["compact_revision"].as_i64())
        };
        let first = hash(running[0]);
        for number in running {
            assert_eq!(hash(number), first, "HashKV({revision}) of m{number}");
        }
    }
}
