//! Records of the log: their bytes, their frame and the checksum that chains them.
//!
//! Owns:       the encodings of `walpb`.
//! Uses:       the field codec of `proto::raftpb`, `crc32c`.
//! Never:      files.
//! Invariants: a frame is a multiple of eight bytes; lengths are written with their padding count.
//! Source:     disk-formats.md 2.2 to 2.5.

use bytes::Bytes;
use proto::raftpb::wire::{self, Reader};
use proto::raftpb::{ConfState, DecodeError};
use types::{ClusterId, NodeId};

/// Bytes of the length field before each record.
pub(crate) const HEADER_LEN: u64 = 8;

/// Kind of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// [`Metadata`].
    Metadata,
    /// A raft entry.
    Entry,
    /// A raft hard state.
    State,
    /// Start of a segment: the checksum so far.
    Crc,
    /// A [`WalSnapshot`].
    Snapshot,
}

impl Kind {
    fn number(self) -> u64 {
        match self {
            Self::Metadata => 1,
            Self::Entry => 2,
            Self::State => 3,
            Self::Crc => 4,
            Self::Snapshot => 5,
        }
    }

    /// The kind with a number; `None` for a number without meaning.
    pub(crate) fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            1 => Self::Metadata,
            2 => Self::Entry,
            3 => Self::State,
            4 => Self::Crc,
            5 => Self::Snapshot,
            _ => return None,
        })
    }
}

/// One record as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// Number of the kind, checked later so that damage can be told apart from news.
    pub(crate) kind: u64,
    /// Running checksum including this record's data.
    pub(crate) crc: u32,
    /// Meaning depends on the kind.
    pub(crate) data: Bytes,
}

impl Record {
    /// Decodes the bytes between length field and padding.
    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut record = Self::default();
        let mut reader = Reader::new(bytes);
        while let Some(tag) = reader.next_tag()? {
            match tag.number {
                1 => record.kind = reader.uint(tag)?,
                2 => {
                    record.crc = u32::try_from(reader.uint(tag)?)
                        .map_err(|_| DecodeError::VarintOverflow)?;
                }
                3 => record.data = reader.bytes(tag)?,
                _ => reader.skip(tag)?,
            }
        }
        Ok(record)
    }
}

/// Appends the frame of one record and returns the checksum behind it. A crc record has no data
/// and hands `crc` on; all others continue it.
pub(crate) fn put_record(out: &mut Vec<u8>, crc: u32, kind: Kind, data: Option<&[u8]>) -> u32 {
    let crc = data.map_or(crc, |data| crc32c::crc32c_append(crc, data));
    let len = wire::uint_len(1, kind.number())
        + wire::uint_len(2, u64::from(crc))
        + data.map_or(0, |data| wire::delimited_len(3, data.len()));
    out.reserve(len + 16);
    out.extend_from_slice(&length_field(len as u64).to_le_bytes());
    wire::put_uint(out, 1, kind.number());
    wire::put_uint(out, 2, u64::from(crc));
    if let Some(data) = data {
        wire::put_text(out, 3, data);
    }
    out.resize(out.len().next_multiple_of(8), 0);
    crc
}

/// Padding behind a record of `len` bytes.
pub(crate) fn padding(len: u64) -> u64 {
    len.wrapping_neg() % 8
}

/// The length field of a record of `len` bytes: padding, if any, in the top byte with its high bit.
fn length_field(len: u64) -> u64 {
    match padding(len) {
        0 => len,
        padding => len | (0x80 | padding) << 56,
    }
}

/// Splits a length field into length and padding, as etcd reads it.
pub(crate) fn split_length_field(field: u64) -> (u64, u64) {
    let len = field & 0x00ff_ffff_ffff_ffff;
    let padding = if field >> 63 == 1 { field >> 56 & 7 } else { 0 };
    (len, padding)
}

/// Whether etcd would have written this length field.
pub(crate) fn is_exact_length_field(field: u64) -> bool {
    length_field(split_length_field(field).0) == field
}

/// Whose log it is: first thing in every segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The member.
    pub node_id: NodeId,
    /// Its cluster.
    pub cluster_id: ClusterId,
}

impl Metadata {
    /// Encodes as `walpb`'s metadata: both fields, zero or not.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(22);
        wire::put_uint(&mut out, 1, self.node_id.0);
        wire::put_uint(&mut out, 2, self.cluster_id.0);
        out.into()
    }

    /// Decodes what [`Metadata::encode`] or Go wrote.
    ///
    /// # Errors
    /// When the bytes are malformed.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut metadata = Self::default();
        let mut reader = Reader::new(bytes);
        while let Some(tag) = reader.next_tag()? {
            match tag.number {
                1 => metadata.node_id = NodeId(reader.uint(tag)?),
                2 => metadata.cluster_id = ClusterId(reader.uint(tag)?),
                _ => reader.skip(tag)?,
            }
        }
        Ok(metadata)
    }
}

/// Position of a raft snapshot as the log records it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WalSnapshot {
    /// Index of the last entry in the snapshot; 0 for the start of the log.
    pub index: u64,
    /// Term of that entry.
    pub term: u64,
    /// Configuration at that entry; recorded since 3.5 and never for index 0.
    pub conf_state: Option<ConfState>,
}

impl WalSnapshot {
    /// Encodes as `walpb`'s snapshot.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        wire::put_uint(&mut out, 1, self.index);
        wire::put_uint(&mut out, 2, self.term);
        if let Some(conf_state) = &self.conf_state {
            wire::put_delimiter(&mut out, 3, conf_state.encoded_len());
            conf_state.encode_into(&mut out);
        }
        out.into()
    }

    /// Decodes what [`WalSnapshot::encode`] or Go wrote.
    ///
    /// # Errors
    /// When the bytes are malformed.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut snapshot = Self::default();
        let mut reader = Reader::new(bytes);
        while let Some(tag) = reader.next_tag()? {
            match tag.number {
                1 => snapshot.index = reader.uint(tag)?,
                2 => snapshot.term = reader.uint(tag)?,
                3 => snapshot.conf_state = Some(ConfState::decode(reader.bytes(tag)?)?),
                _ => reader.skip(tag)?,
            }
        }
        Ok(snapshot)
    }

    /// Whether both name the same snapshot; the configuration does not count.
    #[must_use]
    pub fn same_position(&self, other: &Self) -> bool {
        (self.index, self.term) == (other.index, other.term)
    }
}
