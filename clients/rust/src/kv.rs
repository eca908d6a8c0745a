//! Put, get, delete, compact.

use anyhow::{Context, Result, ensure};
use etcd_client::{
    CompactionOptions, DeleteOptions, GetOptions, KeyValue, PutOptions, SortOrder, SortTarget,
};

use crate::harness::{connect, connect_one, refused, tell};

const INVALID_ARGUMENT: i32 = 3;
const OUT_OF_RANGE: i32 = 11;
const UNIMPLEMENTED: i32 = 12;

/// Puts in each form, read through each member.
pub async fn pairs_are_written_and_read() -> Result<()> {
    tell("pairs are written and read");
    let mut client = connect().await?;
    let first = client.put("kv/a", "1", None).await?;
    let revision = first.header().context("a header")?.revision();
    for number in 0..3 {
        let found = connect_one(number).await?.get("kv/a", None).await?;
        let pair = found.kvs().first().context("the key")?;
        ensure!((pair.value(), pair.version()) == (b"1", 1), "{pair:?}");
        ensure!(pair.create_revision() == revision && pair.mod_revision() == revision, "{pair:?}");
    }
    let with_former = PutOptions::new().with_prev_key();
    let former = client.put("kv/a", "2", Some(with_former)).await?;
    ensure!(former.prev_key().context("the former pair")?.value() == b"1");
    let keep = PutOptions::new().with_ignore_value();
    client.put("kv/a", "", Some(keep.clone())).await?;
    let found = client.get("kv/a", None).await?;
    ensure!((found.kvs()[0].value(), found.kvs()[0].version()) == (&b"2"[..], 3));
    let absent = client.put("kv/absent", "", Some(keep)).await;
    refused(absent, INVALID_ARGUMENT, "etcdserver: key not found")?;
    refused(client.put("", "x", None).await, INVALID_ARGUMENT, "etcdserver: key is not provided")?;
    ensure!(client.get("kv/absent", None).await?.kvs().is_empty());
    let gone = client.delete("kv/a", Some(DeleteOptions::new().with_prev_key())).await?;
    ensure!(gone.deleted() == 1 && gone.prev_kvs()[0].value() == b"2");
    ensure!(client.delete("kv/a", None).await?.deleted() == 0);
    Ok(())
}

/// Each option of a range.
pub async fn ranges_take_options() -> Result<()> {
    tell("ranges take options");
    let mut client = connect().await?;
    let mut revisions = Vec::new();
    for (key, value) in [("range/b", "1"), ("range/a", "3"), ("range/c", "2")] {
        let put = client.put(key, value, None).await?;
        revisions.push(put.header().context("a header")?.revision());
    }
    let all = || GetOptions::new().with_prefix();
    let by_mod = all().with_sort(SortTarget::Mod, SortOrder::Descend);
    let rows: [(GetOptions, &[&str]); 9] = [
        (all(), &["a", "b", "c"]),
        (all().with_limit(2), &["a", "b"]),
        (GetOptions::new().with_range("range/c"), &["a", "b"]),
        (all().with_sort(SortTarget::Value, SortOrder::Ascend), &["b", "c", "a"]),
        (by_mod, &["c", "a", "b"]),
        (all().with_revision(revisions[1]), &["a", "b"]),
        (all().with_serializable(), &["a", "b", "c"]),
        (all().with_min_mod_revision(revisions[1]), &["a", "c"]),
        (all().with_max_create_revision(revisions[0]), &["b"]),
    ];
    for (number, (options, expected)) in rows.into_iter().enumerate() {
        let key = if number == 2 { "range/a" } else { "range/" };
        let mut one = connect_one(usize::from(number != 6)).await?;
        // A member that may lag answers what is asked for locally; it has to have seen the writes.
        if number == 6 {
            let _ = one.get(key, None).await?;
        }
        let found = one.get(key, Some(options)).await?;
        let names: Vec<&str> = found.kvs().iter().map(short).collect::<Result<_>>()?;
        ensure!(names == expected, "row {number}: {names:?}");
        ensure!(found.more() == (number == 1), "row {number}: more");
    }
    let counted = client.get("range/", Some(all().with_count_only())).await?;
    ensure!(counted.count() == 3 && counted.kvs().is_empty());
    let keys = client.get("range/", Some(all().with_keys_only())).await?;
    ensure!(keys.kvs().iter().all(|pair| pair.value().is_empty()) && keys.kvs().len() == 3);
    let future = all().with_revision(revisions[2] + 1000);
    let text = "etcdserver: mvcc: required revision is a future revision";
    refused(client.get("range/", Some(future)).await, OUT_OF_RANGE, text)?;
    let gone = client.delete("range/b", Some(DeleteOptions::new().with_from_key())).await?;
    ensure!(gone.deleted() >= 2);
    Ok(())
}

fn short(pair: &KeyValue) -> Result<&str> {
    Ok(pair.key_str()?.trim_start_matches("range/"))
}

/// RangeStream, which Go's 3.5.1 does not know.
pub async fn a_range_comes_in_chunks() -> Result<()> {
    tell("a range comes in chunks");
    let mut client = connect().await?;
    for number in 0..50 {
        client.put(format!("chunks/{number:02}"), "x", None).await?;
    }
    let all = GetOptions::new().with_prefix();
    let opened = client.kv_client().get_stream("chunks/", Some(all)).await;
    if client.status().await?.version() == "3.5.1" {
        let text = "unknown method RangeStream for service etcdserverpb.KV";
        return refused(opened, UNIMPLEMENTED, text);
    }
    let mut stream = opened?;
    let mut pairs = Vec::new();
    let mut chunks = 0;
    while let Some(mut chunk) = stream.message().await? {
        pairs.extend(chunk.take_kvs());
        chunks += 1;
    }
    ensure!(pairs.len() == 50 && chunks > 1, "{} pairs in {chunks} chunks", pairs.len());
    Ok(())
}

/// Logical and physical compaction.
pub async fn compaction_takes_the_past() -> Result<()> {
    tell("compaction takes the past");
    let mut client = connect().await?;
    let mut revisions = Vec::new();
    for value in ["1", "2", "3"] {
        let put = client.put("compact", value, None).await?;
        revisions.push(put.header().context("a header")?.revision());
    }
    let physical = CompactionOptions::new().with_physical();
    client.compact(revisions[1], Some(physical)).await?;
    let compacted = "etcdserver: mvcc: required revision has been compacted";
    refused(client.compact(revisions[1], None).await, OUT_OF_RANGE, compacted)?;
    let at = |revision| Some(GetOptions::new().with_revision(revision));
    refused(client.get("compact", at(revisions[0])).await, OUT_OF_RANGE, compacted)?;
    let kept = client.get("compact", at(revisions[1])).await?;
    ensure!(kept.kvs()[0].value() == b"2");
    Ok(())
}
