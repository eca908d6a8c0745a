//! The replicated membership: deterministic validation and application of conf changes.
//!
//! Owns:       [`Membership`].
//! Uses:       `json` for contexts, `rows` for the rows a change writes.
//! Never:      facts that differ between members (connections, progress); see `strict`.
//! Invariants: see [`Membership::check_invariants`].
//! Source:     peer-protocol.md 12.4, etcd `membership/cluster.go`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proto::raftpb::{ConfChange, ConfChangeType};
use types::{ClusterId, NodeId, Op};

use crate::{Change, ClusterVersion, MembershipError, json, rows};

/// Default of `--max-learners`; it must be equal on all members.
pub const MAX_LEARNERS_DEFAULT: usize = 1;

/// One member of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Raft identity.
    pub id: NodeId,
    /// Where the others reach it.
    pub peer_urls: Vec<String>,
    /// Whether it receives the log without a vote.
    pub is_learner: bool,
    /// Empty until the member has started and published itself.
    pub name: String,
    /// Where clients reach it; empty until published.
    pub client_urls: Vec<String>,
}

impl Member {
    /// Whether the member has published itself, which etcd takes as "started".
    #[must_use]
    pub fn is_started(&self) -> bool {
        !self.name.is_empty()
    }
}

/// The membership as the log has defined it so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Identity of the cluster.
    pub cluster_id: ClusterId,
    /// Present members.
    pub members: BTreeMap<NodeId, Member>,
    /// IDs that can never come back.
    pub removed: BTreeSet<NodeId>,
    /// `None` until the first leader has decided one.
    pub version: Option<ClusterVersion>,
    /// Learners allowed at the same time.
    pub max_learners: usize,
}

impl Membership {
    /// A membership without members.
    #[must_use]
    pub fn new(cluster_id: ClusterId) -> Self {
        Self {
            cluster_id,
            members: BTreeMap::new(),
            removed: BTreeSet::new(),
            version: None,
            max_learners: MAX_LEARNERS_DEFAULT,
        }
    }

