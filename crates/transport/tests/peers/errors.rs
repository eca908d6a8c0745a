//! The answers to requests that are wrong in some way, byte for byte where etcd has a text.

use proto::raftpb::{Message, MessageType};
use transport::StepError;
use types::NodeId;

use crate::support::{CLUSTER, Member, raft_headers, raw, until};

struct Case {
    method: &'static str,
    path: &'static str,
    headers: String,
    body: Vec<u8>,
    status: u16,
    text: &'static str,
}

fn case(
    method: &'static str,
    path: &'static str,
    headers: &str,
    body: &[u8],
    status: u16,
    text: &'static str,
) -> Case {
    Case { method, path, headers: headers.to_owned(), body: body.to_vec(), status, text }
}

async fn check(member: &Member, case: Case) {
    let reply = raw(&member.address, case.method, case.path, &case.headers, &case.body).await;
    let what = format!("{} {}", case.method, case.path);
    assert_eq!((reply.status, reply.body.as_str()), (case.status, case.text), "{what}");
    if case.status == 405 || case.status == 404 || case.status == 412 {
        assert_eq!(reply.header("Content-Type"), Some("text/plain; charset=utf-8"), "{what}");
        assert_eq!(reply.header("X-Content-Type-Options"), Some("nosniff"), "{what}");
    }
    let unknown = case.text == NOT_FOUND;
    if case.path.starts_with("/raft") && case.status != 405 && !unknown {
        let cluster = CLUSTER.to_string();
        assert_eq!(reply.header("X-Etcd-Cluster-Id"), Some(cluster.as_str()), "{what}");
    }
}

const NOT_FOUND: &str = "404 page not found\n";
const WRONG_METHOD: &str = "Method Not Allowed\n";

#[tokio::test]
async fn paths_and_methods() {
    let member = Member::start(0xa).await;
    for (method, path, status, text) in [
        ("GET", "/", 404, NOT_FOUND),
        ("GET", "/members/x", 404, NOT_FOUND),
        ("GET", "/raft/x", 404, NOT_FOUND),
        ("GET", "/v2/keys", 404, NOT_FOUND),
        ("GET", "/raft", 405, WRONG_METHOD),
        ("GET", "/raft/snapshot", 405, WRONG_METHOD),
        ("POST", "/raft/stream/message/b", 405, WRONG_METHOD),
        ("POST", "/members", 405, WRONG_METHOD),
        ("POST", "/version", 405, WRONG_METHOD),
        ("POST", "/members/hashkv", 405, WRONG_METHOD),
        ("POST", "/downgrade/enabled", 405, WRONG_METHOD),
        ("GET", "/members/promote/1", 405, WRONG_METHOD),
        ("GET", "/leases", 405, WRONG_METHOD),
        ("GET", "/leases/internal", 405, WRONG_METHOD),
        ("GET", "/downgrade/enabled", 404, NOT_FOUND),
    ] {
        check(&member, case(method, path, "", b"", status, text)).await;
    }
    let allow = |reply: crate::support::Raw| reply.header("Allow").map(str::to_owned);
    let members = raw(&member.address, "PUT", "/members", "", b"").await;
    assert_eq!(allow(members).as_deref(), Some("GET"));
    let raft = raw(&member.address, "GET", "/raft", "", b"").await;
    assert_eq!(allow(raft).as_deref(), Some("POST"));
    assert_eq!(allow(raw(&member.address, "GET", "/leases", "", b"").await), None);
    member.stop().await;
}

