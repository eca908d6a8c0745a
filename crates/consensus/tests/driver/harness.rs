//! A group of drivers, with the network, the logs and the applied states as plain values.
//!
//! Owns:       what the shell would: queued writes, messages under way, applied positions.
//! Uses:       `consensus`, the codec of `proto::raftpb` for every message.
//! Never:      threads, clocks; nothing happens unless a test asks for it.
//! Invariants: checked on each applied entry: all members apply the same entries in order; on each
//!             role: one leader per term; on each answered read: it is not older than what had
//!             been applied anywhere when it was asked.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use consensus::{Driver, Effect, Input, Options, Recovered, RejectReason, Role};
use membership::Member;
use proto::raftpb::{
    ConfChange, ConfChangeType, ConfState, Entry, EntryType, HardState, Message, MessageType,
    Snapshot, SnapshotMetadata,
};
use types::{LogIndex, NodeId, RequestId};

/// A log on disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wal {
    pub(crate) snapshot: SnapshotMetadata,
    pub(crate) hard_state: HardState,
    pub(crate) entries: Vec<Entry>,
}

impl Wal {
    fn write(&mut self, write: &Write) {
        if let Some(snapshot) = &write.snapshot {
            self.snapshot = snapshot.clone();
            self.entries.clear();
        }
        self.append(&write.entries);
        if let Some(hard_state) = write.hard_state {
            self.hard_state = hard_state;
        }
    }

    fn append(&mut self, entries: &[Entry]) {
        if let Some(first) = entries.first() {
            self.entries.retain(|entry| entry.index < first.index);
            self.entries.extend_from_slice(entries);
        }
    }
}

/// A write that was handed out.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) number: u64,
    pub(crate) entries: Vec<Entry>,
    pub(crate) hard_state: Option<HardState>,
    pub(crate) snapshot: Option<SnapshotMetadata>,
    pub(crate) must_sync: bool,
    pub(crate) then: Vec<Message>,
}

/// One member and its surroundings.
pub(crate) struct Peer {
    pub(crate) driver: Driver,
    /// What a crash leaves, and what it may lose.
    pub(crate) durable: Wal,
    pub(crate) written: Wal,
    pub(crate) writes: VecDeque<Write>,
    pub(crate) to_install: Option<Snapshot>,
    pub(crate) to_apply: VecDeque<Entry>,
    pub(crate) wanted_by: Option<NodeId>,
    pub(crate) applied: u64,
    pub(crate) consistent_index: u64,
    pub(crate) lives: u64,
    pub(crate) role: Role,
    pub(crate) conf_state: ConfState,
}

/// What clients got to see.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) rejected: Vec<(RequestId, RejectReason)>,
    pub(crate) reads: BTreeMap<RequestId, u64>,
    pub(crate) lost_leader: usize,
}

/// The group.
pub(crate) struct Net {
    pub(crate) peers: BTreeMap<u64, Peer>,
    pub(crate) wire: VecDeque<Message>,
    pub(crate) cut: BTreeSet<u64>,
    /// Members whose writes do not get done by [`Net::settle`].
    pub(crate) slow_disks: BTreeSet<u64>,
    /// Members whose entries do not get applied by [`Net::settle`].
    pub(crate) slow_apply: BTreeSet<u64>,
    pub(crate) seen: Seen,
    pub(crate) truth: BTreeMap<u64, (u64, Bytes)>,
    pub(crate) leaders: BTreeMap<u64, u64>,
    pub(crate) read_floor: BTreeMap<RequestId, u64>,
    /// Fingerprint of all effects so far.
    pub(crate) trace: u64,
    seed: u64,
}

pub(crate) fn member(id: u64) -> Member {
    Member {
        id: NodeId(id),
        peer_urls: vec![format!("http://127.0.0.1:{id}")],
        ..Member::default()
    }
}

pub(crate) fn options(id: u64, seed: u64) -> Options {
    Options { id: NodeId(id), election_ticks: 10, heartbeat_ticks: 1, pre_vote: true, seed }
}

impl Net {
    /// A new cluster of these members, each of which has applied its founding log.
    pub(crate) fn founded(ids: &[u64], seed: u64) -> Self {
        let mut net = Self {
            peers: BTreeMap::new(),
            wire: VecDeque::new(),
            cut: BTreeSet::new(),
            slow_disks: BTreeSet::new(),
            slow_apply: BTreeSet::new(),
            seen: Seen::default(),
            truth: BTreeMap::new(),
            leaders: BTreeMap::new(),
            read_floor: BTreeMap::new(),
            trace: 0,
            seed,
        };
        let members: Vec<Member> = ids.iter().copied().map(member).collect();
        let (entries, hard_state) = consensus::new_cluster(&members);
        for &id in ids {
            let wal =
                Wal { entries: entries.clone(), hard_state, snapshot: SnapshotMetadata::default() };
            net.start(id, wal, 0);
        }
        net.settle();
        net
    }

