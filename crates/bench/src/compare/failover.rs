//! How long nobody can write after the leader was killed.
//!
//! Source:     the probe of the kill tests (crates/e2e/tests/e2e/kill/probe.rs): a fresh write to each
//!             survivor every 10 ms, none waiting for another.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use tokio::task::JoinSet;

use super::client::Client;
use super::figures::Figure;
use super::pin::Place;
use super::results::Sample;
use super::rows::Work;
use super::run::{Measured, Run};
use super::server::{Cluster, Settings};

/// Members of the cluster.
const MEMBERS: usize = 3;
/// Pause between two fresh writes to one survivor.
const PAUSE: Duration = Duration::from_millis(10);
/// Writes under way at once; beyond it none is added.
const UNDER_WAY_MAX: usize = 3000;
/// When to give up waiting for a write, for agreement, for catching up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Entries that a member may be behind.
const CAUGHT_UP_ENTRIES: u64 = 5;
/// Rest between a member's return and the next kill: survivors know each other and the leader.
const REST: Duration = Duration::from_millis(1500);

/// Kills the leader of each contender's cluster so many times.
///
/// # Errors
/// When a cluster does not come up or back.
pub(super) fn measure(run: &Run) -> Result<Measured> {
    let mut samples = run.no_samples();
    let mut clusters = run.found("failover", MEMBERS, Settings::default(), Place::Anywhere)?;
    for number in 0..run.scale.kills {
        for place in run.order(number) {
            run.say(&format!("kill {} of {}", number + 1, run.contenders[place].label));
            samples[place].push(kill_leader(run, &mut clusters[place])?);
        }
    }
    let note = "default time-outs; one fresh write to each survivor every 10 ms".to_owned();
    Ok(Measured { work: Work::Failover, samples, note: Some(note) })
}

fn kill_leader(run: &Run, cluster: &mut Cluster) -> Result<Sample> {
    let entered = run.runtime.enter();
    let endpoints = cluster.endpoints();
    let clients: Result<Vec<Client>> = endpoints.iter().map(|at| Client::new(at)).collect();
    let clients = clients?;
    drop(entered);
    let leader = run.runtime.block_on(settled(&clients))?;
    let mut survivors = clients.clone();
    survivors.remove(leader);
    // Connections are there before, as those of any client.
    for survivor in &survivors {
        run.runtime.block_on(survivor.linearize()).context("read through a survivor")?;
    }
    let at = cluster.kill(leader)?;
    let (first, all) = run.runtime.block_on(probe(&survivors, at))?;
    cluster.spawn(leader, Place::Anywhere)?;
    cluster.wait_ready()?;
    run.runtime.block_on(settled(&clients))?;
    std::thread::sleep(REST);
    let ms = |gap: Duration| gap.as_secs_f64() * 1e3;
    let figures = [(Figure::GapMs, ms(first)), (Figure::GapAllMs, ms(all))];
    Ok(Sample { figures: BTreeMap::from(figures), failed: 0 })
}

/// Waits until all agree on a leader and have what it has; returns its position.
async fn settled(clients: &[Client]) -> Result<usize> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let mut told = Vec::new();
        for client in clients {
            told.extend(client.status().await.ok());
        }
        let newest = told.iter().map(|status| status.raft_index).max().unwrap_or(0);
        let is_settled = told.len() == clients.len()
            && told.iter().all(|status| status.leader != 0 && status.leader == told[0].leader)
            && told.iter().all(|of| of.raft_applied_index + CAUGHT_UP_ENTRIES >= newest);
        let id = |status: &proto::etcdserverpb::StatusResponse| {
            status.header.as_ref().map_or(0, |header| header.member_id)
        };
        let leader = told.iter().position(|status| id(status) == status.leader);
        if let (true, Some(leader)) = (is_settled, leader) {
            return Ok(leader);
        }
        tokio::time::sleep(PAUSE).await;
    }
    bail!("members do not agree on a leader within {PATIENCE:?}")
}

/// Time from the kill to acknowledged writes begun after it: the first, and one of each survivor.
async fn probe(survivors: &[Client], killed: Instant) -> Result<(Duration, Duration)> {
    let mut under_way: JoinSet<Option<usize>> = JoinSet::new();
    let mut acknowledged: Vec<Option<Duration>> = vec![None; survivors.len()];
    let mut ticks = tokio::time::interval(PAUSE);
    while acknowledged.contains(&None) {
        if killed.elapsed() > PATIENCE {
            bail!("no write is acknowledged within {PATIENCE:?}: {acknowledged:?}");
        }
        tokio::select! {
            _ = ticks.tick() => {
                for (number, client) in survivors.iter().enumerate() {
                    if acknowledged[number].is_none() && under_way.len() < UNDER_WAY_MAX {
                        let (client, key) = (client.clone(), format!("probe/{number}"));
                        let value = Bytes::from_static(b"probe");
                        under_way.spawn(async move {
                            client.put(key, value).await.ok().map(|()| number)
                        });
                    }
                }
            }
            Some(ended) = under_way.join_next() => {
                if let Ok(Some(number)) = ended {
                    acknowledged[number].get_or_insert_with(|| killed.elapsed());
                }
            }
        }
    }
    let times = || acknowledged.iter().flatten().copied();
    Ok((times().min().unwrap_or_default(), times().max().unwrap_or_default()))
}
