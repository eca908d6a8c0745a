//! Reads that wait for raft to confirm how far they must wait.
//!
//! Owns:       the reads not answered yet and the contexts of their rounds.
//! Uses:       `types`.
//! Never:      raft itself; the driver sends what is issued here.
//! Invariants: an answer completes only reads that had arrived when its context was issued; a
//!             context is never issued twice.
//! Source:     raft thesis 6.4, peer-protocol.md 14, raft-library.md 4 (trap 6).

use std::collections::VecDeque;
use std::mem;

use types::{NodeId, RequestId};

use crate::jitter;

/// Ticks after which an unanswered round is sent again: raft drops rounds silently when it knows
/// no leader, or its leader has not committed in its term (etcd: 500 ms).
const READ_RETRY_TICKS: usize = 5;
/// Rounds in flight; later reads wait and share the next one.
const ROUNDS_MAX: usize = 4;
/// Reads waiting; beyond it they are dropped and their clients told `too many requests`.
const READS_MAX: usize = 65_536;

/// All unanswered reads.
pub(crate) struct ReadRounds {
    queued: Vec<RequestId>,
    rounds: VecDeque<Round>,
    waiting: usize,
    base: u64,
    issued: u64,
    ticks: usize,
}

/// Reads that any context from `first` on answers.
struct Round {
    first: u64,
    requests: Vec<RequestId>,
}

impl ReadRounds {
    /// Starts without reads; the contexts of different members and seeds do not meet.
    pub(crate) fn new(id: NodeId, seed: u64) -> Self {
        let base = (id.0 << 48) | (jitter::mix(seed) >> 16);
        Self { queued: Vec::new(), rounds: VecDeque::new(), waiting: 0, base, issued: 0, ticks: 0 }
    }

    /// Takes reads; those returned are too many.
    pub(crate) fn push(&mut self, mut requests: Vec<RequestId>) -> Vec<RequestId> {
        let room = READS_MAX.saturating_sub(self.waiting).min(requests.len());
        let dropped = requests.split_off(room);
        self.waiting += requests.len();
        self.queued.append(&mut requests);
        dropped
    }

    /// Starts a round for what is queued, and returns its context.
    pub(crate) fn start(&mut self) -> Option<[u8; 8]> {
        if self.queued.is_empty() || self.rounds.len() >= ROUNDS_MAX {
            return None;
        }
        if self.rounds.is_empty() {
            self.ticks = 0;
        }
        let requests = mem::take(&mut self.queued);
        self.rounds.push_back(Round { first: self.issued, requests });
        Some(self.issue())
    }

    /// Counts a tick, and returns a fresh context when it is time to ask again.
    pub(crate) fn tick(&mut self) -> Option<[u8; 8]> {
        self.ticks += 1;
        if self.ticks < READ_RETRY_TICKS { None } else { self.retry() }
    }

    /// Asks again for everything that waits.
    pub(crate) fn retry(&mut self) -> Option<[u8; 8]> {
        self.ticks = 0;
        self.start().or_else(|| (!self.rounds.is_empty()).then(|| self.issue()))
    }

    /// Returns the reads that the answer to this context completes.
    pub(crate) fn answer(&mut self, context: &[u8]) -> Vec<RequestId> {
        let Ok(context) = context.try_into().map(u64::from_be_bytes) else { return Vec::new() };
        let number = context.wrapping_sub(self.base);
        let mut done = Vec::new();
        if number < self.issued {
            let count = self.rounds.partition_point(|round| round.first <= number);
            done.extend(self.rounds.drain(..count).flat_map(|round| round.requests));
        }
        self.waiting -= done.len();
        done
    }

    /// Forgets all reads.
    pub(crate) fn cancel(&mut self) {
        self.queued.clear();
        self.rounds.clear();
        self.waiting = 0;
    }

    fn issue(&mut self) -> [u8; 8] {
        let context = self.base.wrapping_add(self.issued);
        self.issued += 1;
        context.to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(numbers: &[u64]) -> Vec<RequestId> {
        numbers.iter().copied().map(RequestId).collect()
    }

    #[test]
    fn answer_completes_only_reads_that_were_there() {
        let mut reads = ReadRounds::new(NodeId(7), 1);
        reads.push(ids(&[1, 2]));
        let first = reads.start().unwrap();
        reads.push(ids(&[3]));
        let second = reads.start().unwrap();
        assert_eq!(reads.answer(&first), ids(&[1, 2]));
        assert_eq!(reads.answer(&first), ids(&[]));
        assert_eq!(reads.answer(&second), ids(&[3]));
    }

    #[test]
    fn answer_to_a_retry_completes_all() {
        let mut reads = ReadRounds::new(NodeId(7), 1);
        reads.push(ids(&[1]));
        let first = reads.start().unwrap();
        reads.push(ids(&[2]));
        let second = reads.start().unwrap();
        let again = reads.retry().unwrap();
        assert!(first != second && second != again);
        assert_eq!(reads.answer(&again), ids(&[1, 2]));
    }

    #[test]
    fn foreign_contexts_are_ignored() {
        let mut reads = ReadRounds::new(NodeId(7), 1);
        let mut other = ReadRounds::new(NodeId(8), 1);
        reads.push(ids(&[1]));
        other.push(ids(&[1]));
        let _mine = reads.start().unwrap();
        let foreign = other.start().unwrap();
        for context in [&foreign[..], b"short", b"", &[0xff; 8]] {
            assert_eq!(reads.answer(context), ids(&[]));
        }
    }

    #[test]
    fn retry_comes_after_its_ticks_and_only_with_reads() {
        let mut reads = ReadRounds::new(NodeId(7), 1);
        for _ in 0..20 {
            assert_eq!(reads.tick(), None);
        }
        reads.push(ids(&[1]));
        reads.start().unwrap();
        let due: Vec<bool> = (0..10).map(|_| reads.tick().is_some()).collect();
        assert_eq!(due, [false, false, false, false, true, false, false, false, false, true]);
    }

    #[test]
    fn too_many_reads_are_returned() {
        let mut reads = ReadRounds::new(NodeId(7), 1);
        let all: Vec<u64> = (0..READS_MAX as u64 + 2).collect();
        assert_eq!(reads.push(ids(&all)).len(), 2);
        let context = reads.start().unwrap();
        assert_eq!(reads.answer(&context).len(), READS_MAX);
        assert_eq!(reads.push(ids(&[1])).len(), 0);
    }

    #[test]
    fn rounds_in_flight_are_bounded_and_the_rest_shares_one() {
        let mut reads = ReadRounds::new(NodeId(7), 1);
        let mut contexts = Vec::new();
        for request in 0..10 {
            reads.push(ids(&[request]));
            contexts.extend(reads.start());
        }
        assert_eq!(contexts.len(), ROUNDS_MAX);
        assert_eq!(reads.answer(&contexts[3]), ids(&[0, 1, 2, 3]));
        let context = reads.start().unwrap();
        assert_eq!(reads.answer(&context), ids(&[4, 5, 6, 7, 8, 9]));
    }
}
