//! Clients that watch: each has a stream with some watchers at one member, reads it or lets it
//! wait, loses it, and goes on from where it was at another member.
//!
//! Owns:       the watchers as their clients see them, and the source of chance of all of this: a
//!             run without watchers would be the same run.
//! Uses:       the world to reach members.
//! Never:      knowledge that a client has not been told.
//! Invariants: a client resumes as client libraries do: behind the last event or progress that it
//!             has read; what waits in a queue that was lost it has not.
//! Source:     api-v3.md 3.

use std::collections::BTreeMap;

use bytes::Bytes;
use mvcc::watch::WatchSpec;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use types::{KeyRange, NodeId};

use crate::Violation;
use crate::clients::KEYS;
use crate::oracle::Interest;
use crate::requests::v3_key;
use crate::schedule::{Event, Life};
use crate::shell::WatchItem;
use crate::world::World;

/// Clients with a stream each.
const CLIENTS: usize = 2;
/// Watchers of one stream, at most.
const WATCHERS_MAX: usize = 4;
/// Longest pause between two turns.
const PAUSE_US: u64 = 30_000;
/// Longest pause of a reader that is slow.
const SLOW_US: u64 = 600_000;

/// One watcher.
struct Watcher {
    interest: Interest,
    progress_notify: bool,
    /// First revision that it wants; 0 until it has been told where it began.
    next: i64,
    /// Its ID on the present stream.
    id: Option<i64>,
    /// Whether it has read that it was made.
    is_made: bool,
}

/// One client.
#[derive(Default)]
struct Client {
    stream: Option<(Life, u64)>,
    watchers: Vec<Watcher>,
}

/// All of them.
pub(crate) struct WatchClients {
    pub(crate) rng: StdRng,
    clients: Vec<Client>,
    /// Members whose hub has been asked to go on.
    armed: BTreeMap<NodeId, u64>,
    /// Events read.
    pub(crate) told: u64,
    /// Streams opened by a client that had lost one.
    pub(crate) resumed: u64,
    /// Times that a client was told of a gap.
    pub(crate) gaps: u64,
    pub(crate) progressed: u64,
}

impl WatchClients {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x77a7_c4e5);
        let clients = (0..CLIENTS).map(|_| Client::new(&mut rng)).collect();
        let armed = BTreeMap::new();
        Self { rng, clients, armed, told: 0, resumed: 0, gaps: 0, progressed: 0 }
    }
}

impl Client {
    fn new(rng: &mut StdRng) -> Self {
        let count = rng.random_range(1..=WATCHERS_MAX);
        Self { stream: None, watchers: (0..count).map(|_| Watcher::draw(rng, 1)).collect() }
    }
}

impl Watcher {
    /// A watcher from the past, from now on, or from the future.
    fn draw(rng: &mut StdRng, revision: i64) -> Self {
        let first = rng.random_range(0..KEYS);
        let end = rng.random_range(first + 1..=KEYS);
        let kinds = rng.random_range(0..6);
        let interest = Interest {
            keys: first..end,
            no_put: kinds == 0,
            no_delete: kinds == 1,
            prev_kv: rng.random_bool(0.5),
        };
        let next = match rng.random_range(0..3) {
            0 => 0,
            1 => (revision - rng.random_range(0..20)).max(1),
            _ => revision + rng.random_range(1..6),
        };
        let progress_notify = rng.random_bool(0.5);
        Self { interest, progress_notify, next, id: None, is_made: false }
    }

    fn spec(&self) -> WatchSpec {
        let keys = &self.interest.keys;
        let range = if keys.end == keys.start + 1 {
            KeyRange::One(v3_key(keys.start))
        } else if keys.end == KEYS {
            KeyRange::from_request(v3_key(keys.start), Bytes::from_static(b"\0"))
        } else {
            KeyRange::from_request(v3_key(keys.start), v3_key(keys.end))
        };
        WatchSpec {
            range,
            no_put: self.interest.no_put,
            no_delete: self.interest.no_delete,
            prev_kv: self.interest.prev_kv,
            progress_notify: self.progress_notify,
        }
    }
}

