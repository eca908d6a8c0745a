//! Writes at a fixed rate while a server compacts history or saves a snapshot.
//!
//! Owns:       one cluster of one member per contender, with many revisions of fewer keys.
//! Invariants: what is to disturb the writes happens within the measured window, or it is an error.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use tokio::task::JoinSet;
use tonic::Code;

use super::client::Client;
use super::generator::Steady;
use super::results::Sample;
use super::rows::Work;
use super::run::{Measured, Run};
use super::server::{Cluster, Settings};

/// Puts of one transaction while servers are filled, below etcd's limit of 128.
const PUTS_PER_TXN: u64 = 100;
/// Transactions under way.
const TXNS_UNDER_WAY: usize = 16;
/// Revisions of each key.
const REVISIONS_PER_KEY: u64 = 10;
/// Bytes of each value.
const VALUE_BYTES: usize = 256;
/// From the beginning of the window to what disturbs it.
const LEAD: Duration = Duration::from_secs(1);
/// Windows of a steady load, per window of another: compaction takes its time.
const COMPACTION_WINDOWS: u32 = 4;
const STREAM_WINDOWS: u32 = 2;
/// Entries between two raft snapshots when no snapshot can be asked for: several per window.
const SNAPSHOT_ENTRIES: u64 = 500;

/// How a snapshot is brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Saving {
    /// A client reads `Maintenance.Snapshot` to its end.
    Stream,
    /// Not all serve it: raft snapshots fall due.
    Raft,
}

/// Measures what is wanted of compaction and snapshots.
///
/// # Errors
/// When a server does not come up or is not filled; what fails later is handed to `done`.
pub(super) fn measure(
    run: &Run,
    works: &[Work],
    done: &mut dyn FnMut(Result<Measured>),
) -> Result<()> {
    let mut clusters = run.found("stalls", 1, Settings::default(), run.server_place())?;
    for (cluster, contender) in clusters.iter().zip(&run.contenders) {
        run.say(&format!("put {} revisions into {}", run.scale.keys, contender.label));
        run.runtime.block_on(fill(cluster, run.scale.keys))?;
    }
    if works.contains(&Work::Snapshot) {
        done(snapshots(run, &mut clusters));
    }
    if works.contains(&Work::Compaction) {
        done(compactions(run, &clusters));
    }
    Ok(())
}

fn compactions(run: &Run, clusters: &[Cluster]) -> Result<Measured> {
    let mut samples = run.no_samples();
    let mut notes = Vec::new();
    for place in run.order(0) {
        let (cluster, label) = (&clusters[place], &run.contenders[place].label);
        let mut load = Steady::start(run, cluster, run.scale.window() * COMPACTION_WINDOWS)?;
        std::thread::sleep(run.scale.warm_up() + LEAD);
        let began = Instant::now();
        run.runtime.block_on(compact(cluster)).with_context(|| format!("compact {label}"))?;
        let (took, within) = (began.elapsed(), load.is_running()?);
        let sample = load.finish()?;
        run.say(&format!("compaction of {label}, {took:.1?}: {}", sample.line()));
        let longer = if within { "" } else { ", longer than the window" };
        notes.push(format!("{label} {:.1} s{longer}", took.as_secs_f64()));
        samples[place].push(sample);
    }
    let note = format!("time of the compactions: {}", notes.join(", "));
    Ok(Measured { work: Work::Compaction, samples, note: Some(note) })
}

fn snapshots(run: &Run, clusters: &mut [Cluster]) -> Result<Measured> {
    let saving = saving(run, clusters)?;
    if saving == Saving::Raft {
        for cluster in clusters.iter_mut() {
            restart(run, cluster, Some(SNAPSHOT_ENTRIES))?;
        }
    }
    let mut samples = run.no_samples();
    for round in 0..run.scale.rounds {
        for place in run.order(round) {
            let (cluster, label) = (&clusters[place], &run.contenders[place].label);
            let sample = snapshot(run, cluster, saving)
                .with_context(|| format!("save a snapshot of {label}"))?;
            run.say(&format!("snapshot of {label}, round {}: {}", round + 1, sample.line()));
            samples[place].push(sample);
        }
    }
    let note = match saving {
        Saving::Stream => "a client reads Maintenance.Snapshot to its end".to_owned(),
        Saving::Raft => {
            for cluster in clusters.iter_mut() {
                restart(run, cluster, None)?;
            }
            format!(
                "etch does not serve Maintenance.Snapshot: raft snapshots (.snap and what they wait \
                 for) every {SNAPSHOT_ENTRIES} entries instead, on all servers"
            )
        }
    };
    Ok(Measured { work: Work::Snapshot, samples, note: Some(note) })
}

