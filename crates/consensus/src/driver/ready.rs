//! From raft-rs's `Ready` to effects, in the order that keeps the log safe.
//!
//! Owns:       which writes are not durable yet, which entries are not handed out yet.
//! Uses:       raft-rs's asynchronous ready path.
//! Never:      `advance` or `advance_append`: they count this member's own entries at once.
//! Invariants: entries are in the in-memory log before raft-rs forgets them; messages that vouch
//!             for the log or a vote travel with the write they depend on; entries to apply
//!             stay within a window above what was applied.
//! Source:     raft-library.md 3 and 4 (traps 3 and 4), raft thesis 10.2.1, design.md 2.

use super::*;
use proto::raftpb::MessageType;
use raft::Ready;
use types::limits;

/// Writes that were handed out and are not durable yet.
pub(super) struct Writes {
    outstanding: VecDeque<Write>,
    /// Number of the last `Ready`, and of the last write known to be durable.
    last: u64,
    durable: u64,
    /// The write that last replaced entries which were handed out before it but not durable.
    /// Until it is durable, earlier ones vouch for nothing.
    overwrite: u64,
    /// The write that last held a new term or vote, and what they were.
    ballot_number: u64,
    ballot: (u64, u64),
}

struct Write {
    number: u64,
    /// Last index of its entries, when it has some or a snapshot.
    log_end: Option<u64>,
}

impl Writes {
    /// Starts with everything durable.
    pub(super) fn new(term: u64, vote: u64) -> Self {
        Self {
            outstanding: VecDeque::new(),
            last: 0,
            durable: 0,
            overwrite: 0,
            ballot_number: 0,
            ballot: (term, vote),
        }
    }

    /// Whether all entries handed out are durable.
    pub(super) fn is_log_durable(&self) -> bool {
        self.outstanding.iter().all(|write| write.log_end.is_none())
    }

    fn is_idle(&self) -> bool {
        self.outstanding.is_empty()
    }

    fn is_ballot_durable(&self) -> bool {
        self.ballot_number <= self.durable
    }

    fn note_ballot(&mut self, number: u64, hard_state: &eraftpb::HardState) {
        if self.ballot != (hard_state.term, hard_state.vote) {
            self.ballot = (hard_state.term, hard_state.vote);
            self.ballot_number = number;
        }
    }

    fn push(&mut self, number: u64, log: Option<(u64, u64)>) {
        if let Some((start, _)) = log
            && self.outstanding.iter().any(|write| write.log_end.is_some_and(|end| end >= start))
        {
            self.overwrite = number;
        }
        self.outstanding.push_back(Write { number, log_end: log.map(|(_, end)| end) });
        self.last = number;
    }

    /// Takes note of a durable write, and returns whether raft may count on it.
    fn complete(&mut self, number: u64) -> bool {
        assert!(number <= self.last, "write {number} is durable, {} was the last", self.last);
        while self.outstanding.front().is_some_and(|write| write.number <= number) {
            self.outstanding.pop_front();
        }
        self.durable = self.durable.max(number);
        self.durable >= self.overwrite
    }
}

/// Committed entries that wait for room in the window above what was applied.
pub(super) struct ApplyQueue {
    entries: VecDeque<Entry>,
    applied: u64,
    released: u64,
    /// Configuration changes handed out and not answered yet.
    unanswered: BTreeSet<u64>,
}

impl ApplyQueue {
    /// Starts behind a snapshot.
    pub(super) fn new(applied: u64) -> Self {
        Self { entries: VecDeque::new(), applied, released: applied, unanswered: BTreeSet::new() }
    }

    /// Last index that the shell has applied.
    pub(super) fn applied(&self) -> u64 {
        self.applied
    }

    /// Drops what waits: a snapshot at `index` takes the place of it, once it is installed.
    pub(super) fn replace_by_snapshot(&mut self) {
        self.entries.clear();
    }

    /// Everything up to `index` has come by a snapshot.
    pub(super) fn jump_to(&mut self, index: u64) {
        self.applied = index;
        self.released = self.released.max(index);
        self.unanswered.retain(|&unanswered| unanswered > index);
    }

    /// A configuration change was answered; false when it was not asked.
    pub(super) fn answered(&mut self, index: u64) -> bool {
        self.unanswered.remove(&index)
    }

    fn advance(&mut self, index: u64) {
        assert!(index <= self.released, "applied {index}, handed out up to {}", self.released);
        if let Some(&first) = self.unanswered.first() {
            assert!(index < first, "applied {index} before the change at {first} was answered");
        }
        self.applied = index;
    }

