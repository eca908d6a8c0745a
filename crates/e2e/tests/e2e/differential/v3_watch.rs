//! Watch streams of one server, and what their watchers are going to get.
//!
//! Invariants: of each watcher the events are compared, in their order and with the revisions of the
//!             headers; how catching up is cut into responses is not, unless fragments were asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use e2e::v3::{Client, Received, Stream};
use prost::Message as _;
use proto::StoredKeyValue;
use proto::etcdserverpb::watch_create_request::FilterType;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{CompactionRequest, WatchCreateRequest, WatchRequest, WatchResponse};
use proto::mvccpb::KeyValue;
use proto::mvccpb::event::EventType;

use super::reply::Reply;
use super::schema::Schema;
use super::v3::{ByNumber, end_of, open};

/// How long a response may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Watcher ID of what concerns a whole stream.
const NO_WATCHER: i64 = -1;
const COMPACT: &str = "/etcdserverpb.KV/Compact";
const EMPTY_RANGE: &str = "mvcc: watcher range is empty";

/// All events of a server, by a watcher of everything.
pub(super) struct Oracle {
    stream: Stream,
    /// Revision, key, and whether it was a put.
    events: Vec<(i64, Bytes, bool)>,
    /// Of the last write that a reply told of.
    revision: i64,
    seen: i64,
    compacted: i64,
    is_lost: bool,
}

impl Oracle {
    /// Begins before the first write.
    pub(super) fn new(client: &Client) -> Self {
        let stream = open(client);
        let create = WatchCreateRequest {
            key: Bytes::from_static(&[0]),
            range_end: Bytes::from_static(&[0]),
            start_revision: 2,
            ..WatchCreateRequest::default()
        };
        stream.send(&request(RequestUnion::CreateRequest(create)));
        Self { stream, events: Vec::new(), revision: 1, seen: 1, compacted: -1, is_lost: false }
    }

    /// Takes note of what a reply tells.
    pub(super) fn saw(&mut self, path: &str, request: &Bytes, reply: &Reply) {
        self.saw_revision(reply.number("header.revision"));
        if path == COMPACT && reply.get("code") == Some("Ok") {
            let request = CompactionRequest::decode(request.clone()).unwrap_or_default();
            self.compacted = self.compacted.max(request.revision);
        }
    }

    /// Takes note of a revision.
    pub(super) fn saw_revision(&mut self, revision: i64) {
        self.revision = self.revision.max(revision);
    }

    /// Reads all events up to the last known revision.
    pub(super) fn catch_up(&mut self, reply: &mut Reply) {
        while !self.is_lost && self.seen < self.revision {
            let received = self.stream.receive(PATIENCE);
            let Received::Message(bytes) = &received else {
                reply.set("watcher of everything", end_of(&received));
                self.is_lost = true;
                return;
            };
            let response = WatchResponse::decode(bytes.clone()).unwrap_or_default();
            for event in response.events {
                let is_put = event.r#type == i32::from(EventType::Put);
                let Some(kv) = event.kv.as_ref().and_then(decode_kv) else { continue };
                self.seen = self.seen.max(kv.mod_revision);
                self.events.push((kv.mod_revision, kv.key, is_put));
            }
        }
    }

    /// Waits until watchers that were created before have caught up, even with nothing: one that
    /// begins at the last event catches up after them or with them. Without it a compaction may come
    /// first, and cancel them.
    fn wait_caught_up(&self, client: &Client) {
        if self.seen <= self.compacted.max(1) {
            // The last event may be gone.
            return;
        }
        let mut stream = open(client);
        let create = WatchCreateRequest {
            key: Bytes::from_static(&[0]),
            range_end: Bytes::from_static(&[0]),
            start_revision: self.seen,
            ..WatchCreateRequest::default()
        };
        stream.send(&request(RequestUnion::CreateRequest(create)));
        for _ in ["created", "event"] {
            // What does not come here is missed elsewhere, too, and reported there.
            let _ = stream.receive(PATIENCE);
        }
    }

    /// The last revision of which a watcher gets something.
    fn last_for(&self, watcher: &Watcher) -> i64 {
        let is_for = |(revision, key, is_put): &&(i64, Bytes, bool)| {
            *revision >= watcher.start && watcher.range.holds(key) && !watcher.drops(*is_put)
        };
        self.events.iter().rev().find(is_for).map_or(0, |(revision, ..)| *revision)
    }
}

fn decode_kv(kv: &StoredKeyValue) -> Option<KeyValue> {
    KeyValue::decode(&kv.0[..]).ok()
}

/// Keys from one to another, as requests have it.
struct Range {
    key: Bytes,
    end: Bytes,
}

impl Range {
    fn holds(&self, key: &Bytes) -> bool {
        match self.end.as_ref() {
            [] => *key == self.key,
            [0] => *key >= self.key,
            end => *key >= self.key && key.as_ref() < end,
        }
    }
}

