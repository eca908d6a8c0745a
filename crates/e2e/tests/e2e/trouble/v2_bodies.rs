//! Form bodies of the v2 API that are large, broken, slow, or whose sender goes away.
//!
//! Invariants: what was not sent whole is not executed; everybody else is served meanwhile.
//! Source:     api-v2.md 1.2; `V2_FORM_MAX_BYTES`.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use e2e::{Exit, eventually, http};

use super::{Acknowledged, Place, assert_no_panic};

/// The largest form.
const FORM_MAX_BYTES: usize = 10 * 1024 * 1024;
/// Large forms at once, and what they may cost: each is buffered once, and once more while it is
/// refused.
const LARGE: usize = 8;
const LARGE_GROWTH_BYTES: u64 = (LARGE as u64) * 2 * (FORM_MAX_BYTES as u64 + 1);
/// Slow senders, and the pieces that each sends; somebody else is answered between two.
const SLOW: usize = 50;
const PIECES: usize = 20;
/// How long one of the others may wait meanwhile.
const BESIDE: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends the head of a PUT with a form of so many bytes.
fn begin(server: SocketAddr, key: &str, length: usize) -> io::Result<TcpStream> {
    let mut stream = http::connect(server)?;
    let head = format!(
        "PUT /v2/keys/{key} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    Ok(stream)
}

fn is_absent(server: SocketAddr, key: &str) -> bool {
    let reply = http::get(server, &format!("/v2/keys/{key}")).expect("a reply");
    reply.status == 404
}

#[test]
fn forms_beyond_ten_mebibytes_are_refused() {
    let place = Place::new("v2-large");
    let etcd = place.single("v").start();
    let server = etcd.client();
    let before = etcd.resident_bytes();
    let body = format!("value={}", "v".repeat(FORM_MAX_BYTES + 1 - "value=".len()));
    std::thread::scope(|scope| {
        for number in 0..LARGE {
            let body = &body;
            scope.spawn(move || {
                let path = format!("/v2/keys/large/{number}");
                let reply = http::form(server, "PUT", &path, body).expect("a reply");
                let text = "\"errorCode\":210,\"message\":\"Invalid POST form\",\
                            \"cause\":\"http: POST too large\",\"index\":0";
                assert!(reply.status == 400 && reply.body.contains(text), "{reply:?}");
            });
        }
    });
    let grown = etcd.resident_bytes().saturating_sub(before);
    println!("{LARGE} forms of 10 MiB + 1: {grown} bytes more");
    assert!(grown < LARGE_GROWTH_BYTES, "{grown} bytes more");
    assert!(is_absent(server, "large"));
    let reply = http::form(server, "PUT", "/v2/keys/fits", &body[..FORM_MAX_BYTES]);
    let reply = reply.expect("a reply");
    assert_eq!((reply.status, reply.body.len() > FORM_MAX_BYTES - 6), (201, true));
    let mut acknowledged = Acknowledged::default();
    acknowledged.write_some(server, "after", 2);
    acknowledged.assert_all_on(server);
    assert_no_panic(&etcd.log());
}

#[test]
fn forms_with_broken_escapes_are_named() {
    let place = Place::new("v2-escapes");
    let etcd = place.single("v").start();
    let server = etcd.client();
    let cases = [
        ("value=%zz", "invalid URL escape \\\"%zz\\\""),
        ("value=%", "invalid URL escape \\\"%\\\""),
        ("value=x%4", "invalid URL escape \\\"%4\\\""),
        ("value=x&%gg=y", "invalid URL escape \\\"%gg\\\""),
        ("value=%\u{fc}\u{fc}", "invalid URL escape"),
        ("value=x;ttl=5", "invalid semicolon separator in query"),
    ];
    for (body, cause) in cases {
        for method in ["PUT", "POST"] {
            let reply = http::form(server, method, "/v2/keys/broken", body).expect("a reply");
            let is_named = reply.body.contains("\"errorCode\":210") && reply.body.contains(cause);
            assert!(reply.status == 400 && is_named, "{method} {body}: {reply:?}");
        }
    }
    assert!(is_absent(server, "broken"));
    assert_no_panic(&etcd.log());
}

#[test]
fn slow_bodies_are_waited_for_and_hold_up_nobody() {
    let place = Place::new("v2-slow");
    let etcd = place.single("v").start();
    let server = etcd.client();
    let length = "value=".len() + PIECES;
    let mut slow: Vec<TcpStream> = (0..SLOW)
        .map(|number| {
            let mut stream = begin(server, &format!("slow/{number}"), length).expect("connect");
            stream.write_all(b"value=").expect("send");
            stream
        })
        .collect();
    let mut acknowledged = Acknowledged::default();
    for piece in 0..PIECES {
        for stream in &mut slow {
            stream.write_all(b"v").expect("the server still waits");
        }
        let begun = Instant::now();
        acknowledged.write_some(server, &format!("beside-{piece}"), 1);
        assert!(begun.elapsed() < BESIDE, "{:?} beside slow bodies", begun.elapsed());
    }
    for mut stream in slow {
        let reply = http::read_response(&mut stream).expect("a reply");
        assert_eq!(reply.status, 201, "{reply:?}");
        assert!(reply.body.contains(&"v".repeat(PIECES)), "{reply:?}");
    }
    acknowledged.assert_all_on(server);
    assert_no_panic(&etcd.log());
}

/// Status of the answer to a request behind which the client closes its side at once.
fn last_answer(stream: &mut TcpStream) -> u16 {
    stream.shutdown(Shutdown::Write).expect("half-close");
    http::read_response(stream).expect("an answer").status
}

#[test]
fn half_closed_connections_execute_no_half_and_hold_no_watcher() {
    let place = Place::new("v2-half");
    let mut etcd = place.single("v").start();
    let server = etcd.client();
    // Cut in the middle: never executed, and the connection does not stay.
    for number in 0..SLOW {
        let mut stream = begin(server, &format!("cut/{number}"), 100).expect("connect");
        stream.write_all(b"value=half").expect("send");
        stream.shutdown(Shutdown::Write).expect("half-close");
        if let Ok(reply) = http::read_response(&mut stream) {
            assert_eq!(reply.status, 400, "{reply:?}");
        }
    }
    assert!(is_absent(server, "cut"));
    // Sent whole: executed and answered, though nothing more can come.
    for number in 0..SLOW {
        let key = format!("whole/{number}");
        let mut stream = begin(server, &key, "value=whole".len()).expect("connect");
        stream.write_all(b"value=whole").expect("send");
        assert_eq!(last_answer(&mut stream), 201, "{key}");
        for path in [
            &*format!("/v2/keys/{key}"),
            &format!("/v2/keys/{key}?quorum=true"),
            "/health",
            "/version",
        ] {
            let mut stream = http::connect(server).expect("connect");
            let head = format!("GET {path} HTTP/1.1\r\nHost: {server}\r\n\r\n");
            stream.write_all(head.as_bytes()).expect("send");
            assert_eq!(last_answer(&mut stream), 200, "{path}");
        }
    }
    // Long-polls whose clients have nothing more to say end, with their event or without.
    let polls: Vec<TcpStream> = (0..SLOW)
        .map(|_| {
            let mut stream = http::connect(server).expect("connect");
            let head = format!("GET /v2/keys/poll?wait=true HTTP/1.1\r\nHost: {server}\r\n\r\n");
            stream.write_all(head.as_bytes()).expect("send");
            stream.shutdown(Shutdown::Write).expect("half-close");
            stream
        })
        .collect();
    let mut acknowledged = Acknowledged::default();
    acknowledged.write_some(server, "beside", 5);
    assert!(
        matches!(http::form(server, "PUT", "/v2/keys/poll", "value=v"), Ok(reply) if reply.status == 201)
    );
    eventually("the watchers to be gone", PATIENCE, || {
        let text = http::get(server, "/metrics").expect("metrics").body;
        text.lines().any(|line| line == "etcd_debugging_store_watchers 0").then_some(())
    });
    drop(polls);
    acknowledged.assert_all_on(server);
    assert_eq!(etcd.terminate(), Exit::Signal(15));
    assert_no_panic(&etcd.log());
}
