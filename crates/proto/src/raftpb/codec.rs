//! The encodings of raft's types, field by field.
//!
//! Owns:       nothing.
//! Uses:       `wire`.
//! Never:      re-encodes the data of an entry; keeps unknown fields.
//! Invariants: writes what Go etcd 3.6 and older write (zero scalars present, lists unpacked, empty
//!             data absent) and reads every shape that Go has used; absent means zero.
//! Source:     peer-protocol.md 10 and 12.4; raft-library.md 1.

use super::wire::{self, Reader, Tag};
use super::{
    ConfChange, ConfChangeType, ConfState, DecodeError, Entry, EntryType, HardState, Message,
    MessageType, Snapshot, SnapshotMetadata,
};

/// What a message must say about its fields; the four public functions follow from it.
pub(crate) trait Fields: Default {
    /// Length of the encoding.
    fn fields_len(&self) -> usize;

    /// Appends the encoding.
    fn put_fields(&self, out: &mut Vec<u8>);

    /// Reads the value of one field into `self`, or skips it.
    fn merge_field(&mut self, tag: Tag, reader: &mut Reader<'_>) -> Result<(), DecodeError>;

    /// Reads all fields up to the end of `reader`; a later field replaces an earlier one.
    fn merge(&mut self, mut reader: Reader<'_>) -> Result<(), DecodeError> {
        while let Some(tag) = reader.next_tag()? {
            self.merge_field(tag, &mut reader)?;
        }
        Ok(())
    }
}

/// Gives types the four public functions of the codec.
macro_rules! codec {
    ($($name:ident),+) => {$(
        impl $name {
            /// Encodes into bytes of its own.
            #[must_use]
            pub fn encode(&self) -> bytes::Bytes {
                let mut out = Vec::with_capacity(self.encoded_len());
                self.encode_into(&mut out);
                out.into()
            }

            /// Appends the encoding to `out`.
            pub fn encode_into(&self, out: &mut Vec<u8>) {
                $crate::raftpb::codec::Fields::put_fields(self, out);
            }

            /// Length of the encoding in bytes.
            #[must_use]
            pub fn encoded_len(&self) -> usize {
                $crate::raftpb::codec::Fields::fields_len(self)
            }

            /// Decodes; fields of bytes are slices of the input.
            ///
            /// # Errors
            /// When the bytes are malformed or hold a value that has no meaning here.
            pub fn decode(bytes: bytes::Bytes) -> Result<Self, $crate::raftpb::DecodeError> {
                let mut value = Self::default();
                let reader = $crate::raftpb::wire::Reader::new(&bytes);
                $crate::raftpb::codec::Fields::merge(&mut value, reader)?;
                Ok(value)
            }
        }
    )+};
}
pub(crate) use codec;

codec!(Entry, ConfState, SnapshotMetadata, Snapshot, HardState, ConfChange);

fn put_message(out: &mut Vec<u8>, field: u32, value: &impl Fields) {
    wire::put_delimiter(out, field, value.fields_len());
    value.put_fields(out);
}

fn message_len(field: u32, value: &impl Fields) -> usize {
    wire::delimited_len(field, value.fields_len())
}

impl Fields for Entry {
    fn fields_len(&self) -> usize {
        wire::uint_len(1, self.entry_type.number())
            + wire::uint_len(2, self.term)
            + wire::uint_len(3, self.index)
            + wire::bytes_len(4, &self.data)
    }

    fn put_fields(&self, out: &mut Vec<u8>) {
        wire::put_uint(out, 1, self.entry_type.number());
        wire::put_uint(out, 2, self.term);
        wire::put_uint(out, 3, self.index);
        wire::put_bytes(out, 4, &self.data);
    }

    fn merge_field(&mut self, tag: Tag, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        match tag.number {
            1 => self.entry_type = EntryType::from_number(reader.uint(tag)?)?,
            2 => self.term = reader.uint(tag)?,
            3 => self.index = reader.uint(tag)?,
            4 => self.data = reader.bytes(tag)?,
            _ => reader.skip(tag)?,
        }
        Ok(())
    }
}

impl Fields for ConfState {
    fn fields_len(&self) -> usize {
        let list_len = |field, list: &[u64]| -> usize {
            list.iter().map(|id| wire::uint_len(field, *id)).sum()
        };
        list_len(1, &self.voters)
            + list_len(2, &self.learners)
            + list_len(3, &self.voters_outgoing)
            + list_len(4, &self.learners_next)
            + wire::uint_len(5, u64::from(self.auto_leave))
    }

    fn put_fields(&self, out: &mut Vec<u8>) {
        let lists = [&self.voters, &self.learners, &self.voters_outgoing, &self.learners_next];
        for (field, list) in (1..).zip(lists) {
            for id in list {
                wire::put_uint(out, field, *id);
            }
        }
        wire::put_uint(out, 5, u64::from(self.auto_leave));
    }

