//! Clients that watch the v2 tree, once or as a stream, and go on by `waitIndex`.
//!
//! Owns:       the watchers as clients see them, and a source of chance of their own.
//! Uses:       the world to reach members.
//! Never:      an event that was not read before the member died.
//! Invariants: a client asks for the index behind the last event that it was told.
//! Source:     api-v2.md 3.

use node::{V2Events, V2Next};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use v2store::Watch;

use crate::Violation;
use crate::clients::KEYS;
use crate::requests::v2_path;
use crate::schedule::{Event, Life};
use crate::shell::v2_poll;
use crate::world::World;

/// How many of them.
const CLIENTS: usize = 3;
/// Longest pause between two turns.
const PAUSE_US: u64 = 60_000;

/// What is expected of a registration.
struct Registered {
    life: Life,
    events: V2Events,
    /// The event that answered it at once.
    past: Option<u64>,
    /// First index that may be told.
    from: u64,
    /// How often the event at `from` has been told.
    times: usize,
}

/// One client.
struct Client {
    watch: Watch,
    /// Index behind the last event that it was told; 0 for none.
    next: u64,
    registered: Option<Registered>,
}

/// All of them.
pub(crate) struct V2WatchClients {
    rng: StdRng,
    clients: Vec<Option<Client>>,
    pub(crate) told: u64,
}

impl V2WatchClients {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x0f2a_77c4);
        let clients = (0..CLIENTS).map(|_| Some(Client::draw(&mut rng))).collect();
        Self { rng, clients, told: 0 }
    }
}

impl Client {
    fn draw(rng: &mut StdRng) -> Self {
        let number = rng.random_range(0..KEYS);
        let key = match rng.random_range(0..4) {
            0 => "/1/keys".to_owned(),
            1 => "/1".to_owned(),
            2 => format!("/1/fading/{number}"),
            _ => v2_path(number),
        };
        let (recursive, stream) = (rng.random_bool(0.7), rng.random_bool(0.5));
        Self { watch: Watch { key, recursive, stream, since: 0 }, next: 0, registered: None }
    }
}

impl World {
    pub(crate) fn start_v2_watch_clients(&mut self) {
        for number in 0..CLIENTS {
            self.schedule.after(50_000, Event::V2WatchClient(number));
        }
    }

    /// A client reads what has come, or registers.
    pub(crate) fn v2_watch_client_turn(&mut self, number: usize) -> Result<(), Violation> {
        let delay_us = self.v2_watch_clients.rng.random_range(1..PAUSE_US);
        self.schedule.after(delay_us, Event::V2WatchClient(number));
        let Some(mut client) = self.v2_watch_clients.clients[number].take() else { return Ok(()) };
        let result = match client.registered.is_some() {
            true => self.v2_read(&mut client),
            false => self.v2_register(&mut client),
        };
        self.v2_watch_clients.clients[number] = Some(client);
        result
    }

    fn v2_register(&mut self, client: &mut Client) -> Result<(), Violation> {
        let up = self.ids_worth_watching();
        if up.is_empty() {
            return Ok(());
        }
        let id = up[self.v2_watch_clients.rng.random_range(0..up.len())];
        let Some(member) = self.members.get_mut(&id) else { return Ok(()) };
        let life = member.life();
        let Some(shell) = &mut member.shell else { return Ok(()) };
        let index = shell.machine().v2().index();
        let watch = Watch { since: client.next, ..client.watch.clone() };
        let registered = shell.v2_watch(&watch);
        self.trace.number(index ^ id.0);
        let Ok(registered) = registered else {
            // Forgotten here; a client begins anew, with a gap.
            if client.next > index || client.next == 0 {
                let detail = format!("{watch:?} is refused at {index}");
                return Err(Violation::new("v2 watch", detail));
            }
            client.next = 0;
            return Ok(());
        };
        let from = if client.next == 0 { index + 1 } else { client.next };
        let past = self.oracles.v2_past(&watch, from, index);
        let now_us = self.schedule.now_us();
        self.trace.line(now_us, || format!("{id}: at {index} {watch:?}, answered by {past:?}"));
        let from = from.max(index + 1);
        let events = registered.events;
        client.registered = Some(Registered { life, events, past, from, times: 0 });
        client.next = client.next.max(if past.is_none() { from } else { 0 });
        Ok(())
    }

    fn v2_read(&mut self, client: &mut Client) -> Result<(), Violation> {
        let Some(mut registered) = client.registered.take() else { return Ok(()) };
        while let Some(next) = v2_poll(&mut registered.events) {
            let V2Next::Event(notice) = next else { return Ok(()) };
            let event = notice.event();
            let index = event.node.modified_index;
            let now_us = self.schedule.now_us();
            self.trace.line(now_us, || format!("{}: v2 tells {event:?}", registered.life.id));
            self.trace.number(index);
            self.v2_watch_clients.told += 1;
            let right = match registered.past {
                Some(past) => Some((past, 1)),
                None => self.oracles.v2_next(&client.watch, registered.from),
            };
            let is_right = right.is_some_and(|(right, _)| right == index)
                && self.oracles.is_v2_event(index, event);
            if !is_right {
                let (watch, from) = (&client.watch, registered.from);
                let detail = format!("{watch:?} from {from} is told {event:?}, not {right:?}");
                return Err(Violation::new("v2 watch", detail));
            }
            client.next = index + 1;
            if registered.past.is_some() || !client.watch.stream {
                // A stream that the history answered stays silent; its client asks again.
                return Ok(());
            }
            registered.times += 1;
            if right.is_some_and(|(_, times)| times == registered.times) {
                (registered.from, registered.times) = (index + 1, 0);
            } else {
                registered.from = index;
            }
        }
        if self.is_alive(registered.life) && self.is_worth_watching(registered.life.id) {
            client.registered = Some(registered);
        }
        Ok(())
    }

    /// Why not all v2 watchers have been told of everything.
    pub(crate) fn v2_watchers_missing(&self) -> Option<String> {
        for client in self.v2_watch_clients.clients.iter().flatten() {
            let Some(registered) = &client.registered else { continue };
            let missing = match registered.past {
                Some(past) => Some((past, 1)),
                None => self.oracles.v2_next(&client.watch, registered.from),
            };
            if let Some((index, _)) = missing {
                return Some(format!("{:?} was not told of {index}", client.watch));
            }
        }
        None
    }
}