#[tokio::test]
async fn small_handlers() {
    let member = Member::start(0xa).await;
    let members = raw(&member.address, "GET", "/members", "", b"").await;
    assert_eq!(members.status, 200);
    assert_eq!(members.header("Content-Type"), Some("application/json"));
    assert_eq!(members.header("X-Etcd-Cluster-Id"), Some(CLUSTER.to_string().as_str()));
    assert!(members.body.starts_with("[{\"id\":5,") && members.body.ends_with("}]\n"));
    let version = raw(&member.address, "GET", "/version", "", b"").await;
    assert_eq!(version.body, "{\"etcdserver\":\"3.5.12\",\"etcdcluster\":\"3.4.0\"}");
    let probing = raw(&member.address, "GET", "/raft/probing", "", b"").await;
    assert!(probing.body.starts_with("{\"OK\":true,\"Now\":\"20"), "{}", probing.body);
    assert!(probing.body.ends_with("Z\"}\n"), "{}", probing.body);

    let leases = raw(&member.address, "POST", "/leases", "", b"\x08\x01").await;
    assert_eq!((leases.status, leases.body.as_str()), (200, "renewed"));
    let large = raw(&member.address, "POST", "/leases", "", &[0; 64 * 1024 + 1]).await;
    assert_eq!(large.status, 413);
    let other = "X-Etcd-Cluster-ID: 1\r\n";
    let hash = raw(&member.address, "GET", "/members/hashkv", other, b"{}").await;
    assert_eq!((hash.status, hash.body.as_str()), (412, "cluster ID mismatch\n"));
    let seen = member.node.with(|seen| seen.extra.clone());
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].0.as_str(), &seen[0].1[..]), ("/leases", &b"\x08\x01"[..]));
    member.stop().await;
}

#[tokio::test]
async fn pipeline_table() {
    let member = Member::start(0xa).await;
    let good = raft_headers("b");
    let old = good.replace("3.5.1", "2.3.8");
    let new_min = good.replace("3.0.0", "3.6.0");
    let no_version = good.replace("3.5.1", "nonsense");
    let other = good.replace(&CLUSTER.to_string(), "1");
    let message = Message { from: 0xb, to: 0xa, term: 1, ..Message::default() }.encode();
    let snap = Message { message_type: MessageType::Snap, ..Message::default() }.encode();
    let incompatible = "incompatible version\n";
    let malformed = "error unmarshalling raft message\n";
    for (headers, body, status, text) in [
        ("", &b""[..], 412, incompatible),
        (&old, &message, 412, incompatible),
        (&new_min, &message, 412, incompatible),
        (&no_version, &message, 412, incompatible),
        (&other, &message, 412, "cluster ID mismatch\n"),
        (&good, b"\xff\xff", 400, malformed),
        (&good, b"", 400, malformed),
        (&good, &snap, 400, "wrong raft message type\n"),
        (&good, &message, 204, ""),
    ] {
        check(&member, case("POST", "/raft", headers, body, status, text)).await;
    }
    assert_eq!(member.node.with(|seen| seen.messages.len()), 1);
    member.stop().await;
}

#[tokio::test]
async fn step_errors() {
    let member = Member::start(0xa).await;
    let good = raft_headers("b");
    let message = Message { from: 0xb, to: 0xa, term: 1, ..Message::default() }.encode();
    for (error, status, text) in [
        (StepError::Removed, 403, "{\"message\":\"cannot process message from removed member\"}"),
        (StepError::Mismatch, 403, "{\"message\":\"cannot process message to mismatch member\"}"),
        (StepError::Busy, 500, "error processing raft message\n"),
        (StepError::Other("no".to_owned()), 500, "error processing raft message\n"),
    ] {
        *member.node.step_error.lock().unwrap() = Some(error);
        check(&member, case("POST", "/raft", &good, &message, status, text)).await;
    }
    member.stop().await;
}

