//! The members and the version of the cluster, as the log defines them.
//!
//! Owns:       the membership at the consistent index, the one that replay builds up, downgrade info.
//! Uses:       `membership` for rules, rows and v2 paths; `gojson`.
//! Never:      touches the v2 tree or the rows itself; both come out as values.
//! Invariants: while entries at or below the consistent index come again, only the replayed
//!             membership moves; behind it there is none.
//! Source:     peer-protocol.md 12.4 and 13; disk-formats.md 11; design.md 4 (restart).

use std::collections::BTreeMap;

use bytes::Bytes;
use membership::v2_tree::{self, V2Write};
use membership::{Change, ClusterVersion, Membership};
use types::{Bucket, NodeId, Op};

use crate::contract::{Fault, Local};

/// Row of `cluster` with the downgrade info.
pub(crate) const DOWNGRADE_KEY: &[u8] = b"downgrade";

/// Whether an entry is new to the database or comes again after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// At or below the consistent index: its v3 effects are in the database already.
    Replay,
    /// Above it.
    New,
}

/// Rows of `members` and `members_removed` as the database held them at restart.
pub(crate) type MemberRows = BTreeMap<(Bucket, Bytes), Bytes>;

/// What a change of the cluster means for rows, v2 tree and this member.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Effect {
    pub(crate) ops: Vec<Op>,
    pub(crate) v2: Vec<V2Write>,
    pub(crate) local: Vec<Local>,
}

/// The state.
#[derive(Debug)]
pub(crate) struct Cluster {
    members: Membership,
    replay: Option<Replay>,
    downgrade: Option<Bytes>,
}

/// The membership as it was at the position of the replay.
#[derive(Debug)]
pub(crate) struct Replay {
    pub(crate) members: Membership,
    /// `Some`: the rows were not to be trusted, this membership takes their place at the end.
    pub(crate) distrusted_rows: Option<MemberRows>,
}

impl Cluster {
    pub(crate) fn new(
        members: Membership,
        replay: Option<Replay>,
        downgrade: Option<Bytes>,
    ) -> Self {
        Self { members, replay, downgrade }
    }

    /// The best known membership.
    pub(crate) fn members(&self) -> &Membership {
        match &self.replay {
            Some(Replay { members, distrusted_rows: Some(_) }) => members,
            Some(_) | None => &self.members,
        }
    }

    /// The version to go by: rows of the database, which are ahead of any replay.
    pub(crate) fn version(&self) -> Option<ClusterVersion> {
        self.members.version
    }

    /// The row of the downgrade info.
    pub(crate) fn downgrade(&self) -> Option<&Bytes> {
        self.downgrade.as_ref()
    }

    /// The membership that an entry of this stage meets.
    pub(crate) fn at(&self, stage: Stage) -> &Membership {
        match (&self.replay, stage) {
            (Some(replay), Stage::Replay) => &replay.members,
            (_, Stage::Replay | Stage::New) => &self.members,
        }
    }

    /// Carries out a validated conf change.
    pub(crate) fn change(&mut self, stage: Stage, change: &Change, local: NodeId) -> Effect {
        let members = self.at_mut(stage);
        let ops = members.apply(change);
        let v2 = v2_tree::writes(change, members);
        let effects = change_locals(change, members, local);
        self.effect(stage, ops, v2, effects)
    }

    /// Records what a member published. `Err` for an ID that never was a member.
    pub(crate) fn publish(
        &mut self,
        stage: Stage,
        id: NodeId,
        name: &str,
        client_urls: &[String],
    ) -> Result<Effect, String> {
        let members = self.at_mut(stage);
        if members.removed.contains(&id) {
            // Its last words; etcd skips them too.
            return Ok(Effect::default());
        }
        let ops = members.set_attributes(id, name, client_urls);
        let Some(member) = members.members.get(&id) else {
            return Err(format!("attributes of {id}, which is no member"));
        };
        let local = vec![Local::MemberUpdated(member.clone())];
        let v2 = vec![v2_tree::attributes_write(id, name, client_urls)];
        Ok(self.effect(stage, ops, v2, local))
    }

    /// Records the cluster version.
    pub(crate) fn set_version(
        &mut self,
        stage: Stage,
        version: ClusterVersion,
        server: ClusterVersion,
    ) -> Result<Effect, Fault> {
        if stage == Stage::New {
            check_version(version, server)?;
        }
        let ops = self.at_mut(stage).set_version(version);
        let v2 = vec![v2_tree::version_write(version)];
        Ok(self.effect(stage, ops, v2, vec![Local::ClusterVersionSet(version)]))
    }