    fn merge_field(&mut self, tag: Tag, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        match tag.number {
            1 => reader.repeated_uint(tag, &mut self.voters)?,
            2 => reader.repeated_uint(tag, &mut self.learners)?,
            3 => reader.repeated_uint(tag, &mut self.voters_outgoing)?,
            4 => reader.repeated_uint(tag, &mut self.learners_next)?,
            5 => self.auto_leave = reader.boolean(tag)?,
            _ => reader.skip(tag)?,
        }
        Ok(())
    }
}

impl Fields for SnapshotMetadata {
    fn fields_len(&self) -> usize {
        message_len(1, &self.conf_state)
            + wire::uint_len(2, self.index)
            + wire::uint_len(3, self.term)
    }

    fn put_fields(&self, out: &mut Vec<u8>) {
        put_message(out, 1, &self.conf_state);
        wire::put_uint(out, 2, self.index);
        wire::put_uint(out, 3, self.term);
    }

    fn merge_field(&mut self, tag: Tag, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        match tag.number {
            1 => self.conf_state.merge(reader.message(tag)?)?,
            2 => self.index = reader.uint(tag)?,
            3 => self.term = reader.uint(tag)?,
            _ => reader.skip(tag)?,
        }
        Ok(())
    }
}

impl Fields for Snapshot {
    fn fields_len(&self) -> usize {
        wire::bytes_len(1, &self.data) + message_len(2, &self.metadata)
    }

    fn put_fields(&self, out: &mut Vec<u8>) {
        wire::put_bytes(out, 1, &self.data);
        put_message(out, 2, &self.metadata);
    }

    fn merge_field(&mut self, tag: Tag, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        match tag.number {
            1 => self.data = reader.bytes(tag)?,
            2 => self.metadata.merge(reader.message(tag)?)?,
            _ => reader.skip(tag)?,
        }
        Ok(())
    }
}

impl Fields for HardState {
    fn fields_len(&self) -> usize {
        wire::uint_len(1, self.term) + wire::uint_len(2, self.vote) + wire::uint_len(3, self.commit)
    }

    fn put_fields(&self, out: &mut Vec<u8>) {
        wire::put_uint(out, 1, self.term);
        wire::put_uint(out, 2, self.vote);
        wire::put_uint(out, 3, self.commit);
    }

    fn merge_field(&mut self, tag: Tag, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        match tag.number {
            1 => self.term = reader.uint(tag)?,
            2 => self.vote = reader.uint(tag)?,
            3 => self.commit = reader.uint(tag)?,
            _ => reader.skip(tag)?,
        }
        Ok(())
    }
}

impl Fields for ConfChange {
    fn fields_len(&self) -> usize {
        wire::uint_len(1, self.id)
            + wire::uint_len(2, self.change_type.number())
            + wire::uint_len(3, self.node_id)
            + wire::bytes_len(4, &self.context)
    }

    fn put_fields(&self, out: &mut Vec<u8>) {
        wire::put_uint(out, 1, self.id);
        wire::put_uint(out, 2, self.change_type.number());
        wire::put_uint(out, 3, self.node_id);
        wire::put_bytes(out, 4, &self.context);
    }

    fn merge_field(&mut self, tag: Tag, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        match tag.number {
            1 => self.id = reader.uint(tag)?,
            2 => self.change_type = ConfChangeType::from_number(reader.uint(tag)?)?,
            3 => self.node_id = reader.uint(tag)?,
            4 => self.context = reader.bytes(tag)?,
            _ => reader.skip(tag)?,
        }
        Ok(())
    }
}

impl Message {
    /// The snapshot as it goes out: Go fills it in for [`MessageType::Snap`] only.
    fn sent_snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref().filter(|_| self.message_type == MessageType::Snap)
    }

    /// Encodes into bytes of its own.
    #[must_use]
    pub fn encode(&self) -> bytes::Bytes {
        let mut out = Vec::with_capacity(self.encoded_len());
        self.encode_into(&mut out);
        out.into()
    }

