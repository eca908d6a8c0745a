//! Calls on Watch, Lease and KV that break the rules, beside good ones on the same connection.
//!
//! Source:     api-v3.md 1.1, 9.1; grpc-go's answers, tried with etcd 3.5.1.

use std::io::Write;

use bytes::Bytes;
use e2e::v3::{Client, Received, Stream};
use proto::etcdserverpb::{LeaseKeepAliveRequest, LeaseKeepAliveResponse};
use tonic::Code;

use super::api::{KEEP_ALIVE, PUT, TXN_OPS, WATCH};
use super::{Place, api, assert_no_panic, h2};

/// Methods of every kind: one request and many, few replies and many.
const METHODS: [&str; 6] = [
    WATCH,
    KEEP_ALIVE,
    PUT,
    "/etcdserverpb.KV/Range",
    "/etcdserverpb.KV/Txn",
    "/etcdserverpb.Lease/LeaseGrant",
];
const CALL: [(&str, &str); 2] = [("content-type", "application/grpc"), ("te", "trailers")];

/// `unexpected EOF` has one code in unary calls and another in streams.
fn half(method: &str) -> Code {
    if [WATCH, KEEP_ALIVE].contains(&method) { Code::Internal } else { Code::Unknown }
}

/// Streams that must not notice what happens beside them.
struct Bystanders {
    client: Client,
    watch: Stream,
    renewals: Stream,
    lease: i64,
    count: u32,
}

impl Bystanders {
    fn new(client: Client) -> Self {
        let watch = api::watch(&client, "bystander", "", 0);
        let lease = api::grant(&client, 600).expect("a lease");
        let renewals = client.stream(KEEP_ALIVE, &[]);
        Self { client, watch, renewals, lease, count: 0 }
    }

    #[track_caller]
    fn go_on(&mut self) {
        self.count += 1;
        let value = self.count.to_string();
        let revision = api::put(&self.client, "bystander", value.clone()).expect("a put");
        let events = api::events(&mut self.watch);
        assert_eq!((events.len(), events[0].mod_revision), (1, revision));
        assert_eq!(events[0].value, value);
        self.renewals.send(&LeaseKeepAliveRequest { id: self.lease });
        let renewed: LeaseKeepAliveResponse = self.renewals.next();
        assert_eq!((renewed.id, renewed.ttl), (self.lease, 600));
    }
}

/// The status of an answer.
fn code(reply: &e2e::v3::RawReply) -> Code {
    let code = reply.trailer("grpc-status").and_then(|code| code.parse().ok());
    Code::from_i32(code.unwrap_or(-1))
}

#[test]
fn frames_that_are_no_messages_end_their_own_call_only() {
    let place = Place::new("bad-calls-v3");
    let etcd = place.single("b").start();
    let mut bystanders = Bystanders::new(Client::new(etcd.client()));
    let good = h2::message(&h2::put_request(b"bad", b"x"));
    let large = [&[0, 0, 0x2d, 0xc6, 0xc0][..], &[7; 1000]].concat();
    let huge = [&[0, 0xff, 0xff, 0xff, 0xff][..], &[7; 1000]].concat();
    let compressed = [&[1][..], &good[1..]].concat();
    let unknown_flag = [&[77][..], &good[1..]].concat();
    let gzip = [Code::Unimplemented, Code::Internal];
    let (wrong, beyond) = (h2::message(&[0xff; 6]), h2::message(b"\x0a\xff\xff\xff\x0f"));
    let cases: [(&str, &[u8], &[Code]); 9] = [
        ("wrong wire types", &wrong, &[Code::Internal]),
        ("a field beyond the end", &beyond, &[Code::Internal]),
        ("half of a message", &good[..good.len() - 2], &[]),
        ("half of a prefix", &good[..3], &[]),
        ("three million bytes", &large, &[Code::ResourceExhausted]),
        ("four thousand million", &huge, &[Code::ResourceExhausted]),
        ("compressed by nothing", &compressed, &[Code::Internal]),
        ("compressed by gzip", &compressed, &gzip),
        ("a flag nobody knows", &unknown_flag, &[Code::Internal]),
    ];
    for method in METHODS {
        for (what, body, codes) in cases {
            let gzip = what.ends_with("gzip").then_some(("grpc-encoding", "gzip"));
            let headers: Vec<_> = CALL.into_iter().chain(gzip).collect();
            let reply = bystanders.client.raw(method, &headers, Bytes::copy_from_slice(body));
            let reply = reply.unwrap_or_else(|error| panic!("{what} to {method}: {error:?}"));
            assert_eq!(reply.status, 200, "{what} to {method}: {reply:?}");
            let found = code(&reply);
            let expected = if codes.is_empty() { &[half(method)] } else { codes };
            assert!(expected.contains(&found), "{what} to {method}: {reply:?}");
            bystanders.go_on();
        }
    }
    assert_eq!(api::range(&bystanders.client, &key("bad")).expect("range").count, 0);
    assert_no_panic(&etcd.log());
}

#[test]
fn broken_messages_in_the_middle_of_a_stream_end_that_stream_only() {
    let place = Place::new("bad-streams");
    let etcd = place.single("b").start();
    let client = Client::new(etcd.client());
    let mut bystanders = Bystanders::new(client.clone());
    let broken: [&[u8]; 5] =
        [&[0xff; 6], b"\x0a\xff\xff\xff\x0f", b"\x0a\x05ab", b"\x08", b"\x0b\x0b\x0b"];
    for bytes in broken {
        let mut watch = api::watch(&client, "watched", "", 0);
        let revision = api::put(&client, "watched", "v").expect("a put");
        assert_eq!(api::events(&mut watch)[0].mod_revision, revision);
        watch.send_bytes(Bytes::copy_from_slice(bytes));
        assert_ended(&mut watch, bytes);
        let mut renewals = client.stream(KEEP_ALIVE, &[]);
        renewals.send(&LeaseKeepAliveRequest { id: bystanders.lease });
        assert_eq!(renewals.next::<LeaseKeepAliveResponse>().ttl, 600);
        renewals.send_bytes(Bytes::copy_from_slice(bytes));
        assert_ended(&mut renewals, bytes);
        bystanders.go_on();
    }
    assert_no_panic(&etcd.log());
}

