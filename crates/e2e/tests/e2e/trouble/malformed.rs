//! Requests and frames that break the rules, on the client port and between peers.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use e2e::http;

use super::h2::{self, END_HEADERS, END_STREAM, frame};
use super::{Acknowledged, Place, assert_no_panic};

/// How long the server may take to end, or to answer, what it cannot accept.
const PATIENCE: Duration = Duration::from_secs(15);

/// Sends bytes, closes that side, and reads what comes until the server ends the connection.
#[track_caller]
fn exchange(server: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = http::connect(server).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("set time-out");
    // The server may close before it has read everything.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        use std::io::ErrorKind::{TimedOut, WouldBlock};
        let is_held = matches!(error.kind(), TimedOut | WouldBlock);
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]);
        assert!(!is_held, "neither answered nor closed: {start:?}");
    }
    answer
}

#[test]
fn bytes_that_are_no_http() {
    let place = Place::new("no-http");
    let etcd = place.single("b").start();
    let long_header = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(2_000_000));
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(50_000));
    let long_path = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "y".repeat(2_000_000));
    let cases: [&[u8]; 14] = [
        b"\r\n\r\n",
        b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 no TLS here \r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"\xff\xfe GET / HTTP/1.1\r\n\r\n",
        b"PUT /v2/keys/x HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\nvalue=x",
        b"PUT /v2/keys/x HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nvalue=x",
        b"PUT /v2/keys/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nvalue=x",
        long_header.as_bytes(),
        many_headers.as_bytes(),
        long_path.as_bytes(),
    ];
    for port in [etcd.client(), etcd.peer()] {
        for case in cases {
            exchange(port, case);
        }
    }
    assert_unharmed(&etcd);
}

#[test]
fn frames_that_break_the_rules() {
    let place = Place::new("bad-frames");
    let etcd = place.single("b").start();
    let put = h2::call_headers("/etcdserverpb.KV/Put");
    let oversized = [&[0xff, 0xff, 0xff, h2::DATA, 0, 0, 0, 0, 1][..], &[0; 20_000]].concat();
    let flood = frame(h2::HEADERS, 0, 1, &put);
    let more = frame(h2::CONTINUATION, 0, 1, &h2::header_block(&[("x", "y"); 200]));
    let cases: Vec<Vec<u8>> = vec![
        oversized,
        [flood, more.repeat(1000)].concat(),
        frame(h2::DATA, 0, 0, b"data on stream 0"),
        frame(h2::DATA, 0, 1, b"data before headers"),
        frame(h2::HEADERS, END_HEADERS, 1, &[0xff; 40]),
        frame(h2::HEADERS, END_HEADERS, 2, &put),
        frame(h2::HEADERS, END_HEADERS | 8, 1, &[200, 0, 0]),
        frame(h2::HEADERS, END_HEADERS | END_STREAM, 1, &h2::header_block(&[(":path", "/")])),
        frame(h2::HEADERS, END_HEADERS | END_STREAM, 1, &h2::header_block(&[("UPPER", "x")])),
        frame(h2::PRIORITY, 0, 1, &[0, 0, 0, 1, 0]),
        frame(h2::PRIORITY, 0, 1, &[0, 0, 0]),
        frame(h2::RST_STREAM, 0, 1, &[0, 0, 0, 0]),
        frame(h2::SETTINGS, 0, 0, &[0; 5]),
        frame(h2::SETTINGS, 0, 1, &[]),
        frame(h2::SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff]),
        frame(h2::PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]),
        frame(h2::PING, 0, 0, &[0; 7]),
        frame(h2::GOAWAY, 0, 0, &[0]),
        frame(h2::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 0]),
        frame(h2::WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
        frame(h2::CONTINUATION, END_HEADERS, 1, &put),
        frame(200, 0xff, 7, b"a type nobody knows"),
        reset_flood(&put),
    ];
    for case in cases {
        let settings = frame(h2::SETTINGS, 0, 0, &[]);
        exchange(etcd.client(), &[h2::PREFACE, &settings, &case].concat());
    }
    assert_unharmed(&etcd);
}

/// Streams opened and cancelled at once.
fn reset_flood(headers: &[u8]) -> Vec<u8> {
    let one = |number: u32| {
        let stream = number * 2 + 1;
        [
            frame(h2::HEADERS, END_HEADERS, stream, headers),
            frame(h2::RST_STREAM, 0, stream, &[0, 0, 0, 8]),
        ]
        .concat()
    };
    (0..5000).map(one).collect::<Vec<_>>().concat()
}

