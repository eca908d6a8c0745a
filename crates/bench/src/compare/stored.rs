//! Rows about servers that hold many keys: start-up, memory, and loads that read them.
//!
//! Owns:       one cluster of one member per contender, filled once.
//! Invariants: all contenders hold the same keys; memory is read when a server has rested for the
//!             same time, whatever others do meanwhile.

use std::collections::BTreeMap;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::Bytes;
use tokio::task::JoinSet;

use super::client::Client;
use super::figures::Figure;
use super::pin::Place;
use super::procfs::{self, Memory};
use super::results::Sample;
use super::rows::{Amount, Load, Work};
use super::run::{Measured, Run};
use super::server::{Cluster, Settings};
use super::stats::float;
use super::{generator, loads};

/// Pause between two probes of a server that starts.
const PROBE_PAUSE: Duration = Duration::from_millis(5);
/// Probes under way at once.
const PROBES_MAX: usize = 8;
/// When to give up waiting for the first answer.
const START_PATIENCE: Duration = Duration::from_secs(180);
/// Entries between two raft snapshots while the log is made short.
const SHORT_LOG_ENTRIES: u64 = 1000;
/// Puts after which a snapshot has to be there.
const SHORT_LOG_PUTS: u64 = 20_000;
/// How long a snapshot may take to appear when it is due.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(20);

/// Does all this work on servers that hold `amount` keys.
///
/// # Errors
/// When a server does not come up, or is not filled; what fails later is handed to `done`.
pub(super) fn measure(
    run: &Run,
    amount: Amount,
    works: &[Work],
    done: &mut dyn FnMut(Result<Measured>),
) -> Result<()> {
    let (keys, label) = match amount {
        Amount::Many => (run.scale.keys, "keys"),
        Amount::VeryMany => (run.scale.large_keys, "large"),
    };
    let wants = |work| works.contains(&work);
    let mut clusters = run.found(label, 1, Settings::default(), run.server_place())?;
    let mut resting = Vec::new();
    for (cluster, contender) in clusters.iter().zip(&run.contenders) {
        run.say(&format!("put {keys} keys into {}", contender.label));
        let took = generator::fill(run, cluster, keys)?;
        run.say(&format!("... {:.0} s", took.as_secs_f64()));
        resting.push(wants(Work::Loaded(amount)).then(|| rest(run, cluster)));
    }
    if wants(Work::Loaded(amount)) {
        done(memory(run, Work::Loaded(amount), resting));
    }
    if wants(Work::Start(amount)) {
        done(starts(run, amount, &mut clusters));
    }
    let reads: Vec<Load> = works
        .iter()
        .filter_map(|work| if let Work::Load(load) = work { Some(*load) } else { None })
        .collect();
    if !reads.is_empty() {
        for cluster in &mut clusters {
            cluster.stop()?;
            cluster.start(run.server_place())?;
        }
        for load in reads {
            done(loads::one(run, &clusters, load));
        }
    }
    if wants(Work::Restarted(amount)) {
        done(restarted(run, amount, &mut clusters));
    }
    Ok(())
}

/// Stops and starts each server, once per round.
fn starts(run: &Run, amount: Amount, clusters: &mut [Cluster]) -> Result<Measured> {
    let mut samples = run.no_samples();
    for round in 0..run.scale.rounds {
        for place in run.order(round) {
            run.say(&format!("restart {}, round {}", run.contenders[place].label, round + 1));
            let cluster = &mut clusters[place];
            cluster.stop()?;
            super::run::settle();
            let took = start(run, cluster)?;
            let figures = BTreeMap::from([(Figure::StartS, took.as_secs_f64())]);
            samples[place].push(Sample { figures, failed: 0 });
        }
    }
    let note = "not bound to a core; page cache warm; log as it was left".to_owned();
    Ok(Measured { work: Work::Start(amount), samples, note: Some(note) })
}

