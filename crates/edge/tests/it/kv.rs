//! Reads that take long, transactions of ranges only, ranges in pieces.

use bytes::Bytes;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::request_op::Request as Op;
use proto::etcdserverpb::response_op::Response as OpReply;
use proto::etcdserverpb::{
    CompactionRequest, PutRequest, RangeRequest, RangeResponse, RequestOp, TxnRequest,
};
use tonic::Code;
use tonic::transport::Channel;

use crate::member::Setup;

fn key(number: usize) -> Bytes {
    format!("k{number:06}").into()
}

fn put(number: usize, value: &str) -> PutRequest {
    PutRequest { key: key(number), value: value.to_owned().into(), ..PutRequest::default() }
}

fn all() -> RangeRequest {
    let zero = Bytes::from_static(b"\0");
    RangeRequest { key: zero.clone(), range_end: zero, ..RangeRequest::default() }
}

fn range_op(range: RangeRequest) -> RequestOp {
    RequestOp { request: Some(Op::RequestRange(range)) }
}

/// Puts keys `0..count` with one value, a hundred in a transaction.
async fn fill(kv: &mut KvClient<Channel>, count: usize, value: &str) -> i64 {
    let numbers: Vec<usize> = (0..count).collect();
    let mut revision = 0;
    for chunk in numbers.chunks(100) {
        let puts = chunk
            .iter()
            .map(|number| RequestOp { request: Some(Op::RequestPut(put(*number, value))) });
        let txn = TxnRequest { success: puts.collect(), ..TxnRequest::default() };
        revision = kv.txn(txn).await.unwrap().into_inner().header.unwrap().revision;
    }
    revision
}

