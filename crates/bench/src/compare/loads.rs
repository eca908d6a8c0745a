//! Rows that are loads of the generator: all contenders in turn, several rounds.

use anyhow::{Context as _, Result};

use super::generator;
use super::rows::{Load, Work};
use super::run::{Measured, Run};
use super::server::{Cluster, Settings};

/// Measures a load on fresh servers.
///
/// # Errors
/// When a server does not come up, or the load does not end.
pub(super) fn fresh(run: &Run, load: Load) -> Result<Measured> {
    let settings = Settings { v2: load.v2, ..Settings::default() };
    let label = format!("{}-{}", load.load, load.members);
    let clusters = run.found(&label, load.members, settings, run.server_place())?;
    one(run, &clusters, load)
}

/// Measures a load on servers that are there.
///
/// # Errors
/// When it does not end.
pub(super) fn one(run: &Run, clusters: &[Cluster], load: Load) -> Result<Measured> {
    let mut samples = run.no_samples();
    for round in 0..run.scale.rounds {
        for place in run.order(round) {
            let label = &run.contenders[place].label;
            let sample = generator::load(run, &clusters[place], &load)
                .with_context(|| format!("load {label} with {}", load.load))?;
            run.say(&format!("{} on {label}, round {}: {}", load.load, round + 1, sample.line()));
            samples[place].push(sample);
        }
    }
    Ok(Measured { work: Work::Load(load), samples, note: None })
}
