//! Identities of members and clusters, derived from peer URLs (peer-protocol.md 12.1).

use sha1::{Digest, Sha1};
use types::{ClusterId, NodeId};

/// The ID of a member: SHA-1 over its sorted peer URLs, the cluster token and, for a member that
/// is added at run time, the time of adding in unix seconds. Run-time adds use an empty token.
#[must_use]
pub fn member_id(peer_urls: &[String], token: &str, unix_seconds: Option<i64>) -> NodeId {
    let mut sorted: Vec<&str> = peer_urls.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    let mut hash = Sha1::new();
    for url in sorted {
        hash.update(url);
    }
    hash.update(token);
    if let Some(seconds) = unix_seconds {
        hash.update(seconds.to_string());
    }
    NodeId(leading_u64(hash))
}

/// The ID of a cluster: SHA-1 over the IDs of its first members in ascending order.
#[must_use]
pub fn cluster_id(members: &[NodeId]) -> ClusterId {
    let mut sorted = members.to_vec();
    sorted.sort_unstable();
    let mut hash = Sha1::new();
    for id in sorted {
        hash.update(id.0.to_be_bytes());
    }
    ClusterId(leading_u64(hash))
}

fn leading_u64(hash: Sha1) -> u64 {
    let digest = hash.finalize();
    digest.iter().take(8).fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_of(url: &str, token: &str) -> NodeId {
        member_id(&[url.to_owned()], token, None)
    }

    #[test]
    fn ids_equal_those_of_real_clusters() {
        let members = [
            ("http://127.0.0.1:13211", 0xad3c_d5bb_ed8f_0325),
            ("http://127.0.0.1:13212", 0xb479_028c_0ea1_6059),
            ("http://127.0.0.1:13213", 0x7f5a_6b83_b17f_c714),
        ];
        let mut ids = Vec::new();
        for (url, expected) in members {
            assert_eq!(id_of(url, "tok"), NodeId(expected), "{url}");
            ids.push(NodeId(expected));
        }
        assert_eq!(cluster_id(&ids), ClusterId(0x42e2_4fa6_5c5a_7c6d));

        let default = id_of("http://localhost:2380", "etcd-cluster");
        assert_eq!(default.to_string(), "8e9e05c52164694d");
        assert_eq!(cluster_id(&[default]).to_string(), "cdf818194e3a8c32");
    }

    #[test]
    fn order_of_urls_is_immaterial_and_time_is_not() {
        let (a, b) = ("http://a:1".to_owned(), "http://b:1".to_owned());
        let forward = member_id(&[a.clone(), b.clone()], "", Some(7));
        assert_eq!(forward, member_id(&[b.clone(), a.clone()], "", Some(7)));
        assert_ne!(forward, member_id(&[a.clone(), b.clone()], "", Some(8)));
        assert_ne!(forward, member_id(&[a, b], "", None));
    }
}
