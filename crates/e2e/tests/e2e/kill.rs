//! Kills of members while fifty clients write through all of them, others watch and hold leases.
//!
//! Owns:       the cluster of each test.
//! Uses:       `client` (gRPC), `writers` (the load), `attached` (watchers and lease holders), `probe`
//!             (the gap).
//! Never:      a look inside of a member: what counts is what clients were told and find again.
//! Invariants: one member at most is down at a time, and the next is killed only when the last has
//!             caught up.
//! Source:     raft thesis 9 (election time), design.md 2 (leader change), api-v3.md 2.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use e2e::{Cluster, Program, Spec, http, wait};

mod attached;
mod client;
mod leases;
mod probe;
mod v2;
mod watchers;
mod writers;

use attached::Attached;
use client::Client;
use probe::Gap;
use writers::{Writers, Written};

/// etcd's default election time-out.
const ELECTION_TIMEOUT: Duration = Duration::from_millis(1000);
/// Kills of the leader and kills of any member.
const KILLS_EACH: usize = 20;
/// How long a restarted member may take to catch up, and a cluster to agree on a leader.
const PATIENCE: Duration = Duration::from_secs(60);
/// Entries that a member may be behind and still count as caught up, under load.
const CAUGHT_UP_ENTRIES: u64 = 200;
/// Writes between a member's return and the next kill.
const WRITES_BETWEEN: i64 = 200;
/// Writes that a member misses which then needs a snapshot.
const WRITES_FOR_SNAPSHOT: i64 = 800;
/// Moments after a start at which the member is killed again.
const EARLY_KILLS_MS: [u64; 14] = [5, 20, 40, 60, 80, 100, 120, 140, 160, 180, 200, 250, 300, 400];
/// The same for a member that begins with an empty directory.
const FOUNDING_KILLS_MS: [u64; 16] = [0, 4, 8, 12, 15, 18, 20, 22, 24, 26, 28, 32, 40, 50, 70, 100];
/// Values put before the kills at any moment, and their size.
const FILL_VALUES: usize = 40;
const FILL_VALUE_BYTES: usize = 1_000_000;
/// How long an installation may take to begin.
const INSTALL_PATIENCE: Duration = Duration::from_secs(3);
/// How often a leader is killed and started again at once.
const QUICK_RESTARTS: usize = 5;
/// How often a leader is paused.
const PAUSES: usize = 4;
/// Entries between two raft snapshots, and entries kept behind one: few, so that members that were
/// down come back now by log and now by snapshot.
const SNAPSHOT_COUNT: &str = "500";
const CATCHUP_ENTRIES: &str = "100";

/// One test of this module at a time: they measure, and two cores bear one cluster under load.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    // A test that failed has left nothing behind.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A cluster under load and what the kills have shown so far.
struct Run {
    runtime: tokio::runtime::Runtime,
    cluster: Cluster,
    clients: Vec<Client>,
    random: u64,
}

#[test]
fn acknowledged_writes_survive_forty_kills() {
    let _alone = alone();
    let mut run = Run::start();
    let writers = run.write("a");
    let attached = run.attach("a");
    let mut gaps = (Vec::new(), Vec::new());
    for number in 0..2 * KILLS_EACH {
        let kill_leader = number % 2 == 0;
        let leader = run.agreed_leader();
        let victim = if kill_leader { leader } else { run.any_member() };
        let gap = run.kill(victim);
        println!("kill {number} m{victim}, leader m{leader}: {gap}");
        (if kill_leader { &mut gaps.0 } else { &mut gaps.1 }).push(gap);
        if number % 8 < 2 {
            run.wait_written(WRITES_FOR_SNAPSHOT);
        }
        run.cluster.member_mut(victim).restart();
        run.wait_caught_up();
        run.wait_written(WRITES_BETWEEN);
    }
    let written = run.runtime.block_on(writers.stop());
    println!("writers: {written}");
    run.runtime.block_on(attached.stop(written.acknowledged()));
    run.check_state(&[&written]);
    check_gaps("leader", &mut gaps.0, 2, 6);
    check_gaps("any member", &mut gaps.1, 6, 6);
    written.check_never_timed_out();
    run.replace_member(written);
}

#[test]
fn a_paused_leader_is_replaced_and_told_so() {
    let _alone = alone();
    let mut run = Run::start();
    let writers = run.write("a");
    for _ in 0..PAUSES {
        let leader = run.agreed_leader();
        let survivors = run.all_but(leader);
        let at = Instant::now();
        run.cluster.member_mut(leader).signal(Signal::SIGSTOP);
        let gap = run.runtime.block_on(probe::measure(&survivors, at));
        println!("m{leader} paused: {gap}");
        run.runtime.block_on(write_past_a_snapshot(&survivors[0]));
        run.cluster.member_mut(leader).signal(Signal::SIGCONT);
        run.wait_caught_up();
        assert!(gap.first <= 6 * ELECTION_TIMEOUT, "{gap}");
    }
    let written = run.runtime.block_on(writers.stop());
    println!("writers: {written}");
    run.check_state(&[&written]);
}

