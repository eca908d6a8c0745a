//! What grpc-go answers by itself, and what etcd's interceptors do, compared with 3.4.23 and 3.5.1 (by
//! hand, with curl) where these releases still say the same as 3.7.

use std::io::Write;

use bytes::Bytes;
use prost::Message;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::{PutRequest, RangeRequest, RangeResponse, TxnRequest};
use tonic::Code;

use crate::member::Setup;
use crate::raw::{call, frame, framed, request};

const RANGE: &str = "/etcdserverpb.KV/Range";

fn range() -> RangeRequest {
    RangeRequest { key: Bytes::from_static(b"a"), ..RangeRequest::default() }
}

fn gzip(message: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(message).unwrap();
    framed(1, &writer.finish().unwrap())
}

#[tokio::test]
async fn paths_and_headers() {
    let member = Setup::new().start().await;
    let body = frame(&range());
    for (path, text) in [
        ("/etcdserverpb.KV/Nope", "unknown method Nope for service etcdserverpb.KV"),
        ("/nope.KV/Range", "unknown service nope.KV"),
        ("/a/b/c", "unknown service a/b"),
        ("/nothing", "malformed method name: \"/nothing\""),
        ("/", "malformed method name: \"/\""),
        ("/grpc.health.v1.Health/Foo", "unknown method Foo for service grpc.health.v1.Health"),
    ] {
        assert_eq!(call(&member, path, &[], &body).await.told(), (200, 12, text));
    }
    for (given, answered) in [
        ("application/grpc", "application/grpc"),
        ("application/grpc+proto", "application/grpc+proto"),
        ("application/grpc;x=y", "application/grpc+x=y"),
    ] {
        let answer = call(&member, RANGE, &[("content-type", given.as_bytes())], &body).await;
        assert_eq!(answer.told(), (200, 0, ""), "{given}");
        assert_eq!(answer.headers["content-type"], answered);
    }
    let answer = call(&member, RANGE, &[("content-type", b"application/grpcfoo")], &body).await;
    let text = "invalid gRPC request content-type \"application/grpcfoo\"";
    assert_eq!(answer.told(), (415, 3, text));
    let answer = request(&member, "GET", RANGE, &[], &[]).await;
    let text = "Received a HEADERS frame with :method \"GET\" which should be POST";
    assert_eq!(answer.told(), (405, 13, text));
    for (timeout, http, code) in [("x", 400, 13), ("123456789S", 400, 13), ("0m", 200, 4)] {
        let answer = call(&member, RANGE, &[("grpc-timeout", timeout.as_bytes())], &body).await;
        assert_eq!((answer.http, answer.code), (http, code), "{timeout}: {}", answer.message);
    }
    let answer = call(&member, RANGE, &[("client-api-version", b"\xff\xfe")], &body).await;
    assert_eq!(answer.told(), (200, 3, "etcdserver: invalid client api version"));
    let answer = call(&member, RANGE, &[("hasleader", b"true")], &body).await;
    assert_eq!(answer.code, 0);
    member.node.stop().await;
}

#[tokio::test]
async fn malformed_messages() {
    let member = Setup::new().start().await;
    let plain = frame(&range());
    let wire = "grpc: error unmarshalling request: proto: cannot parse invalid wire-format data";
    let big = "grpc: received message larger than max";
    let cases: [(&[u8], i32, String); 11] = [
        (b"", 2, "EOF".to_owned()),
        (b"\0\0\0", 2, "unexpected EOF".to_owned()),
        (b"\0\0\0\0\x04\x0a\x01a", 2, "unexpected EOF".to_owned()),
        (b"\x02\0\0\0\x03\x0a\x01a", 13, "grpc: received unexpected payload format 2".to_owned()),
        (
            b"\x01\0\0\0\x03\x0a\x01a",
            13,
            "grpc: compressed flag set with identity or empty encoding".to_owned(),
        ),
        (b"\0\0\0\0\x03\x0a\x05a", 13, wire.to_owned()),
        (b"\0\0\0\0\x02\x0a\xff", 13, wire.to_owned()),
        (b"\0\0\0\0\x01\0", 13, wire.to_owned()),
        (b"\0\x00\x20\x00\x01abc", 8, format!("{big} (2097153 vs. 2097152)")),
        (b"\0\xff\xff\xff\xff", 8, format!("{big} (4294967295 vs. 2097152)")),
        (b"\0\0\0\0\0", 3, "etcdserver: key is not provided".to_owned()),
    ];
    for (body, code, text) in cases {
        let answer = call(&member, RANGE, &[], body).await;
        assert_eq!(answer.told(), (200, code, text.as_str()), "{body:?}");
    }
    // What follows the only message of a unary call is not looked at.
    let twice = [plain.clone(), plain].concat();
    assert_eq!(call(&member, RANGE, &[], &twice).await.told(), (200, 0, ""));
    member.node.stop().await;
}

#[tokio::test]
async fn messages_cut_off_in_streams() {
    let member = Setup::new().start().await;
    for path in ["/etcdserverpb.Watch/Watch", "/etcdserverpb.Lease/LeaseKeepAlive"] {
        for body in [&b"\0\0\0"[..], b"\0\0\0\0\x04\x0a\x01a"] {
            let answer = call(&member, path, &[], body).await;
            assert_eq!(answer.told(), (200, 13, "unexpected EOF"), "{path} {body:?}");
        }
    }
    member.node.stop().await;
}

