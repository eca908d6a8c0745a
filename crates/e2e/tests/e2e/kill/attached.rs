//! Everything that hangs on to the cluster while members are killed, besides the writers.
//!
//! Owns:       watchers, lease holders, the v2 clients, the writers of hot keys, the compactor.
//! Uses:       `watchers`, `leases`, `v2`.
//! Invariants: all are stopped after the writers, whose writes they must have seen.
//! Source:     issue "the surface", Must show 5.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use super::client::Client;
use super::leases::{self, Holders};
use super::v2::V2;
use super::watchers::{Habit, Range, Watchers};

/// Keys that are written again and again, and the pause between two writes of one.
const HOT_KEYS: usize = 3;
const HOT_PAUSE: Duration = Duration::from_millis(60);
/// How often history is compacted, and how many revisions are kept.
const COMPACT_EVERY: Duration = Duration::from_secs(1);
const KEPT_REVISIONS: i64 = 500;

/// Running clients.
pub(super) struct Attached {
    stop: Arc<AtomicBool>,
    watchers: Watchers,
    holders: Holders,
    v2: V2,
    hot: JoinSet<BTreeSet<(String, i64)>>,
    compactor: JoinSet<usize>,
}

impl Attached {
    /// Starts all on the runtime that the caller has entered, beside writers of `prefix`.
    pub(super) fn start(prefix: &str, endpoints: &[String], servers: &[SocketAddr]) -> Self {
        // Each kind of client has connections of its own, as they would be programs of their own.
        let connect = || -> Vec<Client> { endpoints.iter().map(|at| Client::new(at)).collect() };
        let mut watchers = Watchers::new(&connect());
        for habit in [Habit::Plain, Habit::PrevKv, Habit::Progress] {
            watchers.add(Range::all(), habit);
            watchers.add(Range::below(leases::PREFIX), Habit::Plain);
        }
        watchers.add(Range::below(prefix), Habit::Cancels);
        watchers.add(Range::below(prefix), Habit::Away);
        let habits = [Habit::Plain, Habit::PrevKv, Habit::Progress, Habit::Cancels];
        for (number, habit) in habits.into_iter().enumerate() {
            watchers.add(Range::below(&format!("{prefix}/{number:02}")), habit);
            watchers.add(Range::key(&hot_key(number % HOT_KEYS)), habit);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (mut hot, mut compactor) = (JoinSet::new(), JoinSet::new());
        let clients = connect();
        for number in 0..HOT_KEYS {
            hot.spawn(write_hot(number, clients.clone(), Arc::clone(&stop)));
        }
        compactor.spawn(compact(clients.clone(), Arc::clone(&stop)));
        let (holders, v2) = (Holders::start(&connect()), V2::start(servers));
        Self { stop, watchers, holders, v2, hot, compactor }
    }

    /// Ends all and checks what they have seen, of the writes here and of others' that were
    /// acknowledged.
    ///
    /// # Panics
    /// When something was missed, came twice, out of order, early or late.
    pub(super) async fn stop(mut self, mut acknowledged: BTreeSet<(String, i64)>) {
        self.stop.store(true, Ordering::Relaxed);
        let held = self.holders.stop().await;
        tokio::time::sleep_until(held.all_gone_by().into()).await;
        while let Some(hot) = self.hot.join_next().await {
            acknowledged.extend(hot.expect("a writer does not fail"));
        }
        let compactions = self.compactor.join_next().await.expect("one").expect("no failure");
        assert!(compactions > 0, "nothing was ever compacted");
        let seen = self.watchers.stop().await;
        for seen in &seen {
            println!("{seen}");
            seen.check(&acknowledged);
            seen.check_habit();
        }
        held.check(&seen);
        let v2 = self.v2;
        let stopped = tokio::task::spawn_blocking(|| v2.stop()).await;
        stopped.expect("v2 clients were told everything");
    }
}

fn hot_key(number: usize) -> String {
    format!("hot/{number}")
}

/// Writes one key through all members in turn; returns what was acknowledged.
async fn write_hot(
    number: usize,
    clients: Vec<Client>,
    stop: Arc<AtomicBool>,
) -> BTreeSet<(String, i64)> {
    let (mut written, key) = (BTreeSet::new(), hot_key(number));
    for sequence in 0_usize.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let client = &clients[(number + sequence) % clients.len()];
        if let Ok(revision) = client.put_value(&key, sequence.to_string().into()).await {
            written.insert((key.clone(), revision));
        }
        tokio::time::sleep(HOT_PAUSE).await;
    }
    written
}

/// Lets history go, through all members in turn; returns how often that was acknowledged.
async fn compact(clients: Vec<Client>, stop: Arc<AtomicBool>) -> usize {
    let mut compactions = 0;
    for sequence in 0_usize.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        tokio::time::sleep(COMPACT_EVERY).await;
        let client = &clients[sequence % clients.len()];
        let Ok(revision) = client.linearize().await else { continue };
        if revision > KEPT_REVISIONS && client.compact(revision - KEPT_REVISIONS).await.is_ok() {
            compactions += 1;
        }
    }
    compactions
}
