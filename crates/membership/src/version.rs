//! The version that all members of a cluster speak (peer-protocol.md 13).

use std::fmt;

/// A cluster version; the patch level is always 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClusterVersion {
    /// First number.
    pub major: u16,
    /// Second number.
    pub minor: u16,
}

impl ClusterVersion {
    /// A version from its two numbers.
    #[must_use]
    pub fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }

    /// Reads `major.minor.patch` with an optional `-pre` or `+build` behind it; the patch level
    /// does not count for a cluster. `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let core = text.split(['-', '+']).next()?;
        let mut parts = core.split('.');
        let (major, minor, patch) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        number(patch)?;
        Some(Self { major: number(major)?, minor: number(minor)? })
    }
}

fn number(digits: &str) -> Option<u16> {
    // `parse` alone would take a leading plus sign.
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

impl fmt::Display for ClusterVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.0", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_parse_and_print() {
        let cases = [
            ("3.4.0", Some((3, 4))),
            ("3.5.12", Some((3, 5))),
            ("3.6.0-rc.1", Some((3, 6))),
            ("3.6.0+git", Some((3, 6))),
            ("3.4", None),
            ("3.4.0.1", None),
            ("", None),
            ("a.b.c", None),
            ("+3.4.0", None),
            ("3..0", None),
            ("99999.0.0", None),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|(major, minor)| ClusterVersion::new(major, minor));
            assert_eq!(ClusterVersion::parse(text), expected, "{text:?}");
        }
        assert_eq!(ClusterVersion::new(3, 4).to_string(), "3.4.0");
        assert!(ClusterVersion::new(3, 10) > ClusterVersion::new(3, 9));
    }
}
