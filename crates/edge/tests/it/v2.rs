//! v2 watches over whole connections: HTTP/1.1 byte by byte, HTTP/2 through a channel.

use std::time::Duration;

use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tower::{Service, ServiceExt};

use crate::member::{Member, Setup};

/// How long nothing may happen before a test believes that nothing will.
const QUIET: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends one request on a connection and leaves it open.
async fn ask(member: &Member, target: &str) -> DuplexStream {
    let mut stream = member.connect();
    let head = format!("GET /v2/keys{target} HTTP/1.1\r\nHost: m\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn put(member: &Member, key: &str, value: &str) {
    let mut stream = member.connect();
    let head = format!(
        "PUT /v2/keys/{key}?value={value} HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 20"), "{reply}");
}

/// Reads until `end` has come.
async fn read_until(stream: &mut DuplexStream, end: &str) -> String {
    let mut text = Vec::new();
    let read = async {
        while !text.ends_with(end.as_bytes()) {
            text.push(stream.read_u8().await.unwrap());
        }
    };
    let ended = tokio::time::timeout(PATIENCE, read).await;
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(ended.is_ok(), "no {end:?} in {text:?}");
    text
}

async fn eventually(member: &Member, watchers: usize) {
    let handle = member.node.handle();
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    let reached = async {
        while handle.v2_watchers() != watchers {
            looks.tick().await;
        }
    };
    let reached = tokio::time::timeout(PATIENCE, reached).await;
    assert!(reached.is_ok(), "{} watchers instead of {watchers}", handle.v2_watchers());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_poll_outlives_the_time_outs_of_its_connection() {
    let mut setup = Setup::new();
    setup.limits.idle = QUIET / 4;
    setup.limits.first_bytes = QUIET / 4;
    let member = setup.start().await;
    let mut poll = ask(&member, "/k?wait=true").await;
    let head = read_until(&mut poll, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    for line in ["\r\nX-Etcd-Index: ", "\r\nX-Raft-Term: ", "\r\nTransfer-Encoding: chunked\r\n"] {
        assert!(head.to_lowercase().contains(&line.to_lowercase()), "{head}");
    }
    let more = tokio::time::timeout(QUIET, poll.read_u8()).await;
    assert!(more.is_err(), "{more:?} before there was an event");
    put(&member, "k", "v").await;
    let body = read_until(&mut poll, "\r\n0\r\n\r\n").await;
    assert!(body.contains("{\"action\":\"set\",\"node\":{\"key\":\"/k\","), "{body}");
    // The connection lives on for the next request.
    poll.write_all(b"GET /v2/keys/k HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut reply = String::new();
    poll.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 OK"), "{reply}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_takes_its_watcher_with_it() {
    let member = Setup::new().start().await;
    let mut polls = Vec::new();
    for target in ["/a?wait=true", "/a?wait=true&stream=true", "/b?wait=true&recursive=true"] {
        let mut poll = ask(&member, target).await;
        read_until(&mut poll, "\r\n\r\n").await;
        polls.push(poll);
    }
    eventually(&member, 3).await;
    polls.pop();
    eventually(&member, 2).await;
    drop(polls);
    eventually(&member, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_reads_costs_only_itself() {
    let member = Setup::new().start().await;
    let mut slow = ask(&member, "/k?wait=true&stream=true").await;
    let mut quick = ask(&member, "/k?wait=true&stream=true").await;
    read_until(&mut slow, "\r\n\r\n").await;
    read_until(&mut quick, "\r\n\r\n").await;
    let value = "x".repeat(16 * 1024);
    // More than the connection, the server's buffer for it and its 100 events hold.
    for _ in 0..160 {
        put(&member, "k", &value).await;
        read_until(&mut quick, "}\n\r\n").await;
    }
    eventually(&member, 2).await;
    let mut rest = Vec::new();
    let read = tokio::time::timeout(PATIENCE, slow.read_to_end(&mut rest)).await;
    read.expect("the body ends").unwrap();
    assert!(!rest.ends_with(b"\r\n0\r\n\r\n"), "it ended as if it were complete");
    let events = String::from_utf8_lossy(&rest).matches("\"action\"").count();
    assert!((100..160).contains(&events), "{events} events");
    eventually(&member, 1).await;
}

/// Sends a whole request and reads until the connection ends.
async fn exchange(member: &Member, request: &str) -> String {
    let mut stream = member.connect();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut reply)).await.unwrap().unwrap();
    String::from_utf8_lossy(&reply).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_by_halves_holds_up_nobody() {
    let member = Setup::new().start().await;
    let mut halves = member.connect();
    let head = "PUT /v2/keys/h HTTP/1.1\r\nHost: m\r\nConnection: close\r\nContent-Length: 7\r\n\
                Content-Type: application/x-www-form-urlencoded\r\n\r\nval";
    halves.write_all(head.as_bytes()).await.unwrap();
    put(&member, "other", "v").await;
    halves.write_all(b"ue=1").await.unwrap();
    let mut reply = String::new();
    halves.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 201"), "{reply}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_as_go_takes_them() {
    let member = Setup::new().start().await;
    let close = "Connection: close\r\n\r\n";
    let missing = "HTTP/1.1 400 Bad Request: missing required Host header\r\n";
    let odd = "\"key\":\"/\\\"\\u003c`|\",\"value\":\"{\\\"a\\\":1}\"";
    let cases = [
        (format!("GET /v2/keys HTTP/1.1\r\n{close}"), missing, "400 Bad Request: missing required"),
        (format!("GET /v2/keys HTTP/1.0\r\n{close}"), "HTTP/1.0 200 OK\r\n", "\"action\""),
        (
            format!("GET /v2/keys HTTP/1.1\r\nHost: m\r\nExpect: much\r\n{close}"),
            "HTTP/1.1 417 Expectation Failed\r\n",
            "\r\n\r\n",
        ),
        (
            format!("PUT /v2/keys/\"<`|?value={{\"a\":1}} HTTP/1.1\r\nHost: m\r\n{close}"),
            "HTTP/1.1 201 Created\r\n",
            odd,
        ),
    ];
    for (request, status, part) in cases {
        let reply = exchange(&member, &request).await;
        assert!(reply.starts_with(status) && reply.contains(part), "{request:?}: {reply}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_over_http2() {
    let member = Setup::new().start().await;
    let mut channel = member.channel().await;
    let mut open = Vec::new();
    for target in ["/v2/keys/k?wait=true", "/v2/keys/k?wait=true&stream=true"] {
        let request = http::Request::get(target).body(tonic::body::Body::empty()).unwrap();
        let reply = channel.ready().await.unwrap().call(request).await.unwrap();
        assert_eq!(reply.status(), 200);
        assert_eq!(reply.headers()["content-type"], "application/json");
        open.push(reply.into_body());
    }
    put(&member, "k", "v").await;
    let once = open.remove(0).collect().await.unwrap().to_bytes();
    assert!(once.starts_with(b"{\"action\":\"set\"") && once.ends_with(b"}\n"));
    let mut stream = open.remove(0);
    let line = stream.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(line, once);
    eventually(&member, 1).await;
    member.node.handle().close_streams();
    assert!(stream.frame().await.unwrap().is_err(), "the end looks proper");
}
