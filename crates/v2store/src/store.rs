//! The store: requests go in, events and changed rows come out.
//!
//! Owns:       [`Store`].
//! Uses:       `operations` for each kind of request, `node`, `history`, `stats`.
//! Never:      decides whether a request is allowed; it was validated and authorised before.
//! Invariants: as in the crate header; see [`Store::check_invariants`].
//! Source:     api-v2.md 1.5, 1.11 to 1.13, 4; etcd `apply_v2.go`, `v2store/store.go`.

use std::collections::BTreeSet;
use std::sync::Arc;

use proto::v2_request::V2Request;
use types::{V2Code, V2Error};

use crate::node::{Content, Node};
use crate::operations::Done;
use crate::stats::ReadCounters;
use crate::{Action, Event, History, NodeView, RowChange, Stats, path, rows, time};

/// The v2 store. Copies are cheap (a few reference counts) and independent; the first change after
/// a copy pays for the directories it touches, so copies are for snapshots, not for reads.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) root: Arc<Node>,
    pub(crate) index: u64,
    /// Every expiration with the path of its node, earliest first.
    pub(crate) deadlines: Arc<BTreeSet<(i64, String)>>,
    pub(crate) history: Arc<History>,
    pub(crate) stats: Stats,
    pub(crate) reads: ReadCounters,
    pub(crate) now: Option<i64>,
}

/// Indexes up to which a stored index is believed; it leaves room to count on without overflow.
pub(crate) const INDEX_MAX: u64 = u64::MAX / 2;

/// How long a node is to live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetime {
    /// Unix nanoseconds; `None` for ever.
    pub expiration: Option<i64>,
    /// Keep the value and tell no watcher.
    pub refresh: bool,
}

/// What one request did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "the rows have to reach the engine"]
pub struct Applied {
    /// The answer. A SYNC, for which nobody waits, answers with an empty `expire` of the root.
    pub result: Result<Event, V2Error>,
    /// What watchers are told, in order; more than one only for SYNC. Refreshes are marked and
    /// must not be shown.
    pub events: Vec<Event>,
    /// For each event the paths of all nodes that it removed: a watcher of such a path is told of
    /// the removal whatever the event's key.
    pub removed: Vec<Vec<String>>,
    /// Rows that differ now.
    pub changes: Vec<RowChange>,
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

/// Two stores are equal when the tree and the index are; history and counters do not count.
impl PartialEq for Store {
    fn eq(&self, other: &Self) -> bool {
        self.index == other.index && self.root == other.root
    }
}

impl Eq for Store {}

impl Store {
    /// An empty store: the two name spaces at index 0.
    #[must_use]
    pub fn new() -> Self {
        Self::from_root(Node::directory(0), 0)
    }

    /// A store around a tree; adds what every store has.
    pub(crate) fn from_root(root: Node, index: u64) -> Self {
        let mut root = Arc::new(root);
        for space in [path::CLUSTER, path::KEYS] {
            if root.find(space).is_err() {
                Node::insert(&mut root, space, Node::directory(0), 0);
            }
        }
        let mut deadlines = BTreeSet::new();
        root.visit("/", &mut |path, node| {
            deadlines.extend(node.expiration.map(|expiration| (expiration, path.to_owned())));
        });
        Self {
            root,
            index,
            deadlines: Arc::new(deadlines),
            history: Arc::new(History::forgotten(index)),
            stats: Stats::default(),
            reads: ReadCounters::default(),
            now: None,
        }
    }

    /// The index of the last change.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The last 1000 events.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Counters of operations.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (gets_success, gets_fail) = self.reads.values();
        Stats { gets_success, gets_fail, ..self.stats }
    }

    /// Whether any node has an expiration, that is, whether SYNC requests are needed.
    #[must_use]
    pub fn has_deadlines(&self) -> bool {
        !self.deadlines.is_empty()
    }

    /// The earliest expiration in unix nanoseconds.
    #[must_use]
    pub fn next_deadline(&self) -> Option<i64> {
        self.deadlines.first().map(|(expiration, _)| *expiration)
    }

