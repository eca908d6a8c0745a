//! Connections on which nothing, or not everything, is sent.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use e2e::{http, until};

use super::{Acknowledged, Place, assert_no_panic, h2};

/// Connections of each kind.
const OF_EACH: usize = 40;
/// The server gives a first request 10 s.
const CLOSE_PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn half_open_connections_hinder_nobody_and_are_closed() {
    let place = Place::new("half-open");
    let etcd = place.single("h").start();
    let pieces: [&[u8]; 5] = [
        b"",
        &h2::PREFACE[..10],
        &h2::PREFACE[..h2::PREFACE.len() - 1],
        b"GET /health HT",
        b"PUT /v2/keys/x HTTP/1.1\r\nHost: a\r\nContent-Le",
    ];
    let held = hold(etcd.client(), &pieces);
    let mut acknowledged = Acknowledged::default();
    acknowledged.write_some(etcd.client(), "beside", 20);
    acknowledged.assert_all_on(etcd.client());
    for (piece, mut stream) in held {
        let closed = until(CLOSE_PATIENCE, || is_closed(&mut stream).then_some(()));
        assert!(closed.is_some(), "still open after {:?}", String::from_utf8_lossy(piece));
    }
    acknowledged.write_some(etcd.client(), "after", 2);
    assert_no_panic(&etcd.log());
}

#[test]
fn requests_that_stop_in_the_middle_hinder_nobody() {
    let place = Place::new("half-sent");
    let mut etcd = place.single("h").start();
    let headers =
        h2::frame(h2::HEADERS, h2::END_HEADERS, 1, &h2::call_headers("/etcdserverpb.KV/Put"));
    let half_message = [&headers[..], &h2::frame(h2::DATA, 0, 1, &h2::message(&[0; 64])[..20])];
    let settings = h2::frame(h2::SETTINGS, 0, 0, &[]);
    let half_call = [h2::PREFACE, &settings, &half_message.concat()].concat();
    let half_frame = [h2::PREFACE, &settings[..5]].concat();
    let pieces: [&[u8]; 4] = [
        b"PUT /v2/keys/x HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n\
          Content-Length: 100\r\n\r\nvalue=",
        h2::PREFACE,
        &half_frame,
        &half_call,
    ];
    let held = hold(etcd.client(), &pieces);
    let mut acknowledged = Acknowledged::default();
    acknowledged.write_some(etcd.client(), "beside", 20);
    acknowledged.assert_all_on(etcd.client());
    assert_eq!(http::get(etcd.client(), "/v2/keys/x").expect("GET").status, 404);
    // Nor do they hold up the end of the server.
    assert_eq!(etcd.terminate(), e2e::Exit::Signal(15));
    drop(held);
    assert_no_panic(&etcd.log());
}

#[test]
fn half_open_connections_between_peers_hinder_nobody() {
    let place = Place::new("half-open-peer");
    let mut etcd = place.single("h").start();
    let pieces: [&[u8]; 3] = [
        b"",
        b"POST /raft HTTP/1.1\r\nHost: a\r\n",
        b"POST /raft HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc",
    ];
    let held = hold(etcd.peer(), &pieces);
    assert_eq!(http::get(etcd.peer(), "/version").expect("GET /version").status, 200);
    assert_eq!(etcd.terminate(), e2e::Exit::Signal(15));
    drop(held);
    assert_no_panic(&etcd.log());
}

fn hold<'a>(server: std::net::SocketAddr, pieces: &[&'a [u8]]) -> Vec<(&'a [u8], TcpStream)> {
    let mut held = Vec::new();
    for piece in pieces {
        for _ in 0..OF_EACH {
            let mut stream = http::connect(server).expect("connect");
            stream.write_all(piece).expect("send");
            stream.set_read_timeout(Some(Duration::from_millis(1))).expect("set time-out");
            held.push((*piece, stream));
        }
    }
    held
}

/// Whether the other side has ended it; what it says before that is left aside.
fn is_closed(stream: &mut TcpStream) -> bool {
    let mut bytes = [0; 1024];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                use std::io::ErrorKind::{TimedOut, WouldBlock};
                return !matches!(error.kind(), TimedOut | WouldBlock);
            }
        }
    }
}