/// Whatever a founding member had written when it was killed, it starts again.
#[test]
fn founding_may_be_killed_at_any_moment() {
    let _alone = alone();
    for delay in FOUNDING_KILLS_MS {
        let mut cluster = Cluster::describe("founding", &[Program::Ours; 1], |_, spec| spec);
        cluster.spawn_all();
        std::thread::sleep(Duration::from_millis(delay));
        cluster.member_mut(0).kill9();
        let begun = Instant::now();
        cluster.member_mut(0).restart();
        let v2 = http::get(cluster.member(0).client(), "/v2/keys/").expect("GET /v2/keys");
        assert_eq!(v2.status, 200, "the v2 API is on as on any fresh directory");
        println!("killed after {delay} ms, up after {:?}", begun.elapsed());
    }
}

#[test]
fn members_come_back_from_kills_at_any_moment() {
    let _alone = alone();
    let mut run = Run::start();
    run.fill();
    let writers = run.write("a");
    for _ in 0..3 {
        run.wait_written(WRITES_BETWEEN);
        run.cluster.members_mut().iter_mut().for_each(e2e::Etcd::kill9);
        run.spawn_all();
        run.wait_caught_up();
    }
    for _ in 0..QUICK_RESTARTS {
        run.wait_written(WRITES_BETWEEN);
        // It is back before anybody misses it, knows no leader and takes no proposals.
        let leader = run.agreed_leader();
        run.cluster.member_mut(leader).kill9();
        run.cluster.member_mut(leader).restart();
        run.wait_caught_up();
    }
    run.cluster.member_mut(0).kill9();
    run.wait_written(WRITES_FOR_SNAPSHOT);
    run.kill_early(0, run.cluster.member(0).spec().clone());
    let spec = run.empty_member(1);
    run.wait_written(WRITES_FOR_SNAPSHOT);
    run.kill_early(1, spec);
    let written = run.runtime.block_on(writers.stop());
    println!("writers: {written}");
    written.check_never_timed_out();
    run.check_state(&[&written]);
}

impl Run {
    fn start() -> Self {
        let cluster = Cluster::start_with("kill", &[Program::Ours; 3], |_, spec| {
            spec.set("snapshot-count", SNAPSHOT_COUNT)
                .set("snapshot-catchup-entries", CATCHUP_ENTRIES)
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("start a runtime");
        let endpoints = cluster.endpoints();
        let clients =
            runtime.block_on(async { endpoints.iter().map(|at| Client::new(at)).collect() });
        Self { runtime, cluster, clients, random: 0x9e37_79b9_7f4a_7c15 }
    }

    fn write(&self, prefix: &str) -> Writers {
        let _entered = self.runtime.enter();
        Writers::start(prefix, &self.cluster.endpoints())
    }

    /// Watchers and lease holders beside writers of `prefix`.
    fn attach(&self, prefix: &str) -> Attached {
        let _entered = self.runtime.enter();
        let servers: Vec<_> = self.cluster.members().iter().map(e2e::Etcd::client).collect();
        Attached::start(prefix, &self.cluster.endpoints(), &servers)
    }

    fn any_member(&mut self) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random % 3).expect("below three")
    }

    fn all_but(&self, one: usize) -> Vec<Client> {
        let others = self.clients.iter().enumerate().filter(|(number, _)| *number != one);
        others.map(|(_, client)| client.clone()).collect()
    }

    /// Kills a member and measures until writes are acknowledged again.
    fn kill(&mut self, victim: usize) -> Gap {
        let survivors = self.all_but(victim);
        let at = Instant::now();
        self.cluster.member_mut(victim).kill9();
        self.runtime.block_on(probe::measure(&survivors, at))
    }

    /// Number of the member that all take for the leader.
    fn agreed_leader(&self) -> usize {
        wait::eventually("agreement on a leader", PATIENCE, || {
            let told = self.told()?;
            let leader = told[0].leader;
            let agreed = leader != 0 && told.iter().all(|status| status.leader == leader);
            agreed.then(|| told.iter().position(|status| client::member_id(status) == leader))?
        })
    }

    fn wait_caught_up(&self) {
        wait::eventually("members to catch up", PATIENCE, || {
            let told = self.told()?;
            let newest = told.iter().map(|status| status.raft_index).max()?;
            let oldest = told.iter().map(|status| status.raft_applied_index).min()?;
            (newest - oldest <= CAUGHT_UP_ENTRIES).then_some(())
        });
    }

    /// Waits until the clients have written so much more.
    fn wait_written(&self, count: i64) {
        let revision = |clients: &[Client]| {
            clients.iter().find_map(|client| self.runtime.block_on(client.linearize()).ok())
        };
        let goal = revision(&self.clients).expect("a member answers") + count;
        wait::eventually("writes to go on", PATIENCE, || {
            revision(&self.clients).is_some_and(|now| now >= goal).then_some(())
        });
    }

    /// What each member says about itself; `None` when one does not answer.
    fn told(&self) -> Option<Vec<proto::etcdserverpb::StatusResponse>> {
        self.clients.iter().map(|client| self.runtime.block_on(client.status()).ok()).collect()
    }