    /// The time that a SYNC request should carry: the present, or an earlier time when more than
    /// about `max` nodes have run out by then, so that none takes long (equal expirations go
    /// together). `None` when nothing can expire.
    #[must_use]
    pub fn sync_time(&self, now_unix_ns: i64, max: usize) -> Option<i64> {
        let last =
            self.deadlines.iter().take(max).next_back().map(|(expiration, _)| *expiration)?;
        Some(if self.deadlines.len() > max { last.min(now_unix_ns) } else { now_unix_ns })
    }

    /// Tells the store this member's wall clock. It only fixes the `ttl` that later events show
    /// and never influences what a request does.
    pub fn observe_time(&mut self, now_unix_ns: i64) {
        self.now = Some(now_unix_ns);
    }

    /// Reads a node; children come in byte order of their keys whether `sorted` or not.
    ///
    /// # Errors
    /// Code 100 or 104 with the path element that was missing or was a file.
    pub fn get(&self, path: &str, recursive: bool, sorted: bool) -> Result<Event, V2Error> {
        let _ = sorted;
        let path = path::clean(path);
        let found = self.find(&path);
        self.reads.count(found.is_ok());
        let node = found?;
        Ok(Event {
            action: Action::Get,
            node: listing(node, path, if recursive { Depth::All } else { Depth::Children }),
            prev_node: None,
            index: self.index,
            is_created: false,
            refresh: false,
        })
    }

    /// Paths and values of all files at and below `path`, hidden ones included, in byte order of
    /// names at each level. Empty when there is no such node.
    #[must_use]
    pub fn files(&self, path: &str) -> Vec<(String, String)> {
        let mut files = Vec::new();
        let path = path::clean(path);
        if let Ok(node) = self.root.find(&path) {
            node.visit(&path, &mut |path, node| {
                if let Content::File(value) = &node.content {
                    files.push((path.to_owned(), value.as_ref().to_owned()));
                }
            });
        }
        files
    }

    /// Carries out one committed request.
    pub fn apply(&mut self, request: &V2Request) -> Applied {
        let path = request.path.as_str();
        let lifetime = Lifetime {
            expiration: (request.expiration != 0).then_some(request.expiration),
            refresh: request.refresh == Some(true),
        };
        match request.method.as_str() {
            "POST" => self.create_in_order(path, request.dir, &request.val, lifetime),
            "PUT" => self.apply_put(request, lifetime),
            "DELETE" if is_conditional(request) => {
                self.compare_and_delete(path, &request.prev_value, request.prev_index)
            }
            "DELETE" => self.delete(path, request.dir, request.recursive),
            "QGET" => Applied::reply(self.get(path, request.recursive, request.sorted)),
            "SYNC" => self.expire(request.time),
            _ => {
                let cause = "etcdserver: unknown method";
                Applied::reply(Err(V2Error::new(V2Code::RaftInternal, cause, 0)))
            }
        }
    }

    fn apply_put(&mut self, request: &V2Request, lifetime: Lifetime) -> Applied {
        let V2Request { path, val, dir, prev_value, prev_index, .. } = request;
        match request.prev_exist {
            Some(false) => self.create(path, *dir, val, lifetime),
            _ if is_conditional(request) => {
                self.compare_and_swap(path, prev_value, *prev_index, val, lifetime)
            }
            Some(true) => self.update(path, val, lifetime),
            None => self.set(path, *dir, val, lifetime),
        }
    }

    /// Writes a node whatever was there, but never over a directory.
    pub fn set(&mut self, path: &str, dir: bool, value: &str, lifetime: Lifetime) -> Applied {
        let result = self.do_set(&path::clean(path), dir, value, lifetime);
        let stats = &mut self.stats;
        count(&result, &mut stats.sets_success, &mut stats.sets_fail);
        self.conclude(result)
    }

    /// Writes a node that must not exist.
    pub fn create(&mut self, path: &str, dir: bool, value: &str, lifetime: Lifetime) -> Applied {
        let result = self.do_create(&path::clean(path), dir, value, lifetime);
        self.conclude_create(result)
    }

