//! What has to be in the servers before a load.
//!
//! Invariants: done once, by the first process, before anything is measured.

use std::cell::Cell;
use std::rc::Rc;

use anyhow::{Context as _, Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::channel::Channel;
use super::keys::Names;
use super::kind::Kind;
use super::message;
use super::options::{Distribution, Options};
use super::unary::{self, Plan, Source};

/// Transactions under way while keys are put.
const UNDER_WAY: u64 = 16;

/// What is in the servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Found {
    /// Keys of the names of this load.
    pub(super) count: u64,
}

/// Sees to it that a load finds what it needs.
///
/// # Errors
/// When servers do not answer, or a put fails.
pub(super) async fn prepare(options: &Options) -> Result<Found> {
    if !options.load.wants_keys() {
        return Ok(Found::default());
    }
    let mut channel = Channel::connect(&options.endpoints[0]).await?;
    let mut count = count(&mut channel, options).await?;
    if count < options.keys {
        fill(&channel, options).await.context("put the keys of the load")?;
        count = self::count(&mut channel, options).await?;
    }
    Ok(Found { count })
}

/// Keys of these names.
async fn count(channel: &mut Channel, options: &Options) -> Result<u64> {
    let mut range = unary::all(&Names::new(options.key_bytes, options.keys)?);
    range.count_only = true;
    let head = channel.head(unary::RANGE)?;
    let reply = channel.unary(&head, message::frame(&range).into()).await;
    let reply = reply.map_err(|failure| anyhow!("count keys: {}", failure.text()))?;
    message::number(&reply, 4).map_err(|text| anyhow!("count keys: {text}"))
}

/// Puts each key once, many per transaction.
async fn fill(channel: &Channel, options: &Options) -> Result<()> {
    let options = Options { load: Kind::Fill, ..options.clone() };
    let plan = Rc::new(Plan::new(&options, channel, 0, &[])?);
    let picker = super::keys::Picker::new(Distribution::Sequential, options.keys, 0, 0, 1);
    let failed = Rc::new(Cell::new(None));
    let mut senders = JoinSet::new();
    for _ in 0..UNDER_WAY {
        let mut source = Source::new(Rc::clone(&plan), picker.clone(), options.keys);
        let (mut channel, failed) = (channel.clone(), Rc::clone(&failed));
        senders.spawn_local(async move {
            while let Some(answer) = source.send(&mut channel, 0).await {
                if let Err(failure) = answer {
                    failed.set(Some(failure));
                    return;
                }
            }
        });
    }
    while let Some(ended) = senders.join_next().await {
        ended?;
    }
    match failed.take() {
        None => Ok(()),
        Some(failure) => bail!("{}", failure.text()),
    }
}
