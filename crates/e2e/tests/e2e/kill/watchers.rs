//! Watchers that resume as client libraries do, and what each of them must have seen.
//!
//! Owns:       the streams of the watchers and everything they received.
//! Uses:       `client`.
//! Never:      a second look at the store: a watcher knows what it was sent and nothing else.
//! Invariants: revisions only grow, whatever the member; the versions of a key have no hole.
//! Source:     api-v3.md 3 (the six guarantees).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use prost::Message as _;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{
    WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
};
use proto::mvccpb::{Event, KeyValue, event::EventType};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;
use tonic::Streaming;

use super::client::Client;

/// Pause before a watcher asks the next member.
const RECONNECT: Duration = Duration::from_millis(20);
/// How long the watcher that is away stays away: compactions pass it meanwhile.
const AWAY: Duration = Duration::from_secs(6);
/// How often progress is asked for.
const PROGRESS_EVERY: Duration = Duration::from_millis(300);
/// Events after which a watcher that cancels does so.
const CANCEL_EVERY: usize = 200;
/// Events after which the watcher that goes away does so.
const AWAY_EVERY: usize = 2000;
/// How long the last event may be under way.
const END_PATIENCE: Duration = Duration::from_secs(30);
/// Value of the last write to each range.
const END: &[u8] = b"the end";

/// What a watcher does besides listening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Habit {
    /// Nothing.
    Plain,
    /// Wants pairs as they were before, too.
    PrevKv,
    /// Asks for progress and resumes from what it was told.
    Progress,
    /// Cancels, and asks for a watcher of a new ID on the same stream.
    Cancels,
    /// Leaves for a while, longer than history is kept.
    Away,
}

/// Keys `key..end`; a single key without an end, all keys with two zero bytes.
#[derive(Clone, Debug)]
pub(super) struct Range {
    key: Vec<u8>,
    end: Vec<u8>,
}

impl Range {
    pub(super) fn all() -> Self {
        Self { key: vec![0], end: vec![0] }
    }

    pub(super) fn key(key: &str) -> Self {
        Self { key: key.into(), end: Vec::new() }
    }

    /// Keys `prefix/...`.
    pub(super) fn below(prefix: &str) -> Self {
        Self { key: format!("{prefix}/").into(), end: format!("{prefix}0").into() }
    }

    fn is_all(&self) -> bool {
        self.end == [0]
    }

    fn has(&self, key: &[u8]) -> bool {
        match self.end.as_slice() {
            [] => key == self.key,
            [0] => true,
            end => key >= self.key.as_slice() && key < end,
        }
    }

    /// The key that is written last.
    fn last_key(&self) -> String {
        let key = if self.is_all() { "end" } else { &String::from_utf8_lossy(&self.key) };
        if self.end.is_empty() { key.to_owned() } else { format!("{key}~") }
    }
}

/// Running watchers.
pub(super) struct Watchers {
    ranges: Vec<Range>,
    clients: Vec<Client>,
    tasks: JoinSet<Seen>,
}

impl Watchers {
    /// On the runtime that the caller has entered.
    pub(super) fn new(clients: &[Client]) -> Self {
        Self { ranges: Vec::new(), clients: clients.to_vec(), tasks: JoinSet::new() }
    }

    /// Starts one more, on the next member.
    pub(super) fn add(&mut self, range: Range, habit: Habit) {
        let member = self.ranges.len();
        self.ranges.push(range.clone());
        self.tasks.spawn(Watcher::new(range, habit).follow(self.clients.clone(), member));
    }

    /// Writes once more to each range and waits until every watcher has seen that.
    ///
    /// # Panics
    /// When one does not.
    pub(super) async fn stop(mut self) -> Vec<Seen> {
        for range in &self.ranges {
            let key = range.last_key();
            self.clients[0].put_value(&key, END.to_vec()).await.expect("the last write");
        }
        let mut all = Vec::new();
        let deadline = tokio::time::Instant::now() + END_PATIENCE;
        while let Some(one) = tokio::time::timeout_at(deadline, self.tasks.join_next())
            .await
            .unwrap_or_else(|_| panic!("{} watchers have not seen the end", self.tasks.len()))
        {
            all.push(one.expect("a watcher does not fail"));
        }
        all
    }
}