#[track_caller]
fn assert_ended(stream: &mut Stream, bytes: &[u8]) {
    match stream.receive(e2e::v3::PATIENCE) {
        Received::End(Err(failure)) => assert_eq!(failure.code, Code::Internal, "{failure:?}"),
        other => panic!("after {bytes:?}: {other:?}"),
    }
}

#[test]
fn services_and_methods_that_do_not_exist() {
    let place = Place::new("no-method");
    let etcd = place.single("b").start();
    let mut bystanders = Bystanders::new(Client::new(etcd.client()));
    let cases = [
        ("/etcdserverpb.KV/Nothing", "unknown method Nothing for service etcdserverpb.KV"),
        ("/etcdserverpb.Watch/watch", "unknown method watch for service etcdserverpb.Watch"),
        ("/etcdserverpb.Lease/", "unknown method  for service etcdserverpb.Lease"),
        ("/nothing.at.All/Put", "unknown service nothing.at.All"),
        ("/etcdserverpb.Kv/Put", "unknown service etcdserverpb.Kv"),
    ];
    for (method, text) in cases {
        let reply = bystanders.client.unary_bytes(method, &[], Bytes::new());
        let failure = reply.expect_err("nobody serves this");
        assert_eq!((failure.code, failure.message.as_str()), (Code::Unimplemented, text));
        let mut stream = bystanders.client.stream(method, &[]);
        stream.send(&api::create("k", "", 0));
        match stream.receive(e2e::v3::PATIENCE) {
            Received::End(Err(failure)) => assert_eq!(failure.code, Code::Unimplemented),
            other => panic!("{method}: {other:?}"),
        }
        bystanders.go_on();
    }
    assert_no_panic(&etcd.log());
}

#[test]
fn metadata_of_any_bytes_does_no_harm() {
    let place = Place::new("metadata");
    let etcd = place.single("b").start();
    let mut bystanders = Bystanders::new(Client::new(etcd.client()));
    let request = h2::message(&h2::put_request(b"metadata", b"x"));
    let values: [&[u8]; 6] =
        [b"\xff\xfe\xfd", b"\xc3\x28", b"\xed\xa0\x80", b"a\x00b", b"a\r\nb: c", &[0x80; 100]];
    for (name, value) in ["x-any", "token", "x-any-bin", "hasleader", "grpc-timeout"]
        .into_iter()
        .flat_map(|name| values.map(|value| (name, value)))
    {
        let mut stream = h2::open(etcd.client()).expect("connect");
        for (id, method) in [(1, PUT), (3, WATCH), (5, KEEP_ALIVE)] {
            let mut block = h2::call_headers(method);
            block.push(0);
            for text in [name.as_bytes(), value] {
                block.push(u8::try_from(text.len()).expect("short"));
                block.extend(text);
            }
            let headers = h2::frame(h2::HEADERS, h2::END_HEADERS, id, &block);
            let data = h2::frame(h2::DATA, h2::END_STREAM, id, &request);
            // The server may have ended the connection already.
            let _ = stream.write_all(&[headers, data].concat());
        }
        bystanders.go_on();
    }
    assert_no_panic(&etcd.log());
}

#[test]
fn requests_beyond_the_limits_are_named() {
    let place = Place::new("beyond");
    let etcd = place.single("b").start();
    let mut bystanders = Bystanders::new(Client::new(etcd.client()));
    let client = bystanders.client.clone();
    let put = |number: usize| proto::etcdserverpb::PutRequest {
        key: format!("beyond/{number}").into(),
        ..Default::default()
    };
    let too_many = api::put_all(&client, (0..=TXN_OPS).map(put).collect());
    let failure = too_many.expect_err("one operation too many");
    let text = "etcdserver: too many operations in txn request";
    assert_eq!((failure.code, failure.message.as_str()), (Code::InvalidArgument, text));
    let failure = api::put(&client, "", "x").expect_err("no key");
    let text = "etcdserver: key is not provided";
    assert_eq!((failure.code, failure.message.as_str()), (Code::InvalidArgument, text));
    let failure = api::put(&client, "beyond/1", vec![7; 1_572_864]).expect_err("too large");
    let text = "etcdserver: request is too large";
    assert_eq!((failure.code, failure.message.as_str()), (Code::InvalidArgument, text));
    // A request to a stream may be as large as any.
    let mut watch = client.stream(WATCH, &[]);
    watch.send(&api::create(vec![b'k'; 2_000_000], "", 0));
    assert!(watch.next::<proto::etcdserverpb::WatchResponse>().created);
    watch.send(&api::create(vec![b'k'; 3_000_000], "", 0));
    match watch.receive(e2e::v3::PATIENCE) {
        Received::End(Err(failure)) => {
            assert_eq!(failure.code, Code::ResourceExhausted);
            assert!(failure.message.starts_with("grpc: received message larger than max ("));
        }
        other => panic!("{other:?}"),
    }
    bystanders.go_on();
    assert_eq!(api::range(&client, &key("beyond/1")).expect("range").count, 0);
    assert_no_panic(&etcd.log());
}

fn key(key: &'static str) -> proto::etcdserverpb::RangeRequest {
    proto::etcdserverpb::RangeRequest { key: key.into(), ..Default::default() }
}