    /// Starts a member that knows nothing.
    pub(crate) fn join(&mut self, id: u64) {
        self.start(id, Wal::default(), 0);
    }

    fn start(&mut self, id: u64, wal: Wal, consistent_index: u64) {
        let lives = self.peers.get(&id).map_or(0, |peer| peer.lives + 1);
        let recovered = Recovered {
            snapshot: wal.snapshot.clone(),
            hard_state: wal.hard_state,
            entries: wal.entries.clone(),
            consistent_index: LogIndex(consistent_index),
        };
        let seed = self.seed.wrapping_mul(1000).wrapping_add(lives);
        let driver = Driver::new(options(id, seed), recovered).unwrap();
        let applied = wal.snapshot.index;
        let consistent_index = consistent_index.max(applied);
        let peer = Peer {
            driver,
            durable: wal.clone(),
            conf_state: wal.snapshot.conf_state.clone(),
            written: wal,
            writes: VecDeque::new(),
            to_install: None,
            to_apply: VecDeque::new(),
            wanted_by: None,
            applied,
            consistent_index,
            lives,
            role: Role::Follower,
        };
        self.peers.insert(id, peer);
        self.drain(id);
    }

    /// Stops a member and starts it from what was durable and the first `kept` queued writes.
    pub(crate) fn crash(&mut self, id: u64, kept: usize, torn: bool) {
        let peer = self.peers.get_mut(&id).unwrap();
        let mut wal = peer.durable.clone();
        if kept > 0 {
            wal = peer.written.clone();
            peer.writes.iter().take(kept - 1).for_each(|write| wal.write(write));
        }
        if torn && let Some(next) = peer.writes.get(kept.saturating_sub(1)) {
            // A write is torn behind its entries, before its hard state.
            if kept > 0 && next.snapshot.is_none() {
                wal.append(&next.entries);
            }
        }
        let consistent_index = peer.consistent_index;
        self.start(id, wal, consistent_index);
    }

    pub(crate) fn step(&mut self, id: u64, input: Input) {
        self.peer(id).driver.step(input);
        self.drain(id);
    }

    pub(crate) fn peer(&mut self, id: u64) -> &mut Peer {
        self.peers.get_mut(&id).unwrap()
    }

    pub(crate) fn drain(&mut self, id: u64) {
        for effect in self.peer(id).driver.drain() {
            self.fingerprint(id, &effect);
            self.execute(id, effect);
        }
    }

