//! What an item of the checklist works with: a server, a client, keys of its own, and texts that
//! speak of revisions relative to the one at its beginning.
//!
//! Invariants: in texts a key has lost the item's prefix, and `@3` is the revision three changes
//!             after the beginning.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use e2e::v3::{Client, Failure, Received, Stream};
use e2e::{Addresses, Etcd, Program, Shared, Spec, TempDir};
use prost::Message;
use proto::StoredKeyValue;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse,
    LeaseGrantRequest, LeaseGrantResponse, LeaseRevokeRequest, LeaseRevokeResponse,
    LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, PutRequest, PutResponse, RangeRequest,
    RangeResponse, ResponseHeader, TxnRequest, TxnResponse, WatchCancelRequest, WatchCreateRequest,
    WatchProgressRequest, WatchRequest, WatchResponse,
};
use proto::mvccpb::event::EventType;
use proto::mvccpb::{Event, KeyValue};
use tonic::Code;

/// How long an event or an answer may take on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How often servers of [`Case::frequent_progress`] report progress.
pub(crate) const PROGRESS_INTERVAL: Duration = Duration::from_millis(300);
/// Size of the database above which servers of [`Case::small_quota`] refuse writes.
const QUOTA_BYTES: u64 = 4 << 20;

static OURS: Shared<Server> = Shared::new();
static GO: Shared<Server> = Shared::new();

/// A server with what it needs.
struct Server {
    // Dropped first.
    etcd: Etcd,
    turn: Mutex<()>,
    _addresses: Addresses,
    _directory: TempDir,
}

impl Server {
    #[track_caller]
    fn start(program: Program, adjust: impl FnOnce(Spec) -> Spec) -> Self {
        let (addresses, directory) = (Addresses::new(), TempDir::new("checklist-v3"));
        let spec = Etcd::builder(program).member("c", addresses.claim(), directory.path());
        let etcd = adjust(spec).start();
        Self { etcd, turn: Mutex::new(()), _addresses: addresses, _directory: directory }
    }
}

/// One item at work.
pub(crate) struct Case {
    server: Arc<Server>,
    pub(crate) client: Client,
    prefix: String,
    base: i64,
}

impl Case {
    /// Runs an item on a server that others use too, one at a time.
    #[track_caller]
    pub(crate) fn shared(program: Program, item: &str, run: impl FnOnce(&mut Self)) {
        let slot = if program == Program::Ours { &OURS } else { &GO };
        let server = slot.get(|| Server::start(program, |spec| spec));
        let turns = Arc::clone(&server);
        // An item that failed while it was its turn does not keep the others from theirs.
        let _turn = turns.turn.lock().unwrap_or_else(PoisonError::into_inner);
        run(&mut Self::new(server, item));
    }

    /// Runs an item on a fresh server.
    #[track_caller]
    pub(crate) fn alone(program: Program, item: &str, run: impl FnOnce(&mut Self)) {
        run(&mut Self::new(Arc::new(Server::start(program, |spec| spec)), item));
    }

    /// Runs an item on a fresh server that reports the progress of watches often.
    #[track_caller]
    pub(crate) fn frequent_progress(program: Program, item: &str, run: impl FnOnce(&mut Self)) {
        let interval = format!("{}ms", PROGRESS_INTERVAL.as_millis());
        // 3.6 took the first word away.
        let option = match program {
            Program::Ours => "watch-progress-notify-interval",
            _ => "experimental-watch-progress-notify-interval",
        };
        let often = |spec: Spec| spec.set(option, interval.as_str());
        run(&mut Self::new(Arc::new(Server::start(program, often)), item));
    }

    /// Runs an item on a fresh server of which the database may be 4 MiB.
    #[track_caller]
    pub(crate) fn small_quota(program: Program, item: &str, run: impl FnOnce(&mut Self)) {
        let small = |spec: Spec| spec.set("quota-backend-bytes", QUOTA_BYTES.to_string());
        run(&mut Self::new(Arc::new(Server::start(program, small)), item));
    }

    fn new(server: Arc<Server>, item: &str) -> Self {
        let client = Client::new(server.etcd.client());
        let prefix = item.splitn(3, '_').take(2).collect::<String>() + "/";
        let mut case = Self { server, client, prefix, base: 0 };
        let now = case.range(&RangeRequest { key: case.key("a"), ..RangeRequest::default() });
        case.base = revision(&now.expect("read the revision").header);
        case
    }

