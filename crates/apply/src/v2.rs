//! v2 entries, and the v2 tree as rows.
//!
//! Owns:       the rows of `etchV2`, and whether they are trusted.
//! Uses:       `v2store`, `cluster` for the two kinds of v2 entry that are about members.
//! Never:      a v2 effect twice: entries at or below the v2 applied index leave the tree alone.
//! Invariants: the rows are those of the tree.
//! Source:     docs/format/engine-rows.md; peer-protocol.md 12.6; api-v2.md 8.1.

use std::collections::BTreeSet;

use bytes::Bytes;
use membership::v2_tree::{self, V2Write};
use membership::{Membership, json};
use proto::raftpb::Entry;
use proto::v2_request::V2Request;
use types::{Bucket, ClusterId, Op, V2Code, V2Error};
use v2store::{Lifetime, RowChange, Store};

use crate::cluster::Stage;
use crate::contract::{Applied, Fault, Reply, Restored, Settings, Source};
use crate::machine::{Machine, Position, bad_entry};
use crate::position::{V2_POSITION, V2Position, bad_row};
use crate::restore::visit_rows;
use crate::system::parse_version;

/// The name space of the cluster itself.
const CLUSTER_SPACE: &str = "/0";

impl Machine {
    /// Carries out a v2 entry.
    pub(crate) fn apply_v2(
        &mut self,
        stage: Stage,
        entry: &Entry,
        request: &V2Request,
        applied: &mut Applied,
    ) -> Result<(), Fault> {
        if is_plain_put(request) {
            if let Some(id) = v2_tree::attributes_owner(&request.path) {
                let (name, client_urls) = json::attributes_from_json(request.val.as_bytes())
                    .map_err(|error| bad_entry(entry, &error.to_string()))?;
                let effect = self
                    .cluster
                    .publish(stage, id, &name, &client_urls)
                    .map_err(|reason| bad_entry(entry, &reason))?;
                self.absorb_cluster(effect, applied);
                self.reply_mirrored(request, applied);
                return Ok(());
            }
            if request.path == v2_tree::VERSION_PATH {
                let version = parse_version(entry, &request.val)?;
                let server = self.settings.server_version;
                let effect = self.cluster.set_version(stage, version, server)?;
                self.absorb_cluster(effect, applied);
                self.reply_mirrored(request, applied);
                return Ok(());
            }
        }
        if self.wants_v2() {
            let outcome = self.v2.apply(request);
            let result = absorb(outcome, applied);
            applied.reply = Some(Reply::V2(result));
        } else if let Some(replay) = &mut self.v2_replay {
            let _ = replay.apply(request);
        }
        Ok(())
    }

    /// Takes over the tree of the replay, which has arrived at that of the rows, with its history.
    /// `false` when it has arrived somewhere else: the rows hold, and the history is forgotten.
    #[must_use]
    pub(crate) fn finish_v2_replay(&mut self) -> bool {
        let Some(replayed) = self.v2_replay.take() else { return true };
        let is_same = replayed == self.v2;
        if is_same {
            self.v2 = replayed;
        }
        is_same
    }

    /// Answers a v2 entry about members with the change of the tree that mirrors it. The words of
    /// a removed member change nothing.
    fn reply_mirrored(&self, request: &V2Request, applied: &mut Applied) {
        let missing = || V2Error::new(V2Code::KeyNotFound, request.path.as_str(), self.v2.index());
        let result = applied.v2_events.last().cloned().ok_or_else(missing);
        applied.reply = Some(Reply::V2(result));
    }
}

/// Carries out what a change of the cluster writes into the tree. It cannot fail in a tree that
/// the members themselves have written; should it, the tree stays as it is on every member.
pub(crate) fn write_to(tree: &mut Store, write: &V2Write) -> v2store::Applied {
    let forever = Lifetime::default();
    match write {
        V2Write::Create { path, value } => tree.create(path, false, value, forever),
        V2Write::Set { path, value } => tree.set(path, false, value, forever),
        V2Write::Update { path, value } => tree.update(path, value, forever),
        V2Write::DeleteTree { path } => tree.delete(path, true, true),
    }
}

/// Takes over what a v2 operation did, all but its result.
pub(crate) fn absorb(
    outcome: v2store::Applied,
    applied: &mut Applied,
) -> Result<v2store::Event, V2Error> {
    let v2store::Applied { result, events, removed, changes } = outcome;
    applied.ops.extend(changes.into_iter().map(row_op));
    applied.v2_events.extend(events);
    applied.v2_removed.extend(removed);
    result
}

/// A PUT without conditions: only those are looked at for members and version, as in Go. The path
/// has to match as a whole, where Go also takes a user key that merely contains such a path for one
/// and stops on it.
fn is_plain_put(request: &V2Request) -> bool {
    request.method == "PUT"
        && request.prev_exist.is_none()
        && request.prev_index == 0
        && request.prev_value.is_empty()
}

fn row_op(change: RowChange) -> Op {
    Op { bucket: Bucket::V2, key: change.path.into(), value: change.row }
}

/// The position of the v2 rows, if they are of this cluster and at the consistent index.
pub(crate) fn trusted_position(
    source: &dyn Source,
    cluster_id: ClusterId,
    consistent: Position,
) -> Result<Option<V2Position>, Fault> {
    let Some(row) = source.get(Bucket::V2Meta, V2_POSITION)? else { return Ok(None) };
    Ok(V2Position::parse(&row).filter(|position| {
        position.cluster_id == cluster_id
            && position.index == consistent.index
            && position.term == consistent.term
    }))
}

/// The tree out of trusted rows.
pub(crate) fn restore_rows(source: &dyn Source, position: V2Position) -> Result<Store, Fault> {
    let mut rows = Vec::new();
    visit_rows(source, Bucket::V2, |key, value| {
        rows.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
        Ok(())
    })?;
    Store::from_rows(rows, position.v2_index)
        .map_err(|error| bad_row(Bucket::V2, error.path.as_bytes(), error.to_string()))
}

/// The tree of the raft snapshot in place of rows that are not trusted. The position row is not
/// among the rows to be written: it goes with every batch, this one included.
pub(crate) fn rebuild(
    source: &dyn Source,
    tree: Store,
    restored: &mut Restored,
) -> Result<Store, Fault> {
    let rows = tree.rows();
    let wanted: BTreeSet<&[u8]> = rows.iter().map(|(path, _)| path.as_bytes()).collect();
    let before = restored.ops.len();
    visit_rows(source, Bucket::V2, |key, _| {
        if !wanted.contains(key) {
            restored.ops.push(Op::delete(Bucket::V2, Bytes::copy_from_slice(key)));
        }
        Ok(())
    })?;
    if restored.ops.len() > before {
        restored.notes.push("v2 rows of the database are out of date and rebuilt".to_owned());
    }
    restored.ops.extend(rows.into_iter().map(|(path, row)| Op::put(Bucket::V2, path, row)));
    Ok(tree)
}

/// A fresh tree that names the members.
pub(crate) fn tree_of(members: &Membership) -> Store {
    let mut tree = Store::new();
    for (path, value) in members.to_v2_leaves() {
        let _ = tree.create(&path, false, &value, Lifetime::default());
    }
    tree
}

/// The members that a v2 tree names.
pub(crate) fn members_of(tree: &Store, settings: &Settings) -> Result<Membership, Fault> {
    let leaves = tree.files(CLUSTER_SPACE);
    let mut members = Membership::from_v2_leaves(settings.cluster_id, leaves)
        .map_err(|error| Fault::BadSnapshot { reason: error.to_string() })?;
    members.max_learners = settings.max_learners;
    Ok(members)
}
