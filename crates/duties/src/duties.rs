//! The leader's timers.
//!
//! Owns:       leadership as this crate sees it, and the next due times.
//! Uses:       `style` for the entries.
//! Never:      raises the version of an adopted cluster.
//! Invariants: at most one question for versions is out per interval; nothing is due while another
//!             member leads.
//! Source:     peer-protocol.md 8 and 13; design.md 4.

use membership::ClusterVersion;
use proto::v2_request::V2Request;
use types::{Term, limits};

use crate::style::{Proposal, set_cluster_version};

/// How often the leader compares versions.
const VERSION_INTERVAL_MS: u64 = 4_000;
/// How often the leader lets the v2 tree expire nodes.
const SYNC_INTERVAL_MS: u64 = 500;
/// A tick may be so much early: the shell ticks at the same interval, and a tick that comes a moment
/// early must not wait for the next one.
const SYNC_SLACK_MS: u64 = 50;
/// The version of a cluster that we bootstrap with v2 switched on: Go 3.4 and later can open it.
const BASELINE: ClusterVersion = ClusterVersion { major: 3, minor: 4 };
/// What a Go leader sets while it does not know every member yet.
const GO_PLACEHOLDER: ClusterVersion = ClusterVersion { major: 3, minor: 0 };

/// Fixed facts about this member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether v2 requests may be logged.
    pub v2_enabled: bool,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Monotonic time, milliseconds from any origin.
    Tick {
        /// Now.
        now_ms: u64,
    },
    /// This member applied the first entry of its own term.
    BecameLeader {
        /// The term.
        term: Term,
    },
    /// Another member leads, or none.
    LostLeadership,
    /// The cluster version, at start and whenever it changes.
    ClusterVersion(Option<ClusterVersion>),
    /// Answer to [`Action::AskVersions`]: the server version of every member, ours included;
    /// `None` for one that did not answer.
    ClusterVersionsSeen(Vec<Option<String>>),
    /// Wall-clock time for the v2 tree, with whether it holds a node with a TTL.
    V2Clock {
        /// Monotonic now.
        now_ms: u64,
        /// Unix time in nanoseconds, as the SYNC entry carries it.
        unix_ns: i64,
        /// Whether anything can expire at all.
        has_ttl: bool,
    },
    /// A SYNC was applied, or failed.
    V2Synced {
        /// Whether it worked and took a whole portion, so that more nodes may have run out: the next
        /// one need not wait for its interval, and takes more.
        was_full: bool,
    },
}

/// What to do about it.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Ask every member for `/version` and come back with [`Input::ClusterVersionsSeen`].
    AskVersions,
    /// Propose an entry as the leader of `term`, or not at all; its loss is no harm, it will come
    /// again.
    Propose {
        /// The term.
        term: Term,
        /// The entry.
        proposal: Proposal,
    },
}

/// The duties of a leader.
#[derive(Clone, Debug)]
pub struct Duties {
    settings: Settings,
    leading: Option<Leading>,
    cluster_version: Option<ClusterVersion>,
}

/// Due times, which exist only while this member leads; `None` is at once.
#[derive(Clone, Copy, Debug)]
struct Leading {
    term: Term,
    /// Nodes that the next SYNC may let expire.
    v2_portion: usize,
    versions_due_ms: Option<u64>,
    sync_due_ms: Option<u64>,
}

