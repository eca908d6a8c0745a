//! Transactions.

use anyhow::{Context, Result, ensure};
use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp, TxnOpResponse};

use crate::harness::{connect, connect_one, refused, tell};

const INVALID_ARGUMENT: i32 = 3;

/// Branches, results, nesting, limits.
pub async fn transactions_choose() -> Result<()> {
    tell("transactions choose");
    let mut client = connect().await?;
    client.put("txn/a", "1", None).await?;
    let condition = || vec![Compare::value("txn/a", CompareOp::Equal, "1")];
    let txn = Txn::new()
        .when(condition())
        .and_then(vec![
            TxnOp::put("txn/a", "2", None),
            TxnOp::get("txn/a", None),
            TxnOp::delete("txn/absent", None),
        ])
        .or_else(vec![TxnOp::put("txn/b", "else", None)]);
    let done = client.txn(txn.clone()).await?;
    ensure!(done.succeeded());
    let answers = done.op_responses();
    let TxnOpResponse::Get(found) = &answers[1] else { anyhow::bail!("a range was expected") };
    ensure!(found.kvs()[0].value() == b"2" && answers.len() == 3);
    ensure!(!client.txn(txn).await?.succeeded());
    ensure!(client.get("txn/b", None).await?.kvs()[0].value() == b"else");
    let nested = Txn::new()
        .when(condition())
        .and_then(vec![TxnOp::put("txn/c", "then", None)])
        .or_else(vec![TxnOp::put("txn/c", "else", None)]);
    client.txn(Txn::new().and_then(vec![TxnOp::txn(nested)])).await?;
    ensure!(client.get("txn/c", None).await?.kvs()[0].value() == b"else");
    let twice = vec![TxnOp::put("txn/d", "1", None), TxnOp::put("txn/d", "2", None)];
    let text = "etcdserver: duplicate key given in txn request";
    refused(client.txn(Txn::new().and_then(twice)).await, INVALID_ARGUMENT, text)?;
    let many: Vec<TxnOp> = (0..129).map(|n| TxnOp::put(format!("txn/{n}"), "x", None)).collect();
    let text = "etcdserver: too many operations in txn request";
    refused(client.txn(Txn::new().and_then(many)).await, INVALID_ARGUMENT, text)
}

/// Each target of a comparison, on a key with a lease.
pub async fn comparisons_know_each_field() -> Result<()> {
    tell("comparisons know each field");
    // A transaction without operations is answered by the member itself, which may lag.
    let mut client = connect_one(0).await?;
    let lease = client.lease_grant(100, None).await?.id();
    client.put("compare", "m", Some(PutOptions::new().with_lease(lease))).await?;
    let put = client.put("compare", "m", Some(PutOptions::new().with_lease(lease))).await?;
    let revision = put.header().context("a header")?.revision();
    let rows = [
        (Compare::version("compare", CompareOp::Equal, 2), true),
        (Compare::version("compare", CompareOp::Greater, 2), false),
        (Compare::create_revision("compare", CompareOp::Less, revision), true),
        (Compare::mod_revision("compare", CompareOp::Equal, revision), true),
        (Compare::mod_revision("compare", CompareOp::NotEqual, revision), false),
        (Compare::value("compare", CompareOp::Greater, "l"), true),
        (Compare::value("compare", CompareOp::Less, "l"), false),
        (Compare::lease("compare", CompareOp::Equal, lease), true),
        (Compare::lease("compare", CompareOp::Equal, 0), false),
        (Compare::version("compare", CompareOp::Greater, 0).with_prefix(), true),
        (Compare::version("absent", CompareOp::Equal, 0), true),
        (Compare::value("absent", CompareOp::NotEqual, "x"), false),
    ];
    for (compare, expected) in rows {
        let shown = format!("{compare:?}");
        let done = client.txn(Txn::new().when(vec![compare])).await?;
        ensure!(done.succeeded() == expected, "{shown}");
    }
    client.lease_revoke(lease).await?;
    ensure!(client.get("compare", None).await?.kvs().is_empty());
    Ok(())
}
