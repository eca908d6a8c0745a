//! The store as one would explain it: a few maps, one request after the other.
//!
//! Owns:       its own idea of revisions, values, leases and v2 nodes.
//! Uses:       requests and answers only.
//! Never:      a line of the store that it judges.
//! Source:     api-v3.md 2, api-v2.md 1.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::Verdict;
use crate::Violation;
use crate::requests::{Answer, Request};

const KEY_NOT_FOUND: u16 = 100;
const COMPARE_FAILED: u16 = 101;

/// Values of a key by the revision or index at which they came.
type Versions<T> = BTreeMap<T, Option<String>>;

/// A change of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) revision: i64,
    pub(super) key: u8,
    /// `None` for a delete.
    pub(super) value: Option<String>,
    /// What the key held before.
    pub(super) previous: Option<String>,
}

/// The state.
#[derive(Debug)]
pub(crate) struct Model {
    revision: i64,
    compacted: i64,
    keys: BTreeMap<u8, Versions<i64>>,
    leases: BTreeMap<i64, BTreeSet<u8>>,
    index: u64,
    nodes: BTreeMap<u8, Versions<u64>>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            revision: 1,
            compacted: -1,
            keys: BTreeMap::new(),
            leases: BTreeMap::new(),
            index: 0,
            nodes: BTreeMap::new(),
        }
    }
}

impl Model {
    pub(crate) fn revision(&self) -> i64 {
        self.revision
    }

    pub(super) fn compacted(&self) -> i64 {
        self.compacted
    }

    /// All changes of some keys from one revision through another, as they happened.
    pub(super) fn changes(&self, keys: Range<u8>, from: i64, through: i64) -> Vec<Change> {
        let mut changes = Vec::new();
        for (key, versions) in self.keys.range(keys) {
            for (revision, value) in versions.range(from..through.saturating_add(1).max(from)) {
                changes.push(Change {
                    revision: *revision,
                    key: *key,
                    value: value.clone(),
                    previous: latest(Some(versions), revision - 1),
                });
            }
        }
        changes.sort_by_key(|change| (change.revision, change.key));
        changes
    }

    /// Number of leases with this ID or a higher one.
    pub(crate) fn leases_from(&self, lease: i64) -> usize {
        self.leases.range(lease..).count()
    }

    /// Carries out a request and returns the right answer. `told` is what the system said, of which
    /// only a v2 index is taken over: the members share that counter.
    pub(super) fn apply(&mut self, request: &Request, told: &Answer) -> Answer {
        match request {
            Request::Put { key, value, lease } => self.put(*key, value, *lease),
            Request::Delete { key } => self.delete(*key),
            Request::Swap { key, expected, value } => self.swap(*key, expected, value),
            Request::Compact { revision } => self.compact(*revision),
            Request::Grant { lease } => {
                self.leases.insert(*lease, BTreeSet::new());
                Answer::Granted
            }
            Request::Revoke { lease } => self.revoke(*lease),
            Request::V2Set { key, value } => self.v2_set(*key, value, told),
            Request::V2Swap { key, expected, value } => match self.node(*key) {
                Some(found) if found == *expected => self.v2_set(*key, value, told),
                Some(_) => self.v2_failed(COMPARE_FAILED, told),
                None => self.v2_failed(KEY_NOT_FOUND, told),
            },
            Request::V2Delete { key } => match self.node(*key) {
                Some(previous) => {
                    let index = self.next_index(told);
                    self.nodes.entry(*key).or_default().insert(index, None);
                    Answer::V2 { index, previous: Some(previous) }
                }
                None => self.v2_failed(KEY_NOT_FOUND, told),
            },
            Request::V2Fading { .. } => told.clone(),
            Request::Read { .. } | Request::SerializableRead { .. } | Request::V2Read { .. } => {
                Answer::Strange
            }
        }
    }

    fn value(&self, key: u8) -> Option<String> {
        latest(self.keys.get(&key), self.revision)
    }

    fn node(&self, key: u8) -> Option<String> {
        latest(self.nodes.get(&key), u64::MAX)
    }

