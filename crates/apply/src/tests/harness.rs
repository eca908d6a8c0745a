//! A member without a log and an engine: rows in a map, entries made on the spot.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;
use membership::{ClusterVersion, Member, json};
use mvcc::{History, HistoryFault};
use prost::Message as _;
use proto::etcdserverpb::{InternalRaftRequest, PutRequest, RequestHeader};
use proto::raftpb::{ConfChange, ConfChangeType, ConfState, Entry, EntryType};
use proto::v2_request::V2Request;
use types::{Bucket, ClusterId, LogIndex, NodeId, Op, RevKey, Term};

use crate::{Applied, Fault, Machine, Reply, Response, Settings, SnapshotBase, Source};

pub(super) const CLUSTER: ClusterId = ClusterId(0x42e2_4fa6_5c5a_7c6d);
pub(super) const LOCAL: NodeId = NodeId(1);

pub(super) fn settings() -> Settings {
    Settings {
        local: LOCAL,
        cluster_id: CLUSTER,
        max_learners: 1,
        quota_bytes: 0,
        election_timeout_ms: 1_000,
        server_version: ClusterVersion::new(3, 5),
    }
}

/// Rows as an engine holds them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rows(pub(super) BTreeMap<(Bucket, Bytes), Bytes>);

impl Rows {
    pub(super) fn write(&mut self, ops: &[Op]) {
        for Op { bucket, key, value } in ops {
            match value {
                Some(value) => self.0.insert((*bucket, key.clone()), value.clone()),
                None => self.0.remove(&(*bucket, key.clone())),
            };
        }
    }

    pub(super) fn row(&self, bucket: Bucket, key: &[u8]) -> Option<&[u8]> {
        self.0.get(&(bucket, Bytes::copy_from_slice(key))).map(|row| &**row)
    }

    pub(super) fn put(&mut self, bucket: Bucket, key: &[u8], value: &[u8]) {
        self.write(&[Op::put(bucket, key.to_vec(), value.to_vec())]);
    }

    pub(super) fn bucket(&self, bucket: Bucket) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        let rows = self.0.iter().filter(move |((found, _), _)| *found == bucket);
        rows.map(|((_, key), value)| (key, value))
    }
}

impl Source for Rows {
    fn get(&self, bucket: Bucket, key: &[u8]) -> Result<Option<Bytes>, HistoryFault> {
        Ok(self.0.get(&(bucket, Bytes::copy_from_slice(key))).cloned())
    }

