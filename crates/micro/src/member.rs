//! A member that is alone in its cluster, on one thread: consensus, log, apply, overlay.
//!
//! Owns:       the order in which the threads of `node` would do their work.
//! Uses:       `consensus`, `wal`, `apply`, `backend` as `node`'s threads do.
//! Never:      syncs; the kernel's work is not counted anyway.
//! Invariants: nothing is applied before it is written.

use std::collections::VecDeque;
use std::sync::Arc;

use apply::{Applied, Machine, Reply, Response, Settings, SnapshotBase};
use backend::{Engine, MemoryEngine, Overlay, View};
use bytes::Bytes;
use consensus::{Driver, Effect, Input, Options, Recovered};
use membership::ClusterVersion;
use mvcc::{CursorStep, History, Store};
use node::{OverlayHistory, ViewSource};
use prost::Message as _;
use proto::StoredKeyValue;
use proto::etcdserverpb::{
    InternalRaftRequest, PutRequest, PutResponse, RangeRequest, RangeResponse, ResponseHeader,
};
use proto::raftpb::{Entry, EntryType};
use types::{ClusterId, LogIndex, NodeId, RequestId, limits};
use wal::Wal;

use crate::folder::Folder;
use crate::input;

const LOCAL: NodeId = NodeId(0xad3c_d5bb_ed8f_0325);
const CLUSTER: ClusterId = ClusterId(0x42e2_4fa6_5c5a_7c6d);
const QUOTA_BYTES: i64 = 2 << 30;
/// Rows in the overlay at which they are dropped, as a flush would.
const OVERLAY_OPS_MAX: usize = 2 * limits::OVERLAY_OPS_MAX;

/// Puts that are proposed together to fill a member.
const BATCH: usize = 500;

/// What a machine of these cases is told.
pub(crate) fn settings() -> Settings {
    Settings {
        local: LOCAL,
        cluster_id: CLUSTER,
        max_learners: 1,
        quota_bytes: QUOTA_BYTES,
        election_timeout_ms: 1_000,
        server_version: ClusterVersion::new(3, 5),
    }
}

/// Whether a log is made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sync {
    Never,
    Always,
}

/// A log with nothing in it.
pub(crate) fn log(folder: &Folder, sync: Sync) -> Wal {
    let metadata = wal::Metadata { node_id: LOCAL, cluster_id: CLUSTER };
    let options = wal::Options { no_sync: sync == Sync::Never, ..wal::Options::default() };
    let disk = Arc::new(osdisk::OsDisk);
    Wal::create(disk, &folder.path().join("wal"), metadata, options).expect("create log")
}

/// The member.
pub(crate) struct Member {
    pub(crate) machine: Machine,
    driver: Driver,
    wal: Wal,
    overlay: Overlay,
    view: Arc<dyn View>,
    next_id: u64,
    _folder: Folder,
}

impl Member {
    /// The leader of a new cluster, with nothing in it.
    pub(crate) fn new() -> Self {
        Self::over(&MemoryEngine::new())
    }

    /// The same with a put of each of so many keys.
    pub(crate) fn with_keys(keys: u64) -> Self {
        let mut member = Self::new();
        let requests: Vec<Bytes> = (0..keys).map(|number| input::put(number, number)).collect();
        for some in requests.chunks(BATCH) {
            let _ = member.puts(some);
        }
        member
    }

    fn over(engine: &MemoryEngine) -> Self {
        let folder = Folder::new();
        let wal = log(&folder, Sync::Never);
        let view = engine.view();
        let base = SnapshotBase::default();
        let restored =
            Machine::restore(&ViewSource { view: view.as_ref(), threads: 1 }, settings(), base);
        let (machine, _) = restored.expect("an empty database can be restored");
        let member = membership::Member {
            id: LOCAL,
            peer_urls: vec!["http://localhost:2380".to_owned()],
            ..membership::Member::default()
        };
        let (entries, hard_state) = consensus::new_cluster(&[member]);
        let options =
            Options { id: LOCAL, election_ticks: 10, heartbeat_ticks: 1, pre_vote: true, seed: 1 };
        let recovered = Recovered { entries, hard_state, ..Recovered::default() };
        let driver = Driver::new(options, recovered).expect("a new log can be started from");
        let overlay = Overlay::new();
        let mut new = Self { machine, driver, wal, overlay, view, next_id: 1, _folder: folder };
        let _ = new.settle();
        new.driver.step(Input::Campaign);
        let _ = new.settle();
        new
    }

    /// A put from the bytes of the request to those of the reply.
    pub(crate) fn put(&mut self, request: &Bytes) -> Vec<u8> {
        self.puts(std::slice::from_ref(request)).pop().expect("a put has a reply")
    }

    /// Puts that arrive together, as the raft thread takes them from its inbox.
    pub(crate) fn puts(&mut self, requests: &[Bytes]) -> Vec<Vec<u8>> {
        let proposals = requests.iter().map(|request| {
            let put = PutRequest::decode(request.clone()).expect("requests of cases are whole");
            mvcc::check_put(&put).expect("and allowed");
            std::hint::black_box(apply::put_cost(&put));
            InternalRaftRequest { put: Some(put), ..InternalRaftRequest::default() }
        });
        let proposals = proposals.collect();
        let applied = self.propose(proposals);
        let reply = |applied: Applied| match applied.reply {
            Some(Reply::V3(Ok(Response::Put(put)))) => {
                let header = Some(self.header(applied.revision));
                let prev_kv = put.prev_kv.map(StoredKeyValue);
                PutResponse { header, prev_kv }.encode_to_vec()
            }
            other => panic!("not the reply to a put: {other:?}"),
        };
        applied.into_iter().map(reply).collect()
    }

