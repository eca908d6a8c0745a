//! Clients: each has one request under way at one member, or thinks.
//!
//! Owns:       requests under way and what clients believe.
//! Uses:       the world to carry them.
//! Never:      a retry: a client that does not know the outcome goes on with something else.
//! Invariants: an answer reaches a client only from the life of the member that it asked.
//! Source:     design.md 2.

use std::collections::BTreeMap;

use consensus::Input;
use rand::Rng;
use rand::rngs::StdRng;
use types::{NodeId, RequestId};

use crate::Violation;
use crate::oracle::Floor;
use crate::requests::{self, Answer, Request};
use crate::schedule::{Event, Life};
use crate::shell::{Shell, Stop};
use crate::world::World;

/// How long a client waits for an outcome.
const PATIENCE_US: u64 = 1_500_000;
/// Keys in use: few, so that requests meet.
pub(crate) const KEYS: u8 = 4;

/// A request under way.
struct Call {
    client: usize,
    at: Life,
    floor: Floor,
    request: Request,
}

/// All clients.
#[derive(Default)]
pub(crate) struct Clients {
    calls: BTreeMap<RequestId, Call>,
    last_request: u64,
    /// What each key was last seen to hold, to have something to compare with.
    seen: BTreeMap<(bool, u8), String>,
    revision: i64,
    leases: Vec<i64>,
    pub(crate) answered: u64,
    /// Members that still owe the answer to a last write.
    pub(crate) probes: BTreeMap<RequestId, NodeId>,
}

impl Clients {
    pub(crate) fn next_request(&mut self) -> RequestId {
        self.last_request += 1;
        RequestId(1_000 + self.last_request)
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.calls.is_empty()
    }

    fn learn(&mut self, request: &Request, answer: &Answer) {
        match (request, answer) {
            (Request::Read { key }, Answer::Read { revision, value: Some(value) }) => {
                self.revision = self.revision.max(*revision);
                self.seen.insert((false, *key), value.clone());
            }
            (Request::V2Read { key }, Answer::V2Read { value: Some(value), .. }) => {
                self.seen.insert((true, *key), value.clone());
            }
            (Request::Put { key, value, .. }, Answer::Put { revision }) => {
                self.revision = self.revision.max(*revision);
                self.seen.insert((false, *key), value.clone());
            }
            (Request::V2Set { key, value }, Answer::V2 { .. }) => {
                self.seen.insert((true, *key), value.clone());
            }
            (Request::Grant { lease }, Answer::Granted) => self.leases.push(*lease),
            _ => {}
        }
    }

    /// Draws what to ask next.
    fn draw(&mut self, rng: &mut StdRng, id: RequestId, now_us: u64) -> Request {
        let key = rng.random_range(0..KEYS);
        let value = format!("v{}", id.0);
        let expected = |v2| self.seen.get(&(v2, key)).cloned().unwrap_or_else(|| "no".to_owned());
        match rng.random_range(0..100) {
            0..24 => Request::Put { key, value, lease: 0 },
            24..28 => Request::Put { key, value, lease: self.some_lease(rng) },
            28..36 => Request::Delete { key },
            36..48 => Request::Swap { key, expected: expected(false), value },
            48..51 => Request::Compact { revision: self.revision - rng.random_range(-1..6) },
            51..53 => Request::Grant { lease: i64::try_from(id.0).unwrap_or(1) },
            53..55 => Request::Revoke { lease: self.some_lease(rng) },
            55..66 => Request::V2Set { key, value },
            66..71 => Request::V2Swap { key, expected: expected(true), value },
            71..74 => Request::V2Delete { key },
            74..76 => Request::V2Fading { key, expiration: unix_ns(now_us + 700_000) },
            76..88 => Request::Read { key },
            88..92 => Request::SerializableRead { key },
            _ => Request::V2Read { key },
        }
    }

    fn some_lease(&self, rng: &mut StdRng) -> i64 {
        match self.leases.len() {
            0 => 7,
            count => self.leases[rng.random_range(0..count)],
        }
    }
}

/// Wall-clock time of the run.
pub(crate) fn unix_ns(now_us: u64) -> i64 {
    1_700_000_000_000_000_000 + i64::try_from(now_us * 1_000).unwrap_or(0)
}

impl World {
    /// A client asks a member that is up, or tries again later.
    pub(crate) fn client_turn(&mut self, client: usize) -> Result<(), Violation> {
        let up = self.ids_up();
        if up.is_empty() || !self.clients_work {
            self.schedule.after(50_000, Event::Client(client));
            return Ok(());
        }
        let id = up[self.rng.random_range(0..up.len())];
        let request_id = self.clients.next_request();
        let now_us = self.schedule.now_us();
        let request = self.clients.draw(&mut self.rng, request_id, now_us);
        self.call(client, id, request_id, request)
    }

