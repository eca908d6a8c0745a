//! Watches.

use anyhow::{Context, Result, ensure};
use etcd_client::{Event, EventType, WatchFilterType, WatchOptions, WatchResponse, WatchStream};

use crate::harness::{connect, connect_one, tell, within};

/// The next response of a stream.
pub async fn next(stream: &mut WatchStream) -> Result<WatchResponse> {
    let answer = within("a response of a watch", stream.message()).await??;
    answer.context("the stream has ended")
}

/// The next events of a stream, from as many responses as they come in.
async fn events(stream: &mut WatchStream, count: usize) -> Result<Vec<String>> {
    let mut shown = Vec::new();
    while shown.len() < count {
        let response = next(stream).await?;
        ensure!(!response.canceled(), "cancelled: {response:?}");
        for event in response.events() {
            shown.push(show(event)?);
        }
    }
    Ok(shown)
}

fn show(event: &Event) -> Result<String> {
    let pair = event.kv().context("the pair of an event")?;
    let kind = match event.event_type() {
        EventType::Put => "put",
        EventType::Delete => "delete",
    };
    let former = match event.prev_kv() {
        Some(former) => format!(" after {}", former.value_str()?),
        None => String::new(),
    };
    Ok(format!("{kind} {}={}{former}", pair.key_str()?, pair.value_str()?))
}

/// Live, from history, with former pairs, filtered.
pub async fn watches_see_each_change() -> Result<()> {
    tell("watches see each change");
    let mut client = connect().await?;
    let all = || WatchOptions::new().with_prefix().with_prev_key();
    let mut live = connect_one(1).await?.watch("watch/", Some(all())).await?;
    ensure!(next(&mut live).await?.created());
    let first = client.put("watch/a", "1", None).await?.header().context("a header")?.revision();
    client.put("watch/a", "2", None).await?;
    client.delete("watch/a", None).await?;
    let expected = ["put watch/a=1", "put watch/a=2 after 1", "delete watch/a= after 2"];
    ensure!(events(&mut live, 3).await? == expected);
    let rows: [(Option<WatchFilterType>, Vec<&str>); 3] = [
        (None, expected.to_vec()),
        (Some(WatchFilterType::NoPut), expected[2..].to_vec()),
        (Some(WatchFilterType::NoDelete), expected[..2].to_vec()),
    ];
    for (number, (filter, expected)) in rows.into_iter().enumerate() {
        let mut options = all().with_start_revision(first);
        if let Some(filter) = filter {
            options = options.with_filters([filter]);
        }
        let mut past = connect_one(number).await?.watch("watch/", Some(options)).await?;
        ensure!(next(&mut past).await?.created());
        let seen = events(&mut past, expected.len()).await?;
        ensure!(seen == expected, "{filter:?}: {seen:?}");
    }
    Ok(())
}

/// IDs, cancellation, progress.
pub async fn one_stream_carries_many_watches() -> Result<()> {
    tell("one stream carries many watches");
    let mut client = connect().await?;
    let mut stream = client.watch("many/a", None).await?;
    ensure!(next(&mut stream).await?.watch_id() == 0);
    stream.watch("many/b", Some(WatchOptions::new().with_watch_id(7))).await?;
    ensure!(next(&mut stream).await?.watch_id() == 7);
    stream.watch("many/", Some(WatchOptions::new().with_prefix().with_fragment())).await?;
    ensure!(next(&mut stream).await?.watch_id() == 1);
    client.put("many/b", "x", None).await?;
    let mut seen = [next(&mut stream).await?.watch_id(), next(&mut stream).await?.watch_id()];
    seen.sort_unstable();
    ensure!(seen == [1, 7], "{seen:?}");
    stream.cancel(1).await?;
    let answer = next(&mut stream).await?;
    ensure!(answer.canceled() && answer.watch_id() == 1, "{answer:?}");
    let put = client.put("many/a", "y", None).await?;
    let event = next(&mut stream).await?;
    ensure!(event.watch_id() == 0 && event.events().len() == 1, "{event:?}");
    stream.request_progress().await?;
    let progress = next(&mut stream).await?;
    let told = progress.header().context("a header")?.revision();
    ensure!(progress.watch_id() == -1 && progress.events().is_empty(), "{progress:?}");
    ensure!(told >= put.header().context("a header")?.revision());
    Ok(())
}

/// A watch from before the compaction.
pub async fn a_compacted_start_is_told() -> Result<()> {
    tell("a compacted start is told");
    let mut client = connect().await?;
    let first = client.put("old", "1", None).await?.header().context("a header")?.revision();
    client.put("old", "2", None).await?;
    client.compact(first + 1, None).await?;
    let options = WatchOptions::new().with_start_revision(first);
    let mut stream = client.watch("old", Some(options)).await?;
    ensure!(next(&mut stream).await?.created());
    let answer = next(&mut stream).await?;
    ensure!(answer.canceled() && answer.compact_revision() == first + 1, "{answer:?}");
    Ok(())
}
