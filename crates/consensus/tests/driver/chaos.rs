//! Random faults by seed: loss, duplicates, reordering, slow disks and crashes that lose what was
//! not durable. Safety is checked by the harness at each step; when the faults stop, all members
//! must come to the same state.

use consensus::Input;
use proto::raftpb::{ConfChangeType, MessageType};
use types::{NodeId, RequestId};

use crate::harness::Net;

const SEEDS: u64 = 150;
const STEPS: u64 = 2000;
/// Members that the runs add, one after the other.
const MEMBERS_MAX: u64 = 7;

/// Numbers by seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    pub(crate) fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap()
    }
}

struct Run {
    net: Net,
    random: Random,
    request: u64,
    next_member: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let net = Net::founded(&[1, 2, 3], seed);
        Self { net, random: Random(seed), request: 0, next_member: 4 }
    }

    fn any_member(&mut self) -> u64 {
        let index = self.random.index(self.net.peers.len());
        *self.net.peers.keys().nth(index).unwrap()
    }

    fn faulty_step(&mut self) {
        let id = self.any_member();
        self.request += 1;
        match self.random.below(1000) {
            0..150 => self.net.step(id, Input::Tick),
            150..550 => self.pass_message(),
            550..700 => drop(self.net.write_one(id)),
            700..850 => drop(self.net.apply_one(id)),
            850..900 => self.net.propose(id, self.request, &format!("put {}", self.request)),
            900..940 => self.net.read(id, self.request),
            940..950 => drop(self.net.answer_snapshot(id)),
            950..960 => self.net.checkpoint(id),
            960..970 => self.crash(id),
            970..975 => self.net.step(id, Input::Campaign),
            975..980 => self.transfer(id),
            980..985 => self.toggle_cut(id),
            985..990 => self.report(id),
            _ => self.change_members(id),
        }
    }

    fn pass_message(&mut self) {
        if self.net.wire.is_empty() {
            return;
        }
        let fifo = self.random.below(4) > 0;
        let index = if fifo { 0 } else { self.random.index(self.net.wire.len()) };
        let message = self.net.wire.remove(index).unwrap();
        match self.random.below(20) {
            0 => self.net.deliver(message, true),
            1 if message.message_type != MessageType::Snap => {
                self.net.wire.push_back(message.clone());
                self.net.deliver(message, false);
            }
            _ => self.net.deliver(message, false),
        }
    }

    fn crash(&mut self, id: u64) {
        let queued = self.net.peer(id).writes.len();
        let kept = self.random.index(queued + 2);
        let torn = self.random.below(2) == 0;
        self.net.crash(id, kept, torn);
    }

    fn transfer(&mut self, id: u64) {
        let to = self.any_member();
        self.net.step(id, Input::TransferLeader(NodeId(to)));
    }

    fn toggle_cut(&mut self, id: u64) {
        if !self.net.cut.remove(&id) && self.net.cut.is_empty() {
            self.net.cut.insert(id);
        }
    }

    fn report(&mut self, id: u64) {
        let other = self.any_member();
        self.net.step(id, Input::Unreachable(NodeId(other)));
        if self.net.peer(id).wanted_by.take().is_some() {
            self.net.step(id, Input::SnapshotUnavailable);
        }
    }

    fn change_members(&mut self, id: u64) {
        use ConfChangeType::{AddLearnerNode, AddNode, RemoveNode, UpdateNode};
        let (change_type, node) = match self.random.below(6) {
            0 | 1 if self.next_member <= MEMBERS_MAX => {
                let node = self.next_member;
                self.next_member += 1;
                self.net.join(node);
                (AddLearnerNode, node)
            }
            2 => (UpdateNode, 1 + self.random.below(3)),
            // The founders stay, so that there is always a quorum to come back to.
            3 if self.next_member > 4 => (RemoveNode, 4 + self.random.below(self.next_member - 4)),
            _ if self.next_member > 4 => (AddNode, 4 + self.random.below(self.next_member - 4)),
            _ => return,
        };
        self.net.change(id, self.request, change_type, node);
    }

    /// Stops the faults and waits for everyone that the last configuration contains.
    fn heal(&mut self) {
        self.net.cut.clear();
        for _ in 0..400 {
            self.net.tick(1);
            let Some(leader) = self.net.leader() else { continue };
            let applied = self.net.peers[&leader].applied;
            let conf_state = self.net.peers[&leader].conf_state.clone();
            let mut members = conf_state.voters.iter().chain(&conf_state.learners);
            let newest = *self.net.truth.keys().last().unwrap();
            if applied >= newest && members.all(|id| self.net.peers[id].applied >= applied) {
                return;
            }
        }
        panic!("members did not come together");
    }
}

impl Run {
    /// The group takes work again, once a transfer of the leadership that the faults left behind
    /// has run out.
    fn goes_on(&mut self) {
        self.net.tick(25);
        let leader = self.net.wait_for_leader();
        let status = self.net.peer(leader).driver.status();
        self.net.propose(leader, u64::MAX, "put end");
        self.net.read(leader, u64::MAX);
        self.net.tick(3);
        let last = self.net.texts(leader).pop();
        assert_eq!(last.as_deref(), Some("put end"), "{status:?}");
        assert!(self.net.seen.reads.contains_key(&RequestId(u64::MAX)), "{status:?}");
    }
}

fn run(seed: u64, steps: u64) -> Run {
    let mut run = Run::new(seed);
    for _ in 0..steps {
        run.faulty_step();
    }
    run.heal();
    run
}

#[test]
fn faults_lose_nothing_and_end_in_agreement() {
    let (mut entries, mut reads, mut snapshots, mut leaders) = (0, 0, 0, 0);
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let mut run = run(seed, STEPS);
        run.goes_on();
        entries += run.net.truth.len();
        reads += run.net.seen.reads.len();
        leaders += run.net.leaders.len();
        let peers = run.net.peers.values();
        snapshots += peers.filter(|peer| peer.durable.snapshot.index > 0).count();
    }
    println!("{entries} entries, {reads} reads, {snapshots} snapshots, {leaders} leaders");
    assert!(
        entries > 2000 && reads > 2000 && snapshots > 200 && leaders > 200,
        "the runs do things"
    );
}

#[test]
fn the_same_seed_gives_the_same_effects() {
    for seed in 100..103 {
        assert_eq!(run(seed, 600).net.trace, run(seed, 600).net.trace);
    }
    assert_ne!(run(100, 600).net.trace, run(101, 600).net.trace);
}
