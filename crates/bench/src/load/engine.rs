//! One process's load while it runs: the clock, the window, the pace.
//!
//! Owns:       the only use of the clock for what is measured.
//! Invariants: servers are looked at when the window begins and when it ends, on the thread that
//!             counts, so that counts and CPU are of the same time.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::channel::Failure;
use super::schedule::{Next, Schedule, Ticket};
use super::tally::{Counts, Tally};
use crate::numbers::nanos;
use crate::probe::Snapshot;

/// A load without any answer for so long is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// The shortest pause of the thread that keeps a fixed rate.
const PACE_MIN: Duration = Duration::from_micros(50);

/// What senders and watchers share.
#[derive(Debug)]
pub(super) struct Engine {
    began: Instant,
    schedule: RefCell<Schedule>,
    tally: RefCell<Tally>,
    phase: Cell<Phase>,
    /// Of this process and of servers.
    pids: Vec<u32>,
    before: RefCell<Vec<Snapshot>>,
    after: RefCell<Vec<Snapshot>>,
    /// One per request that is due, at a fixed rate.
    permits: Option<Arc<Semaphore>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    WarmUp,
    Measured,
    /// Over, but for what was due before at a fixed rate.
    Draining,
    Over,
}

/// What a process has counted.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Of its requests.
    pub(super) counts: Counts,
    /// Its own CPU time.
    pub(super) cpu_seconds: f64,
    /// Servers at the beginning and end of the window.
    pub(super) servers: Vec<(u32, Snapshot, Snapshot)>,
}

impl Engine {
    /// A load that begins now, with so many senders.
    pub(super) fn start(schedule: Schedule, server_pids: &[u32], senders: u64) -> Rc<Self> {
        let began = Instant::now();
        let permits = schedule.is_paced().then(|| Arc::new(Semaphore::new(0)));
        if let Some(permits) = &permits {
            let (permits, schedule) = (Arc::clone(permits), schedule.clone());
            std::thread::spawn(move || pace(&permits, &schedule, began, senders));
        }
        let mut pids = vec![std::process::id()];
        pids.extend(server_pids);
        Rc::new(Self {
            began,
            schedule: RefCell::new(schedule),
            tally: RefCell::new(Tally::new()),
            phase: Cell::new(Phase::WarmUp),
            pids,
            before: RefCell::default(),
            after: RefCell::default(),
            permits,
        })
    }

    /// Time since the beginning in ns.
    pub(super) fn now(&self) -> u64 {
        nanos(self.began.elapsed())
    }

    /// Waits until a request is due; nothing when the load is over.
    pub(super) async fn next(&self) -> Option<Ticket> {
        if let Some(permits) = &self.permits {
            permits.acquire().await.ok()?.forget();
        }
        loop {
            let now = self.now();
            self.turn(now);
            if self.phase.get() == Phase::Over {
                return None;
            }
            let next = self.schedule.borrow_mut().next(now);
            match next {
                Next::Send(ticket) => return Some(ticket),
                Next::Wait(until) => tokio::time::sleep(Duration::from_nanos(until - now)).await,
                Next::Over => return None,
            }
        }
    }

    /// A request was answered rightly.
    pub(super) fn answered(&self, ticket: Ticket) {
        self.tally.borrow_mut().answered(ticket, self.now());
    }

    /// A request was answered whose latency is that of its events.
    pub(super) fn counted(&self, ticket: Ticket) {
        self.tally.borrow_mut().counted(ticket);
    }

    /// A watcher got an event that was sent then, when that is known.
    pub(super) fn event(&self, sent: Option<u64>) {
        let latency = sent.map(|sent| self.now().saturating_sub(sent));
        self.tally.borrow_mut().event(latency);
    }

    /// A request failed.
    pub(super) fn failed(&self, failure: &Failure) {
        self.tally.borrow_mut().failed(failure.text());
    }

    /// There is nothing more to do, before the time is over.
    pub(super) fn exhausted(&self) {
        if self.phase.get() == Phase::WarmUp {
            let text = "all keys were used up before the window began: more --keys";
            self.tally.borrow_mut().failed(text);
        }
        self.close();
    }

