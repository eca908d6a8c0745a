//! Writers and long-polls of the v2 API.
//!
//! Owns:       keys below `/w` and `/q`, threads.
//! Uses:       `e2e::http`: one request per connection, as a client after every loss.
//! Invariants: a poller asks from the index after its last event, and after a refusal from the index
//!             of a listing, as python-etcd and etcdctl's users do; only there it may miss something.
//! Source:     api-v2.md 3.1, 3.3.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use e2e::http;
use serde_json::Value;

/// Writers, and their pause between two writes.
const WRITERS: usize = 4;
const THINK: Duration = Duration::from_millis(80);
/// What is watched, each from a member of its own to begin with, and whether with all below it.
const WATCHED: [(&str, bool); 6] =
    [("/w", true), ("/w", true), ("/w", true), ("/q", true), ("/w/0", true), ("/w/hot", false)];
/// How long one poll may be silent.
const POLL_PATIENCE: Duration = Duration::from_secs(3);
/// Pause before the next member is asked.
const RECONNECT: Duration = Duration::from_millis(20);
/// How long the last write and the last event may be under way.
const END_PATIENCE: Duration = Duration::from_secs(30);
/// Value of the last writes.
const END: &str = "the-end";

/// Running writers and pollers.
pub(super) struct V2 {
    servers: Vec<SocketAddr>,
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<Written>>,
    pollers: Vec<JoinHandle<Polled>>,
}

/// What writers were told: index of each acknowledged value, and its key.
type Written = BTreeMap<String, (u64, String)>;

/// An event.
#[derive(Debug)]
struct Change {
    index: u64,
    key: String,
    value: String,
}

/// What one poller got.
struct Polled {
    watched: (&'static str, bool),
    from: u64,
    changes: Vec<Change>,
    /// Indexes that were gone from the history: asked for, and that of the listing.
    gaps: Vec<(u64, u64)>,
}

impl V2 {
    pub(super) fn start(servers: &[SocketAddr]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let poller = |(number, watched)| {
            let servers = servers.to_vec();
            std::thread::spawn(move || Polled::follow(watched, number, &servers))
        };
        let pollers = WATCHED.into_iter().enumerate().map(poller).collect();
        let writer = |number| {
            let (servers, stop) = (servers.to_vec(), Arc::clone(&stop));
            std::thread::spawn(move || write(number, &servers, &stop))
        };
        let writers = (0..WRITERS).map(writer).collect();
        Self { servers: servers.to_vec(), stop, writers, pollers }
    }

    /// Ends all, and holds what was seen against what was acknowledged.
    ///
    /// # Panics
    /// When an acknowledged write was missed, or anything came twice.
    pub(super) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        let mut written = Written::new();
        for writer in self.writers {
            written.extend(writer.join().expect("a writer does not fail"));
        }
        let last = ["PUT /w/0/end", "PUT /w/hot", "PUT /q/end"];
        for (method, path) in last.iter().filter_map(|line| line.split_once(' ')) {
            let write = || set(self.servers[0], method, path, END);
            e2e::eventually("the last write", END_PATIENCE, write);
        }
        println!("v2: {} writes acknowledged", written.len());
        for poller in self.pollers {
            let polled = poller.join().expect("a poller does not fail");
            polled.check(&written);
        }
    }
}

/// Writes values that nobody else writes, through all members in turn.
fn write(number: usize, servers: &[SocketAddr], stop: &AtomicBool) -> Written {
    let mut written = Written::new();
    for sequence in 0_usize.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (server, value) =
            (servers[(number + sequence) % servers.len()], format!("{number}-{sequence}"));
        let told = match sequence % 3 {
            0 => set(server, "PUT", &format!("/w/{number}/{sequence}"), &value),
            1 => set(server, "PUT", "/w/hot", &value),
            _ => set(server, "POST", "/q", &value),
        };
        if let Some(told) = told {
            written.insert(value, told);
        }
        std::thread::sleep(THINK);
    }
    written
}

