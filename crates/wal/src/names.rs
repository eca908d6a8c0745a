//! Names of segments and snapshot files: two numbers of 16 hex digits.

/// Ending of segments.
pub(crate) const SEGMENT_SUFFIX: &str = ".wal";

/// Ending of raft snapshots.
pub(crate) const SNAP_SUFFIX: &str = ".snap";

/// Ending of databases received with a snapshot.
pub(crate) const SNAP_DB_SUFFIX: &str = ".snap.db";

/// Name of a segment: its sequence number and the index of the first entry in it.
pub(crate) fn segment(sequence: u64, index: u64) -> String {
    format!("{sequence:016x}-{index:016x}{SEGMENT_SUFFIX}")
}

/// Sequence number and first index of a segment; `None` for any other name.
pub(crate) fn parse_segment(name: &str) -> Option<(u64, u64)> {
    parse_pair(name.strip_suffix(SEGMENT_SUFFIX)?)
}

/// Name of a raft snapshot. The term comes first, so names sort by age.
pub(crate) fn snap(term: u64, index: u64) -> String {
    format!("{term:016x}-{index:016x}{SNAP_SUFFIX}")
}

/// Index of a raft snapshot; `None` for any other name.
pub(crate) fn parse_snap(name: &str) -> Option<u64> {
    parse_pair(name.strip_suffix(SNAP_SUFFIX)?).map(|(_, index)| index)
}

/// Name of the database that belongs to a snapshot.
pub(crate) fn snap_db(index: u64) -> String {
    format!("{index:016x}{SNAP_DB_SUFFIX}")
}

/// Index of the snapshot that a database belongs to; `None` for any other name.
pub(crate) fn parse_snap_db(name: &str) -> Option<u64> {
    parse_hex(name.strip_suffix(SNAP_DB_SUFFIX)?)
}

fn parse_pair(stem: &str) -> Option<(u64, u64)> {
    let (left, right) = stem.split_once('-')?;
    Some((parse_hex(left)?, parse_hex(right)?))
}

fn parse_hex(text: &str) -> Option<u64> {
    let is_hex = text.len() == 16 && text.bytes().all(|c| c.is_ascii_hexdigit());
    if is_hex { u64::from_str_radix(text, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_etcds() {
        assert_eq!(segment(1, 0x2711), "0000000000000001-0000000000002711.wal");
        assert_eq!(parse_segment("0000000000000001-0000000000002711.wal"), Some((1, 0x2711)));
        assert_eq!(snap(2, 51), "0000000000000002-0000000000000033.snap");
        assert_eq!(parse_snap("0000000000000002-0000000000000033.snap"), Some(51));
        assert_eq!(parse_snap("0000000000000033.snap"), None);
        assert_eq!(snap_db(51), "0000000000000033.snap.db");
        assert_eq!(parse_snap_db("0000000000000033.snap.db"), Some(51));
    }

    #[test]
    fn other_names_are_none() {
        let names = [
            "0.tmp",
            "0000000000000001-0000000000002711.wal.broken",
            "1-2.wal",
            "+000000000000001-0000000000002711.wal",
            "00000000000000010000000000002711.wal",
            "0000000000000001-0000000000002711.snap",
            "\u{e9}00000000000001-0000000000002711.wal",
        ];
        for name in names {
            assert_eq!(parse_segment(name), None, "{name}");
        }
        assert_eq!(parse_snap_db("0000000000000002-0000000000000033.snap.db"), None);
    }
}