    /// The server of an item that is alone on it, to stop it and start it again.
    #[track_caller]
    pub(crate) fn etcd(&mut self) -> &mut Etcd {
        &mut Arc::get_mut(&mut self.server).expect("the item is alone on its server").etcd
    }

    /// A key of this item.
    pub(crate) fn key(&self, name: &str) -> Bytes {
        Bytes::from(format!("{}{name}", self.prefix))
    }

    /// The revision `steps` changes after the beginning.
    pub(crate) fn at(&self, steps: i64) -> i64 {
        self.base + steps
    }

    /// How many changes after the beginning a header was made.
    #[track_caller]
    pub(crate) fn steps(&self, header: &Option<ResponseHeader>) -> i64 {
        revision(header) - self.base
    }

    pub(crate) fn put(&self, request: &PutRequest) -> Result<PutResponse, Failure> {
        self.client.unary("/etcdserverpb.KV/Put", request)
    }

    pub(crate) fn range(&self, request: &RangeRequest) -> Result<RangeResponse, Failure> {
        self.client.unary("/etcdserverpb.KV/Range", request)
    }

    pub(crate) fn delete(
        &self,
        request: &DeleteRangeRequest,
    ) -> Result<DeleteRangeResponse, Failure> {
        self.client.unary("/etcdserverpb.KV/DeleteRange", request)
    }

    pub(crate) fn txn(&self, request: &TxnRequest) -> Result<TxnResponse, Failure> {
        self.client.unary("/etcdserverpb.KV/Txn", request)
    }

    /// Compacts at the revision `steps` changes after the beginning.
    pub(crate) fn compact(
        &self,
        steps: i64,
        physical: bool,
    ) -> Result<CompactionResponse, Failure> {
        let request = CompactionRequest { revision: self.at(steps), physical };
        self.client.unary("/etcdserverpb.KV/Compact", &request)
    }

    pub(crate) fn grant(&self, ttl: i64, id: i64) -> Result<LeaseGrantResponse, Failure> {
        let request = LeaseGrantRequest { ttl, id };
        self.client.unary("/etcdserverpb.Lease/LeaseGrant", &request)
    }

    pub(crate) fn revoke(&self, id: i64) -> Result<LeaseRevokeResponse, Failure> {
        self.client.unary("/etcdserverpb.Lease/LeaseRevoke", &LeaseRevokeRequest { id })
    }

    pub(crate) fn time_to_live(
        &self,
        id: i64,
        keys: bool,
    ) -> Result<LeaseTimeToLiveResponse, Failure> {
        let request = LeaseTimeToLiveRequest { id, keys };
        self.client.unary("/etcdserverpb.Lease/LeaseTimeToLive", &request)
    }

    /// Writes a key of this item.
    #[track_caller]
    pub(crate) fn write(&self, name: &str, value: &str) {
        let request = PutRequest {
            key: self.key(name),
            value: Bytes::copy_from_slice(value.as_bytes()),
            ..PutRequest::default()
        };
        let _ = self.put(&request).expect("put");
    }

    /// Writes several keys, one revision each.
    #[track_caller]
    pub(crate) fn write_all(&self, pairs: &[(&str, &str)]) {
        for (name, value) in pairs {
            self.write(name, value);
        }
    }

    /// Deletes a key of this item.
    #[track_caller]
    pub(crate) fn remove(&self, name: &str) {
        let request = DeleteRangeRequest { key: self.key(name), ..DeleteRangeRequest::default() };
        assert_eq!(self.delete(&request).expect("delete").deleted, 1, "{name}");
    }

    /// All pairs of this item as texts, as in [`Case::show`].
    #[track_caller]
    pub(crate) fn all(&self) -> Vec<String> {
        let all = RangeRequest {
            key: self.key(""),
            range_end: self.prefix_end(),
            ..RangeRequest::default()
        };
        self.show_all(&self.range(&all).expect("range").kvs)
    }

    /// The end of the range of all keys of this item.
    pub(crate) fn prefix_end(&self) -> Bytes {
        Bytes::from(self.prefix.replace('/', "0"))
    }

