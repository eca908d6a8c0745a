//! The run: every event is carried out here, one after the other.
//!
//! Owns:       all members, the network, time, the one source of chance.
//! Uses:       every other module.
//! Never:      anything but the seed decides.
//! Invariants: what a step gave out is carried out and judged before the next event.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use consensus::Input;
use node::boot::Founding;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use simdisk::SimDisk;
use types::NodeId;

use crate::admin::Admin;
use crate::chores::CLOCK_SKEW_MAX_US;
use crate::clients::{Clients, unix_ns};
use crate::lease_clients::LeaseClients;
use crate::member::{Member, describe};
use crate::network::Network;
use crate::oracle::Oracles;
use crate::requests;
use crate::schedule::{Event, Life, Schedule};
use crate::shell::{Shell, Stop};
use crate::trace::Trace;
use crate::turn::{AppliedNote, Note, Task, Turn};
use crate::v2_watch_clients::V2WatchClients;
use crate::watch_clients::WatchClients;
use crate::{Config, Failure, Outcome, Violation};

/// How long a removed member goes on.
const REMOVED_GRACE_US: u64 = 1_000_000;

/// Everything.
pub(crate) struct World {
    pub(crate) config: Config,
    pub(crate) rng: StdRng,
    pub(crate) schedule: Schedule,
    pub(crate) network: Network,
    pub(crate) members: BTreeMap<NodeId, Member>,
    pub(crate) oracles: Oracles,
    pub(crate) clients: Clients,
    pub(crate) watch_clients: WatchClients,
    pub(crate) lease_clients: LeaseClients,
    pub(crate) v2_watch_clients: V2WatchClients,
    pub(crate) admin: Admin,
    pub(crate) trace: Trace,
    /// Whether faults go on.
    pub(crate) faults_last: bool,
    /// Whether clients ask for more.
    pub(crate) clients_work: bool,
    pub(crate) crashes: u64,
    ahead: u64,
    checkpoints: u64,
    installs: u64,
    events: u64,
}

/// Carries out the run of a configuration.
///
/// # Errors
/// The invariant that was broken, with the command that shows it again.
pub fn run(config: &Config) -> Result<Outcome, Box<Failure>> {
    let mut world = World::new(config.clone());
    let result = catch_unwind(AssertUnwindSafe(|| world.run()));
    let violation = match result {
        Ok(Ok(())) => return Ok(world.outcome()),
        Ok(Err(violation)) => violation,
        Err(panic) => Violation::new("panic", panic_text(panic.as_ref())),
    };
    Err(Box::new(Failure {
        config: Box::new(config.clone()),
        violation,
        at_us: world.schedule.now_us(),
        lines: world.trace.take_lines(),
    }))
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "without a message".to_owned())
}

impl World {
    fn new(config: Config) -> Self {
        let mut world = Self {
            rng: StdRng::seed_from_u64(config.seed),
            schedule: Schedule::default(),
            network: Network::new(config.network),
            members: BTreeMap::new(),
            oracles: Oracles::new(config.outside_only),
            clients: Clients::default(),
            watch_clients: WatchClients::new(config.seed),
            lease_clients: LeaseClients::new(config.seed),
            v2_watch_clients: V2WatchClients::new(config.seed),
            admin: Admin::default(),
            trace: Trace::new(config.verbose),
            faults_last: true,
            clients_work: true,
            crashes: 0,
            ahead: 0,
            checkpoints: 0,
            installs: 0,
            events: 0,
            config,
        };
        world.found();
        world
    }

    /// The founding members, none of them started.
    fn found(&mut self) {
        let urls = (1..=self.config.members)
            .map(|number| (format!("m{number}"), vec![format!("http://10.0.0.{number}:2380")]));
        // Names and URLs differ, so that there is no error.
        let (members, cluster_id) =
            membership::bootstrap::initial_members(&urls.collect(), "sim").unwrap_or_default();
        self.admin.cluster_id = cluster_id;
        for descriptor in &members {
            let founding = Founding { local: descriptor.id, cluster_id, members: members.clone() };
            let disk = SimDisk::new(self.rng.random());
            let member = Member::new(descriptor.id, founding, disk);
            self.members.insert(descriptor.id, member);
            let delay_us = self.rng.random_range(0..100_000);
            self.schedule.after(delay_us, Event::Restart(descriptor.id));
        }
    }