impl Duties {
    /// Duties of a member that does not lead yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, leading: None, cluster_version: None }
    }

    /// Handles one input.
    #[must_use]
    pub fn step(&mut self, input: Input) -> Vec<Action> {
        match input {
            Input::BecameLeader { term } => {
                self.leading = Some(Leading::new(term));
                Vec::new()
            }
            Input::LostLeadership => {
                self.leading = None;
                Vec::new()
            }
            Input::ClusterVersion(version) => {
                self.cluster_version = version;
                Vec::new()
            }
            Input::Tick { now_ms } => self.tick(now_ms),
            Input::ClusterVersionsSeen(seen) => self.versions_seen(&seen),
            Input::V2Clock { now_ms, unix_ns, has_ttl } => self.sync(now_ms, unix_ns, has_ttl),
            Input::V2Synced { was_full } => {
                if let Some(leading) = &mut self.leading {
                    leading.synced(was_full);
                }
                Vec::new()
            }
        }
    }

    /// Nodes of the v2 tree that the next SYNC may let expire: few at first, and twice as many each
    /// time as long as there are more, so that a slow log cannot fall behind for good.
    #[must_use]
    pub fn v2_portion(&self) -> usize {
        self.leading.map_or(limits::V2_EXPIRE_MIN, |leading| leading.v2_portion)
    }

    fn tick(&mut self, now_ms: u64) -> Vec<Action> {
        if !may_change(self.cluster_version) {
            return Vec::new();
        }
        let Some(leading) = &mut self.leading else { return Vec::new() };
        if !is_due(leading.versions_due_ms, now_ms) {
            return Vec::new();
        }
        leading.versions_due_ms = Some(now_ms.saturating_add(VERSION_INTERVAL_MS));
        vec![Action::AskVersions]
    }

    fn versions_seen(&self, seen: &[Option<String>]) -> Vec<Action> {
        let Some(Leading { term, .. }) = self.leading else { return Vec::new() };
        match next_version(self.settings, self.cluster_version, seen) {
            Some(next) => {
                let proposal = set_cluster_version(next, self.cluster_version);
                vec![Action::Propose { term, proposal }]
            }
            None => Vec::new(),
        }
    }

    fn sync(&mut self, now_ms: u64, unix_ns: i64, has_ttl: bool) -> Vec<Action> {
        let Some(leading) = &mut self.leading else { return Vec::new() };
        if !has_ttl || !self.settings.v2_enabled || !is_due(leading.sync_due_ms, now_ms) {
            return Vec::new();
        }
        leading.sync_due_ms = Some(now_ms.saturating_add(SYNC_INTERVAL_MS - SYNC_SLACK_MS));
        let request = V2Request { method: "SYNC".to_owned(), time: unix_ns, ..Default::default() };
        vec![Action::Propose { term: leading.term, proposal: Proposal::V2(request) }]
    }
}

impl Leading {
    fn new(term: Term) -> Self {
        let v2_portion = limits::V2_EXPIRE_MIN;
        Self { term, v2_portion, versions_due_ms: None, sync_due_ms: None }
    }

    fn synced(&mut self, was_full: bool) {
        if was_full {
            self.sync_due_ms = None;
            self.v2_portion = (2 * self.v2_portion).min(limits::V2_EXPIRE_MAX);
        } else {
            self.v2_portion = limits::V2_EXPIRE_MIN;
        }
    }
}

fn is_due(due_ms: Option<u64>, now_ms: u64) -> bool {
    due_ms.is_none_or(|due| due <= now_ms)
}

/// Whether this leader may still decide the version: a cluster that has one keeps it, since raising
/// closes the way back to older releases. A Go leader's placeholder is no decision.
fn may_change(current: Option<ClusterVersion>) -> bool {
    current.is_none_or(|version| version <= GO_PLACEHOLDER)
}

/// The version to propose, if any.
fn next_version(
    settings: Settings,
    current: Option<ClusterVersion>,
    seen: &[Option<String>],
) -> Option<ClusterVersion> {
    if !may_change(current) {
        return None;
    }
    let versions: Vec<Option<ClusterVersion>> =
        seen.iter().map(|text| text.as_deref().and_then(parse_server_version)).collect();
    let all_known = !versions.is_empty() && versions.iter().all(Option::is_some);
    let lowest = versions.into_iter().flatten().min();
    let next = match lowest {
        Some(lowest) if all_known && !settings.v2_enabled => lowest,
        Some(lowest) => lowest.min(BASELINE),
        None => BASELINE,
    };
    let raises_placeholder = current.is_none_or(|version| all_known && version < next);
    raises_placeholder.then_some(next)
}

/// The cluster version that a server version allows: its first two parts.
fn parse_server_version(text: &str) -> Option<ClusterVersion> {
    let mut parts = text.split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?.parse().ok()?;
    Some(ClusterVersion { major, minor })
}

#[cfg(test)]
mod tests;
