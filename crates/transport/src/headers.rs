//! Headers of raft requests: what goes out, and the checks on what comes in.
//!
//! Source: peer-protocol.md 3.

use http::{HeaderMap, HeaderName, HeaderValue};
use types::{ClusterId, NodeId};

use crate::api::Options;

pub(crate) const SERVER_FROM: HeaderName = HeaderName::from_static("x-server-from");
pub(crate) const SERVER_VERSION: HeaderName = HeaderName::from_static("x-server-version");
pub(crate) const MIN_CLUSTER_VERSION: HeaderName = HeaderName::from_static("x-min-cluster-version");
pub(crate) const CLUSTER_ID: HeaderName = HeaderName::from_static("x-etcd-cluster-id");
pub(crate) const PEER_URLS: HeaderName = HeaderName::from_static("x-peerurls");
pub(crate) const RAFT_TO: HeaderName = HeaderName::from_static("x-raft-to");

pub(crate) const INCOMPATIBLE_VERSION: &str = "incompatible version";
pub(crate) const CLUSTER_ID_MISMATCH: &str = "cluster ID mismatch";

/// What every release from 3.0 on says.
const LOCAL_MIN_CLUSTER_VERSION: &str = "3.0.0";
const VERSION_WHEN_ABSENT: &str = "2.0.0";

/// Value for text that this member was configured with.
pub(crate) fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

/// Headers of every raft request.
pub(crate) fn request_headers(options: &Options) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(SERVER_FROM, value(&options.local_id.to_string()));
    headers.insert(SERVER_VERSION, value(&options.version));
    headers.insert(MIN_CLUSTER_VERSION, HeaderValue::from_static(LOCAL_MIN_CLUSTER_VERSION));
    headers.insert(CLUSTER_ID, value(&options.cluster_id.to_string()));
    headers.insert(PEER_URLS, value(&options.local_peer_urls.join(",")));
    headers
}

/// Text of a header; empty when absent or not text, as Go's `Header.Get` has it.
pub(crate) fn text(headers: &HeaderMap, name: &HeaderName) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// Member named by a header or path element, in hex.
pub(crate) fn parse_id(text: &str) -> Option<NodeId> {
    // `from_str_radix` takes a sign, Go does not.
    let hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    hex.then(|| u64::from_str_radix(text, 16).ok().map(NodeId)).flatten()
}

/// Major and minor part of a semantic version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MajorMinor(u64, u64);

impl MajorMinor {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let release = text.split(['-', '+']).next().unwrap_or_default();
        let mut parts = release.split('.').map(|part| {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| part.parse::<u64>().ok()).flatten()
        });
        let (major, minor, _patch) = (parts.next()??, parts.next()??, parts.next()??);
        parts.next().is_none().then_some(Self(major, minor))
    }

    fn of_header(headers: &HeaderMap, name: &HeaderName) -> Option<Self> {
        let text = text(headers, name);
        Self::parse(if text.is_empty() { VERSION_WHEN_ABSENT } else { &text })
    }

    /// Whether a peer of this version that is older than `local` serves streams: the versions that
    /// etcd's own table lists.
    pub(crate) fn supports_streams(self, local: Self) -> bool {
        let listed = matches!(self, Self(2, 1..=3) | Self(3, 0..=7));
        self >= local || listed
    }
}

/// Version of the answering member, as a stream dialler reads it.
pub(crate) fn peer_version(headers: &HeaderMap) -> Option<MajorMinor> {
    MajorMinor::of_header(headers, &SERVER_VERSION)
}

/// Checks version and cluster of a request, in etcd's order; the error is the body of a 412.
pub(crate) fn check_compatible(
    headers: &HeaderMap,
    local_version: &str,
    cluster_id: ClusterId,
) -> Result<(), &'static str> {
    let local = MajorMinor::parse(local_version).ok_or(INCOMPATIBLE_VERSION)?;
    // Go panics on a version that is none; here it is just not compatible.
    let server = MajorMinor::of_header(headers, &SERVER_VERSION).ok_or(INCOMPATIBLE_VERSION)?;
    let min = MajorMinor::of_header(headers, &MIN_CLUSTER_VERSION).ok_or(INCOMPATIBLE_VERSION)?;
    if server < MajorMinor(3, 0) || min > local {
        return Err(INCOMPATIBLE_VERSION);
    }
    if text(headers, &CLUSTER_ID) != cluster_id.to_string() {
        return Err(CLUSTER_ID_MISMATCH);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (text, parsed) in [
            ("3.5.1", Some(MajorMinor(3, 5))),
            ("3.6.0-alpha.0+git", Some(MajorMinor(3, 6))),
            ("3.5", None),
            ("3.5.1.1", None),
            ("+3.5.1", None),
            ("", None),
        ] {
            assert_eq!(MajorMinor::parse(text), parsed, "{text:?}");
        }
        let local = MajorMinor(3, 5);
        for (version, supported) in [((2, 0), false), ((2, 3), true), ((3, 9), true)] {
            assert_eq!(MajorMinor(version.0, version.1).supports_streams(local), supported);
        }
    }

    #[test]
    fn compatibility_table() {
        let check = |server: &str, min: &str, cluster: &str| {
            let mut headers = HeaderMap::new();
            for (name, text) in
                [(SERVER_VERSION, server), (MIN_CLUSTER_VERSION, min), (CLUSTER_ID, cluster)]
            {
                if !text.is_empty() {
                    headers.insert(name, value(text));
                }
            }
            check_compatible(&headers, "3.5.12", ClusterId(0xabc))
        };
        assert_eq!(check("3.5.1", "3.0.0", "abc"), Ok(()));
        assert_eq!(check("3.7.1", "3.0.0", "abc"), Ok(()));
        assert_eq!(check("3.4.23", "", "abc"), Ok(()));
        assert_eq!(check("", "3.0.0", "abc"), Err(INCOMPATIBLE_VERSION));
        assert_eq!(check("2.3.8", "2.1.0", "abc"), Err(INCOMPATIBLE_VERSION));
        assert_eq!(check("3.6.0", "3.6.0", "abc"), Err(INCOMPATIBLE_VERSION));
        assert_eq!(check("x", "3.0.0", "abc"), Err(INCOMPATIBLE_VERSION));
        assert_eq!(check("3.5.1", "3.0.0", "abd"), Err(CLUSTER_ID_MISMATCH));
        assert_eq!(check("3.5.1", "3.0.0", ""), Err(CLUSTER_ID_MISMATCH));
    }

    #[test]
    fn ids() {
        assert_eq!(parse_id("8e9e05c52164694d"), Some(NodeId(0x8e9e_05c5_2164_694d)));
        assert_eq!(parse_id("FF"), Some(NodeId(0xff)));
        for bad in ["", "+1", "xyz", "11111111111111111"] {
            assert_eq!(parse_id(bad), None, "{bad:?}");
        }
    }
}
