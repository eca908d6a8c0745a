//! Connections that break, stand still or talk nonsense.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use proto::raftpb::MessageType;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use types::NodeId;

use crate::support::{CLUSTER, Member, listen, raft_headers, until};

/// Passes connections on until it is cut; then drops those there are and refuses new ones.
async fn relay(listener: TcpListener, target: String, mut open: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (mut inbound, _address) = accepted.unwrap();
                if !*open.borrow() {
                    continue;
                }
                let target = target.clone();
                connections.spawn(async move {
                    let mut outbound = TcpStream::connect(target).await.unwrap();
                    let _ended = tokio::io::copy_bidirectional(&mut inbound, &mut outbound).await;
                });
            }
            changed = open.changed() => {
                if changed.is_err() {
                    return;
                }
                if !*open.borrow() {
                    connections.abort_all();
                }
            }
        }
    }
}

#[tokio::test]
async fn streams_come_back_after_a_cut() {
    let (a, b) = (Member::start(0xa).await, Member::start(0xb).await);
    let (cut, open) = watch::channel(true);
    for (from, to) in [(&a, &b), (&b, &a)] {
        let (listener, address) = listen().await;
        tokio::spawn(relay(listener, to.address.clone(), open.clone()));
        from.transport.add_peer(to.id, &[format!("http://{address}")]);
    }
    let connected = || a.transport.has_streams(b.id) && b.transport.has_streams(a.id);
    until(connected).await;

    cut.send_replace(false);
    until(|| !a.transport.has_streams(b.id) && !b.transport.has_streams(a.id)).await;
    until(|| a.transport.active_since(b.id).is_none()).await;
    until(|| a.node.with(|seen| seen.unreachable.contains(&b.id))).await;
    a.transport.send(vec![a.message(&b, MessageType::Vote, 1)]);
    until(|| a.transport.counters()[0].1.send_failures.value() > 0).await;

    cut.send_replace(true);
    until(connected).await;
    until(|| a.transport.active_since(b.id).is_some()).await;
    a.transport.send(vec![a.message(&b, MessageType::Vote, 2)]);
    assert_eq!(b.received(1).await[0].term, 2);
    assert!(a.transport.counters()[0].1.disconnects.value() >= 1);
    a.stop().await;
    b.stop().await;
}

/// A cut alone may be anything; that the port is closed behind it says that the process has ended.
#[tokio::test]
async fn peer_is_gone_when_its_port_closes_behind_a_stream() {
    let (a, b) = (Member::start(0xa).await, Member::start(0xb).await);
    let (cut, open) = watch::channel(true);
    let (listener, address) = listen().await;
    tokio::spawn(relay(listener, b.address.clone(), open.clone()));
    a.transport.add_peer(b.id, &[format!("http://{address}")]);
    b.knows(&a);
    let connected = || a.transport.active_since(b.id).is_some();
    until(connected).await;

    cut.send_replace(false);
    until(|| a.transport.active_since(b.id).is_none()).await;
    cut.send_replace(true);
    until(connected).await;
    assert_eq!(a.node.with(|seen| seen.gone.clone()), []);

    drop((cut, open));
    until(|| a.node.with(|seen| seen.gone.contains(&b.id))).await;
    a.stop().await;
    b.stop().await;
}

async fn open_stream(member: &Member) -> TcpStream {
    let mut stream = TcpStream::connect(&member.address).await.unwrap();
    let headers = raft_headers("b");
    let head =
        format!("GET /raft/stream/message/b HTTP/1.1\r\nHost: x\r\nX-Raft-To: a\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    stream
}

#[tokio::test]
async fn newer_stream_replaces_an_older_one() {
    let a = Member::start(0xa).await;
    a.transport.add_peer(NodeId(0xb), &[]);
    let mut first = open_stream(&a).await;
    let mut second = open_stream(&a).await;
    let mut rest = Vec::new();
    first.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(b"0\r\n\r\n"), "the older one ends properly");
    // The newer one is alive: a link heartbeat comes.
    let mut seen = Vec::new();
    while !seen.windows(2).any(|window| window == [8, 8]) {
        assert!(second.read_buf(&mut seen).await.unwrap() > 0);
    }
    a.stop().await;
    let mut rest = Vec::new();
    let _reset = second.read_to_end(&mut rest).await;
}

