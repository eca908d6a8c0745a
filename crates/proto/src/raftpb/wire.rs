//! Reading and writing protobuf fields over shared bytes.
//!
//! Owns:       nothing.
//! Uses:       `bytes`.
//! Never:      copies a `bytes` field; panics on malformed input; knows a message.
//! Invariants: a reader never moves beyond its own end; writers emit the shortest varints.
//! Source:     the protobuf encoding; peer-protocol.md 10 for what Go's generations accept.

use bytes::Bytes;

use super::DecodeError;

/// Unknown groups inside each other; Go has none of these on the wire at all.
const GROUP_DEPTH_MAX: u32 = 32;

/// Largest field number of protobuf.
const FIELD_NUMBER_MAX: u64 = (1 << 29) - 1;

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LENGTH_DELIMITED: u8 = 2;
const GROUP_START: u8 = 3;
const GROUP_END: u8 = 4;
const FIXED32: u8 = 5;

/// Number and shape of the field that comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Field number.
    pub number: u32,
    /// Wire type, 0 to 7.
    pub wire_type: u8,
}

/// Cursor over one message inside shared bytes.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    buf: &'a Bytes,
    pos: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of a message that fills `buf`.
    #[must_use]
    pub fn new(buf: &'a Bytes) -> Self {
        Self { buf, pos: 0, end: buf.len() }
    }

    /// Reads the next tag; `None` at the end of the message.
    ///
    /// # Errors
    /// When the tag is cut off or its number is not allowed.
    pub fn next_tag(&mut self) -> Result<Option<Tag>, DecodeError> {
        if self.pos == self.end {
            return Ok(None);
        }
        let raw = self.varint()?;
        let number = raw >> 3;
        if number == 0 || number > FIELD_NUMBER_MAX {
            return Err(DecodeError::BadFieldNumber { number });
        }
        let number =
            u32::try_from(number).map_err(|_| DecodeError::BadFieldNumber { number: raw >> 3 })?;
        Ok(Some(Tag { number, wire_type: (raw & 7) as u8 }))
    }

    /// Reads an unsigned integer field.
    ///
    /// # Errors
    /// When the wire type is not varint, or the value is cut off or too long.
    pub fn uint(&mut self, tag: Tag) -> Result<u64, DecodeError> {
        expect_type(tag, VARINT)?;
        self.varint()
    }

    /// Reads a signed (two's complement) integer field.
    ///
    /// # Errors
    /// Those of [`Reader::uint`].
    pub fn int(&mut self, tag: Tag) -> Result<i64, DecodeError> {
        self.uint(tag).map(u64::cast_signed)
    }

    /// Reads a boolean field.
    ///
    /// # Errors
    /// Those of [`Reader::uint`].
    pub fn boolean(&mut self, tag: Tag) -> Result<bool, DecodeError> {
        self.uint(tag).map(|value| value != 0)
    }

    /// Reads a bytes field as a slice of the shared input.
    ///
    /// # Errors
    /// When the wire type is not length-delimited or the data is cut off.
    pub fn bytes(&mut self, tag: Tag) -> Result<Bytes, DecodeError> {
        let (from, to) = self.delimited(tag)?;
        // An empty slice must not keep the whole input alive.
        Ok(if from == to { Bytes::new() } else { self.buf.slice(from..to) })
    }

    /// Reads a text field. Go does not check texts of proto2, so invalid UTF-8 is replaced as Go's
    /// JSON encoder would, not refused.
    ///
    /// # Errors
    /// Those of [`Reader::bytes`].
    pub fn text(&mut self, tag: Tag) -> Result<String, DecodeError> {
        let (from, to) = self.delimited(tag)?;
        Ok(String::from_utf8_lossy(&self.buf[from..to]).into_owned())
    }

    /// Enters an embedded message.
    ///
    /// # Errors
    /// Those of [`Reader::bytes`].
    pub fn message(&mut self, tag: Tag) -> Result<Self, DecodeError> {
        let (pos, end) = self.delimited(tag)?;
        Ok(Self { buf: self.buf, pos, end })
    }

    /// Reads one value, or a packed list of them, of a repeated integer field.
    ///
    /// # Errors
    /// When the field is neither of the two, or is cut off.
    pub fn repeated_uint(&mut self, tag: Tag, into: &mut Vec<u64>) -> Result<(), DecodeError> {
        if tag.wire_type != LENGTH_DELIMITED {
            into.push(self.uint(tag)?);
            return Ok(());
        }
        let mut packed = self.message(tag)?;
        while packed.pos < packed.end {
            into.push(packed.varint()?);
        }
        Ok(())
    }

    /// Steps over a field that is not known here.
    ///
    /// # Errors
    /// When the field is malformed.
    pub fn skip(&mut self, tag: Tag) -> Result<(), DecodeError> {
        self.skip_nested(tag, 0)
    }

    fn skip_nested(&mut self, tag: Tag, depth: u32) -> Result<(), DecodeError> {
        match tag.wire_type {
            VARINT => self.varint().map(drop),
            FIXED64 => self.take(8).map(drop),
            LENGTH_DELIMITED => self.delimited(tag).map(drop),
            GROUP_START => self.skip_group(tag, depth),
            FIXED32 => self.take(4).map(drop),
            _ => Err(bad_type(tag)),
        }
    }

    fn skip_group(&mut self, group: Tag, depth: u32) -> Result<(), DecodeError> {
        if depth >= GROUP_DEPTH_MAX {
            return Err(DecodeError::TooDeep { limit: GROUP_DEPTH_MAX });
        }
        loop {
            let tag = self.next_tag()?.ok_or(DecodeError::Truncated { missing: 1 })?;
            if tag.wire_type != GROUP_END {
                self.skip_nested(tag, depth + 1)?;
            } else if tag.number == group.number {
                return Ok(());
            } else {
                return Err(bad_type(tag));
            }
        }
    }

    fn delimited(&mut self, tag: Tag) -> Result<(usize, usize), DecodeError> {
        expect_type(tag, LENGTH_DELIMITED)?;
        let len = self.varint()?;
        self.take(len)
    }

    /// Moves over `len` bytes and returns their range.
    fn take(&mut self, len: u64) -> Result<(usize, usize), DecodeError> {
        let left = self.end - self.pos;
        match usize::try_from(len) {
            Ok(len) if len <= left => {
                let from = self.pos;
                self.pos += len;
                Ok((from, self.pos))
            }
            _ => Err(DecodeError::Truncated { missing: len - left as u64 }),
        }
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            if self.pos == self.end {
                return Err(DecodeError::Truncated { missing: 1 });
            }
            let byte = self.buf[self.pos];
            self.pos += 1;
            if shift == 63 && byte > 1 {
                return Err(DecodeError::VarintOverflow);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::VarintOverflow)
    }
}