    fn scan(
        &self,
        bucket: Bucket,
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), HistoryFault> {
        for (key, value) in self.bucket(bucket).filter(|(key, _)| key.as_ref() >= from) {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn key_runs(&self) -> Result<Vec<mvcc::Run>, Fault> {
        Ok(vec![crate::read_run(self, b"", None)?])
    }
}

impl History for Rows {
    fn value(&self, revision: RevKey) -> Result<Option<Bytes>, HistoryFault> {
        self.get(Bucket::Key, &revision.to_live())
    }

    fn scan(
        &self,
        from: RevKey,
        visit: &mut dyn FnMut(RevKey, bool, &Bytes) -> ControlFlow<()>,
    ) -> Result<(), HistoryFault> {
        for (key, value) in self.bucket(Bucket::Key) {
            let (revision, tombstone) = RevKey::parse(key).expect("only revisions are written");
            if revision >= from && visit(revision, tombstone, value).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// A machine with the rows it has written and what is durable of them.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) machine: Machine,
    /// Everything written.
    pub(super) rows: Rows,
    /// What survives a crash.
    pub(super) durable: Rows,
    pub(super) conf_state: ConfState,
}

impl Peer {
    pub(super) fn new() -> Self {
        Self::with(settings())
    }

    pub(super) fn with(settings: Settings) -> Self {
        Self::restored(Rows::default(), settings, SnapshotBase::default())
    }

    pub(super) fn restored(durable: Rows, settings: Settings, base: SnapshotBase) -> Self {
        let conf_state = base.conf_state.clone();
        let (machine, restored) = Machine::restore(&durable, settings, base).unwrap();
        let mut rows = durable.clone();
        rows.write(&restored.ops);
        Self { machine, rows, durable, conf_state }
    }

    /// Makes everything durable, as the flusher does.
    pub(super) fn flush(&mut self) {
        self.rows.write(&self.machine.meta_ops());
        self.durable = self.rows.clone();
    }

    pub(super) fn try_apply(&mut self, entry: &Entry) -> Result<Applied, Fault> {
        let applied = match entry.entry_type {
            EntryType::Normal => self.machine.apply(entry, &self.rows)?,
            EntryType::ConfChange | EntryType::ConfChangeV2 => {
                let decision = self.machine.check_conf_change(entry)?;
                if let Some(change) = &decision.change {
                    change_conf_state(&mut self.conf_state, change);
                }
                self.machine.apply_conf_change(entry, decision, &self.conf_state)?
            }
        };
        self.rows.write(&applied.ops);
        self.machine.check_invariants();
        Ok(applied)
    }

    pub(super) fn apply(&mut self, entry: &Entry) -> Applied {
        self.try_apply(entry).unwrap()
    }

    /// The entry behind the last one, with this data.
    pub(super) fn next(&self, data: Bytes) -> Entry {
        let index = self.machine.applied_index().0 + 1;
        Entry { entry_type: EntryType::Normal, term: 2, index, data }
    }

    pub(super) fn next_conf(&self, change: &ConfChange) -> Entry {
        Entry { entry_type: EntryType::ConfChange, ..self.next(change.encode()) }
    }

    pub(super) fn request(&mut self, request: &InternalRaftRequest) -> Applied {
        let entry = self.next(v3(request));
        self.apply(&entry)
    }

    pub(super) fn v2_request(&mut self, request: &V2Request) -> Applied {
        let entry = self.next(request.encode());
        self.apply(&entry)
    }

    pub(super) fn conf_change(&mut self, change: &ConfChange) -> Applied {
        let entry = self.next_conf(change);
        self.apply(&entry)
    }
}

/// What raft does to its configuration.
fn change_conf_state(conf_state: &mut ConfState, change: &ConfChange) {
    let ConfState { voters, learners, .. } = conf_state;
    if change.change_type == ConfChangeType::UpdateNode {
        return;
    }
    voters.retain(|id| *id != change.node_id);
    learners.retain(|id| *id != change.node_id);
    match change.change_type {
        ConfChangeType::AddNode => voters.push(change.node_id),
        ConfChangeType::AddLearnerNode => learners.push(change.node_id),
        ConfChangeType::RemoveNode | ConfChangeType::UpdateNode => {}
    }
    voters.sort_unstable();
    learners.sort_unstable();
}

pub(super) fn v3(request: &InternalRaftRequest) -> Bytes {
    request.encode_to_vec().into()
}

pub(super) fn with_header(id: u64) -> InternalRaftRequest {
    let header = RequestHeader { id, ..Default::default() };
    InternalRaftRequest { header: Some(header), ..Default::default() }
}

pub(super) fn put(key: &str, value: &str) -> InternalRaftRequest {
    let put = PutRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        ..Default::default()
    };
    InternalRaftRequest { put: Some(put), ..with_header(7) }
}

pub(super) fn v2_put(path: &str, val: &str) -> V2Request {
    V2Request {
        id: 9,
        method: "PUT".to_owned(),
        path: path.to_owned(),
        val: val.to_owned(),
        ..Default::default()
    }
}

pub(super) fn member(id: u64) -> Member {
    Member {
        id: NodeId(id),
        peer_urls: vec![format!("http://127.0.0.1:{}", 2380_u64.wrapping_add(id))],
        ..Member::default()
    }
}

pub(super) fn add(member: &Member) -> ConfChange {
    let change_type =
        if member.is_learner { ConfChangeType::AddLearnerNode } else { ConfChangeType::AddNode };
    ConfChange {
        id: 5,
        change_type,
        node_id: member.id.0,
        context: json::conf_change_context(member, false),
    }
}

pub(super) fn promote(id: u64) -> ConfChange {
    let context = format!("{{\"id\":{id},\"peerURLs\":null,\"isPromote\":true}}");
    ConfChange {
        id: 6,
        change_type: ConfChangeType::AddNode,
        node_id: id,
        context: Bytes::from(context),
    }
}

pub(super) fn remove(id: u64) -> ConfChange {
    ConfChange {
        id: 7,
        change_type: ConfChangeType::RemoveNode,
        node_id: id,
        context: Bytes::new(),
    }
}

pub(super) fn update(member: &Member) -> ConfChange {
    ConfChange {
        id: 8,
        change_type: ConfChangeType::UpdateNode,
        node_id: member.id.0,
        context: json::conf_change_context(member, false),
    }
}

/// The base for a restart, through the bytes of a `.snap` file.
pub(super) fn snapshot(machine: &Machine) -> SnapshotBase {
    let frozen = machine.freeze().expect("nothing is being replayed");
    let v2 = v2store::Store::from_json(&frozen.v2.to_json()).unwrap();
    SnapshotBase {
        index: LogIndex(frozen.index.0),
        term: Term(frozen.term.0),
        v2: Some(v2),
        conf_state: frozen.conf_state,
    }
}

/// The response to a v3 request.
pub(super) fn v3_reply(applied: Applied) -> Result<Response, types::EtcdError> {
    match applied.reply {
        Some(Reply::V3(reply)) => reply,
        other => panic!("no v3 reply: {other:?}"),
    }
}