#[test]
fn calls_that_break_the_rules() {
    let place = Place::new("bad-calls");
    let etcd = place.single("b").start();
    let good = h2::message(&h2::put_request(b"bad", b"x"));
    let put = "/etcdserverpb.KV/Put";
    let messages: [(&str, Vec<u8>); 11] = [
        (put, vec![]),
        (put, vec![0]),
        (put, vec![1, 0, 0, 0, 1, 0]),
        (put, vec![77, 0, 0, 0, 1, 0]),
        (put, vec![0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3]),
        (put, good[..good.len() - 2].to_vec()),
        (put, h2::message(b"\xff\xff\xff\xff\xff\xff")),
        (put, h2::message(b"\x0a\xff\xff\xff\xff\x0f")),
        ("/etcdserverpb.KV/Nothing", good.clone()),
        ("/nothing.at.All/Put", good.clone()),
        ("no-slash", good.clone()),
    ];
    for (path, message) in messages {
        let mut bytes = [h2::PREFACE, &frame(h2::SETTINGS, 0, 0, &[])].concat();
        bytes.extend(frame(h2::HEADERS, END_HEADERS, 1, &h2::call_headers(path)));
        bytes.extend(frame(h2::DATA, END_STREAM, 1, &message));
        let answer = exchange(etcd.client(), &bytes);
        assert!(!answer.is_empty(), "{path} {message:?}");
        let is_done = h2::range_has(etcd.client(), "bad", b"x").expect("range");
        assert!(!is_done, "executed: {path} {message:?}");
    }
    assert_unharmed(&etcd);
}

#[test]
fn requests_that_are_too_large() {
    let place = Place::new("too-large");
    let etcd = place.single("b").start();
    let largest_that_fits = vec![b'v'; 1_572_864 - 64];
    let above_the_limit = vec![b'v'; 1_572_864 + 64];
    let above_the_message_limit = vec![b'v'; 3_000_000];
    let server = etcd.client();
    assert!(h2::put(server, "fits", &largest_that_fits).expect("put"));
    assert!(!h2::put(server, "larger", &above_the_limit).expect("put"));
    // A window's worth is read before the size is known to be too large; then the stream is reset.
    assert!(!h2::put(server, "largest", &above_the_message_limit).unwrap_or(false));
    for key in ["larger", "largest"] {
        assert!(!h2::range_has(server, key, b"vvvv").expect("range"), "{key} was stored");
    }
    let form = format!("value={}", "v".repeat(11_000_000));
    let refused = http::form(server, "PUT", "/v2/keys/large", &form);
    assert!(refused.map_or(true, |reply| reply.status >= 400), "11 MB were accepted");
    assert_unharmed(&etcd);
}

#[test]
fn peers_that_break_the_rules() {
    let place = Place::new("bad-peers");
    let etcd = place.single("b").start();
    let log = etcd.log();
    let cluster = field(&log, "cluster-id");
    let cluster = cluster.as_deref().unwrap_or("1");
    let wrong: [(&str, &str); 3] = [("X-Etcd-Cluster-ID", "1"), ("X-Server-From", "2"), VERSION];
    let right: [(&str, &str); 3] =
        [("X-Etcd-Cluster-ID", cluster), ("X-Server-From", "2"), VERSION];
    for path in ["/raft", "/raft/snapshot"] {
        let reply = http::request(etcd.peer(), "POST", path, &wrong, "x").expect("reply");
        assert_eq!(reply.status, 412, "{path}: {reply:?}");
        let garbage = "\u{7f}\u{1}garbage".repeat(100);
        let reply = http::request(etcd.peer(), "POST", path, &right, &garbage).expect("reply");
        assert!((400..600).contains(&reply.status), "{path}: {reply:?}");
    }
    let reply = http::request(etcd.peer(), "GET", "/raft/stream/msgappv2/zz", &right, "");
    assert!(reply.expect("reply").status >= 400);
    let reply = http::request(etcd.peer(), "GET", "/raft/stream/message/1", &wrong, "");
    assert_eq!(reply.expect("reply").status, 412);
    let huge = ("Content-Length", "99999999999");
    let head = format!("POST /raft HTTP/1.1\r\nHost: a\r\n{}: {}\r\n\r\nabc", huge.0, huge.1);
    exchange(etcd.peer(), head.as_bytes());
    assert_unharmed(&etcd);
}

const VERSION: (&str, &str) = ("X-Server-Version", "3.4.0");

/// The value of a field in the first log line that has it.
fn field(log: &str, name: &str) -> Option<String> {
    let key = format!("\"{name}\":\"");
    let rest = log.split_once(&key)?.1;
    Some(rest.split_once('"')?.0.to_owned())
}

#[track_caller]
fn assert_unharmed(etcd: &e2e::Etcd) {
    let mut acknowledged = Acknowledged::default();
    acknowledged.write_some(etcd.client(), "after", 2);
    acknowledged.assert_all_on(etcd.client());
    assert_eq!(http::get(etcd.peer(), "/version").expect("GET /version").status, 200);
    assert_no_panic(&etcd.log());
}
