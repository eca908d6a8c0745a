//! Encoding of a `msgapp` stream (msgappv2): appends without what both ends know already.
//!
//! ```text
//! 00                                                     link heartbeat
//! 01 count (length entry)* commit                        entries right behind the last record
//! 02 length message                                      any other append; resets what is known
//! ```
//!
//! Owns:       term and index behind the last record of one connection, and its unread bytes.
//! Uses:       `proto::raftpb`.
//! Never:      I/O; memory for bytes or entries that were only announced.
//! Invariants: both ends derive the same term and index from the same bytes; after an error the
//!             decoder must not be used again.
//! Source:     peer-protocol.md 4.2.

use bytes::{Buf, BytesMut};
use proto::raftpb::{Entry, Message, MessageType};
use types::NodeId;

use crate::limits::RECORD_ENTRIES_MAX;
use crate::message_codec::{StreamError, put_len, take_sized, take_u64};

const HEARTBEAT: u8 = 0;
const ENTRIES: u8 = 1;
const APPEND: u8 = 2;

/// What both ends know after the records so far; zero at the start of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Position {
    term: u64,
    index: u64,
}

impl Position {
    fn after(message: &Message) -> Self {
        let index = message.entries.last().map_or(message.index, |entry| entry.index);
        Self { term: message.term, index }
    }
}

/// Writes appends for one connection.
#[derive(Debug, Default)]
pub struct Encoder {
    position: Position,
}

impl Encoder {
    /// Appends the record of a [`MessageType::App`] message to `out`.
    pub fn encode(&mut self, message: &Message, out: &mut Vec<u8>) {
        debug_assert_eq!(message.message_type, MessageType::App, "only appends belong here");
        let continues = message.index == self.position.index
            && message.log_term == self.position.term
            && message.log_term == message.term;
        if continues {
            out.push(ENTRIES);
            put_len(out, message.entries.len());
            for entry in &message.entries {
                put_len(out, entry.encoded_len());
                entry.encode_into(out);
            }
            out.extend_from_slice(&message.commit.to_be_bytes());
            // The reader adds the count; raft's entries are consecutive, so this is the last index.
            self.position.index = self.position.index.wrapping_add(message.entries.len() as u64);
        } else {
            out.push(APPEND);
            put_len(out, message.encoded_len());
            message.encode_into(out);
            self.position = Position::after(message);
        }
    }

    /// Appends a link heartbeat to `out`.
    pub fn encode_heartbeat(&self, out: &mut Vec<u8>) {
        out.push(HEARTBEAT);
    }
}

/// Reads appends out of pieces of a stream.
#[derive(Debug)]
pub struct Decoder {
    local: NodeId,
    remote: NodeId,
    limit: usize,
    position: Position,
    buffer: BytesMut,
    state: State,
}

/// How far the record being read has come.
#[derive(Debug)]
enum State {
    Start,
    Count,
    Entries { missing: u64, bytes: usize, entries: Vec<Entry> },
    Commit { entries: Vec<Entry> },
    Append,
}

/// What one step of the decoder found.
#[expect(clippy::large_enum_variant, reason = "moved once and gone; a box would cost more")]
enum Step {
    NeedBytes,
    Continue(State),
    Found(Message),
}

impl Decoder {
    /// A decoder at the start of a stream from `remote` to `local` that refuses records of more
    /// than `limit` bytes.
    #[must_use]
    pub fn new(local: NodeId, remote: NodeId, limit: usize) -> Self {
        let (position, buffer) = (Position::default(), BytesMut::new());
        Self { local, remote, limit, position, buffer, state: State::Start }
    }

    /// Takes the next piece of the stream.
    pub fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The next append; link heartbeats are passed over. `None` when more bytes are needed.
    ///
    /// # Errors
    /// When a record is too long, malformed or not an append.
    pub fn next_message(&mut self) -> Result<Option<Message>, StreamError> {
        loop {
            let step = match std::mem::replace(&mut self.state, State::Start) {
                State::Start => self.start(),
                State::Count => self.count(),
                State::Entries { missing, bytes, entries } => self.entries(missing, bytes, entries),
                State::Commit { entries } => self.commit(entries),
                State::Append => self.append(),
            }?;
            match step {
                Step::NeedBytes => return Ok(None),
                Step::Continue(state) => self.state = state,
                Step::Found(message) => return Ok(Some(message)),
            }
        }
    }

    /// Whether the stream may end here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty() && matches!(self.state, State::Start)
    }

    fn start(&mut self) -> Result<Step, StreamError> {
        let Some(kind) = self.buffer.first().copied() else { return Ok(Step::NeedBytes) };
        self.buffer.advance(1);
        match kind {
            HEARTBEAT => Ok(Step::Continue(State::Start)),
            ENTRIES => Ok(Step::Continue(State::Count)),
            APPEND => Ok(Step::Continue(State::Append)),
            other => Err(StreamError::UnknownRecord(other)),
        }
    }

    fn count(&mut self) -> Result<Step, StreamError> {
        let Some(missing) = take_u64(&mut self.buffer) else { return self.wait(State::Count) };
        if missing > RECORD_ENTRIES_MAX {
            return Err(StreamError::TooLong { announced: missing, limit: RECORD_ENTRIES_MAX });
        }
        self.position.index.checked_add(missing).ok_or(StreamError::IndexOverflow)?;
        Ok(Step::Continue(State::Entries { missing, bytes: 0, entries: Vec::new() }))
    }

    fn entries(
        &mut self,
        missing: u64,
        bytes: usize,
        mut entries: Vec<Entry>,
    ) -> Result<Step, StreamError> {
        if missing == 0 {
            return Ok(Step::Continue(State::Commit { entries }));
        }
        let Some(encoded) = take_sized(&mut self.buffer, self.limit.saturating_sub(bytes))? else {
            return self.wait(State::Entries { missing, bytes, entries });
        };
        let bytes = bytes + encoded.len();
        let entry = Entry::decode(encoded)?;
        let expected = self.position.index + entries.len() as u64 + 1;
        if entry.index != expected {
            return Err(StreamError::EntryOutOfOrder { expected, found: entry.index });
        }
        entries.push(entry);
        Ok(Step::Continue(State::Entries { missing: missing - 1, bytes, entries }))
    }

    fn commit(&mut self, entries: Vec<Entry>) -> Result<Step, StreamError> {
        let Some(commit) = take_u64(&mut self.buffer) else {
            return self.wait(State::Commit { entries });
        };
        let message = Message {
            message_type: MessageType::App,
            to: self.local.0,
            from: self.remote.0,
            term: self.position.term,
            log_term: self.position.term,
            index: self.position.index,
            entries,
            commit,
            ..Message::default()
        };
        self.position.index += message.entries.len() as u64;
        Ok(Step::Found(message))
    }

    fn append(&mut self) -> Result<Step, StreamError> {
        let Some(encoded) = take_sized(&mut self.buffer, self.limit)? else {
            return self.wait(State::Append);
        };
        let message = Message::decode(encoded)?;
        if message.message_type != MessageType::App {
            return Err(StreamError::WrongMessage(message.message_type));
        }
        self.position = Position::after(&message);
        Ok(Step::Found(message))
    }

    /// Puts back the state in which more bytes are needed.
    #[expect(clippy::unnecessary_wraps, reason = "the callers' result, so that they can return it")]
    fn wait(&mut self, state: State) -> Result<Step, StreamError> {
        self.state = state;
        Ok(Step::NeedBytes)
    }
}

#[cfg(test)]
mod tests;