/// One event as it came.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) key: String,
    pub(super) revision: i64,
    pub(super) is_put: bool,
    pub(super) at: Instant,
}

/// What one watcher was sent in its life.
pub(super) struct Seen {
    range: Range,
    habit: Habit,
    /// The first revision that is its business.
    from: i64,
    pub(super) events: Vec<Arrival>,
    /// Revisions that compactions took away while it was not there: from, and the first that it
    /// could see again.
    gaps: Vec<(i64, i64)>,
    resumed: usize,
    cancelled: usize,
    progress: usize,
}

struct Watcher {
    seen: Seen,
    /// Everything below was seen, or compacted.
    next: i64,
    /// Version and revision of each key as last seen.
    versions: BTreeMap<Vec<u8>, (i64, i64)>,
    /// Events since the habit was followed last.
    since: usize,
}

/// Why a watcher leaves a stream.
#[derive(PartialEq, Eq)]
enum Leave {
    Lost,
    Away,
    End,
}

impl Watcher {
    fn new(range: Range, habit: Habit) -> Self {
        let seen = Seen {
            range,
            habit,
            from: 0,
            events: Vec::new(),
            gaps: Vec::new(),
            resumed: 0,
            cancelled: 0,
            progress: 0,
        };
        Self { seen, next: 0, versions: BTreeMap::new(), since: 0 }
    }

    async fn follow(mut self, clients: Vec<Client>, mut member: usize) -> Seen {
        loop {
            let client = &clients[member % clients.len()];
            match self.attend(client).await {
                Leave::End => return self.seen,
                Leave::Lost => tokio::time::sleep(RECONNECT).await,
                Leave::Away => tokio::time::sleep(AWAY).await,
            }
            self.seen.resumed += 1;
            member += 1;
        }
    }

    /// One stream, from its begin to its end.
    async fn attend(&mut self, client: &Client) -> Leave {
        let Ok((requests, mut replies)) = client.watch(self.create()).await else {
            return Leave::Lost;
        };
        let mut ticks = tokio::time::interval(PROGRESS_EVERY);
        let mut current = None;
        let mut left = BTreeSet::new();
        loop {
            let reply = tokio::select! {
                reply = replies.message() => reply,
                _ = ticks.tick(), if self.seen.habit == Habit::Progress => {
                    send(&requests, RequestUnion::ProgressRequest(WatchProgressRequest {}));
                    continue;
                }
            };
            let Ok(Some(reply)) = reply else { return Leave::Lost };
            assert!(!left.contains(&reply.watch_id), "{} after its cancel: {reply:?}", self.seen);
            if reply.canceled {
                left.insert(reply.watch_id);
                self.take_cancel(&reply, &requests, &mut current);
                continue;
            }
            if self.take(&reply, &mut current) {
                return Leave::End;
            }
            if self.seen.habit == Habit::Away && self.since >= AWAY_EVERY {
                self.since = 0;
                return Leave::Away;
            }
            if let (Habit::Cancels, Some(watch_id)) = (self.seen.habit, current)
                && self.since >= CANCEL_EVERY
            {
                self.since = 0;
                let cancel = WatchCancelRequest { watch_id };
                send(&requests, RequestUnion::CancelRequest(cancel));
            }
        }
    }

    fn create(&self) -> WatchRequest {
        let create = WatchCreateRequest {
            key: self.seen.range.key.clone().into(),
            range_end: self.seen.range.end.clone().into(),
            start_revision: self.next,
            prev_kv: self.seen.habit == Habit::PrevKv,
            progress_notify: self.seen.habit == Habit::Progress,
            ..WatchCreateRequest::default()
        };
        WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
    }