    /// Every acknowledged write is on every member, and all members have the same history.
    fn check_state(&self, written: &[&Written]) {
        let mut hashes = BTreeMap::new();
        let revision = self.runtime.block_on(self.clients[0].linearize()).expect("linearize");
        for (number, client) in self.clients.iter().enumerate() {
            self.runtime.block_on(client.linearize()).expect("linearize");
            for written in written {
                let rows = self.runtime.block_on(client.rows(written.prefix(), revision));
                let rows = rows.expect("read all keys");
                written.check_present(number, &rows);
            }
            let hash = self.runtime.block_on(client.hash_kv(revision)).expect("hash of history");
            hashes.insert(number, hash);
        }
        println!("hashes at revision {revision}: {hashes:x?}");
        assert!(hashes.values().all(|hash| *hash == hashes[&0]), "{hashes:x?}");
    }

    /// Kills a member, takes its data away and gives it a new ID; returns how to start it.
    fn empty_member(&mut self, victim: usize) -> Spec {
        self.cluster.member_mut(victim).kill9();
        let spec = self.cluster.member(victim).spec().clone();
        std::fs::remove_dir_all(spec.data_dir()).expect("remove the data directory");
        let (old, new) = self.exchange_ids(victim);
        println!("m{victim} was {old:x} and becomes {new:x}");
        assert_ne!(old, new, "the new member has an ID of its own");
        spec.set("initial-cluster-state", "existing")
    }

    /// Starts a dead member and kills it so long after, again and again; at last it stays.
    fn kill_early(&mut self, victim: usize, spec: Spec) {
        for delay in EARLY_KILLS_MS {
            let mut started = spec.spawn();
            std::thread::sleep(Duration::from_millis(delay));
            assert_eq!(started.exit(), None, "m{victim} ended before {delay} ms");
            started.kill9();
        }
        // Once more in the middle of an installation, unless that is behind it already.
        let mut started = spec.spawn();
        let _ = wait::until(INSTALL_PATIENCE, || {
            started.log().contains("installing snapshot").then_some(())
        });
        started.kill9();
        let begun = Instant::now();
        *self.cluster.member_mut(victim) = spec.start();
        self.wait_caught_up();
        println!("m{victim} is back after {:?}", begun.elapsed());
    }

    /// Makes the database large enough for a snapshot to be under way for a while.
    fn fill(&self) {
        let value = vec![b'x'; FILL_VALUE_BYTES];
        for number in 0..FILL_VALUES {
            let key = format!("fill/{number}");
            let put = self.clients[number % 3].put_value(&key, value.clone());
            self.runtime.block_on(put).expect("fill the store");
        }
    }

    fn spawn_all(&mut self) {
        for member in self.cluster.members_mut() {
            *member = member.spec().clone().spawn();
        }
    }

    /// Removes a dead member and adds it again; returns its old and its new ID. Both are refused as
    /// long as the survivors have not known each other for five seconds, or take the dead one for
    /// alive.
    fn exchange_ids(&self, victim: usize) -> (u64, u64) {
        let survivor = &self.clients[(victim + 1) % 3];
        let peer_url = e2e::etcd::peer_url(self.cluster.hosts()[victim]);
        let old = self.runtime.block_on(survivor.member_with(&peer_url)).expect("list members");
        wait::eventually("the member to be removed", PATIENCE, || {
            self.runtime.block_on(survivor.remove_member(old)).ok()
        });
        let new = wait::eventually("the member to be added", PATIENCE, || {
            self.runtime.block_on(survivor.add_member(&peer_url)).ok()
        });
        (old, new)
    }

    /// A member whose data is lost comes back under a new ID, by snapshot.
    fn replace_member(mut self, before: Written) {
        let writers = self.write("b");
        let victim = self.any_member();
        let spec = self.empty_member(victim);
        let joined = Instant::now();
        *self.cluster.member_mut(victim) = spec.start();
        self.wait_caught_up();
        println!("m{victim} caught up after {:?}", joined.elapsed());
        self.cluster.member(victim).wait_log("installing snapshot", Duration::ZERO);
        let written = self.runtime.block_on(writers.stop());
        println!("writers: {written}");
        written.check_never_timed_out();
        self.check_state(&[&before, &written]);
    }
}

/// Puts so much that whoever misses it needs a snapshot.
async fn write_past_a_snapshot(client: &Client) {
    for number in 0..WRITES_FOR_SNAPSHOT {
        client.put(&format!("past/{number}")).await.expect("put through a survivor");
    }
}

/// Prints the gaps and holds them against so many election time-outs.
fn check_gaps(of: &str, gaps: &mut [Gap], median_max: u32, worst_max: u32) {
    gaps.sort_by_key(|gap| gap.first);
    let median = gaps[gaps.len() / 2].first;
    let worst = gaps[gaps.len() - 1].first;
    let all: Vec<u128> = gaps.iter().map(|gap| gap.first.as_millis()).collect();
    println!("kills of {of}: median {median:?}, worst {worst:?}, all {all:?} ms");
    assert!(median <= median_max * ELECTION_TIMEOUT, "median {median:?}");
    assert!(worst <= worst_max * ELECTION_TIMEOUT, "worst {worst:?}");
}