    /// Sends a request to a member.
    pub(crate) fn call(
        &mut self,
        client: usize,
        id: NodeId,
        request_id: RequestId,
        request: Request,
    ) -> Result<(), Violation> {
        let at = self.members[&id].life();
        self.trace.number(request_id.0 ^ id.0);
        let now_us = self.schedule.now_us();
        self.trace.line(now_us, || format!("{id}: client {client} asks {request_id} {request:?}"));
        let floor = self.oracles.invoked(request_id, &request);
        self.lease_clients.asks(request_id, &request, now_us);
        let input = match &request {
            Request::SerializableRead { .. } => None,
            Request::Read { .. } | Request::V2Read { .. } => {
                Some(Input::ReadIndex(vec![request_id]))
            }
            other => Some(Input::Propose(vec![(request_id, other.encode(request_id))])),
        };
        self.clients.calls.insert(request_id, Call { client, at, floor, request });
        self.schedule.after(PATIENCE_US, Event::GiveUp(request_id));
        match input {
            Some(input) => self.post(at, input),
            None => self.serve_read(at, request_id),
        }
    }

    /// Serves a read from the state of a member as it is now.
    pub(crate) fn serve_read(&mut self, at: Life, id: RequestId) -> Result<(), Violation> {
        let Some(call) = self.clients.calls.get(&id).filter(|call| call.at == at) else {
            return Ok(());
        };
        let shell = self.members.get(&at.id).and_then(|member| member.shell.as_ref());
        let Some(shell) = shell else { return Ok(()) };
        match read(shell, &call.request) {
            Ok(answer) => self.answer(at, id, &answer),
            Err(stop) => self.after_step(at, Err(stop)),
        }
    }

    /// A member has an answer for a client.
    pub(crate) fn answer(
        &mut self,
        at: Life,
        id: RequestId,
        answer: &Answer,
    ) -> Result<(), Violation> {
        if self.clients.calls.get(&id).is_none_or(|call| call.at != at) {
            return Ok(());
        }
        let Some(call) = self.clients.calls.remove(&id) else { return Ok(()) };
        let now_us = self.schedule.now_us();
        self.trace.line(now_us, || format!("{}: answers {id} {answer:?}", at.id));
        self.trace.number(id.0);
        self.oracles.answered(id, call.floor, answer)?;
        self.clients.learn(&call.request, answer);
        if let (Request::Grant { lease }, Answer::Granted) = (&call.request, answer) {
            self.lease_clients.granted(*lease);
        }
        self.clients.answered += 1;
        self.clients.probes.remove(&id);
        self.think(call.client);
        Ok(())
    }

    /// A member says that a request is not in the log.
    pub(crate) fn refuse(&mut self, at: Life, id: RequestId) -> Result<(), Violation> {
        self.oracles.refused(id)?;
        if self.clients.calls.get(&id).is_some_and(|call| call.at == at) {
            self.give_up(id);
        }
        Ok(())
    }

    /// A client will not learn the outcome.
    pub(crate) fn give_up(&mut self, id: RequestId) {
        if let Some(call) = self.clients.calls.remove(&id) {
            self.clients.probes.remove(&id);
            self.think(call.client);
        }
    }

    /// Nobody at this member will be answered any more.
    pub(crate) fn give_up_at(&mut self, at: Life) {
        let lost: Vec<RequestId> = self
            .clients
            .calls
            .iter()
            .filter(|(_, call)| call.at == at)
            .map(|(id, _)| *id)
            .collect();
        lost.into_iter().for_each(|id| self.give_up(id));
    }

    fn think(&mut self, client: usize) {
        if client < self.config.clients {
            let pause_us = self.rng.random_range(0..=self.config.think_us);
            self.schedule.after(pause_us, Event::Client(client));
        }
    }
}

fn read(shell: &Shell, request: &Request) -> Result<Answer, Stop> {
    match request {
        Request::Read { key } | Request::SerializableRead { key } => {
            let revision = shell.machine().store().current_revision();
            Ok(match shell.range(&requests::range(*key))? {
                Ok(reply) => Answer::Read { revision, value: requests::value_of(&reply.kvs) },
                Err(error) => Answer::Failed(error.to_string()),
            })
        }
        Request::V2Read { key } => {
            let found = shell.machine().v2().get(&requests::v2_path(*key), false, false);
            Ok(match found {
                Ok(event) => Answer::V2Read { index: event.index, value: event.node.value },
                Err(error) => Answer::V2Read { index: error.index, value: None },
            })
        }
        _ => Ok(Answer::Strange),
    }
}