    /// Records that a downgrade runs (with its target) or does not.
    pub(crate) fn set_downgrade(&mut self, stage: Stage, target: Option<&str>) -> Effect {
        if stage == Stage::Replay {
            return Effect::default();
        }
        let mut json = String::new();
        let mut object = gojson::Object::open(&mut json);
        object.string("target-version", target.unwrap_or_default());
        object.boolean("enabled", target.is_some());
        object.finish();
        let row = Bytes::from(json);
        self.downgrade = Some(row.clone());
        let ops = vec![Op::put(Bucket::Cluster, DOWNGRADE_KEY, row)];
        Effect { ops, ..Effect::default() }
    }

    /// Ends the replay: the membership it built takes the place of rows that were not trusted, and
    /// the rows that differ are rewritten.
    pub(crate) fn finish_replay(&mut self) -> Vec<Op> {
        let Some(Replay { members, distrusted_rows }) = self.replay.take() else {
            return Vec::new();
        };
        let Some(rows) = distrusted_rows else { return Vec::new() };
        // A version row was written by the very entries of the replay and is never stale.
        let known_version = self.members.version;
        let version = known_version.or(members.version);
        let removed_before = std::mem::take(&mut self.members.removed);
        self.members = Membership { version, ..members };
        let present = &self.members.members;
        let kept = removed_before.into_iter().filter(|id| !present.contains_key(id));
        self.members.removed.extend(kept);
        let mut ops = rewritten_rows(&self.members, &rows);
        if known_version.is_none() {
            ops.extend(version.map(membership::rows::version_row));
        }
        ops
    }

    fn at_mut(&mut self, stage: Stage) -> &mut Membership {
        match (&mut self.replay, stage) {
            (Some(replay), Stage::Replay) => &mut replay.members,
            (_, Stage::Replay | Stage::New) => &mut self.members,
        }
    }

    /// Drops what an entry of this stage must not do again.
    fn effect(&self, stage: Stage, ops: Vec<Op>, v2: Vec<V2Write>, local: Vec<Local>) -> Effect {
        match stage {
            Stage::New => Effect { ops, v2, local },
            Stage::Replay => {
                let is_rebuilding =
                    self.replay.as_ref().is_some_and(|replay| replay.distrusted_rows.is_some());
                let mut local = local;
                local.retain(|effect| is_rebuilding || *effect == Local::SelfRemoved);
                Effect { ops: Vec::new(), v2, local }
            }
        }
    }
}

/// Refuses a cluster that has moved beyond this process.
pub(crate) fn check_version(cluster: ClusterVersion, server: ClusterVersion) -> Result<(), Fault> {
    if cluster > server {
        return Err(Fault::ClusterVersionTooHigh { cluster, server });
    }
    Ok(())
}

fn change_locals(change: &Change, members: &Membership, local: NodeId) -> Vec<Local> {
    match change {
        Change::AddVoter(member) | Change::AddLearner(member) => {
            vec![Local::MemberAdded(member.clone())]
        }
        Change::Promote(id)
        | Change::UpdatePeerUrls(id, _)
        | Change::OverwriteRaftAttributes { id, .. } => {
            members.members.get(id).cloned().map(Local::MemberUpdated).into_iter().collect()
        }
        Change::Remove(id) if *id == local => {
            vec![Local::MemberRemoved(*id), Local::SelfRemoved]
        }
        Change::Remove(id) => vec![Local::MemberRemoved(*id)],
        Change::None => Vec::new(),
    }
}

/// The rows of `members` and `members_removed` that differ from what the database held.
fn rewritten_rows(members: &Membership, before: &MemberRows) -> Vec<Op> {
    let mut stale: BTreeMap<_, _> = before.iter().collect();
    let mut ops = Vec::new();
    for op in members.to_rows() {
        if !matches!(op.bucket, Bucket::Members | Bucket::MembersRemoved) {
            continue;
        }
        let held = stale.remove(&(op.bucket, op.key.clone()));
        if held != op.value.as_ref() {
            ops.push(op);
        }
    }
    ops.extend(stale.into_keys().map(|(bucket, key)| Op::delete(*bucket, key.clone())));
    ops
}