impl World {
    /// Lets the hub of a member go on if it has something to do.
    pub(crate) fn arm_watch(&mut self, life: Life) {
        let has_work = self
            .members
            .get(&life.id)
            .and_then(|member| member.shell.as_ref())
            .is_some_and(|shell| shell.watch_has_work());
        let armed = &mut self.watch_clients.armed;
        if has_work && armed.insert(life.id, life.number) != Some(life.number) {
            let delay_us = self.watch_clients.rng.random_range(1..8_000);
            self.schedule.after(delay_us, Event::Watch(life));
        }
    }

    /// The hub of a member does one step.
    pub(crate) fn watch_turn(&mut self, life: Life) -> Result<(), Violation> {
        if self.watch_clients.armed.get(&life.id) == Some(&life.number) {
            self.watch_clients.armed.remove(&life.id);
        }
        let Some(member) = self.members.get_mut(&life.id).filter(|it| it.life() == life) else {
            return Ok(());
        };
        let Some(shell) = &mut member.shell else { return Ok(()) };
        let result = shell.watch_step(&mut self.watch_clients.rng);
        self.arm_watch(life);
        self.after_step(life, result)
    }

    /// A client of watches does something.
    pub(crate) fn watch_client_turn(&mut self, number: usize) -> Result<(), Violation> {
        let is_slow = self.faults_last && self.watch_clients.rng.random_bool(0.05);
        let pause_us = if is_slow { SLOW_US } else { PAUSE_US };
        let delay_us = self.watch_clients.rng.random_range(1..pause_us);
        self.schedule.after(delay_us, Event::WatchClient(number));
        let Some(mut client) = self.watch_clients.clients.get_mut(number).map(std::mem::take)
        else {
            return Ok(());
        };
        let result = self.watch_client_acts(&mut client);
        let at = client.stream;
        self.watch_clients.clients[number] = client;
        if let Some((life, _)) = at {
            self.arm_watch(life);
        }
        result
    }

    fn watch_client_acts(&mut self, client: &mut Client) -> Result<(), Violation> {
        if client.stream.is_some_and(|(life, _)| !self.is_alive(life)) {
            client.stream = None;
        }
        if client.stream.is_some_and(|(life, _)| !self.is_worth_watching(life.id)) {
            self.watch_hang_up(client);
        }
        if self.faults_last && self.watch_clients.rng.random_bool(0.02) {
            self.watch_hang_up(client);
        }
        if client.stream.is_none() {
            self.watch_connect(client);
        }
        self.watch_read(client)?;
        self.watch_ask(client);
        Ok(())
    }

    /// Once faults have ended nobody stays with a member that does not know that it was removed.
    pub(crate) fn is_worth_watching(&self, id: NodeId) -> bool {
        self.faults_last
            || self.best_informed().is_some_and(|(_, known)| known.members.contains_key(&id))
    }

    pub(crate) fn ids_worth_watching(&self) -> Vec<NodeId> {
        self.ids_up().into_iter().filter(|id| self.is_worth_watching(*id)).collect()
    }

    /// The connection is lost, with whatever was on its way.
    fn watch_hang_up(&mut self, client: &mut Client) {
        let Some((life, stream)) = client.stream.take() else { return };
        let shell = self.members.get_mut(&life.id).and_then(|member| member.shell.as_mut());
        if let Some(shell) = shell {
            shell.watch_close(stream);
        }
    }

    fn watch_connect(&mut self, client: &mut Client) {
        let up = self.ids_worth_watching();
        if up.is_empty() {
            return;
        }
        let id = up[self.watch_clients.rng.random_range(0..up.len())];
        let Some(member) = self.members.get_mut(&id) else { return };
        let life = member.life();
        let Some(shell) = &mut member.shell else { return };
        let stream = shell.watch_open();
        client.stream = Some((life, stream));
        self.watch_clients.resumed += 1;
        for watcher in &mut client.watchers {
            watcher.id = shell.watch_create(stream, watcher.spec(), watcher.next);
            watcher.is_made = false;
        }
        let now_us = self.schedule.now_us();
        self.trace.line(now_us, || {
            let from: Vec<i64> = client.watchers.iter().map(|watcher| watcher.next).collect();
            format!("{id}: stream {stream} with watchers from {from:?}")
        });
        self.trace.number(id.0 ^ stream);
    }