    fn write(&mut self, key: u8, value: Option<String>) {
        self.keys.entry(key).or_default().insert(self.revision, value);
        self.leases.values_mut().for_each(|keys| {
            keys.remove(&key);
        });
    }

    fn put(&mut self, key: u8, value: &str, lease: i64) -> Answer {
        if lease != 0 && !self.leases.contains_key(&lease) {
            return Answer::Failed(types::EtcdError::LeaseNotFound.to_string());
        }
        self.revision += 1;
        self.write(key, Some(value.to_owned()));
        if let Some(keys) = self.leases.get_mut(&lease) {
            keys.insert(key);
        }
        Answer::Put { revision: self.revision }
    }

    fn delete(&mut self, key: u8) -> Answer {
        let count = i64::from(self.value(key).is_some());
        if count > 0 {
            self.revision += 1;
            self.write(key, None);
        }
        Answer::Deleted { revision: self.revision, count }
    }

    fn swap(&mut self, key: u8, expected: &str, value: &str) -> Answer {
        let found = self.value(key);
        if found.as_deref() != Some(expected) {
            return Answer::Swapped { revision: self.revision, seen: Some(found) };
        }
        self.put(key, value, 0);
        Answer::Swapped { revision: self.revision, seen: None }
    }

    fn compact(&mut self, revision: i64) -> Answer {
        if revision <= self.compacted {
            return Answer::Failed(types::EtcdError::Compacted.to_string());
        }
        if revision > self.revision {
            return Answer::Failed(types::EtcdError::FutureRev.to_string());
        }
        self.compacted = revision;
        Answer::Compacted
    }

    fn revoke(&mut self, lease: i64) -> Answer {
        let Some(keys) = self.leases.remove(&lease) else {
            return Answer::Failed(types::EtcdError::LeaseNotFound.to_string());
        };
        if !keys.is_empty() {
            self.revision += 1;
            keys.into_iter().for_each(|key| self.write(key, None));
        }
        Answer::Revoked
    }

    fn v2_set(&mut self, key: u8, value: &str, told: &Answer) -> Answer {
        let previous = self.node(key);
        let index = self.next_index(told);
        self.nodes.entry(key).or_default().insert(index, Some(value.to_owned()));
        Answer::V2 { index, previous }
    }

    /// The index that was told if it is a new one, else one that is not.
    fn next_index(&mut self, told: &Answer) -> u64 {
        self.index = match told {
            Answer::V2 { index, .. } if *index > self.index => *index,
            _ => self.index + 1,
        };
        self.index
    }

    fn v2_failed(&self, code: u16, told: &Answer) -> Answer {
        match told {
            Answer::V2Failed { index, .. } if *index >= self.index => {
                Answer::V2Failed { code, index: *index }
            }
            _ => Answer::V2Failed { code, index: self.index },
        }
    }

    /// Whether a read saw what was there at the revision it names.
    pub(super) fn check_read(&self, request: &Request, answer: &Answer) -> Verdict {
        let right = match (request, answer) {
            (
                Request::Read { key } | Request::SerializableRead { key },
                Answer::Read { revision, value },
            ) => {
                let right = latest(self.keys.get(key), *revision);
                *revision <= self.revision && right == *value
            }
            (Request::V2Read { key }, Answer::V2Read { index, value }) => {
                latest(self.nodes.get(key), *index) == *value
            }
            _ => false,
        };
        if right {
            return Ok(());
        }
        Err(Violation::new("model", format!("{request:?} is answered {answer:?}")))
    }

    /// Whether a key has the right value now; for the end of a run.
    pub(crate) fn is_value(&self, key: u8, value: Option<&str>) -> bool {
        self.value(key).as_deref() == value
    }

    /// The same for a v2 node.
    pub(crate) fn is_node(&self, key: u8, value: Option<&str>) -> bool {
        self.node(key).as_deref() == value
    }
}

fn latest<T: Ord>(versions: Option<&Versions<T>>, at: T) -> Option<String> {
    versions?.range(..=at).next_back()?.1.clone()
}