    /// A watcher of this stream is over: as asked for, or by a compaction. The next one takes over.
    fn take_cancel(
        &mut self,
        reply: &WatchResponse,
        requests: &UnboundedSender<WatchRequest>,
        current: &mut Option<i64>,
    ) {
        assert!(!reply.created && reply.cancel_reason.is_empty(), "{}: {reply:?}", self.seen);
        assert_eq!(Some(reply.watch_id), *current, "{}: {reply:?}", self.seen);
        if reply.compact_revision > 0 {
            assert!(reply.compact_revision > self.next, "{}: {reply:?}", self.seen);
            self.seen.gaps.push((self.next, reply.compact_revision));
            self.next = reply.compact_revision;
        } else {
            self.seen.cancelled += 1;
        }
        *current = None;
        // After the end of the stream nobody takes it, and the reader gets to know the end.
        drop(requests.send(self.create()));
    }

    /// Takes in a response; whether it has the last event.
    fn take(&mut self, reply: &WatchResponse, current: &mut Option<i64>) -> bool {
        let revision = reply.header.as_ref().expect("a header").revision;
        if reply.created {
            assert!(current.replace(reply.watch_id).is_none(), "{}: {reply:?}", self.seen);
            if self.next == 0 {
                (self.next, self.seen.from) = (revision + 1, revision + 1);
            }
            return false;
        }
        if reply.events.is_empty() {
            assert_eq!(self.seen.habit, Habit::Progress, "{reply:?}");
            self.seen.progress += 1;
            self.next = self.next.max(revision + 1);
            return false;
        }
        assert_eq!(Some(reply.watch_id), *current, "{}: {reply:?}", self.seen);
        let mut newest = self.next;
        let mut is_end = false;
        for event in &reply.events {
            let arrival = self.take_event(event);
            assert!(arrival.revision >= newest, "{}: {arrival:?} after {newest}", self.seen);
            newest = arrival.revision;
            is_end |= event.kv.as_ref().is_some_and(|kv| decode(&kv.0).value == END)
                && arrival.key == self.seen.range.last_key();
            self.seen.events.push(arrival);
        }
        assert!(revision >= newest, "{}: header {revision}, event {newest}", self.seen);
        self.since += reply.events.len();
        self.next = newest + 1;
        is_end
    }

    fn take_event(&mut self, event: &Event) -> Arrival {
        let kv = decode(&event.kv.as_ref().expect("a pair").0);
        assert!(self.seen.range.has(&kv.key), "{}: {kv:?}", self.seen);
        let is_put = event.r#type == i32::from(EventType::Put);
        let known = self.versions.get(kv.key.as_ref()).copied();
        if is_put && self.seen.gaps.is_empty() {
            // A key written before this watcher began has any version.
            let expected = known.map_or(kv.version, |(version, _)| version + 1);
            assert_eq!(kv.version, expected, "{}: an event of {kv:?} is missing", self.seen);
        }
        if let Some(previous) = &event.prev_kv {
            let previous = decode(&previous.0);
            assert!(previous.mod_revision < kv.mod_revision && previous.key == kv.key);
            if let (Some((version, revision)), true) = (known, self.seen.gaps.is_empty()) {
                assert_eq!((previous.version, previous.mod_revision), (version, revision));
            }
        }
        let version = if is_put { kv.version } else { 0 };
        self.versions.insert(kv.key.to_vec(), (version, kv.mod_revision));
        let key = String::from_utf8_lossy(&kv.key).into_owned();
        Arrival { key, revision: kv.mod_revision, is_put, at: Instant::now() }
    }
}

impl Seen {
    /// Every acknowledged write of its range came once, at the revision that its writer was told.
    ///
    /// # Panics
    /// When one did not.
    pub(super) fn check(&self, acknowledged: &BTreeSet<(String, i64)>) {
        let mut found = BTreeSet::new();
        for event in &self.events {
            let is_new = found.insert((event.key.as_str(), event.revision));
            assert!(is_new, "{self}: twice {event:?}");
        }
        let missed: Vec<_> = acknowledged
            .iter()
            .filter(|(key, _)| self.range.has(key.as_bytes()))
            .filter(|(_, revision)| self.is_due(*revision))
            .filter(|(key, revision)| !found.contains(&(key.as_str(), *revision)))
            .collect();
        assert!(missed.is_empty(), "{self} has not seen {missed:?}");
        if self.range.is_all() {
            self.check_no_hole();
        }
    }