    /// Writes a node below `path` that is named by the index of this very operation.
    pub fn create_in_order(
        &mut self,
        path: &str,
        dir: bool,
        value: &str,
        lifetime: Lifetime,
    ) -> Applied {
        let path = path::clean(&format!("{path}/{:020}", self.index + 1));
        let result = self.do_create(&path, dir, value, lifetime);
        self.conclude_create(result)
    }

    /// Writes a node that must exist.
    pub fn update(&mut self, path: &str, value: &str, lifetime: Lifetime) -> Applied {
        let path = path::clean(path);
        let result = self.do_update(&path, value, lifetime);
        let stats = &mut self.stats;
        count_misses(&result, &mut stats.update_success, &mut stats.update_fail);
        self.conclude(result)
    }

    /// Writes a file whose value and modified index are as expected; an empty value and index 0
    /// expect nothing.
    pub fn compare_and_swap(
        &mut self,
        path: &str,
        prev_value: &str,
        prev_index: u64,
        value: &str,
        lifetime: Lifetime,
    ) -> Applied {
        let path = path::clean(path);
        let result = self.do_compare_and_swap(&path, prev_value, prev_index, value, lifetime);
        let stats = &mut self.stats;
        count_unless_read_only(
            &path,
            &result,
            &mut stats.compare_and_swap_success,
            &mut stats.compare_and_swap_fail,
        );
        self.conclude(result)
    }

    /// Removes a node; a directory only if `dir` and empty, or `recursive`.
    pub fn delete(&mut self, path: &str, dir: bool, recursive: bool) -> Applied {
        let path = path::clean(path);
        let result = self.do_delete(&path, dir, recursive);
        let stats = &mut self.stats;
        count_unless_read_only(&path, &result, &mut stats.delete_success, &mut stats.delete_fail);
        self.conclude(result)
    }

    /// Removes a file whose value and modified index are as expected.
    pub fn compare_and_delete(&mut self, path: &str, prev_value: &str, prev_index: u64) -> Applied {
        let result = self.do_compare_and_delete(&path::clean(path), prev_value, prev_index);
        let stats = &mut self.stats;
        count_misses(
            &result,
            &mut stats.compare_and_delete_success,
            &mut stats.compare_and_delete_fail,
        );
        self.conclude(result)
    }

    /// Removes every node whose expiration is at or before `now` (unix nanoseconds), earliest
    /// first, among equals in byte order of paths.
    pub fn expire(&mut self, now: i64) -> Applied {
        let mut applied = Applied::reply(Ok(Event {
            action: Action::Expire,
            node: NodeView { key: "/".to_owned(), dir: true, ..NodeView::default() },
            prev_node: None,
            index: self.index,
            is_created: false,
            refresh: false,
        }));
        while let Some((expiration, path)) = self.deadlines.first().cloned() {
            if expiration > now {
                break;
            }
            let done = self.do_expire(&path);
            self.stats.expire_count += 1;
            self.remember(&done.event);
            applied.absorb(done);
        }
        if let Ok(event) = &mut applied.result {
            event.index = self.index;
        }
        applied
    }

    /// Rows of the whole tree but its root, in ascending order of their keys.
    #[must_use]
    pub fn rows(&self) -> Vec<(String, bytes::Bytes)> {
        let mut rows = Vec::new();
        self.root.visit("/", &mut |path, node| {
            if path != "/" {
                rows.push((path.to_owned(), rows::encode(node)));
            }
        });
        // A walk has `/a/x` before `/a-x`; bytes have it the other way round.
        rows.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        rows
    }

