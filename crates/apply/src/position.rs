//! The rows that say up to which entry the database holds effects.
//!
//! Owns:       `meta/consistent_index`, `meta/term` and `etchV2Meta/position`.
//! Uses:       `types`.
//! Never:      decides what is trusted (`restore` does).
//! Invariants: a row that is read back equals what was written, or is refused.
//! Source:     disk-formats.md 6; docs/format/engine-rows.md.

use bytes::Bytes;
use types::{Bucket, ClusterId, LogIndex, Op, Term};

use crate::contract::{Fault, Source};

/// Row of `meta`: index of the last entry in the database.
pub(crate) const CONSISTENT_INDEX: &[u8] = b"consistent_index";
/// Row of `meta`: term of that entry.
pub(crate) const TERM: &[u8] = b"term";
/// Row of `meta`: raft's configuration, written for Go.
pub(crate) const CONF_STATE: &[u8] = b"confState";
/// Row of `meta`: present since etcd 3.6.
pub(crate) const STORAGE_VERSION: &[u8] = b"storageVersion";
/// The one row of `etchV2Meta`.
pub(crate) const V2_POSITION: &[u8] = b"position";

/// Format number of the position row and of the v2 rows.
const FORMAT: u8 = 1;
const V2_POSITION_LEN: usize = 33;

/// Up to where the rows of the v2 tree are right, and for which cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct V2Position {
    pub(crate) cluster_id: ClusterId,
    pub(crate) index: LogIndex,
    pub(crate) term: Term,
    pub(crate) v2_index: u64,
}

impl V2Position {
    /// The row, as docs/format/engine-rows.md lays it out.
    pub(crate) fn to_op(self) -> Op {
        let mut row = Vec::with_capacity(V2_POSITION_LEN);
        row.push(FORMAT);
        for field in [self.cluster_id.0, self.index.0, self.term.0, self.v2_index] {
            row.extend_from_slice(&field.to_be_bytes());
        }
        Op::put(Bucket::V2Meta, V2_POSITION, row)
    }

    /// Reads the row; `None` for anything that this version did not write.
    pub(crate) fn parse(row: &[u8]) -> Option<Self> {
        if row.len() != V2_POSITION_LEN || row[0] != FORMAT {
            return None;
        }
        let field = |at: usize| read_u64(row.get(at..at + 8)?);
        Some(Self {
            cluster_id: ClusterId(field(1)?),
            index: LogIndex(field(9)?),
            term: Term(field(17)?),
            v2_index: field(25)?,
        })
    }
}

/// The rows that go with every commit, for Go and for us.
pub(crate) fn meta_ops(index: LogIndex, term: Term, v2: V2Position) -> Vec<Op> {
    vec![
        v2.to_op(),
        Op::put(Bucket::Meta, CONSISTENT_INDEX, index.0.to_be_bytes().to_vec()),
        Op::put(Bucket::Meta, TERM, term.0.to_be_bytes().to_vec()),
    ]
}

/// Reads a big endian number row of a bucket; `None` when the row is missing.
pub(crate) fn read_number(
    source: &dyn Source,
    bucket: Bucket,
    key: &'static [u8],
) -> Result<Option<u64>, Fault> {
    let Some(row) = source.get(bucket, key)? else { return Ok(None) };
    match read_u64(&row) {
        Some(number) => Ok(Some(number)),
        None => Err(bad_row(bucket, key, format!("{} bytes where 8 belong", row.len()))),
    }
}

/// The fault for a row that cannot be understood.
pub(crate) fn bad_row(bucket: Bucket, key: &[u8], reason: impl Into<String>) -> Fault {
    Fault::BadRow {
        bucket: std::str::from_utf8(bucket.name()).unwrap_or("?"),
        key: key.escape_ascii().to_string(),
        reason: reason.into(),
    }
}

fn read_u64(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// A lease's row key.
pub(crate) fn lease_key(id: i64) -> Bytes {
    Bytes::copy_from_slice(&id.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSITION: V2Position = V2Position {
        cluster_id: ClusterId(0x42e2_4fa6_5c5a_7c6d),
        index: LogIndex(258),
        term: Term(3),
        v2_index: 7,
    };

    #[test]
    fn v2_position_golden_bytes() {
        let op = POSITION.to_op();
        let mut expected = vec![1, 0x42, 0xe2, 0x4f, 0xa6, 0x5c, 0x5a, 0x7c, 0x6d];
        expected.extend([0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 3]);
        expected.extend([0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(op, Op::put(Bucket::V2Meta, &b"position"[..], expected.clone()));
        assert_eq!(V2Position::parse(&expected), Some(POSITION));
    }

    #[test]
    fn v2_position_refuses_what_it_did_not_write() {
        let row = POSITION.to_op().value.unwrap();
        let mut other_format = row.to_vec();
        other_format[0] = 2;
        for bad in [&b""[..], &row[..32], &other_format, &[row.as_ref(), b"x"].concat()] {
            assert_eq!(V2Position::parse(bad), None, "{bad:?}");
        }
    }
}