#[tokio::test]
async fn compressed_requests() {
    let member = Setup::new().start().await;
    let body = gzip(&range().encode_to_vec());
    let encoding: [(&str, &[u8]); 1] = [("grpc-encoding", b"gzip")];
    let answer = call(&member, RANGE, &encoding, &body).await;
    assert_eq!(answer.told(), (200, 0, ""));
    let reply = RangeResponse::decode(&answer.body[5..]).unwrap();
    assert_eq!(reply.header.unwrap().revision, 1);
    let plain = frame(&range());
    assert_eq!(call(&member, RANGE, &encoding, &plain).await.code, 0);
    assert_eq!(call(&member, RANGE, &[("grpc-encoding", b"identity")], &plain).await.code, 0);
    let answer = call(&member, RANGE, &[("grpc-encoding", b"snappy")], &plain).await;
    let text = "grpc: Decompressor is not installed for grpc-encoding \"snappy\"";
    assert_eq!(answer.told(), (200, 12, text));
    let bomb =
        PutRequest { key: range().key, value: vec![0; 3 << 20].into(), ..PutRequest::default() };
    let bomb = gzip(&bomb.encode_to_vec());
    let answer = call(&member, "/etcdserverpb.KV/Put", &encoding, &bomb).await;
    let text = "grpc: received message after decompression larger than max 2097152";
    assert_eq!(answer.told(), (200, 8, text));
    member.node.stop().await;
}

#[tokio::test]
async fn sizes() {
    let member = Setup::new().start().await;
    let mut kv = KvClient::new(member.channel().await).max_decoding_message_size(usize::MAX);
    let put = |size: usize| PutRequest {
        key: Bytes::from_static(b"k"),
        value: vec![7; size].into(),
        ..PutRequest::default()
    };
    let largest = 1_572_864 - 64;
    kv.put(put(largest)).await.unwrap();
    let found = kv.range(RangeRequest { key: Bytes::from_static(b"k"), ..range() }).await.unwrap();
    assert!(found.into_inner().kvs[0].0.len() > largest);
    let error = kv.put(put(1_572_864)).await.unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (Code::InvalidArgument, "etcdserver: request is too large")
    );
    let error = kv.put(put(2 << 20)).await.unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted);
    // Every odd byte is a key, and an empty value is one.
    for byte in 0..=255_u8 {
        let key = Bytes::from(vec![byte, 0, byte]);
        kv.put(PutRequest { key: key.clone(), ..PutRequest::default() }).await.unwrap();
        let found = kv.range(RangeRequest { key: key.clone(), ..range() }).await.unwrap();
        let found = found.into_inner();
        let pair = mvcc::kv::KvView::parse(&found.kvs[0].0).unwrap();
        assert_eq!((pair.key, pair.value), (&key[..], &b""[..]));
    }
    member.node.stop().await;
}

#[tokio::test]
async fn without_a_leader() {
    let member = Setup::new().start_without_quorum();
    let body = frame(&RangeRequest { serializable: true, ..range() });
    assert_eq!(call(&member, RANGE, &[], &body).await.code, 0);
    let wanted: [(&str, &[u8]); 1] = [("hasleader", b"true")];
    for path in [RANGE, "/etcdserverpb.KV/Put", "/etcdserverpb.Maintenance/Status"] {
        let answer = call(&member, path, &wanted, &body).await;
        assert_eq!(answer.told(), (200, 14, "etcdserver: no leader"), "{path}");
    }
    let answer = call(&member, RANGE, &[("hasleader", b"TRUE")], &body).await;
    assert_eq!(answer.code, 0);
    // The time that the client gives ends a wait for a quorum.
    let timeout: [(&str, &[u8]); 1] = [("grpc-timeout", b"200m")];
    for (path, body) in [
        (RANGE, frame(&range())),
        ("/etcdserverpb.KV/Put", frame(&PutRequest { key: range().key, ..PutRequest::default() })),
    ] {
        let answer = call(&member, path, &timeout, &body).await;
        assert_eq!(answer.told(), (200, 4, "context deadline exceeded"), "{path}");
    }
    let txn = frame(&TxnRequest::default());
    assert_eq!(call(&member, "/etcdserverpb.KV/Txn", &timeout, &txn).await.code, 0);
    member.node.stop().await;
}

#[tokio::test]
async fn health_service() {
    let member = Setup::new().start().await;
    let check = "/grpc.health.v1.Health/Check";
    let answer = call(&member, check, &[], b"\0\0\0\0\0").await;
    assert_eq!((answer.code, &answer.body[..]), (0, &b"\0\0\0\0\x02\x08\x01"[..]));
    let answer = call(&member, check, &[], b"\0\0\0\0\x03\x0a\x01a").await;
    assert_eq!(answer.told(), (200, 5, "unknown service"));
    // A watch tells the state and then nothing more.
    let watch = "/grpc.health.v1.Health/Watch";
    for (body, state) in [(&b"\0\0\0\0\0"[..], 1_u8), (b"\0\0\0\0\x03\x0a\x01a", 3)] {
        let answer = call(&member, watch, &[("grpc-timeout", b"100m")], body).await;
        assert_eq!(answer.body[..], [0, 0, 0, 0, 2, 8, state]);
        assert_eq!(answer.told(), (200, 4, "context deadline exceeded"));
    }
    member.node.stop().await;
}

#[tokio::test]
async fn streams_end_with_the_server() {
    let member = Setup::new().start().await;
    let watch = call(&member, "/grpc.health.v1.Health/Watch", &[], b"\0\0\0\0\0");
    let close = async {
        // Either way it has to end: whether it is under way by now or only comes to begin.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        member.node.handle().close_streams();
    };
    let (answer, ()) = tokio::join!(watch, close);
    assert_eq!(answer.told(), (200, 14, "etcdserver: server stopped"));
    member.node.stop().await;
}