fn restart(run: &Run, cluster: &mut Cluster, snapshot_count: Option<u64>) -> Result<()> {
    cluster.stop()?;
    cluster.set(Settings { snapshot_count, ..Settings::default() });
    cluster.start(run.server_place())
}

/// Whether all contenders serve `Maintenance.Snapshot`.
fn saving(run: &Run, clusters: &[Cluster]) -> Result<Saving> {
    for (cluster, contender) in clusters.iter().zip(&run.contenders) {
        let endpoint = cluster.endpoints().remove(0);
        let size = run.runtime.block_on(async { Ok(Client::new(&endpoint)?.snapshot().await) });
        match size {
            Ok(Ok(_)) => {}
            Ok(Err(status)) if status.code() == Code::Unimplemented => return Ok(Saving::Raft),
            Ok(Err(status)) => bail!("snapshot of {}: {status}", contender.label),
            Err::<_, anyhow::Error>(error) => return Err(error),
        }
    }
    Ok(Saving::Stream)
}

fn snapshot(run: &Run, cluster: &Cluster, saving: Saving) -> Result<Sample> {
    let before = cluster.snapshots();
    let windows = if saving == Saving::Stream { STREAM_WINDOWS } else { 1 };
    let mut load = Steady::start(run, cluster, run.scale.window() * windows)?;
    if saving == Saving::Stream {
        std::thread::sleep(run.scale.warm_up() + LEAD);
        let endpoint = cluster.endpoints().remove(0);
        run.runtime.block_on(async {
            let size = Client::new(&endpoint)?.snapshot().await.context("read a snapshot")?;
            if size == 0 { bail!("the snapshot is empty") } else { Ok(()) }
        })?;
        if !load.is_running()? {
            bail!("the snapshot took longer than the window");
        }
    }
    let sample = load.finish()?;
    if saving == Saving::Raft && cluster.snapshots() == before {
        bail!("no raft snapshot was saved within the window");
    }
    Ok(sample)
}

/// Compacts at the current revision and waits until history is gone from the database.
async fn compact(cluster: &Cluster) -> Result<()> {
    let client = Client::new(&cluster.endpoints().remove(0))?;
    let revision = client.linearize().await.context("read the revision")?;
    client.compact(revision).await.context("compact")
}

/// Puts so many revisions of a tenth as many keys, many puts per request.
async fn fill(cluster: &Cluster, revisions: u64) -> Result<()> {
    let client = Client::new(&cluster.endpoints().remove(0))?;
    let keys = (revisions / REVISIONS_PER_KEY).max(PUTS_PER_TXN);
    let value = Bytes::from(vec![b'v'; VALUE_BYTES]);
    let mut under_way: JoinSet<Result<(), tonic::Status>> = JoinSet::new();
    for txn in 0..revisions.div_ceil(PUTS_PER_TXN) {
        if under_way.len() >= TXNS_UNDER_WAY {
            finish_one(&mut under_way).await?;
        }
        let first = txn * PUTS_PER_TXN;
        let names = (first..first + PUTS_PER_TXN).map(|place| format!("fill/{:010}", place % keys));
        let (client, names, value) = (client.clone(), names.collect(), value.clone());
        under_way.spawn(async move { client.put_all(names, &value).await });
    }
    while !under_way.is_empty() {
        finish_one(&mut under_way).await?;
    }
    Ok(())
}

async fn finish_one(under_way: &mut JoinSet<Result<(), tonic::Status>>) -> Result<()> {
    let ended = under_way.join_next().await.context("no request is under way")?;
    ended.context("a request panicked")?.context("put many keys")
}
