//! The load: clients that write unique keys, each through all members in turn.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::client::{Client, Row};

/// Clients.
const WRITERS: usize = 50;
/// Pause of a client between two writes; keeps the load to what two cores bear.
const THINK: Duration = Duration::from_millis(100);
/// Of so many acknowledged writes one is read back at once through another member.
const READ_EVERY: usize = 4;
/// How long a member waits for the outcome of a request: 5 s and two election time-outs.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(7);

/// Running writers.
pub(super) struct Writers {
    prefix: String,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Written>,
}

/// What writers were told.
#[derive(Default)]
pub(super) struct Written {
    prefix: String,
    /// Revision of each acknowledged write by its key.
    acknowledged: BTreeMap<String, i64>,
    /// Longest time that one writer had nothing acknowledged.
    gap: Duration,
    /// Longest wait for one reply.
    wait: Duration,
    /// Reads that were answered.
    read: usize,
    failures: BTreeMap<String, usize>,
}

impl Writers {
    /// Starts them on the runtime that the caller has entered.
    pub(super) fn start(prefix: &str, endpoints: &[String]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for number in 0..WRITERS {
            let clients: Vec<Client> = endpoints.iter().map(|at| Client::new(at)).collect();
            tasks.spawn(write(format!("{prefix}/{number:02}"), number, clients, Arc::clone(&stop)));
        }
        Self { prefix: prefix.to_owned(), stop, tasks }
    }

    /// Lets each end its write, and collects.
    pub(super) async fn stop(mut self) -> Written {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Written { prefix: self.prefix, ..Written::default() };
        while let Some(one) = self.tasks.join_next().await {
            all.add(one.expect("a writer does not panic"));
        }
        all
    }
}

async fn write(
    prefix: String,
    number: usize,
    clients: Vec<Client>,
    stop: Arc<AtomicBool>,
) -> Written {
    let mut written = Written::default();
    let mut last = Instant::now();
    for sequence in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("{prefix}/{sequence:06}");
        let begun = Instant::now();
        let reply = clients[(number + sequence) % clients.len()].put(&key).await;
        written.wait = written.wait.max(begun.elapsed());
        match reply {
            Ok(revision) => {
                written.acknowledged.insert(key.clone(), revision);
                written.gap = written.gap.max(last.elapsed());
                last = Instant::now();
                if sequence % READ_EVERY == 0 {
                    written
                        .read_back(&key, &clients[(number + sequence + 1) % clients.len()])
                        .await;
                }
            }
            Err(status) => written.note(&status),
        }
        tokio::time::sleep(THINK).await;
    }
    written
}

impl Written {
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Each acknowledged write with its revision.
    pub(super) fn acknowledged(&self) -> BTreeSet<(String, i64)> {
        self.acknowledged.iter().map(|(key, revision)| (key.clone(), *revision)).collect()
    }

    /// A linearizable read shows what was acknowledged before it, if it gets an answer at all.
    async fn read_back(&mut self, key: &str, client: &Client) {
        let begun = Instant::now();
        match client.has(key).await {
            Ok(found) => {
                assert!(found, "{key} was acknowledged and is not there");
                self.read += 1;
            }
            Err(status) => self.note(&status),
        }
        self.wait = self.wait.max(begun.elapsed());
    }

    fn note(&mut self, status: &tonic::Status) {
        let failure = format!("{:?}: {}", status.code(), status.message());
        *self.failures.entry(failure).or_default() += 1;
    }

    /// No writer waited until its member gave up on the request.
    ///
    /// # Panics
    /// When one did.
    pub(super) fn check_never_timed_out(&self) {
        assert!(self.wait < REQUEST_TIMEOUT, "a writer waited {:?}", self.wait);
        let timed_out = self.failures.keys().any(|text| text.ends_with("request timed out"));
        assert!(!timed_out, "{:?}", self.failures);
    }

    /// Everything acknowledged is among the rows of a member, at the revision that was told.
    ///
    /// # Panics
    /// When something is missing or different.
    pub(super) fn check_present(&self, member: usize, rows: &BTreeMap<String, Row>) {
        let lost: Vec<&String> = self
            .acknowledged
            .iter()
            .filter(|(key, revision)| {
                !rows.get(*key).is_some_and(|row| {
                    row.mod_revision == **revision && row.value == key.as_bytes()
                })
            })
            .map(|(key, _)| key)
            .collect();
        assert!(lost.is_empty(), "m{member} has not as acknowledged: {lost:?}");
    }

    fn add(&mut self, other: Self) {
        self.acknowledged.extend(other.acknowledged);
        self.read += other.read;
        self.gap = self.gap.max(other.gap);
        self.wait = self.wait.max(other.wait);
        for (failure, count) in other.failures {
            *self.failures.entry(failure).or_default() += count;
        }
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acknowledged, read, gap, wait, failures, .. } = self;
        let count = acknowledged.len();
        write!(
            f,
            "{count} acknowledged, {read} read back, largest gap {gap:.3?}, longest wait {wait:.3?}"
        )?;
        write!(f, ", failures {failures:?}")
    }
}
