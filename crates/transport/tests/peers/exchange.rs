//! Messages arrive, over streams and over the pipeline.

use std::time::Duration;

use bytes::Bytes;
use proto::raftpb::{Entry, EntryType, Message, MessageType};
use tokio::net::UnixListener;
use transport::client;
use types::{ClusterId, NodeId};

use crate::support::{CLUSTER, Member, listen, pair, until};

const KINDS: [MessageType; 13] = [
    MessageType::Prop,
    MessageType::App,
    MessageType::AppResp,
    MessageType::Vote,
    MessageType::VoteResp,
    MessageType::Heartbeat,
    MessageType::HeartbeatResp,
    MessageType::TransferLeader,
    MessageType::TimeoutNow,
    MessageType::ReadIndex,
    MessageType::ReadIndexResp,
    MessageType::PreVote,
    MessageType::PreVoteResp,
];

fn append(from: &Member, to: &Member, index: u64, count: u64) -> Message {
    let entries = (1..=count).map(|offset| Entry {
        entry_type: EntryType::Normal,
        term: 3,
        index: index + offset,
        data: Bytes::from(vec![b'x'; 100]),
    });
    Message {
        log_term: 3,
        index,
        entries: entries.collect(),
        commit: index,
        ..from.message(to, MessageType::App, 3)
    }
}

