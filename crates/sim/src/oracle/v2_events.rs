//! All members have the same v2 events, nothing expires early by any clock, and watchers are told
//! what etcd's rules say, written down here once more from api-v2.md.
//!
//! Source:     api-v2.md 3.1 to 3.3.

use std::collections::BTreeMap;

use v2store::{Action, Event, Watch};

use super::Verdict;
use crate::Violation;

/// An event and the paths that it removed.
type Known = (Event, Vec<String>);

/// Events by index.
#[derive(Debug, Default)]
pub(super) struct V2Events {
    known: BTreeMap<u64, Known>,
}

impl V2Events {
    /// A member applied an event. `latest_ns` is the latest that any clock shows.
    pub(super) fn happened(
        &mut self,
        event: &Event,
        removed: &[String],
        latest_ns: i64,
    ) -> Verdict {
        let (event, index) = (timeless(event), event.node.modified_index);
        if let Some((known, known_removed)) = self.known.get(&index) {
            if (known, known_removed.as_slice()) == (&event, removed) {
                return Ok(());
            }
            let detail = format!("members differ at {index}: {event:?} and {known:?}");
            return Err(Violation::new("v2 events", detail));
        }
        let ends_ns = event.prev_node.as_ref().and_then(|node| node.expiration);
        if event.action == Action::Expire && ends_ns.is_none_or(|ends_ns| ends_ns > latest_ns) {
            return Err(Violation::new(
                "v2 expiry",
                format!("too early at {latest_ns}: {event:?}"),
            ));
        }
        self.known.insert(index, (event, removed.to_vec()));
        Ok(())
    }

    /// The first event from `since` through `now` by which a registration is answered at once.
    pub(super) fn past(&self, watch: &Watch, since: u64, now: u64) -> Option<u64> {
        let mut events =
            self.known.range(since..=now.max(since)).filter(|(index, _)| **index <= now);
        let found = events.find(|(_, (event, _))| !event.refresh && is_past(event, watch));
        found.map(|(index, _)| *index)
    }

    /// The first event at or behind `from` that a registered watcher is told, and how often.
    pub(super) fn next(&self, watch: &Watch, from: u64) -> Option<(u64, usize)> {
        let told = |(index, known): (&u64, &Known)| Some((*index, times(known, watch)));
        self.known.range(from..).filter_map(told).find(|(_, times)| *times > 0)
    }

    /// Whether this is the event of that index.
    pub(super) fn is(&self, index: u64, event: &Event) -> bool {
        self.known.get(&index).is_some_and(|(known, _)| *known == timeless(event))
    }
}

/// An event without what depends on the clock of a member.
fn timeless(event: &Event) -> Event {
    let mut event = event.clone();
    event.node.ttl = None;
    if let Some(node) = &mut event.prev_node {
        node.ttl = None;
    }
    event
}

fn is_below(key: &str, directory: &str) -> bool {
    directory == "/" || key.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

fn is_past(event: &Event, watch: &Watch) -> bool {
    let key = event.node.key.as_str();
    let removes = matches!(event.action, Action::Delete | Action::Expire)
        && event.prev_node.as_ref().is_some_and(|node| node.dir);
    key == watch.key
        || (watch.recursive && is_below(key, &watch.key))
        || (removes && watch.key.starts_with(key))
}

/// Once for the removal of the watched node, once for an event at it or, when recursive, below it.
/// No path of the simulation is hidden but those of the cluster, which nobody watches.
fn times((event, removed): &Known, watch: &Watch) -> usize {
    if event.refresh {
        return 0;
    }
    let key = event.node.key.as_str();
    let is_removed = removed.contains(&watch.key);
    let is_told = key == watch.key || (watch.recursive && is_below(key, &watch.key));
    usize::from(is_removed) + usize::from(is_told)
}
