//! Ranges of user keys in etcd's notation.

use bytes::Bytes;

/// A half-open interval of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyRange {
    /// Exactly one key (`range_end` empty).
    One(Bytes),
    /// `start <= key < end`; empty when `end <= start`.
    Interval(Bytes, Bytes),
    /// All keys at or behind `start` (`range_end` is one zero byte).
    From(Bytes),
}

impl KeyRange {
    /// The range that a request names by `key` and `range_end`.
    #[must_use]
    pub fn from_request(key: Bytes, range_end: Bytes) -> Self {
        if range_end.is_empty() {
            Self::One(key)
        } else if range_end.as_ref() == [0] {
            Self::From(key)
        } else {
            Self::Interval(key, range_end)
        }
    }

    /// Whether `key` lies in the range.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        match self {
            Self::One(one) => one.as_ref() == key,
            Self::Interval(start, end) => start.as_ref() <= key && key < end.as_ref(),
            Self::From(start) => start.as_ref() <= key,
        }
    }

    /// The first key that can lie in the range.
    #[must_use]
    pub fn start(&self) -> &Bytes {
        match self {
            Self::One(start) | Self::Interval(start, _) | Self::From(start) => start,
        }
    }
}