struct Watcher {
    range: Range,
    start: i64,
    drops_puts: bool,
    drops_deletes: bool,
    has_fragments: bool,
    delivered: i64,
    /// Its start is compacted: it is going to be cancelled.
    is_doomed: bool,
}

impl Watcher {
    fn new(create: &WatchCreateRequest, created_at: i64, compacted: i64) -> Self {
        let has = |filter: FilterType| create.filters.contains(&i32::from(filter));
        let start = create.start_revision;
        let key = if create.key.is_empty() { Bytes::from_static(&[0]) } else { create.key.clone() };
        Self {
            range: Range { key, end: create.range_end.clone() },
            start: if start == 0 { created_at + 1 } else { start },
            drops_puts: has(FilterType::Noput),
            drops_deletes: has(FilterType::Nodelete),
            has_fragments: create.fragment,
            delivered: 0,
            is_doomed: start != 0 && start < compacted,
        }
    }

    fn drops(&self, is_put: bool) -> bool {
        if is_put { self.drops_puts } else { self.drops_deletes }
    }
}

struct Open {
    stream: Stream,
    watchers: BTreeMap<i64, Watcher>,
    /// Those that a compaction cancelled; their IDs stay taken.
    compacted: BTreeSet<i64>,
    is_half_closed: bool,
}

/// The watch streams of a run.
#[derive(Default)]
pub(super) struct Streams {
    open: ByNumber<Open>,
}

impl Streams {
    /// Sends a request and waits for its answer, or makes sure that there is none.
    pub(super) fn request(
        &mut self,
        client: &Client,
        oracle: &Oracle,
        number: u32,
        message: &WatchRequest,
    ) -> Reply {
        let open = self.open.entry(number).or_insert_with(|| Open {
            stream: open(client),
            watchers: BTreeMap::new(),
            compacted: BTreeSet::new(),
            is_half_closed: false,
        });
        open.stream.send(message);
        let mut answers = Answers::default();
        match &message.request_union {
            Some(RequestUnion::CreateRequest(create)) => {
                let created = |response: &WatchResponse| response.created;
                let Some(response) = open.read(&mut answers, created) else { return answers.reply };
                if !response.canceled {
                    let now = response.header.map_or(0, |header| header.revision);
                    let watcher = Watcher::new(create, now, oracle.compacted);
                    let is_past = create.start_revision > 0 && create.start_revision <= now;
                    if is_past && !watcher.is_doomed && oracle.last_for(&watcher) == 0 {
                        oracle.wait_caught_up(client);
                    }
                    open.watchers.insert(response.watch_id, watcher);
                }
            }
            Some(RequestUnion::CancelRequest(cancel))
                if open.watchers.remove(&cancel.watch_id).is_some()
                    || open.compacted.remove(&cancel.watch_id) =>
            {
                let id = cancel.watch_id;
                open.read(&mut answers, |response| response.canceled && response.watch_id == id);
            }
            _ => {
                answers.progress_name = open.progress_name(oracle);
                open.barrier(&mut answers);
            }
        }
        answers.finish()
    }

    /// Ends our direction of a stream.
    pub(super) fn half_close(&mut self, number: u32) -> Reply {
        if let Some(open) = self.open.get_mut(&number) {
            open.stream.half_close();
            open.is_half_closed = true;
        }
        Reply::default()
    }

    /// Closes a stream, once it is sure that nothing more came.
    pub(super) fn close(&mut self, number: u32) -> Reply {
        let mut answers = Answers::default();
        if let Some(mut open) = self.open.remove(&number)
            && !open.is_half_closed
        {
            open.barrier(&mut answers);
        }
        answers.finish()
    }

    /// Reads what all watchers are still to get.
    pub(super) fn settle(&mut self, oracle: &Oracle, reply: &mut Reply) {
        for (number, open) in &mut self.open {
            let mut answers = Answers::default();
            while open.waits(oracle) {
                if open.read(&mut answers, |_| true).is_none() {
                    // Reported; it would only be waited for again.
                    open.watchers.clear();
                }
            }
            reply.merge(&format!("stream {number} "), answers.finish());
        }
    }
}

impl Open {
    fn waits(&self, oracle: &Oracle) -> bool {
        self.watchers
            .values()
            .any(|watcher| watcher.is_doomed || watcher.delivered < oracle.last_for(watcher))
    }

    /// Reads up to a response that is as `wanted`.
    fn read(
        &mut self,
        answers: &mut Answers,
        wanted: impl Fn(&WatchResponse) -> bool,
    ) -> Option<WatchResponse> {
        loop {
            let received = self.stream.receive(PATIENCE);
            let Received::Message(bytes) = &received else {
                answers.reply.set("end", end_of(&received));
                return None;
            };
            let response = WatchResponse::decode(bytes.clone()).unwrap_or_default();
            answers.add(&response, bytes, self.watchers.get(&response.watch_id));
            self.took(&response);
            if wanted(&response) {
                return Some(response);
            }
        }
    }

