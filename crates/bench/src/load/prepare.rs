//! What has to be in the servers before a load.
//!
//! Invariants: done once, by the first process, before anything is measured.

use std::cell::Cell;
use std::rc::Rc;

use anyhow::{Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::channel::Channel;
use super::keys::{Names, Picker};
use super::kind::{FILL_PUTS, Kind};
use super::message;
use super::options::{Distribution, Options};
use super::unary::{self, Plan, Source};

/// Requests under way while keys are put.
const UNDER_WAY: u64 = 16;

/// What is in the servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Found {
    /// Keys of the names of this load.
    pub(super) count: u64,
    /// The first revision of the past that the load `watch-catch-up` reads.
    pub(super) history: u64,
}

/// Sees to it that a load finds what it needs.
///
/// # Errors
/// When servers do not answer, or a put fails.
pub(super) async fn prepare(options: &Options) -> Result<Found> {
    if options.load.is_v2() {
        super::v2::prepare(options).await?;
        return Ok(Found::default());
    }
    let mut channel = Channel::connect(&options.endpoints[0]).await?;
    if options.load == Kind::WatchCatchUp {
        let (_, revision) = count(&mut channel, options).await?;
        put_all(&channel, options, Kind::Put, options.limit).await?;
        return Ok(Found { count: 0, history: revision + 1 });
    }
    if !options.load.wants_keys() {
        return Ok(Found::default());
    }
    let (mut keys, _) = count(&mut channel, options).await?;
    if keys < options.keys {
        put_all(&channel, options, Kind::Fill, options.keys.div_ceil(FILL_PUTS)).await?;
        (keys, _) = count(&mut channel, options).await?;
    }
    Ok(Found { count: keys, history: 0 })
}

/// Keys of these names, and the revision.
async fn count(channel: &mut Channel, options: &Options) -> Result<(u64, u64)> {
    let mut range = unary::all(&Names::new(options.key_bytes, options.keys)?);
    range.count_only = true;
    let head = channel.head(unary::RANGE)?;
    let reply = channel.unary(&head, message::frame(&range).into()).await;
    let reply = reply.map_err(|failure| anyhow!("count keys: {}", failure.text()))?;
    let numbers = || Ok((message::number(&reply, 4)?, message::revision(&reply)?));
    numbers().map_err(|text: String| anyhow!("count keys: {text}"))
}

/// Puts keys in turn by so many requests of the load `kind`.
async fn put_all(channel: &Channel, options: &Options, kind: Kind, requests: u64) -> Result<()> {
    let options = Options { load: kind, ..options.clone() };
    let plan = Rc::new(Plan::new(&options, channel, 0, &[])?);
    let picker = Picker::new(Distribution::Sequential, options.keys, 0, 0, 1);
    let left = Rc::new(Cell::new(requests));
    let mut senders = JoinSet::new();
    for _ in 0..UNDER_WAY {
        let mut source = Source::new(Rc::clone(&plan), picker.clone(), options.keys);
        let (mut channel, left) = (channel.clone(), Rc::clone(&left));
        senders.spawn_local(async move {
            while left.get() > 0 {
                left.set(left.get() - 1);
                if let Some(Err(failure)) = source.send(&mut channel, 0).await {
                    bail!("put the keys of the load: {}", failure.text());
                }
            }
            Ok(())
        });
    }
    while let Some(ended) = senders.join_next().await {
        ended??;
    }
    Ok(())
}