#[tokio::test]
async fn streams_carry_every_kind_both_ways() {
    let (a, b) = pair().await;
    for (from, to) in [(&a, &b), (&b, &a)] {
        let sent: Vec<Message> = KINDS.iter().map(|kind| from.message(to, *kind, 1)).collect();
        from.transport.send(sent.clone());
        let mut received = to.received(KINDS.len()).await;
        received.sort_by_key(|message| message.message_type.number());
        assert_eq!(received, sent);
    }
    assert!(a.transport.active_since(b.id).is_some());
    assert_eq!(a.transport.connected_peers(), [b.id]);
    let counters = a.transport.counters();
    assert_eq!(counters.len(), 1);
    assert_eq!(counters[0].1.sent_messages.value(), 13);
    assert!(counters[0].1.sent_bytes.value() > 0);
    until(|| counters[0].1.round_trips.count.value() > 0).await;
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn appends_keep_their_order_over_the_compact_stream() {
    let (a, b) = pair().await;
    let mut sent = Vec::new();
    let mut index = 10;
    for count in [1, 0, 7, 300, 0, 2] {
        sent.push(append(&a, &b, index, count));
        index += count;
    }
    // A step back, as after a rejection.
    sent.push(append(&a, &b, 12, 4));
    for message in &sent {
        a.transport.send(vec![message.clone()]);
    }
    assert_eq!(b.received(sent.len()).await, sent);
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn pipeline_serves_a_member_that_has_opened_no_streams() {
    let (a, b) = (Member::start(0xa).await, Member::start(0xb).await);
    a.transport.add_remote(b.id, &[b.url()]);
    for term in 1..=20 {
        a.transport.send(vec![a.message(&b, MessageType::App, term)]);
    }
    let mut terms: Vec<u64> = b.received(20).await.iter().map(|message| message.term).collect();
    terms.sort_unstable();
    assert_eq!(terms, (1..=20).collect::<Vec<u64>>());

    // The receiver knows the sender as a remote now, from its headers.
    b.transport.send(vec![b.message(&a, MessageType::AppResp, 5)]);
    assert_eq!(a.received(1).await[0].term, 5);
    assert!(!b.transport.has_streams(a.id));
    assert!(b.transport.connected_peers().is_empty(), "a remote is no peer");
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn nobody_and_strangers_get_nothing() {
    let (a, b) = pair().await;
    let mut to_nobody = a.message(&b, MessageType::Vote, 1);
    to_nobody.to = 0;
    let mut to_stranger = a.message(&b, MessageType::Vote, 2);
    to_stranger.to = 0xdead;
    let snapshot_alone = a.message(&b, MessageType::Snap, 3);
    let real = a.message(&b, MessageType::Vote, 4);
    a.transport.send(vec![to_nobody, to_stranger, snapshot_alone, real.clone()]);
    assert_eq!(b.received(1).await, [real]);
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn full_queue_drops_and_reports_once() {
    let (a, b) = pair().await;
    // The test's runtime has one thread: nothing is taken out of the queue during the call.
    let sent = vec![a.message(&b, MessageType::Heartbeat, 1); 5000];
    a.transport.send(sent);
    assert_eq!(a.node.with(|seen| seen.unreachable.clone()), [b.id]);
    assert_eq!(b.received(4096).await.len(), 4096);
    assert_eq!(a.transport.counters()[0].1.dropped_outgoing.value(), 5000 - 4096);
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn removed_peer_gets_nothing_and_its_streams_end() {
    let (a, b) = pair().await;
    a.transport.remove_peer(b.id);
    assert!(!a.transport.has_streams(b.id));
    assert_eq!(a.transport.active_since(b.id), None);
    a.transport.send(vec![a.message(&b, MessageType::Vote, 1)]);
    // It comes back and gets what is sent from then on.
    a.knows(&b);
    until(|| a.transport.has_streams(b.id)).await;
    a.transport.send(vec![a.message(&b, MessageType::Vote, 2)]);
    assert_eq!(b.received(1).await[0].term, 2);
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn next_url_is_tried_after_a_failure() {
    let (a, b) = (Member::start(0xa).await, Member::start(0xb).await);
    let (closed, closed_address) = listen().await;
    drop(closed);
    let urls = [format!("http://{closed_address}"), b.url()];
    a.transport.add_peer(b.id, &urls);
    b.knows(&a);
    until(|| a.transport.active_since(b.id).is_some()).await;
    // New URLs alone do not disturb an open stream.
    a.transport.update_peer(b.id, &urls[1..]);
    until(|| b.transport.has_streams(a.id)).await;
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn unix_sockets() {
    let dir = std::env::temp_dir().join(format!("transport-unix-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("peer");
    let (a, b) = (Member::start(0xa).await, Member::start(0xb).await);
    let listener = UnixListener::bind(&path).unwrap();
    let serving = b.transport.clone();
    let server = tokio::spawn(async move {
        serving.serve(listener, std::future::pending()).await;
    });
    let url = format!("unix://{}", path.display());
    a.transport.add_peer(b.id, std::slice::from_ref(&url));
    b.knows(&a);
    until(|| b.transport.has_streams(a.id)).await;
    b.transport.send(vec![b.message(&a, MessageType::Vote, 9)]);
    assert_eq!(a.received(1).await[0].term, 9);
    let versions = client::get_version(&[url], Duration::from_secs(5)).await.unwrap();
    assert_eq!(versions.etcdserver, "3.5.12");
    a.stop().await;
    b.stop().await;
    server.await.unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
}

#[tokio::test]
async fn client_calls() {
    let a = Member::start(0xa).await;
    let timeout = Duration::from_secs(5);
    let (closed, closed_address) = listen().await;
    drop(closed);
    let urls = [format!("http://{closed_address}"), a.url()];
    let (cluster, members) = client::get_members(&urls, timeout).await.unwrap();
    assert_eq!(cluster, CLUSTER);
    assert_eq!(members.len(), 1);
    assert_eq!((members[0].id, members[0].name.as_str()), (NodeId(5), "m"));
    let versions = client::get_version(&urls, timeout).await.unwrap();
    assert_eq!((versions.etcdcluster.as_str(), versions.storage), ("3.4.0", None));
    assert!(client::get_members(&urls[..1], timeout).await.is_err());
    assert!(client::get_members(&[], timeout).await.is_err());
    assert!(client::get_version(&["ftp://a".to_owned()], timeout).await.is_err());
    a.stop().await;
}

#[tokio::test]
async fn members_of_different_clusters_do_not_talk() {
    let a = Member::start(0xa).await;
    let b = Member::start_in(0xb, ClusterId(1)).await;
    a.knows(&b);
    b.knows(&a);
    a.transport.send(vec![a.message(&b, MessageType::Vote, 1)]);
    until(|| a.node.with(|seen| seen.unreachable.contains(&b.id))).await;
    assert!(b.node.with(|seen| seen.messages.is_empty()));
    assert_eq!(a.transport.active_since(b.id), None);
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn setting_the_members_keeps_the_connections_to_those_known() {
    let (a, b) = pair().await;
    let c = Member::start(3).await;
    a.knows(&c);
    let since = a.transport.active_since(b.id);
    assert!(since.is_some());
    let message = a.message(&b, MessageType::Heartbeat, 1);
    a.transport.send(vec![message.clone()]);
    a.transport.set_peers(&[(b.id, vec![b.url()])].into());
    assert_eq!(b.received(1).await, [message]);
    assert_eq!(a.transport.active_since(b.id), since);
    assert!(a.transport.has_streams(b.id) && a.transport.active_since(c.id).is_none());
    a.transport.set_peers(&[(c.id, vec![c.url()])].into());
    assert!(a.transport.active_since(b.id).is_none());
    c.knows(&a);
    until(|| a.transport.active_since(c.id).is_some()).await;
}
