//! A v2 request as the log holds it (api-v3.md 1.10, peer-protocol.md 12.6).

use crate::raftpb::DecodeError;
use crate::raftpb::codec::{Fields, codec};
use crate::raftpb::wire::{self, Reader, Tag};

/// One v2 request; unset scalars are zero. Times are unix nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct V2Request {
    /// Field 1.
    pub id: u64,
    /// Field 2: `PUT`, `POST`, `DELETE`, `QGET`, `SYNC`.
    pub method: String,
    /// Field 3: with its name space (`/1/...` for user keys).
    pub path: String,
    /// Field 4.
    pub val: String,
    /// Field 5.
    pub dir: bool,
    /// Field 6.
    pub prev_value: String,
    /// Field 7.
    pub prev_index: u64,
    /// Field 8; three states.
    pub prev_exist: Option<bool>,
    /// Field 9: expiration time, 0 for none.
    pub expiration: i64,
    /// Field 10.
    pub wait: bool,
    /// Field 11.
    pub since: u64,
    /// Field 12.
    pub recursive: bool,
    /// Field 13.
    pub sorted: bool,
    /// Field 14.
    pub quorum: bool,
    /// Field 15: the time of a `SYNC`.
    pub time: i64,
    /// Field 16.
    pub stream: bool,
    /// Field 17; three states.
    pub refresh: Option<bool>,
}

codec!(V2Request);

impl V2Request {
    /// The integer fields behind the texts, in order; `None` for a field that is left out.
    fn scalars(&self) -> [(u32, Option<u64>); 11] {
        [
            (7, Some(self.prev_index)),
            (8, self.prev_exist.map(u64::from)),
            (9, Some(self.expiration.cast_unsigned())),
            (10, Some(u64::from(self.wait))),
            (11, Some(self.since)),
            (12, Some(u64::from(self.recursive))),
            (13, Some(u64::from(self.sorted))),
            (14, Some(u64::from(self.quorum))),
            (15, Some(self.time.cast_unsigned())),
            (16, Some(u64::from(self.stream))),
            (17, self.refresh.map(u64::from)),
        ]
    }
}

impl Fields for V2Request {
    fn fields_len(&self) -> usize {
        let texts = [(2, &self.method), (3, &self.path), (4, &self.val), (6, &self.prev_value)];
        let texts: usize =
            texts.into_iter().map(|(field, text)| wire::delimited_len(field, text.len())).sum();
        let scalars: usize = self
            .scalars()
            .into_iter()
            .filter_map(|(field, value)| Some(wire::uint_len(field, value?)))
            .sum();
        wire::uint_len(1, self.id) + wire::uint_len(5, u64::from(self.dir)) + texts + scalars
    }

    fn put_fields(&self, out: &mut Vec<u8>) {
        wire::put_uint(out, 1, self.id);
        wire::put_text(out, 2, self.method.as_bytes());
        wire::put_text(out, 3, self.path.as_bytes());
        wire::put_text(out, 4, self.val.as_bytes());
        wire::put_uint(out, 5, u64::from(self.dir));
        wire::put_text(out, 6, self.prev_value.as_bytes());
        for (field, value) in self.scalars() {
            if let Some(value) = value {
                wire::put_uint(out, field, value);
            }
        }
    }

    fn merge_field(&mut self, tag: Tag, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        match tag.number {
            1 => self.id = reader.uint(tag)?,
            2 => self.method = reader.text(tag)?,
            3 => self.path = reader.text(tag)?,
            4 => self.val = reader.text(tag)?,
            5 => self.dir = reader.boolean(tag)?,
            6 => self.prev_value = reader.text(tag)?,
            7 => self.prev_index = reader.uint(tag)?,
            8 => self.prev_exist = Some(reader.boolean(tag)?),
            9 => self.expiration = reader.int(tag)?,
            10 => self.wait = reader.boolean(tag)?,
            11 => self.since = reader.uint(tag)?,
            12 => self.recursive = reader.boolean(tag)?,
            13 => self.sorted = reader.boolean(tag)?,
            14 => self.quorum = reader.boolean(tag)?,
            15 => self.time = reader.int(tag)?,
            16 => self.stream = reader.boolean(tag)?,
            17 => self.refresh = Some(reader.boolean(tag)?),
            _ => reader.skip(tag)?,
        }
        Ok(())
    }
}
