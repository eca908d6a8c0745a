//! The operator: adds, promotes and removes members, and replaces those whose disk is lost.
//!
//! Owns:       members that were proposed and may turn up in the configuration at any time.
//! Uses:       the strict checks of `membership`, as the product's proposer does.
//! Never:      two lost disks at a time, or one while another member lacks what is committed or while
//!             a member leaves: a leader that was removed may be gone before anyone else knows that
//!             this is committed, and counts as lost then. No cluster survives two.
//! Invariants: a member without its disk never comes back under its old ID.
//! Source:     design.md 4 (last paragraph), peer-protocol.md 12.4.

use std::collections::BTreeSet;

use consensus::Input;
use membership::strict::{Connections, Rule};
use membership::{Member as Descriptor, Membership, json};
use node::boot::Founding;
use proto::raftpb::{ConfChange, ConfChangeType};
use rand::Rng;
use simdisk::SimDisk;
use types::{ClusterId, NodeId};

use crate::Violation;
use crate::member::Member;
use crate::schedule::{Event, Life};
use crate::world::World;

/// Time between two looks at the cluster.
const INTERVAL_US: u64 = 150_000;
/// After this a proposed change has come through or never will.
const CHANGE_US: u64 = 2_500_000;
/// Learners that lack no more than this are promoted.
const LEARNER_LAG_MAX: u64 = 5;

/// The operator's notes.
#[derive(Default)]
pub(crate) struct Admin {
    pub(crate) cluster_id: ClusterId,
    /// Proposed, and not started.
    proposed: BTreeSet<NodeId>,
    urls: u64,
    /// When a change was proposed last.
    changed_us: u64,
    pub(crate) added: u64,
}

impl World {
    pub(crate) fn admin_turn(&mut self) -> Result<(), Violation> {
        self.schedule.after(INTERVAL_US, Event::Admin);
        let Some((life, members)) = self.best_informed() else { return Ok(()) };
        self.start_joined(&members)?;
        let lost =
            members.members.keys().find(|id| self.members.get(id).is_some_and(|m| m.is_gone));
        if let Some(lost) = lost.copied() {
            return self.propose_removal(life, &members, lost);
        }
        if let Some(learner) = members.learners().next().map(|member| member.id) {
            return self.promote_when_ready(learner);
        }
        if self.faults_last && self.config.membership && self.rng.random_bool(0.3) {
            return self.change_something(life, &members);
        }
        Ok(())
    }

    /// The running member that has applied the most, with the members it knows.
    pub(crate) fn best_informed(&self) -> Option<(Life, Membership)> {
        let running = self.members.values().filter_map(|member| {
            let machine = member.shell.as_ref()?.machine();
            Some((machine.consistent_index(), member.life(), machine))
        });
        let (_, life, machine) = running.max_by_key(|(index, life, _)| (*index, life.id))?;
        Some((life, machine.membership().clone()))
    }

    /// Whether the operator has nothing left to do.
    pub(crate) fn is_membership_settled(&self, members: &Membership) -> bool {
        members.members.keys().all(|id| {
            self.members.get(id).is_some_and(|member| !member.is_gone && member.shell.is_some())
        })
    }

    /// Starts members that were added, with empty disks.
    fn start_joined(&mut self, members: &Membership) -> Result<(), Violation> {
        let joined: Vec<NodeId> = self
            .admin
            .proposed
            .iter()
            .filter(|id| members.members.contains_key(id))
            .copied()
            .collect();
        for id in joined {
            self.admin.proposed.remove(&id);
            let cluster_id = self.admin.cluster_id;
            let founding = Founding { local: id, cluster_id, members: Vec::new() };
            let disk = SimDisk::new(self.rng.random());
            self.members.insert(id, Member::new(id, founding, disk));
            self.admin.added += 1;
            self.boot(id)?;
        }
        Ok(())
    }