    /// A pair as `key=value @create @mod vVersion`, with `lease ID` if it has one.
    #[track_caller]
    pub(crate) fn show(&self, pair: &StoredKeyValue) -> String {
        let KeyValue { key, create_revision, mod_revision, version, value, lease } = decode(pair);
        let key = String::from_utf8_lossy(&key).into_owned();
        let key = key.strip_prefix(&self.prefix).unwrap_or(&key);
        let value = String::from_utf8_lossy(&value);
        let at = |revision: i64| match revision {
            0 => "0".to_owned(),
            revision => format!("@{}", revision - self.base),
        };
        let lease = if lease == 0 { String::new() } else { format!(" lease {lease}") };
        let (create, changed) = (at(create_revision), at(mod_revision));
        format!("{key}={value} {create} {changed} v{version}{lease}")
    }

    #[track_caller]
    pub(crate) fn show_all(&self, pairs: &[StoredKeyValue]) -> Vec<String> {
        pairs.iter().map(|pair| self.show(pair)).collect()
    }

    /// An event as `PUT pair` or `DELETE pair`, with `prev pair` behind it if there is one.
    #[track_caller]
    pub(crate) fn show_event(&self, event: &Event) -> String {
        let kind = match event.r#type() {
            EventType::Put => "PUT",
            EventType::Delete => "DELETE",
        };
        let pair = self.show(event.kv.as_ref().expect("the pair of an event"));
        let prev = event.prev_kv.as_ref().map(|pair| format!(" prev {}", self.show(pair)));
        format!("{kind} {pair}{}", prev.unwrap_or_default())
    }

    #[track_caller]
    pub(crate) fn show_events(&self, response: &WatchResponse) -> Vec<String> {
        response.events.iter().map(|event| self.show_event(event)).collect()
    }

    /// Opens a stream of watches.
    pub(crate) fn watch_stream(&self) -> Watch<'_> {
        Watch { case: self, stream: self.client.stream("/etcdserverpb.Watch/Watch", &[]) }
    }

    /// Opens a stream with one watch of all keys of this item, from `start` or from now on.
    #[track_caller]
    pub(crate) fn watch_all(&self, start_revision: i64) -> Watch<'_> {
        let mut watch = self.watch_stream();
        let _ = watch.creates(&WatchCreateRequest {
            key: self.key(""),
            range_end: self.prefix_end(),
            start_revision,
            ..WatchCreateRequest::default()
        });
        watch
    }
}

/// A stream of watches.
pub(crate) struct Watch<'a> {
    case: &'a Case,
    pub(crate) stream: Stream,
}

impl Watch<'_> {
    /// Asks for a watch.
    pub(crate) fn create(&self, request: &WatchCreateRequest) {
        self.ask(RequestUnion::CreateRequest(request.clone()));
    }

    pub(crate) fn cancel(&self, watch_id: i64) {
        self.ask(RequestUnion::CancelRequest(WatchCancelRequest { watch_id }));
    }

    pub(crate) fn ask_progress(&self) {
        self.ask(RequestUnion::ProgressRequest(WatchProgressRequest {}));
    }

    fn ask(&self, request: RequestUnion) {
        self.stream.send(&WatchRequest { request_union: Some(request) });
    }

    /// Asks for a watch, which is granted; its ID.
    #[track_caller]
    pub(crate) fn creates(&mut self, request: &WatchCreateRequest) -> i64 {
        self.create(request);
        let answer = self.next();
        assert!(answer.created && !answer.canceled && answer.events.is_empty(), "{answer:?}");
        answer.watch_id
    }

    #[track_caller]
    pub(crate) fn next(&mut self) -> WatchResponse {
        self.stream.next()
    }

    /// The events that come next, taken from as many responses as they come in.
    #[track_caller]
    pub(crate) fn events(&mut self, count: usize) -> Vec<String> {
        let mut events = Vec::new();
        while events.len() < count {
            let response = self.next();
            assert!(!response.canceled && !response.created, "{response:?}");
            events.extend(self.case.show_events(&response));
        }
        events
    }

    /// Nothing has come up to now.
    #[track_caller]
    pub(crate) fn is_silent(&mut self) {
        assert_eq!(self.stream.receive(Duration::ZERO), Received::Silence);
    }
}

/// The revision of a header.
#[track_caller]
pub(crate) fn revision(header: &Option<ResponseHeader>) -> i64 {
    header.as_ref().expect("a header").revision
}

#[track_caller]
fn decode(pair: &StoredKeyValue) -> KeyValue {
    KeyValue::decode(&pair.0[..]).expect("a pair")
}

/// The answer is this refusal.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(answer: Result<T, Failure>, code: Code, message: &str) {
    let expected = Failure { code, message: message.to_owned() };
    assert_eq!(answer.expect_err("a refusal was expected"), expected);
}