fn expect_type(tag: Tag, wire_type: u8) -> Result<(), DecodeError> {
    if tag.wire_type == wire_type { Ok(()) } else { Err(bad_type(tag)) }
}

fn bad_type(tag: Tag) -> DecodeError {
    DecodeError::BadWireType { field: tag.number, wire_type: tag.wire_type }
}

/// Bytes that `value` takes as a varint.
#[must_use]
pub fn varint_len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Bytes of an integer field.
#[must_use]
pub fn uint_len(field: u32, value: u64) -> usize {
    varint_len(u64::from(field) << 3) + varint_len(value)
}

/// Bytes of a field that holds `len` bytes of data.
#[must_use]
pub fn delimited_len(field: u32, len: usize) -> usize {
    uint_len(field, len as u64) + len
}

/// Bytes of an optional bytes field: none when empty, as Go leaves out what is nil.
#[must_use]
pub fn bytes_len(field: u32, data: &[u8]) -> usize {
    if data.is_empty() { 0 } else { delimited_len(field, data.len()) }
}

/// Appends a varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// Appends an integer field, zero or not.
pub fn put_uint(out: &mut Vec<u8>, field: u32, value: u64) {
    put_varint(out, u64::from(field) << 3 | u64::from(VARINT));
    put_varint(out, value);
}

/// Appends tag and length of a field whose `len` bytes of data the caller appends next.
pub fn put_delimiter(out: &mut Vec<u8>, field: u32, len: usize) {
    put_varint(out, u64::from(field) << 3 | u64::from(LENGTH_DELIMITED));
    put_varint(out, len as u64);
}

/// Appends a bytes field unless it is empty.
pub fn put_bytes(out: &mut Vec<u8>, field: u32, data: &[u8]) {
    if !data.is_empty() {
        put_text(out, field, data);
    }
}

/// Appends a field of bytes or text, empty or not.
pub fn put_text(out: &mut Vec<u8>, field: u32, data: &[u8]) {
    put_delimiter(out, field, data.len());
    out.extend_from_slice(data);
}
