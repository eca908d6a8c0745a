//! The second phase: faults have ended, now the cluster must work, and everything must be there.
//!
//! Owns:       nothing.
//! Uses:       the world.
//! Never:      a fault.
//! Invariants: a run ends with all members equal, in memory and on disk.
//! Source:     style.md 9 (safety phase, liveness phase).

use membership::Membership;
use node::Paths;
use types::NodeId;

use crate::Violation;
use crate::clients::KEYS;
use crate::requests::{self, Request};
use crate::world::World;

/// Clients go on this long after the faults.
const WORK_US: u64 = 500_000;
/// Within this the cluster must have settled.
const LIMIT_US: u64 = 60_000_000;
/// Between two looks at it.
const LOOK_US: u64 = 50_000;

impl World {
    /// Ends the faults and waits for what must follow.
    pub(crate) fn judge_liveness(&mut self) -> Result<(), Violation> {
        self.heal();
        let now_us = self.schedule.now_us();
        self.trace.line(now_us, || "faults end".to_owned());
        self.run_until(now_us + WORK_US)?;
        self.clients_work = false;
        let limit_us = self.schedule.now_us() + LIMIT_US;
        self.settle(limit_us)?;
        self.probe_everywhere(limit_us)?;
        self.settle(limit_us)?;
        self.judge_end()?;
        self.restart_everyone(limit_us)?;
        self.judge_end()
    }

    /// Waits until nothing is under way.
    fn settle(&mut self, limit_us: u64) -> Result<(), Violation> {
        loop {
            self.run_until(self.schedule.now_us() + LOOK_US)?;
            self.judge_overdue_leases()?;
            match self.unsettled() {
                None => return Ok(()),
                Some(why) if self.schedule.now_us() >= limit_us => {
                    return Err(Violation::new("liveness", why));
                }
                Some(_) => {}
            }
        }
    }

    /// Why the cluster has not come to rest.
    fn unsettled(&self) -> Option<String> {
        let Some((_, membership)) = self.best_informed() else {
            return Some("no member runs".to_owned());
        };
        if !self.is_membership_settled(&membership) || membership.learners().count() > 0 {
            return Some(format!("members are not settled: {membership:?}"));
        }
        if !self.clients.is_idle() {
            return Some("requests are not answered".to_owned());
        }
        let leases = self.leases_left();
        if leases > 0 {
            return Some(format!("{leases} leases have not ended"));
        }
        if let Some(why) = self.v2_watchers_missing() {
            return Some(why);
        }
        if let Some(why) = self.watchers_missing() {
            return Some(why);
        }
        let shells = self.shells(&membership);
        let leaders = shells.iter().filter(|(_, shell)| shell.leads()).count();
        if leaders != 1 {
            return Some(format!("{leaders} leaders"));
        }
        let last = shells.iter().map(|(_, shell)| shell.driver.status().last_index).max();
        let behind = shells.iter().find(|(_, shell)| {
            !shell.is_settled() || Some(shell.machine().consistent_index()) != last
        });
        behind.map(|(id, shell)| format!("{id} is behind: {:?}", shell.driver.status()))
    }

    fn shells(&self, membership: &Membership) -> Vec<(NodeId, &crate::shell::Shell)> {
        let ids = membership.members.keys();
        ids.filter_map(|id| Some((*id, self.members.get(id)?.shell.as_deref()?))).collect()
    }

    /// A write through every member must be answered.
    fn probe_everywhere(&mut self, limit_us: u64) -> Result<(), Violation> {
        let Some((_, membership)) = self.best_informed() else { return Ok(()) };
        for (number, id) in membership.members.keys().enumerate() {
            let key = u8::try_from(number).unwrap_or(0) % KEYS;
            let before = self.clients.answered;
            while self.clients.answered == before {
                if self.schedule.now_us() >= limit_us {
                    let detail = format!("a write through {id} is not answered");
                    return Err(Violation::new("liveness", detail));
                }
                let request_id = self.clients.next_request();
                let value = format!("probe{}", request_id.0);
                let request = Request::Put { key, value, lease: 0 };
                self.call(usize::MAX, *id, request_id, request)?;
                self.wait_for_call()?;
            }
        }
        Ok(())
    }

    fn wait_for_call(&mut self) -> Result<(), Violation> {
        while !self.clients.is_idle() {
            self.run_until(self.schedule.now_us() + LOOK_US)?;
        }
        Ok(())
    }

    /// Every member holds what the model holds; databases are whole and equal.
    fn judge_end(&self) -> Result<(), Violation> {
        let Some((_, membership)) = self.best_informed() else { return Ok(()) };
        let mut hashes = Vec::new();
        for (id, shell) in self.shells(&membership) {
            shell.machine().check_invariants();
            self.judge_contents(id, shell)?;
            let hash = shell.hash_kv().map_err(|stop| fault(id, &stop))?;
            let hash = hash.map_err(|error| fault(id, &error))?;
            hashes.push((hash.hash, hash.hash_revision, hash.compact_revision));
            self.judge_database(id)?;
        }
        hashes.dedup();
        if hashes.len() == 1 {
            return Ok(());
        }
        Err(Violation::new("equal histories", format!("HashKV differs: {hashes:?}")))
    }

    fn judge_contents(&self, id: NodeId, shell: &crate::shell::Shell) -> Result<(), Violation> {
        let model = self.oracles.model();
        for key in 0..KEYS {
            let found = shell.range(&requests::range(key)).map_err(|stop| fault(id, &stop))?;
            let found = found.map_err(|error| fault(id, &error))?;
            let value = requests::value_of(&found.kvs);
            let node = shell.machine().v2().get(&requests::v2_path(key), false, false);
            let node = node.ok().and_then(|event| event.node.value);
            if !model.is_value(key, value.as_deref()) || !model.is_node(key, node.as_deref()) {
                let detail = format!("{id} has {value:?} and {node:?} for key {key}");
                return Err(Violation::new("acknowledged", detail));
            }
        }
        Ok(())
    }

    fn judge_database(&self, id: NodeId) -> Result<(), Violation> {
        let Some(member) = self.members.get(&id) else { return Ok(()) };
        let disk = member.disk.fork().disk();
        let path = Paths::new(std::path::Path::new("/data"), None).db();
        bolt::check(disk.as_ref(), &path).map(drop).map_err(|error| fault(id, &error))
    }

    /// What is on disk is enough: everyone is killed, and comes back equal.
    fn restart_everyone(&mut self, limit_us: u64) -> Result<(), Violation> {
        self.ids_up().into_iter().for_each(|id| self.power_loss(id));
        self.settle(limit_us)
    }
}

fn fault(id: NodeId, error: &dyn std::fmt::Display) -> Violation {
    Violation::new("fault", format!("{id}: {error}"))
}