    /// Every revision has an event, so a watcher of all keys sees all revisions.
    fn check_no_hole(&self) {
        let revisions: BTreeSet<i64> = self.events.iter().map(|event| event.revision).collect();
        let last = revisions.last().copied().unwrap_or(self.from);
        let hole = (self.from..last).find(|at| self.is_due(*at) && !revisions.contains(at));
        assert_eq!(hole, None, "{self} has a hole");
    }

    /// Whether it had to see a revision.
    fn is_due(&self, revision: i64) -> bool {
        let is_compacted = |(from, to): &(i64, i64)| (*from..*to).contains(&revision);
        revision >= self.from && !self.gaps.iter().any(is_compacted)
    }

    /// That it did what it is there for.
    ///
    /// # Panics
    /// When it never came to that.
    pub(super) fn check_habit(&self) {
        match self.habit {
            Habit::Plain | Habit::PrevKv => {}
            Habit::Progress => assert!(self.progress > 0, "{self} was never told of progress"),
            Habit::Cancels => assert!(self.cancelled > 0, "{self} never cancelled"),
            Habit::Away => assert!(!self.gaps.is_empty(), "{self} was never compacted away"),
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { range, habit, events, gaps, resumed, cancelled, progress, .. } = self;
        let (key, count) = (String::from_utf8_lossy(&range.key), events.len());
        write!(f, "watcher {habit:?} of {key:?}: {count} events, {resumed} resumes")?;
        write!(f, ", {cancelled} cancels, {progress} times progress, compacted {gaps:?}")
    }
}

fn decode(bytes: &[u8]) -> KeyValue {
    KeyValue::decode(bytes).expect("a pair")
}

fn send(requests: &UnboundedSender<WatchRequest>, request: RequestUnion) {
    // As above: the reader gets to know the end.
    drop(requests.send(WatchRequest { request_union: Some(request) }));
}

/// Both directions of a Watch stream.
pub(super) type WatchStreams = (UnboundedSender<WatchRequest>, Streaming<WatchResponse>);

#[cfg(test)]
mod tests {
    use super::*;

    /// A watcher that was sent these revisions, each a put of a key named after it.
    fn seen(revisions: &[i64], gaps: &[(i64, i64)]) -> Seen {
        let mut seen = Watcher::new(Range::all(), Habit::Plain).seen;
        (seen.from, seen.gaps) = (5, gaps.to_vec());
        let arrival = |revision: &i64| Arrival {
            key: format!("k{revision}"),
            revision: *revision,
            is_put: true,
            at: Instant::now(),
        };
        seen.events = revisions.iter().map(arrival).collect();
        seen
    }

    fn passes(seen: &Seen, acknowledged: &[i64]) -> bool {
        let told = acknowledged.iter().map(|at| (format!("k{at}"), *at)).collect();
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| seen.check(&told))).is_ok()
    }

    #[test]
    fn what_is_missed_or_comes_twice_is_found() {
        assert!(passes(&seen(&[5, 6, 7, 8], &[]), &[3, 5, 7]));
        assert!(passes(&seen(&[5, 8], &[(6, 8)]), &[5, 6, 7, 8]));
        assert!(!passes(&seen(&[5, 6], &[]), &[5, 6, 7]), "an acknowledged write is missing");
        assert!(!passes(&seen(&[5, 7], &[]), &[5, 7]), "a revision is missing");
        assert!(!passes(&seen(&[5, 6, 6], &[]), &[5, 6]), "an event came twice");
        assert!(!passes(&seen(&[5, 9], &[(6, 8)]), &[5, 9]), "more is missing than was compacted");
    }
}
