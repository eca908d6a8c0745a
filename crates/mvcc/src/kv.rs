//! The bytes of a stored `KeyValue`: written in field order with zeros left out, read in place.
//!
//! Owns:       nothing.
//! Uses:       `prost`'s varint writer.
//! Never:      copies of key or value while reading.
//! Invariants: the bytes written are those that every etcd member stores, because hashes cover them.
//! Source:     api-v3.md 1.3, disk-formats.md 7.

use std::sync::Arc;

use bytes::Bytes;
use prost::encoding::{encode_varint, encoded_len_varint};

/// A stored `KeyValue` as the index keeps it: shared with every reply and event that carries it, in
/// one block of memory that holds nothing else.
pub type Pair = Arc<[u8]>;

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH_DELIMITED: u64 = 2;
/// Tag of the first field, the key.
const KEY_TAG: u8 = 0x0a;
const FIXED32: u64 = 5;

/// A `KeyValue` whose key and value lie in a buffer of someone else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KvView<'a> {
    /// User key.
    pub key: &'a [u8],
    /// Main revision of the put that created the key.
    pub create_revision: i64,
    /// Main revision of the last put.
    pub mod_revision: i64,
    /// Puts since creation.
    pub version: i64,
    /// User value.
    pub value: &'a [u8],
    /// Attached lease, 0 for none.
    pub lease: i64,
}

/// The bytes are not a `KeyValue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed key-value message at byte {0}")]
pub struct Malformed(pub usize);

impl<'a> KvView<'a> {
    /// Reads a stored `KeyValue`; unknown fields are skipped, the last of a repeated field counts.
    ///
    /// # Errors
    ///
    /// When the bytes are truncated or a field has the wrong wire type.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader { bytes, at: 0 };
        let mut view = Self::default();
        while reader.at < bytes.len() {
            let tag = reader.varint()?;
            match (tag >> 3, tag & 7) {
                (1, LENGTH_DELIMITED) => view.key = reader.length_delimited()?,
                (2, VARINT) => view.create_revision = reader.varint()?.cast_signed(),
                (3, VARINT) => view.mod_revision = reader.varint()?.cast_signed(),
                (4, VARINT) => view.version = reader.varint()?.cast_signed(),
                (5, LENGTH_DELIMITED) => view.value = reader.length_delimited()?,
                (6, VARINT) => view.lease = reader.varint()?.cast_signed(),
                (0..=6, _) => return Err(Malformed(reader.at)),
                (_, wire_type) => reader.skip(wire_type)?,
            }
        }
        Ok(view)
    }

    /// Writes the message as it is stored.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        Bytes::from(self.encode_to_vec())
    }

    /// As [`KvView::encode`], for the index.
    #[must_use]
    pub fn encode_pair(&self) -> Pair {
        Pair::from(self.encode_to_vec())
    }

    fn encode_to_vec(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_len());
        put_bytes(&mut out, 1, self.key);
        put_number(&mut out, 2, self.create_revision);
        put_number(&mut out, 3, self.mod_revision);
        put_number(&mut out, 4, self.version);
        put_bytes(&mut out, 5, self.value);
        put_number(&mut out, 6, self.lease);
        out
    }

    fn encoded_len(&self) -> usize {
        let bytes = |field: &[u8]| match field.len() {
            0 => 0,
            len => 1 + encoded_len_varint(len as u64) + len,
        };
        let number = |field: i64| match field {
            0 => 0,
            other => 1 + encoded_len_varint(other.cast_unsigned()),
        };
        bytes(self.key)
            + number(self.create_revision)
            + number(self.mod_revision)
            + number(self.version)
            + bytes(self.value)
            + number(self.lease)
    }
}

/// The user key of a stored `KeyValue`, sharing its buffer.
///
/// # Errors
///
/// When the bytes are not a `KeyValue`.
pub fn key_of(stored: &Bytes) -> Result<Bytes, Malformed> {
    Ok(stored.slice_ref(KvView::parse(stored)?.key))
}

/// The user key of a stored `KeyValue` that begins with it, as all do that etcd or we write; `None`
/// when there is another field in front, or no key.
#[inline]
pub(crate) fn leading_key(stored: &[u8]) -> Option<&[u8]> {
    match stored {
        [KEY_TAG, len, rest @ ..] if *len < 0x80 => rest.get(..usize::from(*len)),
        [KEY_TAG, ..] => Reader { bytes: stored, at: 1 }.length_delimited().ok(),
        _ => None,
    }
}

fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    if !bytes.is_empty() {
        encode_varint(field << 3 | LENGTH_DELIMITED, out);
        encode_varint(bytes.len() as u64, out);
        out.extend_from_slice(bytes);
    }
}

fn put_number(out: &mut Vec<u8>, field: u64, number: i64) {
    if number != 0 {
        encode_varint(field << 3 | VARINT, out);
        encode_varint(number.cast_unsigned(), out);
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at).ok_or(Malformed(self.at))?;
            self.at += 1;
            // The tenth byte has room for one bit; Go drops what does not fit, so do we.
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Malformed(self.at))
    }

    fn length_delimited(&mut self) -> Result<&'a [u8], Malformed> {
        let len = usize::try_from(self.varint()?).map_err(|_| Malformed(self.at))?;
        self.take(len)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(len).ok_or(Malformed(self.at))?;
        let field = self.bytes.get(self.at..end).ok_or(Malformed(self.at))?;
        self.at = end;
        Ok(field)
    }

    fn skip(&mut self, wire_type: u64) -> Result<(), Malformed> {
        match wire_type {
            VARINT => self.varint().map(drop),
            FIXED64 => self.take(8).map(drop),
            LENGTH_DELIMITED => self.length_delimited().map(drop),
            FIXED32 => self.take(4).map(drop),
            _ => Err(Malformed(self.at)),
        }
    }
}