    /// Checks what must hold between any two requests.
    ///
    /// # Panics
    /// When it does not; meant for tests and simulation.
    pub fn check_invariants(&self) {
        let mut deadlines = BTreeSet::new();
        self.root.visit("/", &mut |path, node| {
            assert!(node.created_index <= node.modified_index, "{path} changed before it was made");
            assert!(node.modified_index <= self.index, "{path} is from the future");
            assert!(path::check_limits(path, 0).is_ok(), "{path} is beyond the limits");
            deadlines.extend(node.expiration.map(|expiration| (expiration, path.to_owned())));
        });
        assert_eq!(*self.deadlines, deadlines, "deadlines do not mirror the tree");
        assert!(self.root.find(path::CLUSTER).is_ok_and(Node::is_directory), "/0 is missing");
        assert!(self.root.find(path::KEYS).is_ok_and(Node::is_directory), "/1 is missing");
        assert!(self.history.last_index() <= self.index, "history is ahead of the store");
    }

    fn conclude_create(&mut self, result: Result<Done, V2Error>) -> Applied {
        let stats = &mut self.stats;
        count(&result, &mut stats.create_success, &mut stats.create_fail);
        // Go notes a create that is blocked by a file under both headings.
        if result.as_ref().is_err_and(|error| error.code == V2Code::NotDirectory) {
            stats.sets_fail += 1;
        }
        self.conclude(result)
    }

    fn conclude(&mut self, result: Result<Done, V2Error>) -> Applied {
        match result {
            Ok(done) => {
                self.remember(&done.event);
                let mut applied = Applied::reply(Ok(done.event.clone()));
                applied.absorb(done);
                applied
            }
            Err(error) => Applied::reply(Err(error)),
        }
    }

    fn remember(&mut self, event: &Event) {
        Arc::make_mut(&mut self.history).push(Arc::new(event.clone()));
    }
}

impl Applied {
    fn reply(result: Result<Event, V2Error>) -> Self {
        Self { result, events: Vec::new(), removed: Vec::new(), changes: Vec::new() }
    }

    fn absorb(&mut self, done: Done) {
        self.events.push(done.event);
        self.removed.push(done.removed);
        self.changes.extend(done.changes);
    }
}

/// How much of a directory a view shows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    Nothing,
    Children,
    All,
}

/// A view of a node with its visible children.
pub(crate) fn listing(node: &Node, key: String, depth: Depth) -> NodeView {
    let children = node.children().filter(|_| depth != Depth::Nothing);
    let below = if depth == Depth::All { Depth::All } else { Depth::Nothing };
    let nodes = children.map(|children| {
        let visible = children.iter().filter(|(name, _)| !path::is_hidden(name));
        visible.map(|(name, child)| listing(child, path::join(&key, name), below)).collect()
    });
    NodeView {
        value: (!node.is_directory()).then(|| node.value().to_owned()),
        dir: node.is_directory(),
        expiration: node.expiration,
        ttl: None,
        nodes,
        modified_index: node.modified_index,
        created_index: node.created_index,
        key,
    }
}

pub(crate) fn ttl_at(expiration: Option<i64>, now: Option<i64>) -> Option<i64> {
    expiration.zip(now).map(|(expiration, now)| time::ttl_seconds(expiration, now))
}

fn is_conditional(request: &V2Request) -> bool {
    request.prev_index > 0 || !request.prev_value.is_empty()
}

fn count(result: &Result<Done, V2Error>, success: &mut u64, fail: &mut u64) {
    *if result.is_ok() { success } else { fail } += 1;
}

/// As `count`, but only for a path that leads nowhere: Go takes all other failures of update and
/// compare-and-delete for successes (api-v2.md 5.3).
fn count_misses(result: &Result<Done, V2Error>, success: &mut u64, fail: &mut u64) {
    let misses = |error: &V2Error| matches!(error.code, V2Code::KeyNotFound | V2Code::NotDirectory);
    *if result.as_ref().is_err_and(misses) { fail } else { success } += 1;
}

/// As `count`, but Go takes the refusal to touch a name space itself for a success.
fn count_unless_read_only(
    path: &str,
    result: &Result<Done, V2Error>,
    success: &mut u64,
    fail: &mut u64,
) {
    *if result.is_ok() || path::is_read_only(path) { success } else { fail } += 1;
}

#[cfg(test)]
mod tests;