/// Everything that must end by itself after five seconds, side by side.
#[tokio::test]
async fn half_open_connections_are_closed() {
    let a = Member::start(0xa).await;
    let length = "Content-Length: 100\r\n";
    let mut waiting = JoinSet::new();
    for sent in [
        String::new(),
        "GET /version HTT".to_owned(),
        format!("POST /raft HTTP/1.1\r\nHost: x\r\n{length}{}\r\nabc", raft_headers("b")),
        format!("POST /raft/snapshot HTTP/1.1\r\nHost: x\r\n{length}{}\r\n\0", raft_headers("b")),
        format!("POST /leases HTTP/1.1\r\nHost: x\r\n{length}\r\nabc"),
    ] {
        let mut stream = TcpStream::connect(&a.address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        waiting.spawn(async move {
            let mut rest = Vec::new();
            let _ended = stream.read_to_end(&mut rest).await;
        });
    }
    let started = Instant::now();
    let all = async { while waiting.join_next().await.is_some() {} };
    // A kept connection with a whole request behind it may live a little longer.
    tokio::time::timeout(Duration::from_secs(15), all).await.expect("connections are closed");
    assert!(started.elapsed() >= Duration::from_secs(4), "not closed at once");
    a.stop().await;
}

/// A peer that accepts streams and then sends `body` and nothing more; counts its connections.
async fn strange_peer(body: &'static [u8]) -> (String, Arc<AtomicUsize>) {
    let (listener, address) = listen().await;
    let dials = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&dials);
    tokio::spawn(async move {
        let mut kept = Vec::new();
        loop {
            let (mut stream, _address) = listener.accept().await.unwrap();
            let mut head = vec![0; 4096];
            let read = stream.read(&mut head).await.unwrap_or(0);
            if head[..read].starts_with(b"GET /raft/stream/message") {
                counted.fetch_add(1, Ordering::SeqCst);
            }
            let answer = format!(
                "HTTP/1.1 200 OK\r\nX-Server-Version: 3.5.1\r\nX-Etcd-Cluster-ID: {CLUSTER}\r\n\
                 Transfer-Encoding: chunked\r\n\r\n"
            );
            let _written = stream.write_all(answer.as_bytes()).await;
            let _written = stream.write_all(body).await;
            kept.push(stream);
        }
    });
    (format!("http://{address}"), dials)
}

#[tokio::test]
async fn silent_stream_is_given_up_after_five_seconds() {
    let a = Member::start(0xa).await;
    let (url, dials) = strange_peer(b"").await;
    let started = Instant::now();
    a.transport.add_peer(NodeId(0xb), &[url]);
    until(|| dials.load(Ordering::SeqCst) >= 2).await;
    assert!(started.elapsed() >= Duration::from_secs(4));
    a.stop().await;
}

#[tokio::test]
async fn nonsense_on_a_stream_ends_it_at_once_and_dials_are_limited() {
    for body in [
        // A message of 2^63 bytes.
        &b"8\r\n\x7f\xff\xff\xff\xff\xff\xff\xff\r\n"[..],
        // A message that is none.
        b"a\r\n\0\0\0\0\0\0\0\x02\xff\xff\r\n",
        // The end, in the middle of a length.
        b"3\r\n\0\0\0\r\n0\r\n\r\n",
    ] {
        let a = Member::start(0xa).await;
        let (url, dials) = strange_peer(body).await;
        let started = Instant::now();
        a.transport.add_peer(NodeId(0xb), &[url]);
        until(|| dials.load(Ordering::SeqCst) >= 4).await;
        assert!(started.elapsed() >= Duration::from_millis(300), "three pauses");
        assert!(started.elapsed() < Duration::from_secs(4), "no wait for silence");
        assert!(a.node.with(|seen| seen.messages.is_empty()));
        a.stop().await;
    }
}