/// The pairs of a reply as key, value and mod revision.
fn pairs(reply: &RangeResponse) -> Vec<(Bytes, Bytes, i64)> {
    let pair = |stored: &proto::StoredKeyValue| {
        let view = mvcc::kv::KvView::parse(&stored.0).unwrap();
        let bytes = |slice: &[u8]| Bytes::copy_from_slice(slice);
        (bytes(view.key), bytes(view.value), view.mod_revision)
    };
    reply.kvs.iter().map(pair).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_range_is_whole_while_it_is_overwritten_and_compacted() {
    const KEYS: usize = 100_000;
    let member = Setup::new().start().await;
    let mut kv = KvClient::new(member.channel().await).max_decoding_message_size(usize::MAX);
    fill(&mut kv, KEYS, "0").await;
    let mut writer = KvClient::new(member.channel().await);
    let writing = tokio::spawn(async move {
        for round in 1..6 {
            let revision = fill(&mut writer, KEYS / 4, &round.to_string()).await;
            let compact = CompactionRequest { revision, physical: round % 2 == 0 };
            writer.compact(compact).await.unwrap();
        }
    });
    let mut reads = 0;
    while !writing.is_finished() || reads < 3 {
        let reply = kv.range(all()).await.unwrap().into_inner();
        let revision = reply.header.unwrap().revision;
        assert_eq!((reply.kvs.len(), reply.count, reply.more), (KEYS, 100_000, false));
        let found = pairs(&reply);
        assert!(found.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(found.iter().all(|(_, _, modified)| *modified <= revision));
        // Chunks of a hundred are written in one transaction: no reader sees a part of it.
        for chunk in found.chunks(100) {
            assert!(chunk.iter().all(|(_, value, _)| *value == chunk[0].1));
        }
        let txn =
            TxnRequest { success: vec![range_op(all()), range_op(all())], ..TxnRequest::default() };
        let reply = kv.txn(txn).await.unwrap().into_inner();
        let [Some(OpReply::ResponseRange(one)), Some(OpReply::ResponseRange(two))] =
            [&reply.responses[0].response, &reply.responses[1].response]
        else {
            panic!("not ranges")
        };
        assert_eq!((one.kvs.len(), one), (KEYS, two));
        reads += 1;
    }
    writing.await.unwrap();
    member.node.stop().await;
}

#[tokio::test]
async fn transactions_of_ranges_make_no_entry_and_need_no_quorum_if_serializable() {
    let member = Setup::new().start().await;
    let mut kv = KvClient::new(member.channel().await);
    kv.put(put(1, "a")).await.unwrap();
    let commit = member.node.handle().status().commit;
    let txn = TxnRequest { success: vec![range_op(all())], ..TxnRequest::default() };
    let reply = kv.txn(txn).await.unwrap().into_inner();
    assert!(reply.succeeded);
    let header = reply.header.unwrap();
    assert_eq!(header.revision, 2);
    let Some(OpReply::ResponseRange(range)) = &reply.responses[0].response else { panic!() };
    let inner = range.header.unwrap();
    assert_eq!((inner.revision, inner.cluster_id, inner.raft_term), (2, 0, 0));
    assert_eq!(pairs(range), [(key(1), Bytes::from_static(b"a"), 2)]);
    assert_eq!(member.node.handle().status().commit, commit);
    member.node.stop().await;

    let lonely = Setup::new().start_without_quorum();
    let mut kv = KvClient::new(lonely.channel().await);
    let range = range_op(RangeRequest { serializable: true, ..all() });
    let txn = TxnRequest { success: vec![range.clone()], ..TxnRequest::default() };
    assert!(kv.txn(txn).await.unwrap().into_inner().succeeded);
    assert!(kv.txn(TxnRequest::default()).await.unwrap().into_inner().succeeded);
    let nested = RequestOp { request: Some(Op::RequestTxn(TxnRequest::default())) };
    for ops in [vec![range, range_op(all())], vec![nested]] {
        let mut request = tonic::Request::new(TxnRequest { success: ops, ..TxnRequest::default() });
        request.set_timeout(std::time::Duration::from_millis(300));
        let error = kv.txn(request).await.unwrap_err();
        assert!(matches!(error.code(), Code::DeadlineExceeded | Code::Cancelled), "{error}");
    }
    lonely.node.stop().await;
}

async fn stream(kv: &mut KvClient<Channel>, request: RangeRequest) -> Vec<RangeResponse> {
    let mut stream = kv.range_stream(request).await.unwrap().into_inner();
    let mut pieces = Vec::new();
    while let Some(piece) = stream.message().await.unwrap() {
        pieces.push(piece.range_response.unwrap());
    }
    pieces
}

#[tokio::test]
async fn pieces_of_a_stream_make_up_the_range() {
    let mut setup = Setup::new();
    setup.grpc.max_request_bytes = 4_000;
    let member = setup.start().await;
    let mut kv = KvClient::new(member.channel().await);
    fill(&mut kv, 500, "value").await;
    for (limit, revision, keys_only) in [
        (0, 0, false),
        (-3, 0, true),
        (7, 0, false),
        (10, 5, false),
        (123, 4, false),
        (500, 0, false),
    ] {
        let request = RangeRequest { limit, revision, keys_only, ..all() };
        let whole = kv.range(request.clone()).await.unwrap().into_inner();
        let pieces = stream(&mut kv, request).await;
        let (last, others) = pieces.split_last().unwrap();
        assert!(
            others.iter().all(|piece| piece.header.is_none() && !piece.more && piece.count == 0)
        );
        assert_eq!((last.header, last.more, last.count), (whole.header, whole.more, whole.count));
        let all: Vec<_> = pieces.iter().flat_map(pairs).collect();
        assert_eq!(all, pairs(&whole), "limit {limit}");
        assert!(pieces[0].kvs.len() <= 10);
    }
    let whole = stream(&mut kv, all()).await;
    let sizes: Vec<usize> = whole.iter().map(|piece| piece.kvs.len()).collect();
    assert_eq!(sizes[..4], [10, 20, 40, 80]);
    let counted = stream(&mut kv, RangeRequest { count_only: true, ..all() }).await;
    assert_eq!((counted.len(), counted[0].count, counted[0].kvs.len()), (1, 500, 0));
    assert!(counted[0].header.is_some());
    member.node.stop().await;
}

#[tokio::test]
async fn a_stream_does_not_see_writes_and_ends_at_a_compaction() {
    // More than the windows and buffers of a connection hold, so that the server cannot run ahead.
    const KEYS: usize = 5_000;
    let (old, new) = ("o".repeat(2_000), "n".repeat(2_000));
    let member = Setup::new().start().await;
    let mut kv = KvClient::new(member.channel().await);
    let revision = fill(&mut kv, KEYS, &old).await;
    let mut stream = kv.range_stream(all()).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap().range_response.unwrap();
    assert_eq!(first.kvs.len(), 10);
    let next = fill(&mut kv, KEYS, &new).await;
    let mut seen = 0;
    for _ in 0..5 {
        let piece = stream.message().await.unwrap().unwrap().range_response.unwrap();
        assert!(pairs(&piece).iter().all(|(_, value, at)| *value == old && *at <= revision));
        seen += piece.kvs.len();
    }
    assert!(seen < KEYS);
    kv.compact(CompactionRequest { revision: next, physical: false }).await.unwrap();
    let error = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended as if nothing had happened"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), Code::OutOfRange);
    assert_eq!(error.message(), "etcdserver: mvcc: required revision has been compacted");
    let error = kv.range_stream(RangeRequest { revision, ..all() }).await.unwrap_err();
    assert_eq!(error.code(), Code::OutOfRange);
    member.node.stop().await;
}
