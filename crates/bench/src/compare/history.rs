//! Reads of a key with many old revisions beside reads of a fresh key in the same store.

use anyhow::Result;

use super::figures::Figure;
use super::generator;
use super::rows::{Content, Load, Work};
use super::run::{Measured, Run};
use super::server::Settings;

/// Bytes of the name of the old key, and of the fresh one: so they are different keys.
const OLD_KEY_BYTES: u32 = 64;
const FRESH_KEY_BYTES: u32 = 63;
/// The loads: one key each.
const GET: Load = Load {
    load: "get",
    content: Content::ManyKeys,
    members: 1,
    connections: 100,
    outstanding: 10,
    keys: 1,
    extra: &[],
    v2: false,
};

/// Puts a key as often as there are keys in other rows, and reads it and a fresh one in turn.
///
/// # Errors
/// When a server does not come up, or a load does not end.
pub(super) fn measure(run: &Run) -> Result<Measured> {
    let clusters = run.found("history", 1, Settings::default(), run.server_place())?;
    for (cluster, contender) in clusters.iter().zip(&run.contenders) {
        run.say(&format!("put one key {} times into {}", run.scale.keys, contender.label));
        generator::put_one(run, cluster, OLD_KEY_BYTES, run.scale.keys)?;
        generator::put_one(run, cluster, FRESH_KEY_BYTES, 1)?;
    }
    let mut samples = run.no_samples();
    for round in 0..run.scale.rounds {
        for place in run.order(round) {
            let fresh = generator::get(run, &clusters[place], &GET, FRESH_KEY_BYTES)?;
            let mut old = generator::get(run, &clusters[place], &GET, OLD_KEY_BYTES)?;
            let cpu = |of: &super::results::Sample| of.figures.get(&Figure::ServerCpuUs).copied();
            if let (Some(old_us), Some(fresh_us)) = (cpu(&old), cpu(&fresh)) {
                old.figures.insert(Figure::OldOverFresh, old_us / fresh_us);
            }
            old.failed += fresh.failed;
            run.say(&format!(
                "old key of {}, round {}: {}",
                run.contenders[place].label,
                round + 1,
                old.line()
            ));
            samples[place].push(old);
        }
    }
    Ok(Measured { work: Work::OldRevisions, samples, note: None })
}