    /// Length of the encoding in bytes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let scalars = [
            (1, u64::from(self.message_type.number())),
            (2, self.to),
            (3, self.from),
            (4, self.term),
            (5, self.log_term),
            (6, self.index),
            (8, self.commit),
            (10, u64::from(self.reject)),
            (11, self.reject_hint),
            (13, 0),
        ];
        let scalars: usize =
            scalars.into_iter().map(|(field, value)| wire::uint_len(field, value)).sum();
        let entries: usize = self.entries.iter().map(|entry| message_len(7, entry)).sum();
        let snapshot = self.sent_snapshot().map_or(0, |snapshot| message_len(9, snapshot));
        scalars + entries + snapshot + wire::bytes_len(12, &self.context)
    }

    /// Appends the encoding to `out`.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        wire::put_uint(out, 1, u64::from(self.message_type.number()));
        wire::put_uint(out, 2, self.to);
        wire::put_uint(out, 3, self.from);
        wire::put_uint(out, 4, self.term);
        wire::put_uint(out, 5, self.log_term);
        wire::put_uint(out, 6, self.index);
        for entry in &self.entries {
            put_message(out, 7, entry);
        }
        wire::put_uint(out, 8, self.commit);
        if let Some(snapshot) = self.sent_snapshot() {
            put_message(out, 9, snapshot);
        }
        wire::put_uint(out, 10, u64::from(self.reject));
        wire::put_uint(out, 11, self.reject_hint);
        wire::put_bytes(out, 12, &self.context);
        // `vote` of 3.6, always 0 between members.
        wire::put_uint(out, 13, 0);
    }

    /// Decodes; fields of bytes are slices of the input. A snapshot on any other message than
    /// [`MessageType::Snap`] is dropped: Go up to 3.5 sends an empty one always.
    ///
    /// # Errors
    /// When the bytes are malformed or the kind of message never travels between members.
    pub fn decode(bytes: bytes::Bytes) -> Result<Self, DecodeError> {
        let mut message = Self::default();
        // An absent kind reads as 0, which is a local kind, not as our default.
        let mut kind = 0;
        let mut reader = Reader::new(&bytes);
        while let Some(tag) = reader.next_tag()? {
            if tag.number == 1 {
                kind = reader.uint(tag)?;
            } else {
                message.merge_field(tag, &mut reader)?;
            }
        }
        message.message_type = MessageType::from_number(kind)?;
        if message.message_type != MessageType::Snap {
            message.snapshot = None;
        }
        Ok(message)
    }

    fn merge_field(&mut self, tag: Tag, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        match tag.number {
            2 => self.to = reader.uint(tag)?,
            3 => self.from = reader.uint(tag)?,
            4 => self.term = reader.uint(tag)?,
            5 => self.log_term = reader.uint(tag)?,
            6 => self.index = reader.uint(tag)?,
            7 => {
                let mut entry = Entry::default();
                entry.merge(reader.message(tag)?)?;
                self.entries.push(entry);
            }
            8 => self.commit = reader.uint(tag)?,
            9 => self.snapshot.get_or_insert_default().merge(reader.message(tag)?)?,
            10 => self.reject = reader.boolean(tag)?,
            11 => self.reject_hint = reader.uint(tag)?,
            12 => self.context = reader.bytes(tag)?,
            // 13 and 14 mean different things in Go and in raft-rs, and nothing between members.
            _ => reader.skip(tag)?,
        }
        Ok(())
    }
}

impl EntryType {
    /// Number on the wire.
    #[must_use]
    pub fn number(self) -> u64 {
        match self {
            Self::Normal => 0,
            Self::ConfChange => 1,
            Self::ConfChangeV2 => 2,
        }
    }

    fn from_number(value: u64) -> Result<Self, DecodeError> {
        match value {
            0 => Ok(Self::Normal),
            1 => Ok(Self::ConfChange),
            2 => Ok(Self::ConfChangeV2),
            _ => Err(DecodeError::UnknownEnumValue { name: "EntryType", value }),
        }
    }
}

impl ConfChangeType {
    /// Number on the wire.
    #[must_use]
    pub fn number(self) -> u64 {
        match self {
            Self::AddNode => 0,
            Self::RemoveNode => 1,
            Self::UpdateNode => 2,
            Self::AddLearnerNode => 3,
        }
    }

    fn from_number(value: u64) -> Result<Self, DecodeError> {
        match value {
            0 => Ok(Self::AddNode),
            1 => Ok(Self::RemoveNode),
            2 => Ok(Self::UpdateNode),
            3 => Ok(Self::AddLearnerNode),
            _ => Err(DecodeError::UnknownEnumValue { name: "ConfChangeType", value }),
        }
    }
}

impl MessageType {
    /// Number on the wire.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    fn from_number(value: u64) -> Result<Self, DecodeError> {
        Ok(match value {
            2 => Self::Prop,
            3 => Self::App,
            4 => Self::AppResp,
            5 => Self::Vote,
            6 => Self::VoteResp,
            7 => Self::Snap,
            8 => Self::Heartbeat,
            9 => Self::HeartbeatResp,
            13 => Self::TransferLeader,
            14 => Self::TimeoutNow,
            15 => Self::ReadIndex,
            16 => Self::ReadIndexResp,
            17 => Self::PreVote,
            18 => Self::PreVoteResp,
            0..=1 | 10..=12 | 19..=23 => {
                return Err(DecodeError::MessageTypeNotAllowed { value });
            }
            _ => return Err(DecodeError::UnknownEnumValue { name: "MessageType", value }),
        })
    }
}