#[tokio::test]
async fn stream_table() {
    let member = Member::start(0xa).await;
    member.transport.add_peer(NodeId(0xb), &["http://127.77.0.1:1".to_owned()]);
    member.node.removed.lock().unwrap().insert(NodeId(0xdead));
    let good = format!("{}X-Raft-To: a\r\n", raft_headers("b"));
    let other = good.replace(&CLUSTER.to_string(), "1");
    let wrong_to = good.replace("X-Raft-To: a", "X-Raft-To: c");
    for (path, headers, status, text) in [
        ("/raft/stream/message/b", "", 412, "incompatible version\n"),
        ("/raft/stream/message/b", other.as_str(), 412, "cluster ID mismatch\n"),
        ("/raft/stream/nonsense/b", &good, 404, "invalid path\n"),
        ("/raft/stream/msgappv2/b", &good, 404, "invalid path\n"),
        ("/raft/stream/message/xyz", &good, 404, "invalid from\n"),
        ("/raft/stream/message/dead", &good, 410, "removed member\n"),
        ("/raft/stream/message/c", &good, 404, "error sender not found\n"),
        ("/raft/stream/message/b", &wrong_to, 412, "to field mismatch\n"),
        ("/raft/stream/message/b", &raft_headers("b"), 412, "to field mismatch\n"),
    ] {
        check(&member, case("GET", path, headers, b"", status, text)).await;
        let reply = raw(&member.address, "GET", path, headers, b"").await;
        assert_eq!(reply.header("X-Server-Version"), Some("3.5.12"));
    }
    member.stop().await;
}

#[tokio::test]
async fn snapshot_table() {
    let member = Member::start(0xa).await;
    let good = raft_headers("b");
    let framed = |bytes: &[u8]| {
        let mut framed = (bytes.len() as u64).to_be_bytes().to_vec();
        framed.extend_from_slice(bytes);
        framed
    };
    let heartbeat = Message { from: 0xb, to: 0xa, term: 1, ..Message::default() };
    let snap = Message { message_type: MessageType::Snap, ..heartbeat.clone() };
    let snap = framed(&snap.encode());
    let heartbeat = framed(&heartbeat.encode());
    for (headers, body, status, text) in [
        ("", &b""[..], 412, "incompatible version\n"),
        (&good, b"", 400, "failed to decode raft message (EOF)\n"),
        (&good, &[0, 0, 0], 400, "failed to decode raft message (unexpected EOF)\n"),
        (&good, &heartbeat[..12], 400, "failed to decode raft message (unexpected EOF)\n"),
        (
            &good,
            &[0xff; 8],
            400,
            "failed to decode raft message (rafthttp: error limit exceeded)\n",
        ),
        (&good, &framed(b"\xff\xff"), 400, "failed to decode raft message (unexpected EOF)\n"),
        (&good, &heartbeat, 400, "wrong raft message type\n"),
        (&good, &snap, 204, ""),
    ] {
        check(&member, case("POST", "/raft/snapshot", headers, body, status, text)).await;
    }
    *member.node.step_error.lock().unwrap() = Some(StepError::Removed);
    let text = "{\"message\":\"cannot process message from removed member\"}";
    check(&member, case("POST", "/raft/snapshot", &good, &snap, 403, text)).await;
    *member.node.step_error.lock().unwrap() = Some(StepError::Other("no".to_owned()));
    let text = "failed to process raft message (no)\n";
    check(&member, case("POST", "/raft/snapshot", &good, &snap, 500, text)).await;
    member.stop().await;
}

#[tokio::test]
async fn unknown_stream_sender_becomes_a_remote() {
    let (a, b) = (Member::start(0xa).await, Member::start(0xb).await);
    let headers = format!("{}X-PeerURLs: {}\r\n", raft_headers("b"), b.url());
    let reply = raw(&a.address, "GET", "/raft/stream/message/b", &headers, b"").await;
    assert_eq!(reply.status, 404);
    a.transport.send(vec![a.message(&b, MessageType::Vote, 3)]);
    assert_eq!(b.received(1).await[0].term, 3);
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn removed_member_is_told() {
    let (a, b) = (Member::start(0xa).await, Member::start(0xb).await);
    b.node.removed.lock().unwrap().insert(a.id);
    *b.node.step_error.lock().unwrap() = Some(StepError::Removed);
    // By 403 on the pipeline, where there is no stream to say it.
    a.transport.add_remote(b.id, &[b.url()]);
    a.transport.send(vec![a.message(&b, MessageType::Vote, 1)]);
    until(|| a.node.with(|seen| seen.removed_calls == 1)).await;
    // By 410 on both streams.
    a.knows(&b);
    until(|| a.node.with(|seen| seen.removed_calls >= 3)).await;
    a.stop().await;
    b.stop().await;
}