    /// Takes what fits the window.
    fn release(&mut self) -> Vec<Entry> {
        let window_end = self.applied + limits::APPLIED_LAG_MAX;
        let count = self.entries.partition_point(|entry| entry.index <= window_end);
        let released: Vec<Entry> = self.entries.drain(..count).collect();
        for entry in &released {
            self.released = entry.index;
            if entry.entry_type != raftpb::EntryType::Normal {
                self.unanswered.insert(entry.index);
            }
        }
        released
    }
}

impl Driver {
    pub(super) fn handle_ready(&mut self) {
        let mut ready = self.node.ready();
        let number = ready.number();
        for state in ready.take_read_states() {
            self.read_confirmed(&state);
        }
        let snapshot = (!ready.snapshot().is_empty()).then(|| ready.snapshot().clone());
        let entries: Vec<_> =
            ready.take_entries().into_iter().map(translate::unwrap_entry).collect();
        if let Some(snapshot) = &snapshot {
            self.begin_behind(number, snapshot);
        }
        self.node.mut_store().append(&entries);
        if let Some(hard_state) = ready.hs() {
            self.writes.note_ballot(number, hard_state);
        }
        let then = self.send_early(&mut ready);
        let committed = ready.take_committed_entries();
        self.apply.entries.extend(committed.into_iter().map(translate::entry_out));
        self.write(&ready, entries, snapshot, then);
        self.node.advance_append_async(ready);
        if self.writes.is_idle() {
            // Nothing to write and nothing before it: raft-rs need not remember this one.
            self.node.on_persist_ready(number);
        }
    }

    /// Sends what may leave before the log is durable, and returns the rest.
    fn send_early(&mut self, ready: &mut Ready) -> Vec<Message> {
        let leads = self.leads() && self.writes.is_ballot_durable();
        let mut messages = ready.take_messages();
        messages.append(&mut ready.take_persisted_messages());
        let (mut early, mut late) = (Vec::new(), Vec::new());
        for message in messages.into_iter().filter_map(translate::message_out) {
            if leads || vouches_for_nothing(message.message_type) {
                early.push(message);
            } else {
                late.push(message);
            }
        }
        self.send(early);
        late
    }

    fn send(&mut self, messages: Vec<Message>) {
        let (snapshots, messages): (Vec<_>, Vec<_>) =
            messages.into_iter().partition(|m| m.message_type == MessageType::Snap);
        if !messages.is_empty() {
            self.effects.push(Effect::Send(messages));
        }
        self.effects.extend(snapshots.into_iter().map(Effect::SendSnapshot));
    }

    fn write(
        &mut self,
        ready: &Ready,
        entries: Vec<eraftpb::Entry>,
        snapshot: Option<eraftpb::Snapshot>,
        then: Vec<Message>,
    ) {
        let has_content = !entries.is_empty() || ready.hs().is_some() || snapshot.is_some();
        if !has_content && (then.is_empty() || self.writes.is_idle()) {
            return self.send(then);
        }
        let first = snapshot.as_ref().map(|s| s.get_metadata().index);
        let start = first.or(entries.first().map(|entry| entry.index));
        let end = entries.last().map(|entry| entry.index).or(first);
        self.writes.push(ready.number(), start.zip(end));
        self.effects.push(Effect::Persist {
            number: ready.number(),
            entries: entries.into_iter().map(translate::entry_out).collect(),
            hard_state: ready.hs().map(translate::hard_state_out),
            snapshot: snapshot.map(|s| translate::snapshot_out(s).metadata),
            must_sync: ready.must_sync(),
            then,
        });
    }

    pub(super) fn persisted(&mut self, number: u64) {
        let counts = self.writes.complete(number);
        if counts {
            self.node.on_persist_ready(self.writes.durable);
        }
        self.snapshot_persisted(number);
        self.deliver_held_votes();
    }

    pub(super) fn release_apply(&mut self) {
        if self.snapshots.is_installing() {
            return;
        }
        let entries = self.apply.release();
        if !entries.is_empty() {
            self.effects.push(Effect::Apply(entries));
        }
    }

    pub(super) fn applied(&mut self, index: LogIndex) {
        if index.0 > self.apply.applied() {
            self.apply.advance(index.0);
            self.node.advance_apply_to(index.0);
        }
    }
}

/// Whether losing this member's memory after sending such a message could hurt nobody.
fn vouches_for_nothing(message_type: MessageType) -> bool {
    matches!(message_type, MessageType::Prop | MessageType::ReadIndex | MessageType::TransferLeader)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_was_overwritten_vouches_for_nothing() {
        let mut writes = Writes::new(1, 0);
        writes.push(1, Some((10, 12)));
        writes.push(2, Some((11, 11)));
        writes.push(3, None);
        assert!(!writes.complete(1));
        assert!(!writes.is_log_durable());
        assert!(writes.complete(2));
        assert!(writes.is_log_durable() && !writes.is_idle());
        writes.push(4, Some((12, 13)));
        assert!(writes.complete(4) && writes.is_idle());
    }
}
