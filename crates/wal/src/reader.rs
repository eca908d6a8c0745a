//! Reads records out of a run of segments and follows the checksum through them.
//!
//! Owns:       the position while reading.
//! Uses:       `disk`, `record`.
//! Never:      writes; knows what the records mean together (that is `replay`).
//! Invariants: every record that is handed out has a correct checksum; a record is called torn only
//!             in the last segment and only where etcd calls it torn, or more strictly.
//! Source:     disk-formats.md 2.2, 2.4, 2.7, 2.8.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use disk::BlockFile;

use crate::WalError;
use crate::record::{self, HEADER_LEN, Kind, Record};

/// Unit in which a disk writes; what a crash leaves of a record is whole sectors.
const SECTOR_BYTES: u64 = 512;

/// How much is read at once.
const CHUNK_BYTES: u64 = 256 * 1024;

/// One open segment.
pub(crate) struct Segment {
    pub(crate) file: Arc<dyn BlockFile>,
    /// Its name now; the file may have been opened under a temporary one.
    pub(crate) path: PathBuf,
    pub(crate) sequence: u64,
    /// Index of the first entry, by its name.
    pub(crate) index: u64,
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Next {
    /// A record and the offset of its frame.
    Record(Record, u64),
    /// The last segment ends in a record that a crash cut; it starts at the current offset.
    Torn,
    /// The last segment ends in order, in zeros or at its end.
    End,
    /// A zero length field ends the last segment, but soon behind it is more. A torn group commit
    /// can leave that, and etcd wipes it in silence; so can damage.
    EndWithRest,
}

/// Cursor over segments in order.
pub(crate) struct RecordReader<'a> {
    segments: &'a [Segment],
    /// Which segment is read.
    current: usize,
    /// Its bytes, chunk by chunk.
    chunk: Chunk,
    /// End of the last good record in it.
    offset: u64,
    /// Whether its metadata record was read.
    head_read: bool,
    crc: u32,
}

impl<'a> RecordReader<'a> {
    pub(crate) fn new(segments: &'a [Segment]) -> Result<Self, WalError> {
        let chunk = match segments.first() {
            Some(first) => Chunk::open(first)?,
            None => Chunk::default(),
        };
        Ok(Self { segments, current: 0, chunk, offset: 0, head_read: false, crc: 0 })
    }

    /// File that is being read.
    pub(crate) fn path(&self) -> &'a Path {
        self.segments.get(self.current).map_or(Path::new(""), |segment| &segment.path)
    }

    /// Offset behind the last good record of the file that is being read.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Checksum over everything read so far.
    pub(crate) fn crc(&self) -> u32 {
        self.crc
    }

    /// Reads the next record.
    pub(crate) fn next(&mut self) -> Result<Next, WalError> {
        loop {
            let Some(segment) = self.segments.get(self.current) else { return Ok(Next::End) };
            let left = self.chunk.len - self.offset;
            let field = self.length_field(segment, left.min(HEADER_LEN))?;
            if field != 0 && left < HEADER_LEN {
                return self.torn_or("a length field of 8 bytes", format!("{left} bytes"));
            }
            if field != 0 {
                return self.read_record(segment, field);
            }
            if self.is_last() {
                return self.end(segment);
            }
            self.current += 1;
            self.chunk = Chunk::open(&self.segments[self.current])?;
            self.offset = 0;
            self.head_read = false;
        }
    }

    fn end(&mut self, segment: &Segment) -> Result<Next, WalError> {
        let len = (self.chunk.len - self.offset).min(CHUNK_BYTES);
        let rest = self.chunk.read(segment, self.offset, len)?;
        if !self.head_read {
            // Going on behind such a head would make a segment that cannot be read on its own.
            return Err(
                self.damage("checksum and metadata records", "zeros or the end of the file")
            );
        }
        Ok(if rest.iter().all(|byte| *byte == 0) { Next::End } else { Next::EndWithRest })
    }

    fn is_last(&self) -> bool {
        self.current + 1 == self.segments.len()
    }

    /// Reads a length field, or as much of one as is left in the file.
    fn length_field(&mut self, segment: &Segment, len: u64) -> Result<u64, WalError> {
        let bytes = self.chunk.read(segment, self.offset, len)?;
        let mut field = [0; 8];
        field[..bytes.len()].copy_from_slice(bytes);
        Ok(u64::from_le_bytes(field))
    }

    fn read_record(&mut self, segment: &Segment, field: u64) -> Result<Next, WalError> {
        let (len, padding) = record::split_length_field(field);
        if !record::is_exact_length_field(field) {
            return Err(
                self.damage("a length field with matching padding", format!("{field:016x}"))
            );
        }
        let left = self.chunk.len - self.offset - HEADER_LEN;
        let short = len + padding > left;
        let body_len = if short { left } else { len + padding };
        let body_at = self.offset + HEADER_LEN;
        let body = Bytes::copy_from_slice(self.chunk.read(segment, body_at, body_len)?);
        if short {
            let expected = format!("a record of {len} bytes and {padding} of padding");
            let found = format!("{left} bytes to the end of the file");
            return self.judge(field, &body, true, expected, found);
        }
        let len = usize::try_from(len).expect("the body of this length is in memory");
        let record = match Record::decode(&body.slice(..len)) {
            Ok(record) => record,
            Err(error) => {
                let torn = has_zero_sector(&body[..len], body_at);
                return self.judge(field, &body, torn, "a log record".into(), error.to_string());
            }
        };
        if let Some((expected, found)) = self.check_crc(&record) {
            let is_seed = Kind::from_number(record.kind) == Some(Kind::Crc);
            let torn = !is_seed && has_zero_sector(&body[..len], body_at);
            return self.judge(field, &body, torn, expected, found);
        }
        self.head_read |= Kind::from_number(record.kind) == Some(Kind::Metadata);
        let at = self.offset;
        self.offset = body_at + body_len;
        Ok(Next::Record(record, at))
    }

    /// Moves the checksum over the record; says what was expected and found when it is wrong.
    fn check_crc(&mut self, record: &Record) -> Option<(String, String)> {
        let is_seed = Kind::from_number(record.kind) == Some(Kind::Crc);
        let crc = if is_seed { self.crc } else { crc32c::crc32c_append(self.crc, &record.data) };
        // A reader that starts in the middle of the log takes the first seed as given.
        let free = is_seed && crc == 0;
        if !free && crc != record.crc {
            return Some((format!("checksum {crc:08x}"), format!("{:08x}", record.crc)));
        }
        self.crc = record.crc;
        None
    }

    /// Decides between a torn tail and damage. `torn` is etcd's own judgement; on top of it the
    /// parts of the frame that must have reached the disk together have to agree, so that a damaged
    /// length is not taken for a torn write and the records behind it cut off.
    fn judge(
        &self,
        field: u64,
        body: &[u8],
        torn: bool,
        expected: String,
        found: String,
    ) -> Result<Next, WalError> {
        let (len, _) = record::split_length_field(field);
        let agrees = announced_len(arrived(body, self.offset)).is_none_or(|it| it == len);
        if torn && agrees {
            self.torn_or(expected, found)
        } else {
            Err(self.damage(expected, found))
        }
    }

    fn torn_or(
        &self,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Result<Next, WalError> {
        // The head of a segment is durable before the segment gets its name.
        let possible = self.is_last() && self.head_read;
        if possible { Ok(Next::Torn) } else { Err(self.damage(expected, found)) }
    }

    fn damage(&self, expected: impl Into<String>, found: impl Into<String>) -> WalError {
        WalError::corrupt(self.path(), self.offset, expected, found)
    }
}