    fn fingerprint(&mut self, id: u64, effect: &Effect) {
        for byte in format!("{id} {effect:?}").bytes() {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    fn execute(&mut self, id: u64, effect: Effect) {
        match effect {
            Effect::Send(messages) => self.send(messages),
            Effect::Persist { number, entries, hard_state, snapshot, must_sync, then } => {
                let write = Write { number, entries, hard_state, snapshot, must_sync, then };
                self.peer(id).writes.push_back(write);
            }
            Effect::Apply(entries) => self.peer(id).to_apply.extend(entries),
            Effect::InstallSnapshot(snapshot) => self.peer(id).to_install = Some(snapshot),
            Effect::ConfState { conf_state, .. } => self.peer(id).conf_state = conf_state,
            Effect::ReadReady { requests, index } => self.reads_ready(requests, index),
            Effect::ReadDropped { requests } => panic!("too many reads: {requests:?}"),
            Effect::Rejected { requests, reason } => {
                self.seen.rejected.extend(requests.into_iter().map(|request| (request, reason)));
            }
            Effect::Role { term, leader, role, lost_leader } => {
                self.peer(id).role = role;
                self.seen.lost_leader += usize::from(lost_leader);
                if leader.0 != 0 {
                    let known = *self.leaders.entry(term.0).or_insert(leader.0);
                    assert_eq!(known, leader.0, "two leaders in term {term}");
                }
            }
            Effect::WantSnapshot { to } => {
                let before = self.peer(id).wanted_by.replace(to);
                assert_eq!(before, None, "asked again before the answer");
            }
            Effect::SendSnapshot(message) => self.send(vec![message]),
        }
    }

    fn send(&mut self, messages: Vec<Message>) {
        // Every message crosses the codec, as it would between processes.
        self.wire.extend(messages.into_iter().map(|m| Message::decode(m.encode()).unwrap()));
    }

    fn reads_ready(&mut self, requests: Vec<RequestId>, index: LogIndex) {
        for request in requests {
            let floor = self.read_floor.remove(&request).unwrap();
            assert!(index.0 >= floor, "{request} reads {index}, {floor} was visible before");
            self.seen.reads.insert(request, index.0);
        }
    }

    /// Finishes the oldest queued write of a member; false when there is none.
    pub(crate) fn write_one(&mut self, id: u64) -> bool {
        let peer = self.peer(id);
        let Some(write) = peer.writes.pop_front() else { return false };
        peer.written.write(&write);
        if write.must_sync {
            peer.durable = peer.written.clone();
        }
        let installed = write.snapshot.is_some();
        self.send(write.then);
        self.peer(id).driver.step(Input::Persisted(write.number));
        if installed {
            self.install(id);
        }
        self.drain(id);
        true
    }

    fn install(&mut self, id: u64) {
        let peer = self.peer(id);
        let metadata = peer.to_install.take().unwrap().metadata;
        assert!(metadata.index > peer.applied, "a snapshot never goes back");
        peer.applied = metadata.index;
        peer.consistent_index = metadata.index;
        peer.conf_state = metadata.conf_state.clone();
        peer.to_apply.clear();
        peer.driver.step(Input::SnapshotInstalled(metadata));
    }

    /// Delivers a message, or loses it.
    pub(crate) fn deliver(&mut self, message: Message, lose: bool) {
        let lost = lose || self.cut.contains(&message.to) || self.cut.contains(&message.from);
        let (from, to) = (message.from, message.to);
        if message.message_type == MessageType::Snap && self.peers.contains_key(&from) {
            let ok = !lost && self.peers.contains_key(&to);
            self.step(from, Input::SnapshotSent { to: NodeId(to), ok });
        }
        if !lost && self.peers.contains_key(&to) {
            self.step(to, Input::Message(message));
        }
    }

    /// Applies the next entry of a member; false when there is none.
    pub(crate) fn apply_one(&mut self, id: u64) -> bool {
        let peer = self.peer(id);
        let Some(entry) = peer.to_apply.pop_front() else { return false };
        assert_eq!(entry.index, peer.applied + 1, "member {id} applies in order");
        let durable = peer.durable.entries.last().map_or(peer.durable.snapshot.index, |e| e.index);
        assert!(entry.index <= durable, "member {id} applies {} of {durable}", entry.index);
        let seen = (entry.term, entry.data.clone());
        let known = self.truth.entry(entry.index).or_insert_with(|| seen.clone());
        assert_eq!(*known, seen, "member {id} at {}", entry.index);
        if entry.entry_type == EntryType::ConfChange {
            self.judge(id, &entry);
        }
        let peer = self.peer(id);
        peer.applied = entry.index;
        peer.consistent_index = peer.consistent_index.max(entry.index);
        peer.driver.step(Input::Applied(LogIndex(entry.index)));
        self.drain(id);
        true
    }

    fn judge(&mut self, id: u64, entry: &Entry) {
        let change = ConfChange::decode(entry.data.clone()).unwrap();
        let peer = self.peer(id);
        let change = is_allowed(&peer.conf_state, &change).then_some(change);
        let index = LogIndex(entry.index);
        peer.driver.step(Input::ConfChangeApplied { index, change });
        self.drain(id);
    }

    /// Answers a member's wish for a snapshot with its applied state.
    pub(crate) fn answer_snapshot(&mut self, id: u64) -> bool {
        let peer = self.peers.get_mut(&id).unwrap();
        if peer.wanted_by.take().is_none() {
            return false;
        }
        let snapshot = self.snapshot_of(id);
        self.step(id, Input::SnapshotReady(snapshot));
        true
    }

    fn snapshot_of(&mut self, id: u64) -> Snapshot {
        let peer = &self.peers[&id];
        let index = peer.applied;
        let term = self.truth.get(&index).map_or(0, |entry| entry.0);
        let metadata = SnapshotMetadata { conf_state: peer.conf_state.clone(), index, term };
        Snapshot { data: Bytes::copy_from_slice(&index.to_be_bytes()), metadata }
    }

    /// Takes a checkpoint: a snapshot record at what is applied, and no log before it.
    pub(crate) fn checkpoint(&mut self, id: u64) {
        let metadata = self.snapshot_of(id).metadata;
        let peer = self.peer(id);
        if metadata.index == 0 || metadata.conf_state.voters.is_empty() || peer.to_install.is_some()
        {
            return;
        }
        peer.written.snapshot = metadata.clone();
        peer.written.entries.retain(|entry| entry.index > metadata.index);
        peer.durable = peer.written.clone();
        self.step(id, Input::Compact(LogIndex(metadata.index)));
    }

    /// Lets everything under way happen, without time passing.
    pub(crate) fn settle(&mut self) {
        loop {
            let mut busy = false;
            let ids: Vec<u64> = self.peers.keys().copied().collect();
            for id in ids {
                while !self.slow_disks.contains(&id) && self.write_one(id) {
                    busy = true;
                }
                while !self.slow_apply.contains(&id) && self.apply_one(id) {
                    busy = true;
                }
                busy |= self.answer_snapshot(id);
            }
            if let Some(message) = self.wire.pop_front() {
                self.deliver(message, false);
                busy = true;
            }
            if !busy {
                return;
            }
        }
    }

    pub(crate) fn tick(&mut self, ticks: usize) {
        let ids: Vec<u64> = self.peers.keys().copied().collect();
        for _ in 0..ticks {
            for &id in &ids {
                self.step(id, Input::Tick);
            }
            self.settle();
        }
    }

    /// Makes a member the leader.
    pub(crate) fn elect(&mut self, id: u64) {
        self.step(id, Input::Campaign);
        self.settle();
        assert_eq!(self.leader(), Some(id));
    }

    /// Lets time pass until some member leads.
    pub(crate) fn wait_for_leader(&mut self) -> u64 {
        for _ in 0..200 {
            if let Some(leader) = self.leader() {
                return leader;
            }
            self.tick(1);
        }
        panic!("no leader in 200 ticks");
    }

    pub(crate) fn leader(&self) -> Option<u64> {
        let leading = self.peers.iter().filter(|(_, peer)| peer.role == Role::Leader);
        leading.max_by_key(|(_, peer)| peer.driver.status().term).map(|(&id, _)| id)
    }

    pub(crate) fn propose(&mut self, id: u64, request: u64, data: &str) {
        let data = Bytes::copy_from_slice(data.as_bytes());
        self.step(id, Input::Propose(vec![(RequestId(request), data)]));
    }

    pub(crate) fn change(&mut self, id: u64, request: u64, change_type: ConfChangeType, node: u64) {
        let change = change(request, change_type, node);
        self.step(id, Input::ProposeConfChange(RequestId(request), change));
    }

    pub(crate) fn read(&mut self, id: u64, request: u64) {
        let floor = self.peers.values().map(|peer| peer.applied).max().unwrap();
        self.read_floor.insert(RequestId(request), floor);
        self.step(id, Input::ReadIndex(vec![RequestId(request)]));
    }

    /// Texts of the normal entries that a member has applied.
    pub(crate) fn texts(&self, id: u64) -> Vec<String> {
        let applied = self.peers[&id].applied;
        let entries = self.truth.range(..=applied).map(|(_, (_, data))| data);
        let texts = entries.filter(|data| data.starts_with(b"put"));
        texts.map(|data| String::from_utf8(data.to_vec()).unwrap()).collect()
    }

    pub(crate) fn assert_all_applied(&self, expected: &[&str]) {
        for &id in self.peers.keys() {
            assert_eq!(self.texts(id), expected, "member {id}");
        }
    }
}

pub(crate) fn change(request: u64, change_type: ConfChangeType, node: u64) -> ConfChange {
    let context = match change_type {
        ConfChangeType::RemoveNode => Bytes::new(),
        _ => membership::json::conf_change_context(&member(node), false),
    };
    ConfChange { id: request, change_type, node_id: node, context }
}

/// The rules of these tests, a function of the configuration only: as in etcd, and never fewer
/// than one voter.
fn is_allowed(conf_state: &ConfState, change: &ConfChange) -> bool {
    let id = change.node_id;
    let is_voter = conf_state.voters.contains(&id);
    let is_learner = conf_state.learners.contains(&id);
    match change.change_type {
        ConfChangeType::AddNode => !is_voter,
        ConfChangeType::AddLearnerNode => !is_voter && !is_learner,
        ConfChangeType::RemoveNode => is_learner || is_voter && conf_state.voters.len() > 1,
        ConfChangeType::UpdateNode => is_voter || is_learner,
    }
}
