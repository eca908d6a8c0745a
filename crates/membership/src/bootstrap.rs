//! The first members of a cluster, from `--initial-cluster` (peer-protocol.md 12.2).

use std::collections::BTreeMap;

use types::{ClusterId, NodeId};

use crate::{Member, ids};

/// A map of names to URLs that cannot be the start of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootstrapError {
    /// Two names lead to the same ID, that is, have the same URLs.
    #[error("member exists with identical ID {0}")]
    IdenticalId(NodeId),
    /// The hash came out as the one value that means "none".
    #[error("cannot use 0 as member id")]
    ZeroId,
}

/// Members (ascending by ID) and cluster ID that `--initial-cluster` and its token define. Every
/// member computes the same ones.
///
/// # Errors
/// Two entries have the same URLs.
pub fn initial_members(
    initial_cluster: &BTreeMap<String, Vec<String>>,
    token: &str,
) -> Result<(Vec<Member>, ClusterId), BootstrapError> {
    let mut members = BTreeMap::new();
    for (name, urls) in initial_cluster {
        let mut peer_urls = urls.clone();
        peer_urls.sort_unstable();
        let id = ids::member_id(&peer_urls, token, None);
        if id == NodeId(0) {
            return Err(BootstrapError::ZeroId);
        }
        let member = Member { id, peer_urls, name: name.clone(), ..Member::default() };
        if members.insert(id, member).is_some() {
            return Err(BootstrapError::IdenticalId(id));
        }
    }
    let all: Vec<NodeId> = members.keys().copied().collect();
    Ok((members.into_values().collect(), ids::cluster_id(&all)))
}

/// A member to be added to a running cluster; `None` when the hash is 0 and a later second must
/// be tried.
#[must_use]
pub fn joining_member(peer_urls: &[String], is_learner: bool, unix_seconds: i64) -> Option<Member> {
    let mut peer_urls = peer_urls.to_vec();
    peer_urls.sort_unstable();
    let id = ids::member_id(&peer_urls, "", Some(unix_seconds));
    (id != NodeId(0)).then(|| Member { id, peer_urls, is_learner, ..Member::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(entries: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
        let urls = |list: &[&str]| list.iter().map(|url| (*url).to_owned()).collect();
        entries.iter().map(|(name, list)| ((*name).to_owned(), urls(list))).collect()
    }

    #[test]
    fn real_cluster_is_reproduced() {
        let map = cluster(&[
            ("m1", &["http://127.0.0.1:13211"]),
            ("m2", &["http://127.0.0.1:13212"]),
            ("m3", &["http://127.0.0.1:13213"]),
        ]);
        let (members, id) = initial_members(&map, "tok").unwrap();
        assert_eq!(id.to_string(), "42e24fa65c5a7c6d");
        let listed: Vec<_> = members.iter().map(|m| (m.id.to_string(), &*m.name)).collect();
        let expected = [
            ("7f5a6b83b17fc714".to_owned(), "m3"),
            ("ad3cd5bbed8f0325".to_owned(), "m1"),
            ("b479028c0ea16059".to_owned(), "m2"),
        ];
        assert_eq!(listed, expected);
    }

    #[test]
    fn equal_urls_are_refused_in_any_order() {
        let map =
            cluster(&[("a", &["http://h:1", "http://h:2"]), ("b", &["http://h:2", "http://h:1"])]);
        assert!(matches!(initial_members(&map, "t"), Err(BootstrapError::IdenticalId(_))));
    }

    #[test]
    fn joining_member_sorts_its_urls() {
        let urls = ["http://b:1".to_owned(), "http://a:1".to_owned()];
        let member = joining_member(&urls, true, 5).unwrap();
        assert_eq!(member.peer_urls, ["http://a:1", "http://b:1"]);
        assert!(member.is_learner && !member.is_started());
    }
}
