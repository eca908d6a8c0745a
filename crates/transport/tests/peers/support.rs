//! A member whose raft only writes down what it gets.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use proto::raftpb::{Message, MessageType};
use simdisk::SimDisk;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use transport::sink::DiskSink;
use transport::{
    BoxFuture, Options, PeerApi, PeerReply, PeerRequest, SnapshotSink, StepError, Transport,
};
use types::{ClusterId, NodeId};

pub(crate) const CLUSTER: ClusterId = ClusterId(0x42e2_4fa6_5c5a_7c6d);
pub(crate) const SNAP_DIR: &str = "/snap";
const PATIENCE: Duration = Duration::from_secs(20);

/// What a member has seen.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) messages: Vec<Message>,
    pub(crate) unreachable: Vec<NodeId>,
    pub(crate) gone: Vec<NodeId>,
    pub(crate) snapshots: Vec<(NodeId, bool)>,
    pub(crate) removed_calls: usize,
    pub(crate) extra: Vec<(String, Bytes)>,
}

pub(crate) struct FakeNode {
    pub(crate) seen: Mutex<Seen>,
    pub(crate) removed: Mutex<BTreeSet<NodeId>>,
    pub(crate) step_error: Mutex<Option<StepError>>,
    pub(crate) disk: SimDisk,
    sink: Arc<DiskSink>,
}

impl FakeNode {
    fn new() -> Arc<Self> {
        let disk = SimDisk::new(7);
        disk.disk().create_dir_all(Path::new(SNAP_DIR)).unwrap();
        let sink = Arc::new(DiskSink::new(disk.disk(), Path::new(SNAP_DIR)));
        let (seen, removed, step_error) = Default::default();
        Arc::new(Self { seen, removed, step_error, disk, sink })
    }

    pub(crate) fn with<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap())
    }
}

impl PeerApi for FakeNode {
    fn raft_message(&self, message: Message) -> Result<(), StepError> {
        if let Some(error) = self.step_error.lock().unwrap().clone() {
            return Err(error);
        }
        self.seen.lock().unwrap().messages.push(message);
        Ok(())
    }

    fn members_json(&self) -> Vec<u8> {
        b"[{\"id\":5,\"peerURLs\":[\"http://127.9.9.9:1\"],\"name\":\"m\",\"clientURLs\":[\"http://127.9.9.9:2\"]}]\n".to_vec()
    }

    fn version_json(&self) -> Vec<u8> {
        b"{\"etcdserver\":\"3.5.12\",\"etcdcluster\":\"3.4.0\"}".to_vec()
    }

    fn is_removed(&self, id: NodeId) -> bool {
        self.removed.lock().unwrap().contains(&id)
    }

    fn unreachable(&self, id: NodeId) {
        self.seen.lock().unwrap().unreachable.push(id);
    }

    fn gone(&self, id: NodeId) {
        self.seen.lock().unwrap().gone.push(id);
    }

    fn snapshot_sent(&self, id: NodeId, ok: bool) {
        self.seen.lock().unwrap().snapshots.push((id, ok));
    }

    fn removed_from_cluster(&self) {
        self.seen.lock().unwrap().removed_calls += 1;
    }

    fn receive_snapshot(&self) -> Arc<dyn SnapshotSink> {
        Arc::clone(&self.sink) as Arc<dyn SnapshotSink>
    }

    fn extra(&self, request: PeerRequest) -> BoxFuture<'_, Option<PeerReply>> {
        let path = request.parts.uri.path().to_owned();
        self.seen.lock().unwrap().extra.push((path.clone(), request.body));
        Box::pin(async move {
            (path == "/leases").then(|| PeerReply {
                status: http::StatusCode::OK,
                headers: http::HeaderMap::new(),
                body: Bytes::from_static(b"renewed"),
            })
        })
    }
}

/// A running member.
pub(crate) struct Member {
    pub(crate) id: NodeId,
    pub(crate) node: Arc<FakeNode>,
    pub(crate) transport: Transport,
    pub(crate) address: String,
    server: JoinHandle<()>,
}

impl Member {
    pub(crate) async fn start(id: u64) -> Self {
        Self::start_in(id, CLUSTER).await
    }

    pub(crate) async fn start_in(id: u64, cluster_id: ClusterId) -> Self {
        let (listener, address) = listen().await;
        let urls = vec![format!("http://{address}")];
        let timeout = Duration::from_secs(1);
        let options = Options::new(NodeId(id), cluster_id, "3.5.12", timeout, urls);
        let node = FakeNode::new();
        let api = Arc::clone(&node) as Arc<dyn PeerApi>;
        let transport = Transport::start(options, api, &tokio::runtime::Handle::current());
        let serving = transport.clone();
        let server = tokio::spawn(async move {
            serving.serve(listener, std::future::pending()).await;
        });
        Self { id: NodeId(id), node, transport, address, server }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn knows(&self, other: &Self) {
        self.transport.add_peer(other.id, &[other.url()]);
    }

    /// A message of this member.
    pub(crate) fn message(&self, to: &Self, message_type: MessageType, term: u64) -> Message {
        Message { message_type, from: self.id.0, to: to.id.0, term, ..Message::default() }
    }

    pub(crate) async fn received(&self, count: usize) -> Vec<Message> {
        until(|| self.node.with(|seen| seen.messages.len() >= count)).await;
        self.node.with(|seen| seen.messages.clone())
    }

    pub(crate) async fn stop(self) {
        self.transport.stop().await;
        self.server.await.unwrap();
    }
}

/// Two members that know each other and have all four streams.
pub(crate) async fn pair() -> (Member, Member) {
    let (a, b) = (Member::start(0xa).await, Member::start(0xb).await);
    a.knows(&b);
    b.knows(&a);
    until(|| a.transport.has_streams(b.id) && b.transport.has_streams(a.id)).await;
    (a, b)
}

/// A port of its own on a loopback address of this process.
pub(crate) async fn listen() -> (TcpListener, String) {
    let pid = std::process::id();
    let listener = TcpListener::bind(format!("127.77.{}.{}:0", pid / 250 % 250, pid % 250 + 1));
    let listener = listener.await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// Waits until something holds; the test fails when it never does.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    let wait = async {
        let mut looks = tokio::time::interval(Duration::from_millis(2));
        while !holds() {
            looks.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("what is waited for happens");
}

/// An answer as text.
pub(crate) struct Raw {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Raw {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let prefix = format!("{name}: ");
        self.head.lines().find_map(|line| line.strip_prefix(prefix.as_str()))
    }
}

/// Sends a request as it stands, asks for the connection to be closed, and reads to its end.
pub(crate) async fn raw(
    address: &str,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> Raw {
    let length = format!("Content-Length: {}\r\n", body.len());
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{length}{headers}\r\n"
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    tokio::time::timeout(PATIENCE, read).await.expect("the answer ends").unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Raw { status, head: head.to_owned(), body: body.to_owned() }
}

/// Headers of a raft request from member `from`.
pub(crate) fn raft_headers(from: &str) -> String {
    format!(
        "X-Server-From: {from}\r\nX-Server-Version: 3.5.1\r\nX-Min-Cluster-Version: 3.0.0\r\n\
         X-Etcd-Cluster-ID: {CLUSTER}\r\n"
    )
}