/// Index and key of an acknowledged write.
fn set(server: SocketAddr, method: &str, path: &str, value: &str) -> Option<(u64, String)> {
    let form = format!("value={value}");
    let reply = http::form(server, method, &format!("/v2/keys{path}"), &form).ok()?;
    if !matches!(reply.status, 200 | 201) {
        assert_eq!(reply.status, 500, "{reply:?}");
        return None;
    }
    let change = change(&reply.body)?;
    assert_eq!(change.value, value);
    Some((change.index, change.key))
}

fn change(body: &str) -> Option<Change> {
    let event: Value = serde_json::from_str(body).ok()?;
    let node = event.get("node")?;
    let text = |name: &str| node.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let index = node.get("modifiedIndex")?.as_u64()?;
    Some(Change { index, key: text("key"), value: text("value") })
}

impl Polled {
    /// Polls until the last write has come.
    fn follow(watched: (&'static str, bool), mut member: usize, servers: &[SocketAddr]) -> Self {
        let mut polled = Self { watched, from: 0, changes: Vec::new(), gaps: Vec::new() };
        let mut next = 0;
        let mut news = Instant::now();
        loop {
            let server = servers[member % servers.len()];
            if next == 0 {
                next = index_of(server).map_or(0, |index| index + 1);
                polled.from = next;
            } else if let Some(reply) = poll(server, watched, next) {
                news = Instant::now();
                if polled.take(&reply, server, &mut next) {
                    return polled;
                }
                continue;
            }
            let (path, count) = (watched.0, polled.changes.len());
            assert!(news.elapsed() < 2 * END_PATIENCE, "{path} is silent after {count} events");
            std::thread::sleep(RECONNECT);
            member += 1;
        }
    }

    /// Takes in a complete answer; whether it is the last event.
    fn take(&mut self, reply: &http::Response, server: SocketAddr, next: &mut u64) -> bool {
        if reply.status == 400 {
            assert!(reply.body.contains("\"errorCode\":401"), "{reply:?}");
            // Listed, and watched from there.
            if let Some(index) = index_of(server).filter(|index| *index >= *next) {
                self.gaps.push((*next, index + 1));
                *next = index + 1;
            }
            return false;
        }
        assert_eq!(reply.status, 200, "{reply:?}");
        // An empty body says "no event, ask again".
        let Some(change) = change(&reply.body) else { return false };
        assert!(change.index >= *next, "{change:?} when {next} was asked for");
        *next = change.index + 1;
        let is_end = change.value == END;
        self.changes.push(change);
        is_end
    }

    fn check(&self, written: &Written) {
        let (path, recursive) = self.watched;
        let mut values = BTreeSet::new();
        for change in &self.changes {
            assert!(values.insert(change.value.as_str()), "{path}: twice {change:?}");
        }
        let seen: BTreeMap<u64, &Change> =
            self.changes.iter().map(|change| (change.index, change)).collect();
        let is_mine = |key: &str| key == path || recursive && key.starts_with(&format!("{path}/"));
        let is_gap = |index: u64| self.gaps.iter().any(|(from, to)| (*from..*to).contains(&index));
        for (value, (index, key)) in written {
            if is_mine(key) && *index >= self.from && !is_gap(*index) {
                let change = seen.get(index);
                let is_right = change.is_some_and(|it| it.value == *value && it.key == *key);
                assert!(is_right, "{path}: {key}={value} at {index}, but {change:?}");
            }
        }
        let (count, gaps) = (self.changes.len(), &self.gaps);
        println!("v2 poller of {path}: {count} events, gaps {gaps:?}");
        assert!(count > 1, "nothing was shown");
    }
}

/// The answer to one poll; `None` when there was none, or not a whole one.
fn poll(server: SocketAddr, watched: (&str, bool), next: u64) -> Option<http::Response> {
    let (path, recursive) = watched;
    let target = format!("/v2/keys{path}?wait=true&recursive={recursive}&waitIndex={next}");
    let reply = http::get_within(server, &target, POLL_PATIENCE).ok()?;
    (reply.status != 500).then_some(reply)
}

fn index_of(server: SocketAddr) -> Option<u64> {
    let reply = http::get_within(server, "/v2/keys/", POLL_PATIENCE).ok()?;
    reply.header("X-Etcd-Index")?.parse().ok().filter(|_| reply.status == 200)
}