/// Whether some sector's share of the body holds nothing but zeros: what is left where a write
/// into preallocated space did not happen. The padding, which etcd looks at too, does not count: a
/// sector that has only padding is zero when it was written as well, and no reason for a record to be
/// wrong.
fn has_zero_sector(body: &[u8], body_at: u64) -> bool {
    let mut rest = body;
    let mut room = SECTOR_BYTES - body_at % SECTOR_BYTES;
    while !rest.is_empty() {
        let len = usize::try_from(room).map_or(rest.len(), |room| room.min(rest.len()));
        let (sector, behind) = rest.split_at(len);
        if sector.iter().all(|byte| *byte == 0) {
            return true;
        }
        rest = behind;
        room = SECTOR_BYTES;
    }
    false
}

/// The beginning of the body that has certainly reached the disk: what shares a sector with its length
/// field, and the sector behind it unless that holds nothing but zeros.
fn arrived(body: &[u8], frame_at: u64) -> &[u8] {
    let room = (SECTOR_BYTES - frame_at % SECTOR_BYTES).saturating_sub(HEADER_LEN);
    let first = usize::try_from(room).map_or(body.len(), |room| room.min(body.len()));
    let sector = usize::try_from(SECTOR_BYTES).unwrap_or(usize::MAX);
    let second = first.saturating_add(sector).min(body.len());
    let end = if body[first..second].iter().all(|byte| *byte == 0) { first } else { second };
    &body[..end]
}

/// Length of a record according to its own data field, if that much of it can be seen.
fn announced_len(start: &[u8]) -> Option<u64> {
    let mut at = 0;
    loop {
        match varint(start, &mut at)? {
            0x08 | 0x10 => varint(start, &mut at).map(drop)?,
            0x1a => {
                let len = varint(start, &mut at)?;
                return Some(len.saturating_add(at as u64));
            }
            _ => return None,
        }
    }
}

fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// A window on a segment.
#[derive(Default)]
struct Chunk {
    /// Length of the whole file.
    len: u64,
    /// Where the window starts.
    start: u64,
    bytes: Vec<u8>,
}

impl Chunk {
    fn open(segment: &Segment) -> Result<Self, WalError> {
        let len = segment
            .file
            .len()
            .map_err(|source| WalError::io("measure wal segment", &segment.path, source))?;
        Ok(Self { len, start: 0, bytes: Vec::new() })
    }

    /// The bytes of a range that lies inside the file.
    fn read(&mut self, segment: &Segment, at: u64, len: u64) -> Result<&[u8], WalError> {
        let inside = at >= self.start && at + len <= self.start + self.bytes.len() as u64;
        if !inside {
            let wanted = len.max(CHUNK_BYTES).min(self.len - at);
            let wanted = usize::try_from(wanted).map_err(|_| {
                WalError::corrupt(
                    &segment.path,
                    at,
                    "a record that fits in memory",
                    wanted.to_string(),
                )
            })?;
            self.start = at;
            self.bytes.resize(wanted, 0);
            segment
                .file
                .read_exact_at(at, &mut self.bytes)
                .map_err(|source| WalError::io("read wal segment", &segment.path, source))?;
        }
        let from = usize::try_from(at - self.start).expect("inside the window");
        let to = from + usize::try_from(len).expect("inside the window");
        Ok(&self.bytes[from..to])
    }
}
