//! Revision keys: the 17 or 18 byte keys of the `key` bucket.

/// Length in bytes of the key of a live revision.
const LIVE_LEN: usize = 17;
/// Length in bytes of the key of a tombstone.
const TOMBSTONE_LEN: usize = 18;

/// One change of one key: `main` is the store revision, `sub` the position inside its transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RevKey {
    /// Store revision, at least 1.
    pub main: i64,
    /// Position of the change inside its transaction, from 0.
    pub sub: i64,
}

impl RevKey {
    /// A revision key from its two parts.
    #[must_use]
    pub fn new(main: i64, sub: i64) -> Self {
        Self { main, sub }
    }

    /// The bytes of a live revision: main, `_`, sub, both big endian (disk-formats.md 7).
    #[must_use]
    pub fn to_live(self) -> [u8; LIVE_LEN] {
        let mut out = [0; LIVE_LEN];
        out[..8].copy_from_slice(&self.main.to_be_bytes());
        out[8] = b'_';
        out[9..].copy_from_slice(&self.sub.to_be_bytes());
        out
    }

    /// The bytes of a tombstone: as a live revision with a trailing `t`.
    #[must_use]
    pub fn to_tombstone(self) -> [u8; TOMBSTONE_LEN] {
        let mut out = [b't'; TOMBSTONE_LEN];
        out[..LIVE_LEN].copy_from_slice(&self.to_live());
        out
    }

    /// Parses a key of the `key` bucket; the flag tells a tombstone. `None` for anything malformed.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<(Self, bool)> {
        let tombstone = match bytes.len() {
            LIVE_LEN => false,
            TOMBSTONE_LEN if bytes[LIVE_LEN] == b't' => true,
            _ => return None,
        };
        if bytes[8] != b'_' {
            return None;
        }
        let main = i64::from_be_bytes(bytes[..8].try_into().ok()?);
        let sub = i64::from_be_bytes(bytes[9..LIVE_LEN].try_into().ok()?);
        (main >= 0 && sub >= 0).then_some((Self { main, sub }, tombstone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_inverts_encoding() {
        let revision = RevKey::new(2, 7);
        assert_eq!(RevKey::parse(&revision.to_live()), Some((revision, false)));
        assert_eq!(RevKey::parse(&revision.to_tombstone()), Some((revision, true)));
    }

    #[test]
    fn parse_refuses_malformed_keys() {
        let mut wrong_separator = RevKey::new(1, 0).to_live();
        wrong_separator[8] = b'-';
        let negative = RevKey::new(-1, 0).to_live();
        for bytes in [&b""[..], &[0; 16], &[0; 19], &wrong_separator, &negative] {
            assert_eq!(RevKey::parse(bytes), None, "{bytes:?}");
        }
    }
}