/// Starts a stopped server; returns the time until it answered a linearizable read.
fn start(run: &Run, cluster: &mut Cluster) -> Result<Duration> {
    let began = Instant::now();
    cluster.spawn(0, Place::Anywhere)?;
    let endpoint = cluster.endpoints().remove(0);
    let answered = run.runtime.block_on(first_answer(&endpoint, began));
    // Says why when it ended, and leaves it ready for what comes next.
    cluster.wait_ready()?;
    answered
}

/// Probes until one is answered, each on a connection of its own, as of a client that begins.
async fn first_answer(endpoint: &str, began: Instant) -> Result<Duration> {
    let mut probes: JoinSet<Result<i64>> = JoinSet::new();
    let mut ticks = tokio::time::interval(PROBE_PAUSE);
    while began.elapsed() < START_PATIENCE {
        tokio::select! {
            _ = ticks.tick() => if probes.len() < PROBES_MAX {
                let client = Client::new(endpoint)?;
                probes.spawn(async move { Ok(client.linearize().await?) });
            },
            Some(probe) = probes.join_next() => {
                if let Ok(Ok(_)) = probe {
                    return Ok(began.elapsed());
                }
            }
        }
    }
    bail!("no linearizable answer within {START_PATIENCE:?}")
}

/// Restarts each server on a log that begins shortly before its end, and reads its memory.
fn restarted(run: &Run, amount: Amount, clusters: &mut [Cluster]) -> Result<Measured> {
    let mut resting = Vec::new();
    for (cluster, contender) in clusters.iter_mut().zip(&run.contenders) {
        run.say(&format!("compact the log of {} and restart it", contender.label));
        cluster.stop()?;
        cluster.set(Settings { snapshot_count: Some(SHORT_LOG_ENTRIES), ..Settings::default() });
        cluster.start(run.server_place())?;
        run.runtime.block_on(write_to_a_snapshot(cluster))?;
        cluster.stop()?;
        cluster.set(Settings::default());
        cluster.start(run.server_place())?;
        resting.push(Some(rest(run, cluster)));
    }
    memory(run, Work::Restarted(amount), resting)
}

/// Puts one key until a raft snapshot was saved.
async fn write_to_a_snapshot(cluster: &Cluster) -> Result<()> {
    let before = cluster.snapshots();
    let client = Client::new(&cluster.endpoints().remove(0))?;
    for number in 0..SHORT_LOG_PUTS {
        let value = Bytes::from(number.to_string());
        client.put("log".to_owned(), value).await.context("put to make the log short")?;
        let is_due = number > SHORT_LOG_ENTRIES && number % 100 == 0;
        if is_due && cluster.snapshots() != before {
            return Ok(());
        }
    }
    let deadline = Instant::now() + SNAPSHOT_PATIENCE;
    while cluster.snapshots() == before {
        if Instant::now() > deadline {
            bail!("no raft snapshot after {SHORT_LOG_PUTS} entries");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Reads the memory of a cluster when it will have rested.
fn rest(run: &Run, cluster: &Cluster) -> JoinHandle<Result<Memory>> {
    let (pids, idle) = (cluster.pids(), run.scale.idle());
    std::thread::spawn(move || {
        std::thread::sleep(idle);
        procfs::memory(&pids)
    })
}

fn memory(
    run: &Run,
    work: Work,
    resting: Vec<Option<JoinHandle<Result<Memory>>>>,
) -> Result<Measured> {
    run.say(&format!("rest {} s", run.scale.idle_s));
    let mut samples = run.no_samples();
    for (samples, resting) in samples.iter_mut().zip(resting) {
        let resting = resting.context("nobody reads the memory of a contender")?;
        let memory = resting.join().map_err(|_| anyhow!("the thread that rests panicked"))??;
        samples.push(Sample { figures: memory_figures(memory), failed: 0 });
    }
    Ok(Measured { work, samples, note: None })
}

/// Memory as figures.
pub(super) fn memory_figures(memory: Memory) -> BTreeMap<Figure, f64> {
    let mib = |kib: u64| float(kib) / 1024.0;
    BTreeMap::from([
        (Figure::RssAnonMib, mib(memory.anon_kib)),
        (Figure::RssFileMib, mib(memory.file_kib)),
        (Figure::RssMib, mib(memory.anon_kib + memory.file_kib)),
    ])
}