    /// Requests through the log.
    pub(crate) fn propose(&mut self, requests: Vec<InternalRaftRequest>) -> Vec<Applied> {
        let payloads = requests.into_iter().map(|request| {
            let id = self.next_id;
            self.next_id += 1;
            (RequestId(id), input::entry(id, request))
        });
        let payloads = payloads.collect();
        self.propose_bytes(payloads)
    }

    /// Payloads of entries through the log.
    pub(crate) fn propose_bytes(&mut self, payloads: Vec<(RequestId, Bytes)>) -> Vec<Applied> {
        self.driver.step(Input::Propose(payloads));
        self.settle()
    }

    /// Asks raft how far a linearizable read has to wait, which is not at all.
    pub(crate) fn linearize(&mut self) {
        self.next_id += 1;
        let id = RequestId(self.next_id);
        self.driver.step(Input::ReadIndex(vec![id]));
        let effects = self.driver.drain();
        let is_ready = effects.iter().any(|effect| {
            matches!(effect, Effect::ReadReady { requests, index }
                if requests.contains(&id) && *index <= self.machine.applied_index())
        });
        assert!(is_ready, "a leader that is alone answers at once: {effects:?}");
    }

    /// A range of this member's state, from the bytes of the request to those of the reply.
    pub(crate) fn range(&self, request: &Bytes) -> Vec<u8> {
        let history = OverlayHistory { overlay: &self.overlay, view: &self.view };
        answer(self.machine.store(), &history, self.header(0), request)
    }

    fn header(&self, revision: i64) -> ResponseHeader {
        ResponseHeader {
            cluster_id: CLUSTER.0,
            member_id: LOCAL.0,
            revision,
            raft_term: self.machine.applied_term().0,
        }
    }

    /// Does what raft asks for until it asks for nothing more.
    fn settle(&mut self) -> Vec<Applied> {
        let mut all = Vec::new();
        let mut effects = VecDeque::new();
        loop {
            effects.extend(self.driver.drain());
            let Some(effect) = effects.pop_front() else { return all };
            match effect {
                Effect::Persist { number, entries, hard_state, .. } => {
                    self.wal.append(&entries, hard_state.as_ref()).expect("append to log");
                    self.wal.flush(false).expect("write log");
                    self.driver.step(Input::Persisted(number));
                }
                Effect::Apply(entries) => {
                    let last = entries.last().map_or(0, |entry| entry.index);
                    for entry in &entries {
                        let applied = self.apply(entry, &mut effects);
                        all.push(applied);
                    }
                    self.driver.step(Input::Applied(LogIndex(last)));
                }
                Effect::Role { .. } => {}
                other => panic!("a member that is alone asks for {other:?}"),
            }
        }
    }

    fn apply(&mut self, entry: &Entry, effects: &mut VecDeque<Effect>) -> Applied {
        let history = OverlayHistory { overlay: &self.overlay, view: &self.view };
        let mut applied = if entry.entry_type == EntryType::Normal {
            self.machine.apply(entry, &history).expect("entries of cases can be applied")
        } else {
            self.apply_conf_change(entry, effects)
        };
        self.overlay.extend(std::mem::take(&mut applied.ops));
        if self.overlay.active().ops() >= OVERLAY_OPS_MAX {
            drop(self.overlay.begin_flush());
            self.overlay.finish_flush();
        }
        applied
    }

    fn apply_conf_change(&mut self, entry: &Entry, effects: &mut VecDeque<Effect>) -> Applied {
        let decision = self.machine.check_conf_change(entry).expect("the founding entry is good");
        let (index, change) = (LogIndex(entry.index), decision.change.clone());
        self.driver.step(Input::ConfChangeApplied { index, change });
        effects.extend(self.driver.drain());
        let is_answer = |effect: &Effect| matches!(effect, Effect::ConfState { .. });
        let answer = effects.iter().position(is_answer).and_then(|at| effects.remove(at));
        let Some(Effect::ConfState { conf_state, .. }) = answer else {
            panic!("a conf change is answered at once");
        };
        self.machine.apply_conf_change(entry, decision, &conf_state).expect("apply conf change")
    }
}

/// A range of a store, from the bytes of the request to those of the reply.
pub(crate) fn answer(
    store: &Store,
    history: &dyn History,
    header: ResponseHeader,
    request: &Bytes,
) -> Vec<u8> {
    let request = RangeRequest::decode(request.clone()).expect("requests of cases are whole");
    mvcc::check_range(&request).expect("and allowed");
    let mut cursor = store.cursor(&request).expect("nothing is compacted");
    while cursor.step(store, limits::RANGE_CHUNK_KEYS).expect("nothing is compacted")
        == CursorStep::More
    {}
    let reply = cursor.into_reply(history).expect("memory does not fail");
    let reply = reply.expect("nothing is compacted");
    let header = ResponseHeader { revision: reply.revision, ..header };
    let kvs = reply.kvs.into_iter().map(StoredKeyValue).collect();
    RangeResponse { header: Some(header), kvs, more: reply.more, count: reply.count }
        .encode_to_vec()
}
