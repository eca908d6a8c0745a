//! What goes wrong: crashes, partitions, disks, orders to hand over.
//!
//! Owns:       nothing; draws and carries out.
//! Uses:       the world.
//! Never:      damage that no member can survive: bytes that were synced stay.
//! Invariants: a disk that failed a sync loses its power before anyone reads it again (what a page
//!             cache shows after a failed sync is not what the disk has).
//! Source:     design.md 9.

use consensus::Input;
use rand::Rng;
use types::NodeId;

use crate::Violation;
use crate::schedule::{Event, Life};
use crate::world::World;

/// Disk operations within which an announced power cut happens.
const CUT_WITHIN: u64 = 30;

impl World {
    /// Starts the clocks of all faults.
    pub(crate) fn plan_faults(&mut self) {
        let faults = self.config.faults;
        self.plan(faults.crash_ms, Event::Crash);
        self.plan(faults.partition_ms, Event::Partition);
        self.plan(faults.disk_ms, Event::DiskFault);
        self.plan(faults.transfer_ms, Event::TransferLeader);
    }

    /// Draws when a fault happens next; never, when its mean is 0.
    fn plan(&mut self, mean_ms: u64, event: Event) {
        if mean_ms > 0 {
            let delay_us = self.rng.random_range(0..2_000 * mean_ms);
            self.schedule.after(delay_us, event);
        }
    }

    pub(crate) fn crash_fault(&mut self) {
        if !self.faults_last {
            return;
        }
        self.plan(self.config.faults.crash_ms, Event::Crash);
        let up = self.ids_up();
        if up.is_empty() {
            return;
        }
        if self.rng.random_bool(0.1) {
            up.into_iter().for_each(|id| self.power_loss(id));
            return;
        }
        let id = up[self.rng.random_range(0..up.len())];
        match self.rng.random_range(0..10) {
            0..4 => self.power_loss(id),
            4..7 => self.cut_power_soon(id),
            _ => self.kill(id),
        }
    }

    /// Lets the power go within the next operations of a disk.
    pub(crate) fn cut_power_soon(&mut self, id: NodeId) {
        let within = self.rng.random_range(1..=CUT_WITHIN);
        if let Some(member) = self.members.get_mut(&id) {
            let at = member.disk.write_count() + within;
            member.cut_at = Some(at);
            member.disk.crash_at_write(at);
        }
    }

    /// The machine loses its power: un-synced bytes are kept, torn or lost.
    pub(crate) fn power_loss(&mut self, id: NodeId) {
        self.end_life(id, "loses power");
        if let Some(member) = self.members.get_mut(&id) {
            member.disk.crash();
            member.cut_at = None;
            member.is_disk_faulty = false;
        }
    }

    /// The process dies; what it wrote stays readable, synced or not.
    pub(crate) fn kill(&mut self, id: NodeId) {
        if self.members.get(&id).is_some_and(|member| member.is_disk_faulty) {
            self.power_loss(id);
        } else {
            self.end_life(id, "is killed");
        }
    }

    fn end_life(&mut self, id: NodeId, how: &str) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let life = member.life();
        if member.shell.take().is_none() {
            return;
        }
        self.crashes += 1;
        let now_us = self.schedule.now_us();
        self.trace.line(now_us, || format!("{id}: {how}"));
        self.trace.number(id.0);
        self.give_up_at(life);
        self.spread_word_of_end(id);
        let longest_us = if self.rng.random_bool(0.3) { 1_500_000 } else { 100_000 };
        let pause_us = self.rng.random_range(1_000..longest_us);
        self.schedule.after(pause_us, Event::Restart(id));
    }

    /// Members that were connected to one that has ended find nobody listening there any more.
    fn spread_word_of_end(&mut self, ended: NodeId) {
        for id in self.ids_up() {
            if self.rng.random_bool(0.8) {
                self.tell_gone(id, ended);
            }
        }
    }

    /// A port that refuses connections though the member behind it lives.
    fn spread_false_word(&mut self) {
        let up = self.ids_up();
        for id in &up {
            if self.rng.random_bool(0.2) {
                let other = up[self.rng.random_range(0..up.len())];
                self.tell_gone(*id, other);
            }
        }
    }

    fn tell_gone(&mut self, id: NodeId, gone: NodeId) {
        let Some(member) = self.members.get(&id) else { return };
        let post = Event::Post(member.life(), Box::new(Input::PeerGone(gone)));
        let delay_us = self.rng.random_range(100..100_000);
        self.schedule.after(delay_us, post);
    }

    pub(crate) fn restart(&mut self, id: NodeId) -> Result<(), Violation> {
        let is_down = self.members.get(&id).is_some_and(|it| it.shell.is_none() && !it.is_gone);
        if !is_down {
            return Ok(());
        }
        if self.faults_last && self.config.faults.crash_ms > 0 && self.rng.random_bool(0.15) {
            self.cut_power_soon(id);
        }
        self.boot(id)
    }

    pub(crate) fn partition_fault(&mut self) {
        if !self.faults_last {
            return;
        }
        self.plan(self.config.faults.partition_ms, Event::Partition);
        let ids: Vec<NodeId> = self.members.keys().copied().collect();
        self.network.repartition(&mut self.rng, &ids);
        self.spread_false_word();
        let now_us = self.schedule.now_us();
        let network = &self.network;
        self.trace.line(now_us, || format!("partition: {network:?}"));
    }

    pub(crate) fn disk_fault(&mut self) {
        if !self.faults_last {
            return;
        }
        self.plan(self.config.faults.disk_ms, Event::DiskFault);
        let up = self.ids_up();
        if up.is_empty() {
            return;
        }
        let id = up[self.rng.random_range(0..up.len())];
        let (is_full, after) = (self.rng.random_bool(0.5), self.rng.random_range(0..20));
        if let Some(member) = self.members.get_mut(&id) {
            member.is_disk_faulty = true;
            if is_full {
                member.disk.fail_after_writes(after);
            } else {
                member.disk.fail_sync_once_after(after);
            }
        }
    }

    pub(crate) fn transfer_fault(&mut self) -> Result<(), Violation> {
        if !self.faults_last {
            return Ok(());
        }
        self.plan(self.config.faults.transfer_ms, Event::TransferLeader);
        let leader = self.members.values().find(|it| it.shell.as_ref().is_some_and(|s| s.leads()));
        let Some(life) = leader.map(crate::member::Member::life) else { return Ok(()) };
        let ids: Vec<NodeId> = self.members.keys().copied().collect();
        let to = ids[self.rng.random_range(0..ids.len())];
        self.post(life, Input::TransferLeader(to))
    }

    /// A removed member stops for good.
    pub(crate) fn leave(&mut self, life: Life) {
        self.give_up_at(life);
        if let Some(member) = self.members.get_mut(&life.id)
            && member.life() == life
        {
            member.shell = None;
            member.is_gone = true;
        }
    }

    /// Ends all faults and lets everyone start again.
    pub(crate) fn heal(&mut self) {
        self.faults_last = false;
        self.network.heal();
        let ids: Vec<NodeId> = self.members.keys().copied().collect();
        for id in ids {
            if self.members[&id].is_disk_faulty {
                self.power_loss(id);
            }
            if let Some(member) = self.members.get_mut(&id) {
                member.cut_at = None;
                member.disk.crash_at_write(u64::MAX);
            }
            self.schedule.after(1_000, Event::Restart(id));
        }
    }
}