    /// Members with a vote, by ascending ID.
    pub fn voters(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| !member.is_learner)
    }

    /// Members without a vote, by ascending ID.
    pub fn learners(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| member.is_learner)
    }

    /// Decides whether a committed conf change takes effect. Every member decides alike.
    ///
    /// # Errors
    /// The reason for refusing; raft is then told that nothing changes.
    pub fn validate(&self, change: &ConfChange) -> Result<Change, MembershipError> {
        let id = NodeId(change.node_id);
        if id == NodeId(0) {
            return Ok(Change::None);
        }
        if self.removed.contains(&id) {
            return Err(MembershipError::IdRemoved);
        }
        match change.change_type {
            ConfChangeType::AddNode | ConfChangeType::AddLearnerNode => {
                match context_of(change, id)? {
                    (_, true) => self.validate_promotion(id),
                    (member, false) => self.validate_addition(member),
                }
            }
            ConfChangeType::RemoveNode => self.member(id).map(|_| Change::Remove(id)),
            ConfChangeType::UpdateNode => {
                let was_learner = self.member(id)?.is_learner;
                let (member, _) = context_of(change, id)?;
                self.check_urls_free(&member)?;
                let Member { peer_urls, is_learner, .. } = member;
                if was_learner == is_learner || self.keeps_learners_on_update() {
                    return Ok(Change::UpdatePeerUrls(id, peer_urls));
                }
                Ok(Change::OverwriteRaftAttributes { id, peer_urls, is_learner })
            }
        }
    }

    /// The context with which to propose new peer URLs for a member. It repeats the learner flag,
    /// so that members of every version come to the same result.
    #[must_use]
    pub fn update_context(&self, id: NodeId, peer_urls: &[String]) -> Bytes {
        let is_learner = self.members.get(&id).is_some_and(|member| member.is_learner);
        let peer_urls = peer_urls.to_vec();
        let member = Member { id, peer_urls, is_learner, ..Member::default() };
        json::conf_change_context(&member, false)
    }

    /// Carries out a validated change and returns the rows that mirror it.
    pub fn apply(&mut self, change: &Change) -> Vec<Op> {
        match change {
            Change::AddVoter(member) | Change::AddLearner(member) => {
                self.members.insert(member.id, member.clone());
                vec![rows::member_row(member)]
            }
            Change::Promote(id) => self.edit(*id, |member| member.is_learner = false),
            Change::UpdatePeerUrls(id, urls) => {
                self.edit(*id, |member| member.peer_urls.clone_from(urls))
            }
            Change::OverwriteRaftAttributes { id, peer_urls, is_learner } => {
                self.edit(*id, |member| {
                    member.peer_urls.clone_from(peer_urls);
                    member.is_learner = *is_learner;
                })
            }
            Change::Remove(id) => {
                self.members.remove(id);
                self.removed.insert(*id);
                rows::removal_rows(*id)
            }
            Change::None => Vec::new(),
        }
    }

    /// Records what a member published about itself; ignored for an ID that is no member (a
    /// removed member's last words may still be in the log).
    pub fn set_attributes(&mut self, id: NodeId, name: &str, client_urls: &[String]) -> Vec<Op> {
        self.edit(id, |member| {
            name.clone_into(&mut member.name);
            member.client_urls = client_urls.to_vec();
        })
    }

    /// Records the version that all members speak from now on.
    pub fn set_version(&mut self, version: ClusterVersion) -> Vec<Op> {
        self.version = Some(version);
        vec![rows::version_row(version)]
    }

    /// Checks what must hold between any two calls.
    ///
    /// # Panics
    /// When it does not; meant for tests and simulation.
    pub fn check_invariants(&self) {
        assert!(!self.members.contains_key(&NodeId(0)), "id 0 is a member");
        for (id, member) in &self.members {
            assert_eq!(*id, member.id, "member filed under another id");
            assert!(!self.removed.contains(id), "member {id} is present and removed");
        }
    }

    /// Whether all members can be taken to keep the learner flag when peer URLs change. Fixed in
    /// etcd in 2026 (pull request 21719) for 3.5 and later; the cluster version tells 3.6 only.
    fn keeps_learners_on_update(&self) -> bool {
        self.version.is_some_and(|version| version >= ClusterVersion::new(3, 6))
    }

    fn validate_promotion(&self, id: NodeId) -> Result<Change, MembershipError> {
        if self.member(id)?.is_learner {
            Ok(Change::Promote(id))
        } else {
            Err(MembershipError::NotLearner)
        }
    }

    fn validate_addition(&self, member: Member) -> Result<Change, MembershipError> {
        if self.members.contains_key(&member.id) {
            return Err(MembershipError::IdExists);
        }
        self.check_urls_free(&member)?;
        if !member.is_learner {
            return Ok(Change::AddVoter(member));
        }
        if self.learners().count() >= self.max_learners {
            return Err(MembershipError::TooManyLearners);
        }
        Ok(Change::AddLearner(member))
    }

    /// Refuses URLs that another member than `member` itself uses.
    fn check_urls_free(&self, member: &Member) -> Result<(), MembershipError> {
        let used = self
            .members
            .values()
            .filter(|other| other.id != member.id)
            .flat_map(|other| &other.peer_urls)
            .any(|url| member.peer_urls.contains(url));
        if used { Err(MembershipError::PeerUrlExists) } else { Ok(()) }
    }

    fn member(&self, id: NodeId) -> Result<&Member, MembershipError> {
        self.members.get(&id).ok_or(MembershipError::IdNotFound)
    }

    fn edit(&mut self, id: NodeId, edit: impl FnOnce(&mut Member)) -> Vec<Op> {
        let Some(member) = self.members.get_mut(&id) else { return Vec::new() };
        edit(member);
        vec![rows::member_row(member)]
    }
}

fn context_of(change: &ConfChange, id: NodeId) -> Result<(Member, bool), MembershipError> {
    let (member, is_promote) =
        json::parse_context(&change.context).map_err(|_| MembershipError::BadContext)?;
    if member.id == id { Ok((member, is_promote)) } else { Err(MembershipError::BadContext) }
}

#[cfg(test)]
mod tests;