    /// Reads some of what waits.
    fn watch_read(&mut self, client: &mut Client) -> Result<(), Violation> {
        let Some((life, stream)) = client.stream else { return Ok(()) };
        for _ in 0..self.watch_clients.rng.random_range(0..=12) {
            let shell = self.members.get_mut(&life.id).and_then(|member| member.shell.as_mut());
            let Some(item) = shell.and_then(|shell| shell.watch_next(stream)) else { break };
            let now_us = self.schedule.now_us();
            self.trace.line(now_us, || format!("{}: stream {stream} tells {item:?}", life.id));
            self.watch_item(client, &item)?;
        }
        Ok(())
    }

    fn watch_item(&mut self, client: &mut Client, item: &WatchItem) -> Result<(), Violation> {
        let of = match item {
            WatchItem::Progress { id, .. } => *id,
            WatchItem::Created { id, .. }
            | WatchItem::Compacted { id, .. }
            | WatchItem::Events { id, .. } => Some(*id),
        };
        let stream = client.stream;
        for watcher in &mut client.watchers {
            if of.is_none_or(|of| watcher.id == Some(of)) {
                self.watcher_item(stream, watcher, item)?;
            }
        }
        Ok(())
    }

    fn watcher_item(
        &mut self,
        stream: Option<(Life, u64)>,
        watcher: &mut Watcher,
        item: &WatchItem,
    ) -> Result<(), Violation> {
        match item {
            WatchItem::Created { revision, .. } => {
                watcher.is_made = true;
                if watcher.next == 0 {
                    watcher.next = revision + 1;
                }
                self.trace.number(revision.unsigned_abs());
            }
            WatchItem::Events { events, .. } => {
                watcher.next = self.oracles.watched(&watcher.interest, watcher.next, events)?;
                self.watch_clients.told += events.len() as u64;
                self.trace.number(watcher.next.unsigned_abs());
            }
            WatchItem::Progress { revision, .. } => {
                // One that is being made has not been asked about.
                if watcher.is_made {
                    let next = self.oracles.progress(&watcher.interest, watcher.next, *revision)?;
                    watcher.next = next;
                    self.watch_clients.progressed += 1;
                }
            }
            WatchItem::Compacted { id, compact_revision } => {
                self.oracles.watch_compacted(watcher.next, *compact_revision)?;
                self.watch_clients.gaps += 1;
                watcher.next = *compact_revision;
                watcher.is_made = false;
                let Some((life, stream)) = stream else { return Ok(()) };
                let shell = self.members.get_mut(&life.id).and_then(|it| it.shell.as_mut());
                if let Some(shell) = shell {
                    shell.watch_cancel(stream, *id);
                    watcher.id = shell.watch_create(stream, watcher.spec(), watcher.next);
                }
            }
        }
        Ok(())
    }

    /// Asks for progress, or for another watcher instead of one.
    fn watch_ask(&mut self, client: &mut Client) {
        let Some((life, stream)) = client.stream else { return };
        let revision = self.oracles.model().revision();
        let Some(member) = self.members.get_mut(&life.id) else { return };
        let Some(shell) = &mut member.shell else { return };
        let rng = &mut self.watch_clients.rng;
        match rng.random_range(0..100) {
            0..20 => shell.watch_request_progress(stream),
            20..30 => shell.watch_notify_progress(stream),
            30..33 => {
                let position = rng.random_range(0..client.watchers.len());
                let watcher = &mut client.watchers[position];
                // Whatever waits for the old one is for nobody.
                if let Some(id) = watcher.id {
                    shell.watch_cancel(stream, id);
                }
                *watcher = Watcher::draw(rng, revision);
                watcher.id = shell.watch_create(stream, watcher.spec(), watcher.next);
            }
            _ => {}
        }
    }

    /// Why not all watchers have been told of everything.
    pub(crate) fn watchers_missing(&self) -> Option<String> {
        let watchers = self.watch_clients.clients.iter().flat_map(|client| &client.watchers);
        for watcher in watchers {
            let missing = self.oracles.watch_missing(&watcher.interest, watcher.next);
            if watcher.next == 0 || missing > 0 {
                let (interest, next) = (&watcher.interest, watcher.next);
                return Some(format!("{interest:?} at {next} lacks {missing} changes"));
            }
        }
        None
    }

    /// The clients begin.
    pub(crate) fn start_watch_clients(&mut self) {
        for number in 0..CLIENTS {
            self.schedule.after(50_000, Event::WatchClient(number));
        }
    }
}
