//! KV, Watch and Lease through the crate etcd-client, on three members that end and come back.
//!
//! Owns:       the keys of a cluster that a test of `crates/e2e` has started for it.
//! Uses:       etcd-client; the test that started it, over standard input and output (`harness`).
//! Never:      crates of this project: what is tried out is what an application has.
//! Invariants: ends with 0 when everything was as it should be, else says what was not.
//! Source:     issue "the surface", Must show 6; the documentation of etcd-client.

mod harness;
mod kv;
mod lease;
mod trouble;
mod txn;
mod watch;

use anyhow::Result;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    kv::pairs_are_written_and_read().await?;
    kv::ranges_take_options().await?;
    kv::a_range_comes_in_chunks().await?;
    kv::compaction_takes_the_past().await?;
    txn::transactions_choose().await?;
    txn::comparisons_know_each_field().await?;
    watch::watches_see_each_change().await?;
    watch::one_stream_carries_many_watches().await?;
    watch::a_compacted_start_is_told().await?;
    lease::leases_end_with_their_keys().await?;
    lease::leases_are_listed_and_revoked().await?;
    trouble::clients_survive_the_end_of_each_member().await
}
