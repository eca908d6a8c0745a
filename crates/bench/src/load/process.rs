//! What one process does of a load.

use std::rc::Rc;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::channel::Channel;
use super::engine::{Engine, Outcome};
use super::keys::Picker;
use super::kind::Kind;
use super::options::{Distribution, Length, Options};
use super::prepare::Found;
use super::schedule::Schedule;
use super::unary::{Plan, Source};
use super::{lease, unary, v2, watch};
use crate::numbers::{float, size};

/// Leases of the load `put-lease`, all processes together.
const LEASES: u64 = 1000;

/// A process's part of a load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Job {
    /// Of the whole load.
    pub(super) options: Options,
    /// Which of its processes, from 0.
    pub(super) process: u64,
    /// What is in the servers.
    pub(super) found: Found,
}

impl Job {
    /// This process's part of a number.
    pub(super) fn share(&self, of: u64) -> u64 {
        let processes = self.options.processes;
        of / processes + u64::from(self.process < of % processes)
    }

    /// Its schedule.
    fn schedule(&self) -> Schedule {
        let options = &self.options;
        let length = match options.length {
            Length::Requests(requests) => Length::Requests(self.share(requests)),
            time @ Length::Time(_) => time,
        };
        let rate = options.rate.map(|rate| rate / float(options.processes));
        Schedule::new(options.warm_up, length, rate)
    }

    /// Its connections.
    pub(super) fn connections(&self) -> u64 {
        self.share(self.options.connections)
    }

    /// Its requests under way.
    pub(super) fn senders(&self) -> u64 {
        self.connections() * self.options.outstanding
    }

    /// Its chooser of keys.
    pub(super) fn picker(&self) -> Picker {
        let Options { keys, seed, processes, .. } = self.options;
        let is_used_up = self.options.load.uses_keys_up();
        let distribution =
            if is_used_up { Distribution::Sequential } else { self.options.distribution };
        Picker::new(distribution, keys, seed, self.process, processes)
    }

    /// Starts the clock for so many senders.
    pub(super) fn start(&self, senders: u64) -> Rc<Engine> {
        // With several processes the first one looks at the servers.
        let alone = self.options.processes == 1;
        let pids = if alone { &self.options.server_pids[..] } else { &[] };
        Engine::start(self.schedule(), pids, senders)
    }

    /// Connects.
    ///
    /// # Errors
    /// When there is no server.
    pub(super) async fn connect(&self) -> Result<Vec<Channel>> {
        let endpoints = &self.options.endpoints;
        let mut channels = Vec::new();
        for (_, endpoint) in (0..self.connections()).zip(endpoints.iter().cycle()) {
            channels.push(Channel::connect(endpoint).await?);
        }
        Ok(channels)
    }
}

/// Runs the job; the load begins when `ready` returns.
///
/// # Errors
/// When servers do not answer.
pub(super) async fn run(job: &Job, ready: &mut dyn FnMut() -> Result<()>) -> Result<Outcome> {
    match job.options.load {
        Kind::Keepalive => lease::keep_alive(job, ready).await,
        Kind::WatchOne | Kind::WatchMany => watch::fan_out(job, ready).await,
        Kind::WatchCatchUp => watch::catch_up(job, ready).await,
        Kind::V2Set | Kind::V2Get | Kind::V2QuorumGet => v2::run(job, ready).await,
        Kind::V2Watch => v2::watch(job, ready).await,
        _ => one_reply(job, ready).await,
    }
}

/// One request, one reply.
async fn one_reply(job: &Job, ready: &mut dyn FnMut() -> Result<()>) -> Result<Outcome> {
    let channels = job.connect().await?;
    let leases = match job.options.load {
        Kind::PutLease => lease::grant(&channels, job.share(LEASES).max(1)).await?,
        _ => Vec::new(),
    };
    let plan = Rc::new(Plan::new(&job.options, &channels[0], job.found.count, &leases)?);
    ready()?;
    let picker = job.picker();
    let engine = job.start(job.senders());
    let mut senders = JoinSet::new();
    // Connection by connection: the first requests do not all go to one.
    for (user, channel) in (0..size(job.senders())).zip(channels.iter().cycle()) {
        let picker = picker.for_user(job.options.seed, job.process, user);
        let source = Source::new(Rc::clone(&plan), picker, job.options.keys);
        senders.spawn_local(unary::sender(Rc::clone(&engine), channel.clone(), source));
    }
    engine.finish(senders).await
}