    fn run(&mut self) -> Result<(), Violation> {
        for client in 0..self.config.clients {
            self.schedule.after(1_000, Event::Client(client));
        }
        self.start_watch_clients();
        self.start_v2_watch_clients();
        self.schedule.after(50_000, Event::LeaseClient);
        self.schedule.after(1_000, Event::Admin);
        self.plan_faults();
        self.run_until(self.config.safety_us)?;
        self.judge_liveness()
    }

    /// Carries out events until this time.
    pub(crate) fn run_until(&mut self, end_us: u64) -> Result<(), Violation> {
        while self.schedule.now_us() < end_us {
            let Some(event) = self.schedule.next() else { return Ok(()) };
            self.events += 1;
            self.trace.number(self.schedule.now_us());
            self.event(event)?;
        }
        Ok(())
    }

    fn event(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Tick(life) => self.tick(life),
            Event::Task(life, task) => self.with_shell(life, |shell, turn| {
                shell.armed.remove(&task);
                shell.run(task, turn)
            }),
            Event::Post(life, input) => self.post(life, *input),
            Event::Deliver(bytes) => self.deliver(bytes),
            Event::SnapshotArrives { sender, message, image } => {
                self.snapshot_arrives(sender, message, &image)
            }
            Event::SnapshotReceived { sender, receiver, message } => {
                self.snapshot_received(sender, receiver, *message)
            }
            Event::Chores(life) => self.chores_turn(life),
            Event::Leave(life) => {
                self.leave(life);
                Ok(())
            }
            Event::Restart(id) => self.restart(id),
            Event::Client(client) => self.client_turn(client),
            Event::WatchClient(number) => self.watch_client_turn(number),
            Event::V2WatchClient(number) => self.v2_watch_client_turn(number),
            Event::LeaseClient => self.lease_client_turn(),
            Event::Watch(life) => self.watch_turn(life),
            Event::GiveUp(id) => {
                self.give_up(id);
                Ok(())
            }
            Event::Admin => self.admin_turn(),
            Event::TransferLeader => self.transfer_fault(),
            Event::Crash | Event::Partition | Event::DiskFault => {
                self.fault(&event);
                Ok(())
            }
        }
    }

    fn fault(&mut self, event: &Event) {
        match event {
            Event::Crash => self.crash_fault(),
            Event::Partition => self.partition_fault(),
            _ => self.disk_fault(),
        }
    }

    fn tick(&mut self, life: Life) -> Result<(), Violation> {
        if self.is_alive(life) {
            // Clocks of members do not agree.
            let skew = 90 + life.id.0 % 21;
            self.schedule.after(self.config.tick_us * skew / 100, Event::Tick(life));
        }
        self.post(life, Input::Tick)
    }

    pub(crate) fn is_alive(&self, life: Life) -> bool {
        self.members.get(&life.id).is_some_and(|it| it.life() == life && it.shell.is_some())
    }

    /// Members that are running.
    pub(crate) fn ids_up(&self) -> Vec<NodeId> {
        let up = self.members.values().filter(|member| member.shell.is_some());
        up.map(|member| member.id).collect()
    }

    /// Gives raft of a member an input.
    pub(crate) fn post(&mut self, life: Life, input: Input) -> Result<(), Violation> {
        self.with_shell(life, |shell, turn| {
            shell.post(input, turn);
            Ok(())
        })
    }

    /// Lets a life do something, and carries out what follows from it.
    pub(crate) fn with_shell(
        &mut self,
        life: Life,
        work: impl FnOnce(&mut Shell, &mut Turn<'_>) -> Result<(), Stop>,
    ) -> Result<(), Violation> {
        let member = self.members.get_mut(&life.id).filter(|member| member.life() == life);
        let Some(mut shell) = member.and_then(|member| member.shell.take()) else {
            return Ok(());
        };
        let mut turn = Turn::new(&mut self.rng, self.schedule.now_us());
        let result = work(&mut shell, &mut turn);
        let Turn { messages, transfers, wake, notes, .. } = turn;
        for task in wake {
            if shell.armed.insert(task) {
                let delay_us = self.task_delay_us(task);
                self.schedule.after(delay_us, Event::Task(life, task));
            }
        }
        if let Some(member) = self.members.get_mut(&life.id) {
            member.shell = Some(shell);
        }
        self.arm_watch(life);
        self.judge(life, notes)?;
        for message in &messages {
            self.send(life, message)?;
        }
        for transfer in transfers {
            self.send_snapshot(life, transfer)?;
        }
        self.after_step(life, result)
    }

    /// How long a step takes to begin.
    fn task_delay_us(&mut self, task: Task) -> u64 {
        let Config { sync_us, flush_us, .. } = self.config;
        let longest_us = match task {
            Task::Raft => 60,
            Task::LogWrite => 100,
            Task::LogSync => sync_us,
            Task::Apply => 800,
            Task::FlushTake => flush_us,
            Task::FlushCommit | Task::CheckpointSave | Task::CheckpointRelease => 2 * sync_us,
            Task::SnapshotBuild | Task::Compact => 20_000,
            Task::Purge => 1_000,
        };
        self.rng.random_range(1..=longest_us)
    }

    /// Whether the disk of a member was made to fail.
    pub(crate) fn is_excused(&self, id: NodeId) -> bool {
        self.members.get(&id).is_some_and(|member| member.is_cut() || member.is_disk_faulty)
    }

    /// Ends a life whose disk has failed it; any other failure is a violation.
    pub(crate) fn after_step(
        &mut self,
        life: Life,
        result: Result<(), Stop>,
    ) -> Result<(), Violation> {
        if self.members.get(&life.id).is_some_and(Member::is_cut) {
            self.power_loss(life.id);
            return Ok(());
        }
        let Err(stop) = result else { return Ok(()) };
        if self.is_excused(life.id) {
            self.kill(life.id);
            return Ok(());
        }
        Err(Violation::new("fault", describe(life.id, &stop)))
    }

    /// Starts a member from its disk.
    pub(crate) fn boot(&mut self, id: NodeId) -> Result<(), Violation> {
        let Some(mut member) = self.members.remove(&id) else { return Ok(()) };
        let mut turn = Turn::new(&mut self.rng, self.schedule.now_us());
        let booted = member.boot(&self.config, &mut turn);
        let wake = turn.wake;
        let (life, is_cut) = (member.life(), member.is_cut());
        let found = if booted.is_ok() && !is_cut { Some(member.read_log()) } else { None };
        self.members.insert(id, member);
        let now_us = self.schedule.now_us();
        self.trace.line(now_us, || format!("{id}: starts life {}", life.number));
        if is_cut {
            self.lose_power_in_boot(id);
            return Ok(());
        }
        booted.map_err(|error| Violation::new("start", format!("member {id}: {error}")))?;
        let log = found.unwrap_or(Ok(None));
        let log = log.map_err(|error| Violation::new("start", format!("log of {id}: {error}")))?;
        self.judge_start(id, &log.unwrap_or_default())?;
        self.schedule.after(1, Event::Tick(life));
        self.schedule.after(1_000, Event::Chores(life));
        self.with_shell(life, |_, turn| {
            turn.wake = wake;
            Ok(())
        })
    }

    fn lose_power_in_boot(&mut self, id: NodeId) {
        self.power_loss(id);
        if let Some(member) = self.members.get_mut(&id) {
            member.shell = None;
            member.cut_at = None;
            member.disk.crash();
        }
        let pause_us = self.rng.random_range(1_000..100_000);
        self.schedule.after(pause_us, Event::Restart(id));
    }

    fn judge_start(&mut self, id: NodeId, log: &crate::member::LogOnDisk) -> Result<(), Violation> {
        let Some(shell) = self.members.get(&id).and_then(|member| member.shell.as_ref()) else {
            return Ok(());
        };
        let status = shell.driver.status();
        shell.machine().check_invariants();
        let (index, hash) = (shell.machine().consistent_index().0, shell.state_hash());
        self.ahead += u64::from(index > log.commit);
        self.oracles.restarted(id, log, (status.term.0, status.vote.0))?;
        if index == 0 { Ok(()) } else { self.oracles.restored(id, index, hash) }
    }

    /// Lets the judges see what a step did.
    fn judge(&mut self, life: Life, notes: Vec<Note>) -> Result<(), Violation> {
        let (roles, others): (Vec<Note>, Vec<Note>) =
            notes.into_iter().partition(|note| matches!(note, Note::Role { .. }));
        // What a leader was elected with has been handed out by then.
        for note in others.into_iter().chain(roles) {
            self.judge_note(life, note)?;
        }
        Ok(())
    }

    fn judge_note(&mut self, life: Life, note: Note) -> Result<(), Violation> {
        let id = life.id;
        let now_us = self.schedule.now_us();
        match note {
            Note::Role { term, leader, role } => {
                self.trace.line(now_us, || format!("{id}: {role:?}, term {term} led by {leader}"));
                self.trace.number(term ^ id.0);
                self.oracles.role(id, term, role)
            }
            Note::Handed(write) => {
                self.oracles.handed(id, &write);
                Ok(())
            }
            Note::Synced(write) => {
                self.trace.line(now_us, || format!("{id}: synced {write:?}"));
                self.oracles.synced(id, &write)
            }
            Note::V2Event(event, removed) => {
                let latest_ns = unix_ns(now_us + CLOCK_SKEW_MAX_US);
                self.oracles.v2_event(&event, &removed, latest_ns)
            }
            Note::Applied(note) => self.judge_applied(life, &note),
            Note::Rejected(requests, reason) => {
                self.trace.line(now_us, || format!("{id}: rejects {requests:?}: {reason:?}"));
                requests.into_iter().try_for_each(|request| self.refuse(life, request))
            }
            Note::ReadReady(request) => self.serve_read(life, request),
            Note::ReadDropped(requests) => {
                requests.into_iter().for_each(|request| self.give_up(request));
                Ok(())
            }
            Note::Installed { index, state_hash } => {
                self.installs += 1;
                self.trace.line(now_us, || format!("{id}: installed snapshot {index}"));
                self.oracles.restored(id, index, state_hash)
            }
            Note::Checkpoint(index) => {
                self.checkpoints += 1;
                self.trace.line(now_us, || format!("{id}: checkpoint {index}"));
                Ok(())
            }
            Note::SelfRemoved => {
                self.schedule.after(REMOVED_GRACE_US, Event::Leave(life));
                Ok(())
            }
        }
    }

    fn judge_applied(&mut self, life: Life, note: &AppliedNote) -> Result<(), Violation> {
        let now_us = self.schedule.now_us();
        self.trace.number(note.state_hash.unwrap_or(note.entry.index));
        self.trace.line(now_us, || {
            let (index, term) = (note.entry.index, note.entry.term);
            format!("{}: applied {index} of term {term}: request {}", life.id, note.request)
        });
        self.oracles.applied(life.id, note)?;
        self.lease_clients.applied(note.request, now_us)?;
        match &note.reply {
            Some(reply) => self.answer(life, note.request, &requests::answer(reply)),
            None => Ok(()),
        }
    }

    fn outcome(&mut self) -> Outcome {
        Outcome {
            trace: self.trace.hash(),
            events: self.events,
            committed: self.oracles.committed_entries(),
            answered: self.clients.answered,
            crashes: self.crashes,
            ahead: self.ahead,
            checkpoints: self.checkpoints,
            installs: self.installs,
            added: self.admin.added,
            told: self.watch_clients.told,
            resumed: self.watch_clients.resumed,
            gaps: self.watch_clients.gaps,
            progressed: self.watch_clients.progressed,
            renewals: self.lease_clients.renewals,
            expired: self.lease_clients.expired,
            v2_told: self.v2_watch_clients.told,
            lines: self.trace.take_lines(),
        }
    }
}