    fn change_something(&mut self, life: Life, members: &Membership) -> Result<(), Violation> {
        let voters: Vec<NodeId> = members.voters().map(|member| member.id).collect();
        if voters.len() < self.config.members || (voters.len() < 6 && self.rng.random_bool(0.4)) {
            return self.propose_addition(life, members);
        }
        let id = voters[self.rng.random_range(0..voters.len())];
        let knows = |other: &Member| {
            other.shell.as_ref().is_some_and(|shell| shell.machine().membership() == members)
        };
        let is_quiet = self.schedule.now_us() > self.admin.changed_us + CHANGE_US;
        let others_are_safe = members.members.keys().filter(|other| **other != id).all(|other| {
            self.members.get(other).is_some_and(knows) && self.oracles.has_all_committed(*other)
        });
        if voters.len() >= 3 && others_are_safe && is_quiet {
            return self.lose_disk(id);
        }
        let is_calm = self.rng.random_bool(0.5);
        if voters.len() > 1 && !is_calm { self.propose_removal(life, members, id) } else { Ok(()) }
    }

    /// A disk is lost with all that was on it.
    fn lose_disk(&mut self, id: NodeId) -> Result<(), Violation> {
        let now_us = self.schedule.now_us();
        self.trace.line(now_us, || format!("{id}: loses its disk"));
        if let Some(member) = self.members.get(&id) {
            let life = member.life();
            self.leave(life);
        }
        if let Some(member) = self.members.get_mut(&id) {
            member.disk = SimDisk::new(0);
            member.is_gone = true;
        }
        Ok(())
    }

    fn propose_addition(&mut self, life: Life, members: &Membership) -> Result<(), Violation> {
        let is_learner = self.rng.random_bool(0.4);
        if members.check_add(is_learner, &self.connections(life.id), Rule::Quorum).is_err() {
            return Ok(());
        }
        self.admin.urls += 1;
        let urls = [format!("http://10.0.1.{}:2380", self.admin.urls)];
        let seconds = i64::try_from(self.schedule.now_us() / 1_000_000).unwrap_or(0);
        let Some(member) = membership::bootstrap::joining_member(&urls, is_learner, seconds) else {
            return Ok(());
        };
        let change_type =
            if is_learner { ConfChangeType::AddLearnerNode } else { ConfChangeType::AddNode };
        let context = json::conf_change_context(&member, false);
        self.admin.proposed.insert(member.id);
        self.propose_change(life, change_type, member.id, context)
    }

    fn propose_removal(
        &mut self,
        life: Life,
        members: &Membership,
        id: NodeId,
    ) -> Result<(), Violation> {
        // Known hole (docs/simulation.md): a leader that is removed may be the only one to know.
        let leads = |member: &Member| member.shell.as_ref().is_some_and(|shell| shell.leads());
        if self.members.get(&id).is_some_and(leads) {
            return Ok(());
        }
        if members.check_remove(id, &self.connections(life.id)).is_err() {
            return Ok(());
        }
        self.propose_change(life, ConfChangeType::RemoveNode, id, bytes::Bytes::new())
    }

    /// Promotes a learner that has nearly all that its leader has.
    fn promote_when_ready(&mut self, id: NodeId) -> Result<(), Violation> {
        let ready = self.members.values().find(|member| {
            member.shell.as_ref().is_some_and(|shell| {
                let status = shell.driver.status();
                let last = status.last_index.0;
                status.progress.iter().any(|(learner, progress)| {
                    *learner == id && progress.matched.0 + LEARNER_LAG_MAX >= last
                })
            })
        });
        let Some(life) = ready.map(Member::life) else { return Ok(()) };
        let context = json::conf_change_context(&Descriptor { id, ..Descriptor::default() }, true);
        self.propose_change(life, ConfChangeType::AddNode, id, context)
    }

    fn propose_change(
        &mut self,
        life: Life,
        change_type: ConfChangeType,
        node_id: NodeId,
        context: bytes::Bytes,
    ) -> Result<(), Violation> {
        let request = self.clients.next_request();
        let now_us = self.schedule.now_us();
        self.admin.changed_us = now_us;
        self.trace.line(now_us, || format!("{}: asks for {change_type:?} {node_id}", life.id));
        let change = ConfChange { id: request.0, change_type, node_id: node_id.0, context };
        self.post(life, Input::ProposeConfChange(request, change))
    }

    /// Who a member has been connected to, long enough.
    fn connections(&self, local: NodeId) -> Connections {
        let up: BTreeSet<NodeId> = self.ids_up().into_iter().collect();
        let active = up.into_iter().filter(|id| !self.network.is_cut((*id, local)));
        Connections { local, active_since_ms: active.map(|id| (id, 0)).collect(), now_ms: 60_000 }
    }
}
