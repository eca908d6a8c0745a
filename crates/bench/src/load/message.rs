//! Requests made once and overwritten in place, replies looked at without being decoded.
//!
//! Invariants: pure; a patched request is the encoding of the message with these keys.

use bytes::{Buf as _, Bytes, BytesMut};
use prost::Message;
use prost::encoding::decode_varint;

use super::keys::write_index;
use crate::numbers::size;

/// Bytes before each gRPC message: compression flag and length.
pub(super) const FRAME_BYTES: usize = 5;
/// Bytes at the start of a value that tell values apart.
const STAMP_BYTES: usize = 16;

/// A framed request.
#[derive(Clone, Debug)]
pub(super) struct Template {
    frame: Vec<u8>,
    /// Where names begin, in the order of the message, and how long they are.
    names: Vec<usize>,
    name_bytes: usize,
    /// Where values begin that have a stamp.
    values: Vec<usize>,
}

impl Template {
    /// Of a message in which each key to be patched is `name`, and each value `value`. Neither begins
    /// with the same byte twice: the length before it could be taken for its beginning.
    pub(super) fn new(message: &impl Message, name: &[u8], value: &[u8]) -> Self {
        let frame = frame(message);
        let names = places(&frame, name);
        let values = if value.len() < STAMP_BYTES { Vec::new() } else { places(&frame, value) };
        Self { frame, names, name_bytes: name.len(), values }
    }

    /// The request with these indexes of its names, by their place in the message, and this stamp.
    pub(super) fn fill(&self, index: impl Fn(usize) -> u64, stamp: Stamp) -> Bytes {
        let mut frame = BytesMut::from(self.frame.as_slice());
        for (place, at) in self.names.iter().enumerate() {
            write_index(&mut frame[*at..*at + self.name_bytes], index(place));
        }
        for at in &self.values {
            frame[*at..*at + 8].copy_from_slice(&stamp.sent.to_le_bytes());
            frame[*at + 8..*at + STAMP_BYTES].copy_from_slice(&stamp.number.to_le_bytes());
        }
        frame.freeze()
    }
}

/// What tells a value from others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    /// When it was sent, in ns since the load began.
    pub(super) sent: u64,
    /// A number of the sender.
    pub(super) number: u64,
}

impl Stamp {
    /// Of a value.
    pub(super) fn of(value: &[u8]) -> Option<Self> {
        let number = |at: usize| value.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        Some(Self { sent: number(0)?, number: number(8)? })
    }
}

/// A message as gRPC sends it.
pub(super) fn frame(message: &impl Message) -> Vec<u8> {
    let length = message.encoded_len();
    let mut frame = Vec::with_capacity(FRAME_BYTES + length);
    frame.push(0);
    frame.extend(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend(message.encode_to_vec());
    frame
}

fn places(text: &[u8], wanted: &[u8]) -> Vec<usize> {
    let mut places = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| rest.len() >= wanted.len()) {
        if rest.starts_with(wanted) {
            places.push(at);
            at += wanted.len();
        } else {
            at += 1;
        }
    }
    places
}

/// Takes the first complete message off a stream of frames.
///
/// # Errors
/// When it is compressed, which was not offered.
pub(super) fn take_message(buffer: &mut BytesMut) -> Result<Option<Bytes>, String> {
    let Some(head) = buffer.get(..FRAME_BYTES) else { return Ok(None) };
    if head[0] != 0 {
        return Err("compressed reply".to_owned());
    }
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    let end = FRAME_BYTES + usize::try_from(length).unwrap_or(usize::MAX - FRAME_BYTES);
    if buffer.len() < end {
        return Ok(None);
    }
    Ok(Some(buffer.split_to(end).freeze().slice(FRAME_BYTES..)))
}

/// A field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field<'a> {
    /// A number.
    Number(u64),
    /// A string or message.
    Bytes(&'a [u8]),
}

/// Calls `see` with each field of a message.
///
/// # Errors
/// When the bytes are no message, or hold a kind of field that etcd's messages do not have.
pub(super) fn fields<'a>(
    mut message: &'a [u8],
    mut see: impl FnMut(u64, Field<'a>),
) -> Result<(), String> {
    let broken = |_| "broken reply".to_owned();
    while message.has_remaining() {
        let key = decode_varint(&mut message).map_err(broken)?;
        match key & 7 {
            0 => see(key >> 3, Field::Number(decode_varint(&mut message).map_err(broken)?)),
            2 => {
                let length = size(decode_varint(&mut message).map_err(broken)?);
                let (field, rest) = message.split_at_checked(length).ok_or("short reply")?;
                message = rest;
                see(key >> 3, Field::Bytes(field));
            }
            kind => return Err(format!("reply with a field of kind {kind}")),
        }
    }
    Ok(())
}

/// A field that holds a number; 0 when it is absent.
///
/// # Errors
/// As [`fields`].
pub(super) fn number(message: &[u8], wanted: u64) -> Result<u64, String> {
    let mut found = 0;
    fields(message, |tag, field| match field {
        Field::Number(value) if tag == wanted => found = value,
        Field::Number(_) | Field::Bytes(_) => {}
    })?;
    Ok(found)
}

/// A field that holds a message or string; empty when it is absent.
///
/// # Errors
/// As [`fields`].
pub(super) fn nested(message: &[u8], wanted: u64) -> Result<&[u8], String> {
    let mut found: &[u8] = &[];
    fields(message, |tag, field| match field {
        Field::Bytes(bytes) if tag == wanted => found = bytes,
        Field::Number(_) | Field::Bytes(_) => {}
    })?;
    Ok(found)
}

/// The revision in a reply's header.
///
/// # Errors
/// As [`fields`].
pub(super) fn revision(reply: &[u8]) -> Result<u64, String> {
    number(nested(reply, 1)?, 3)
}

#[cfg(test)]
mod tests;
