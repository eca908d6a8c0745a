//! A writer, a watcher and a lease holder, while each member in turn ends and comes back: so the
//! leader does, and whichever member one of them speaks to.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use etcd_client::{Client, PutOptions, WatchOptions};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::harness::{PATIENCE, ask, connect, tell, within};

/// Writes before a member ends, while it is down, and after it is back.
const WRITES: usize = 20;
/// Long enough for an election, short enough to end here if nobody renewed it.
const TTL: i64 = 4;
/// Pause of a client after an error, as applications make it.
const PAUSE: Duration = Duration::from_millis(50);
/// How long one attempt may take before the next is made, elsewhere.
const ATTEMPT: Duration = Duration::from_secs(3);

/// Sees each acknowledged write once and in order, and keeps the lease.
pub async fn clients_survive_the_end_of_each_member() -> Result<()> {
    tell("clients survive the end of each member");
    let mut client = connect().await?;
    let first = client.put("trouble/first", "x", None).await?;
    let start = first.header().context("a header")?.revision() + 1;
    let lease = client.lease_grant(TTL, None).await?.id();
    client.put("holder", "x", Some(PutOptions::new().with_lease(lease))).await?;
    let is_over = Arc::new(AtomicBool::new(false));
    let keeper = keep(connect().await?, lease, Arc::clone(&is_over));
    let watcher = follow(connect().await?, start, 9 * WRITES);
    let mut acknowledged = BTreeSet::new();
    for round in 0..3 {
        write(&mut client, round * 3, &mut acknowledged).await?;
        // The member is chosen by its turn, and once as the leader.
        let target = if round == 0 { "leader".to_owned() } else { format!("{round}") };
        let down = ask(&format!("kill {target}")).await?;
        write(&mut client, round * 3 + 1, &mut acknowledged).await?;
        ask(&format!("start {down}")).await?;
        write(&mut client, round * 3 + 2, &mut acknowledged).await?;
    }
    let seen = within("all events", watcher).await???;
    is_over.store(true, Ordering::Relaxed);
    keeper.await??;
    ensure!(seen.is_sorted_by(|one, next| one.0 < next.0), "out of order or twice: {seen:?}");
    let revisions: BTreeSet<i64> = seen.iter().map(|(revision, _)| *revision).collect();
    ensure!(acknowledged.is_subset(&revisions), "acknowledged and not seen");
    let held = client.get("holder", None).await?;
    ensure!(held.kvs().len() == 1, "the lease has ended although it was renewed");
    Ok(())
}

/// Writes the numbers of a part, each until it has certainly arrived.
async fn write(client: &mut Client, part: usize, acknowledged: &mut BTreeSet<i64>) -> Result<()> {
    for number in part * WRITES..(part + 1) * WRITES {
        let value = number.to_string();
        within("a write", async {
            loop {
                let put = timeout(ATTEMPT, client.put("trouble/key", value.as_str(), None)).await;
                if let Ok(Ok(done)) = put {
                    acknowledged.extend(done.header().map(|header| header.revision()));
                    return;
                }
                // The outcome is open: a second time is harmless, the watcher knows the numbers.
                sleep(PAUSE).await;
            }
        })
        .await?;
    }
    Ok(())
}

/// Watches until the last number was seen, opening the watch again behind what was seen.
fn follow(
    mut client: Client,
    mut start: i64,
    count: usize,
) -> JoinHandle<Result<Vec<(i64, usize)>>> {
    tokio::spawn(async move {
        let mut seen: Vec<(i64, usize)> = Vec::new();
        while seen.last().is_none_or(|(_, number)| number + 1 < count) {
            let options = WatchOptions::new().with_start_revision(start);
            let opened = timeout(ATTEMPT, client.watch("trouble/key", Some(options))).await;
            let Ok(Ok(mut stream)) = opened else {
                sleep(PAUSE).await;
                continue;
            };
            while let Ok(Ok(Some(response))) = timeout(PATIENCE, stream.message()).await {
                ensure!(!response.canceled(), "cancelled: {response:?}");
                for event in response.events() {
                    let pair = event.kv().context("the pair of an event")?;
                    let number = pair.value_str()?.parse().context("a number")?;
                    seen.push((pair.mod_revision(), number));
                    start = pair.mod_revision() + 1;
                }
                if seen.last().is_some_and(|(_, number)| number + 1 == count) {
                    break;
                }
            }
        }
        let numbers: BTreeSet<usize> = seen.iter().map(|(_, number)| *number).collect();
        ensure!(numbers.len() == count, "{} of {count} numbers seen", numbers.len());
        Ok(seen)
    })
}

/// Renews a lease until it is over; opens the stream again when it breaks.
fn keep(mut client: Client, lease: i64, is_over: Arc<AtomicBool>) -> JoinHandle<Result<()>> {
    tokio::spawn(async move {
        while !is_over.load(Ordering::Relaxed) {
            let opened = timeout(ATTEMPT, client.lease_keep_alive(lease)).await;
            let Ok(Ok((mut keeper, mut answers))) = opened else {
                sleep(PAUSE).await;
                continue;
            };
            while !is_over.load(Ordering::Relaxed) && keeper.keep_alive().await.is_ok() {
                let Ok(Ok(Some(answer))) = timeout(ATTEMPT, answers.message()).await else { break };
                ensure!(answer.ttl() == TTL, "renewed to {} s", answer.ttl());
                sleep(Duration::from_millis(500)).await;
            }
        }
        Ok(())
    })
}