    /// Runs until all senders have ended.
    ///
    /// # Errors
    /// When a sender panicked, or a process to look at is not there.
    pub(super) async fn finish(&self, mut senders: JoinSet<()>) -> Result<Outcome> {
        let (mut seen, mut since) = (0, Instant::now());
        loop {
            let now = self.now();
            self.turn(now);
            match tokio::time::timeout(self.until_turn(now), senders.join_next()).await {
                Ok(Some(ended)) => ended?,
                Ok(None) => break,
                Err(_) => {
                    let answers = self.tally.borrow().answers();
                    if answers != seen {
                        (seen, since) = (answers, Instant::now());
                    } else if since.elapsed() >= PATIENCE + self.pause() {
                        let text = format!("no answer for {PATIENCE:?}, given up");
                        self.tally.borrow_mut().failed(&text);
                        break;
                    }
                }
            }
        }
        self.close();
        self.outcome()
    }

    /// Time between two requests at a fixed rate.
    fn pause(&self) -> Duration {
        self.schedule.borrow().interval()
    }

    fn outcome(&self) -> Result<Outcome> {
        let (before, after) = (self.before.borrow(), self.after.borrow());
        if before.len() != self.pids.len() || after.len() != self.pids.len() {
            anyhow::bail!("a process of --server-pid is not there, or ended during the load");
        }
        let pairs = before.iter().zip(after.iter());
        let mut all = self.pids.iter().zip(pairs).map(|(pid, (a, b))| (*pid, a.clone(), b.clone()));
        let cpu_seconds = all.next().map_or(0.0, |(_, before, after)| after.cpu_since(&before));
        Ok(Outcome { counts: self.tally.borrow().counts(), cpu_seconds, servers: all.collect() })
    }

    /// Begins or ends the window when it is time.
    fn turn(&self, now: u64) {
        let (warm_up, end) = {
            let schedule = self.schedule.borrow();
            (schedule.warm_up(), schedule.end())
        };
        if self.phase.get() == Phase::WarmUp && now >= warm_up {
            self.phase.set(Phase::Measured);
            *self.before.borrow_mut() = self.look();
            self.tally.borrow_mut().begin(self.now());
        }
        if self.phase.get() == Phase::Measured && end.is_some_and(|end| now >= end) {
            self.end();
        }
    }

    fn close(&self) {
        if self.phase.get() == Phase::WarmUp {
            *self.before.borrow_mut() = self.look();
            self.tally.borrow_mut().begin(self.now());
            self.phase.set(Phase::Measured);
        }
        if self.phase.get() == Phase::Measured {
            self.end();
        }
    }

    fn end(&self) {
        self.tally.borrow_mut().end(self.now());
        *self.after.borrow_mut() = self.look();
        // At a fixed rate what was due before the end is sent all the same: `schedule` knows.
        if self.permits.is_none() {
            self.phase.set(Phase::Over);
        } else {
            self.phase.set(Phase::Draining);
        }
    }

    fn look(&self) -> Vec<Snapshot> {
        self.pids.iter().filter_map(|pid| Snapshot::of(*pid).ok()).collect()
    }

    fn until_turn(&self, now: u64) -> Duration {
        let schedule = self.schedule.borrow();
        let times = [Some(schedule.warm_up()), schedule.end()];
        let next = times.into_iter().flatten().filter(|time| *time > now).min();
        next.map_or(LOOK, |next| Duration::from_nanos(next - now).min(LOOK))
    }
}

/// Hands out a permit when a request is due, without the runtime's granularity of 1 ms; in the end
/// one for each sender, to find that the load is over.
fn pace(permits: &Semaphore, schedule: &Schedule, began: Instant, senders: u64) {
    let mut given = 0;
    while given < schedule.paced_total() {
        let now = nanos(began.elapsed());
        let due = schedule.paced_until(now);
        if due > given {
            permits.add_permits(crate::numbers::size(due - given));
            given = due;
        }
        let next = schedule.due_at(given).saturating_sub(now);
        std::thread::sleep(Duration::from_nanos(next).max(PACE_MIN));
    }
    permits.add_permits(crate::numbers::size(senders));
}