    /// What a progress answer is called: in three cases releases differ (api-v3.md 3.5).
    fn progress_name(&self, oracle: &Oracle) -> &'static str {
        if self.watchers.is_empty() && self.compacted.is_empty() {
            "progress of no watcher"
        } else if !self.compacted.is_empty() {
            "progress with a compacted watcher"
        } else if self.watchers.values().any(|watcher| watcher.start > oracle.revision + 1) {
            "progress with a future watcher"
        } else {
            "progress"
        }
    }

    fn took(&mut self, response: &WatchResponse) {
        if response.canceled && !response.created {
            self.watchers.remove(&response.watch_id);
            if response.compact_revision != 0 {
                self.compacted.insert(response.watch_id);
            }
        }
        let Some(watcher) = self.watchers.get_mut(&response.watch_id) else { return };
        let last = response.events.last().and_then(|event| event.kv.as_ref());
        if let Some(kv) = last.and_then(decode_kv).filter(|_| !response.fragment) {
            watcher.delivered = kv.mod_revision;
        }
    }

    /// Asks for a watcher of nothing; its refusal comes behind all earlier answers.
    fn barrier(&mut self, answers: &mut Answers) {
        let create = WatchCreateRequest {
            key: Bytes::from_static(b"b"),
            range_end: Bytes::from_static(b"a"),
            ..WatchCreateRequest::default()
        };
        self.stream.send(&request(RequestUnion::CreateRequest(create)));
        self.read(answers, |response| response.cancel_reason == EMPTY_RANGE);
    }
}

/// Responses as fields.
#[derive(Default)]
struct Answers {
    reply: Reply,
    progress_name: &'static str,
    controls: usize,
    /// Events and responses of each watcher.
    counts: BTreeMap<i64, (usize, usize)>,
    revisions: BTreeMap<i64, BTreeSet<i64>>,
}

impl Answers {
    fn add(&mut self, response: &WatchResponse, bytes: &Bytes, watcher: Option<&Watcher>) {
        let apart = Schema::get().take_apart("WatchResponse", bytes);
        let id = response.watch_id;
        if id == NO_WATCHER && !response.created && !response.canceled && response.events.is_empty()
        {
            self.reply.merge(&format!("{} ", self.progress_name), apart);
            return;
        }
        if response.events.is_empty() {
            self.reply.merge(&format!("answer[{}].", self.controls), apart);
            self.controls += 1;
            return;
        }
        let (events, responses) = self.counts.entry(id).or_default();
        let revision = response.header.map_or(0, |header| header.revision);
        self.revisions.entry(id).or_default().insert(revision);
        if watcher.is_some_and(|watcher| watcher.has_fragments) {
            self.reply.merge(&format!("watcher {id} part[{responses}]."), apart);
            *responses += 1;
            return;
        }
        let first = *events;
        *events += response.events.len();
        for (path, value) in apart.into_fields() {
            let event = path.strip_prefix("events[").and_then(|rest| rest.split_once(']'));
            match event.map(|(number, rest)| (number.parse::<usize>(), rest)) {
                Some((Ok(number), rest)) => {
                    let number = first + number;
                    self.reply.set(format!("watcher {id} event[{number:03}]{rest}"), value);
                }
                _ if path == "header.revision" => {}
                _ => self.reply.set(format!("watcher {id} {path}"), value),
            }
        }
    }

    fn finish(mut self) -> Reply {
        for (id, revisions) in &self.revisions {
            self.reply.set(format!("watcher {id} revisions"), format!("{revisions:?}"));
        }
        self.reply
    }
}

/// The answers to a watcher that is refused or cancelled at once, in one field.
pub(super) fn refused(client: &Client, create: &WatchCreateRequest) -> Reply {
    let mut stream = open(client);
    stream.send(&request(RequestUnion::CreateRequest(create.clone())));
    let mut answers = Vec::new();
    let mut is_over = false;
    while !is_over {
        let received = stream.receive(PATIENCE);
        let Received::Message(bytes) = &received else {
            answers.push(end_of(&received));
            break;
        };
        let response = WatchResponse::decode(bytes.clone()).unwrap_or_default();
        let WatchResponse { watch_id, created, canceled, compact_revision, .. } = response;
        answers.push(format!(
            "(id {watch_id}, created {created}, canceled {canceled}, compact_revision \
             {compact_revision}, {:?}, {} events)",
            response.cancel_reason,
            response.events.len()
        ));
        is_over = canceled;
    }
    let mut reply = Reply::default();
    reply.set("answers", answers.join(" "));
    reply
}

fn request(union: RequestUnion) -> WatchRequest {
    WatchRequest { request_union: Some(union) }
}
