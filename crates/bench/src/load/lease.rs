//! Leases: granted before a load, kept alive by one.

use std::rc::Rc;

use anyhow::{Context as _, Result, anyhow};
use bytes::Bytes;
use proto::etcdserverpb::{LeaseGrantRequest, LeaseKeepAliveRequest};
use tokio::task::JoinSet;

use super::channel::{Channel, Failure, Head};
use super::engine::{Engine, Outcome};
use super::message;
use super::process::Job;
use crate::numbers::size;

const GRANT: &str = "/etcdserverpb.Lease/LeaseGrant";
const KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";
/// Time to live in s: longer than any load, and leases of loads of the past go away.
const TTL: i64 = 3600;

/// Grants so many leases, each connection its part.
///
/// # Errors
/// When the server does not grant one.
pub(super) async fn grant(channels: &[Channel], leases: u64) -> Result<Vec<i64>> {
    let mut granting = JoinSet::new();
    for place in 0..channels.len() {
        let mut channel = channels[place].clone();
        let share = (place..size(leases)).step_by(channels.len()).len();
        granting.spawn_local(async move {
            let head = channel.head(GRANT)?;
            let frame = message::frame(&LeaseGrantRequest { ttl: TTL, id: 0 });
            let mut ids = Vec::new();
            for _ in 0..share {
                let reply = channel.unary(&head, frame.clone().into()).await;
                let reply = reply.map_err(|failure| anyhow!("{}", failure.text()))?;
                let id = message::number(&reply, 2).map_err(|text| anyhow!(text))?;
                ids.push(i64::try_from(id).context("an ID below zero")?);
            }
            anyhow::Ok(ids)
        });
    }
    let mut ids = Vec::new();
    while let Some(granted) = granting.join_next().await {
        ids.extend(granted?.context("grant leases")?);
    }
    Ok(ids)
}

/// Keeps leases alive: a lease and a stream for each request under way.
///
/// # Errors
/// When servers do not answer.
pub(super) async fn keep_alive(
    job: &Job,
    ready: &mut dyn FnMut() -> Result<()>,
) -> Result<Outcome> {
    let channels = job.connect().await?;
    let leases = grant(&channels, job.senders()).await?;
    ready()?;
    let engine = job.start(job.senders());
    let mut senders = JoinSet::new();
    for (lease, channel) in leases.into_iter().zip(channels.iter().cycle()) {
        let head = channel.head(KEEP_ALIVE)?;
        senders.spawn_local(keeper(Rc::clone(&engine), channel.clone(), head, lease));
    }
    engine.finish(senders).await
}

async fn keeper(engine: Rc<Engine>, channel: Channel, head: Head, lease: i64) {
    if let Err(failure) = keep(&engine, channel, &head, lease).await {
        engine.failed(&failure);
    }
}

async fn keep(
    engine: &Engine,
    mut channel: Channel,
    head: &Head,
    lease: i64,
) -> Result<(), Failure> {
    let frame = Bytes::from(message::frame(&LeaseKeepAliveRequest { id: lease }));
    let (mut replies, mut requests) = channel.begin(head).await?;
    while let Some(ticket) = engine.next().await {
        requests.send_data(frame.clone(), false)?;
        let reply = replies.message().await?;
        let reply = reply.ok_or_else(|| Failure::Answer("the stream ended".to_owned()))?;
        if message::number(&reply, 3).map_err(Failure::Answer)? == 0 {
            return Err(Failure::Answer("the lease is not alive".to_owned()));
        }
        engine.answered(ticket);
    }
    Ok(())
}
