//! Leases.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use etcd_client::{LeaseGrantOptions, LeaseTimeToLiveOptions, PutOptions, WatchOptions};

use crate::harness::{connect, connect_one, refused, tell, within};
use crate::watch::next;

const NOT_FOUND: i32 = 5;
const FAILED_PRECONDITION: i32 = 9;

/// A lease lives while it is renewed, through any member, and then ends with its keys.
pub async fn leases_end_with_their_keys() -> Result<()> {
    const TTL: Duration = Duration::from_secs(2);
    tell("leases end with their keys");
    let mut client = connect().await?;
    let lease = client.lease_grant(2, None).await?.id();
    for key in ["lease/b", "lease/a"] {
        client.put(key, "x", Some(PutOptions::new().with_lease(lease))).await?;
    }
    let options = LeaseTimeToLiveOptions::new().with_keys();
    let asked = client.lease_time_to_live(lease, Some(options)).await?;
    ensure!(asked.granted_ttl() == 2 && asked.keys().len() == 2, "{asked:?}");
    let mut watch = client.watch("lease/", Some(WatchOptions::new().with_prefix())).await?;
    ensure!(next(&mut watch).await?.created());
    let began = Instant::now();
    let mut renewed = began;
    while began.elapsed() < TTL + TTL / 2 {
        for number in 0..3 {
            // The library renews once when it opens the stream, and here once more.
            let (mut keeper, mut answers) =
                connect_one(number).await?.lease_keep_alive(lease).await?;
            renewed = Instant::now();
            keeper.keep_alive().await?;
            let answer = within("a renewal", answers.message()).await??;
            ensure!(answer.context("the stream has ended")?.ttl() == 2);
        }
    }
    let gone = next(&mut watch).await?;
    ensure!(gone.events().len() == 2, "both keys in one revision: {gone:?}");
    let lived = renewed.elapsed();
    ensure!(lived >= TTL && lived < TTL * 3, "ended {lived:?} after the last renewal");
    ensure!(client.lease_time_to_live(lease, None).await?.ttl() == -1);
    ensure!(client.lease_keep_alive(lease).await.is_err(), "renewed after its end");
    Ok(())
}

/// Own IDs, the list, and revoking.
pub async fn leases_are_listed_and_revoked() -> Result<()> {
    tell("leases are listed and revoked");
    let mut client = connect().await?;
    let own = || Some(LeaseGrantOptions::new().with_id(4711));
    ensure!(client.lease_grant(100, own()).await?.id() == 4711);
    let text = "etcdserver: lease already exists";
    refused(client.lease_grant(100, own()).await, FAILED_PRECONDITION, text)?;
    client.put("revoke", "x", Some(PutOptions::new().with_lease(4711))).await?;
    ensure!(client.leases().await?.leases().iter().any(|lease| lease.id() == 4711));
    client.lease_revoke(4711).await?;
    ensure!(client.get("revoke", None).await?.kvs().is_empty());
    let text = "etcdserver: requested lease not found";
    refused(client.lease_revoke(4711).await, NOT_FOUND, text)?;
    let orphan = client.put("revoke", "x", Some(PutOptions::new().with_lease(4711))).await;
    refused(orphan, NOT_FOUND, text)
}
