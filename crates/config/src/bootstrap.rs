//! The rules for a member without a log: what `--initial-cluster` must say about it.
//!
//! Owns:       the syntax of the map and the checks that need no other member.
//! Never:      asking other members; resolving names but through the caller's closure.
//! Source:     reference/server-config.md 8; texts of 3.5.1.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use crate::settings::{ClusterState, Config};
use crate::url::{EndpointUrl, UrlError, join};

/// Members of `--initial-cluster` by name, each with its peer URLs sorted by text.
pub type InitialCluster = Vec<(String, Vec<EndpointUrl>)>;

/// Resolves a host and port to addresses; see [`system_resolver`].
pub type Resolve<'a> = &'a mut dyn FnMut(&str, u16) -> io::Result<Vec<SocketAddr>>;

/// How long etcd tries to resolve names before it gives up.
pub const RESOLVE_TIMEOUT: Duration = Duration::from_secs(30);
const RESOLVE_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Why a member without a log cannot start. etcd logs these as `discovery failed` and exits with 1.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootstrapError {
    /// The map does not parse.
    #[error("error setting up initial cluster: {0}")]
    Map(UrlError),
    /// The map names a peer that TLS is needed for.
    #[error(
        "TLS ({0} in --initial-cluster) is not supported by this version of etch yet; use http:// or unix:// URLs"
    )]
    Tls(EndpointUrl),
    /// The map does not name this member.
    #[error("couldn't find local name {0:?} in the initial cluster configuration")]
    NameMissing(String),
    /// The map gives this member a URL that it does not advertise.
    #[error(
        "--initial-cluster has {missing} but missing from --initial-advertise-peer-urls={advertised} ({reason})"
    )]
    NotAdvertised {
        /// What the map has, as `name=url`.
        missing: String,
        /// What the flag has.
        advertised: String,
        /// How the lists differ.
        reason: String,
    },
    /// This member advertises a URL that the map does not give it.
    #[error(
        "--initial-advertise-peer-urls has {missing} but missing from --initial-cluster={expected}"
    )]
    NotInCluster {
        /// What the flag has.
        missing: String,
        /// What the map should say about this member.
        expected: String,
    },
    /// Equal sets of texts, but the lists differ.
    #[error("failed to resolve {advertised} to match --initial-cluster={expected} ({reason})")]
    Unresolved {
        /// What the flag has.
        advertised: String,
        /// What the map should say about this member.
        expected: String,
        /// How the lists differ.
        reason: String,
    },
    /// Two members, or one twice, under one URL.
    #[error("initial cluster {0} has duplicate url")]
    Duplicate(String),
    /// No members at all.
    #[error("initial cluster unset and no discovery URL found")]
    Unset,
}

/// Parses `name=url,name=url,...`; a repeated name has several URLs.
///
/// # Errors
/// The first bad URL; a word without `=` counts as a name with an empty URL, as in etcd.
pub fn parse_initial_cluster(text: &str) -> Result<InitialCluster, UrlError> {
    let mut members: BTreeMap<&str, Vec<EndpointUrl>> = BTreeMap::new();
    for pair in text.split(',').filter(|pair| !pair.is_empty()) {
        let (name, url) = pair.split_once('=').unwrap_or((pair, ""));
        members.entry(name).or_default().push(EndpointUrl::parse(url)?);
    }
    let sorted = |(name, mut urls): (&str, Vec<EndpointUrl>)| {
        urls.sort();
        (name.to_owned(), urls)
    };
    Ok(members.into_iter().map(sorted).collect())
}

/// Spells a map as etcd does: sorted pairs.
#[must_use]
pub fn spell(cluster: &InitialCluster) -> String {
    let mut pairs: Vec<String> = cluster
        .iter()
        .flat_map(|(name, urls)| urls.iter().map(move |url| format!("{name}={url}")))
        .collect();
    pairs.sort();
    pairs.join(",")
}

/// Parses and checks the map of a member that has no log yet. Joining a running cluster
/// (`--initial-cluster-state=existing`) needs less: the URLs are matched against the cluster's own.
///
/// # Errors
/// [`BootstrapError`] with etcd's text, checks in etcd's order.
pub fn verify(config: &Config, resolve: Resolve<'_>) -> Result<InitialCluster, BootstrapError> {
    let cluster = parse_initial_cluster(&config.initial_cluster).map_err(BootstrapError::Map)?;
    if let Some(url) = cluster.iter().flat_map(|(_, urls)| urls).find(|u| u.scheme().is_tls()) {
        return Err(BootstrapError::Tls(url.clone()));
    }
    let Some((_, own)) = cluster.iter().find(|(name, _)| *name == config.name) else {
        return Err(BootstrapError::NameMissing(config.name.clone()));
    };
    if config.initial_cluster_state == ClusterState::New {
        advertised_match_cluster(config, own, resolve)?;
    }
    let mut seen = BTreeSet::new();
    if !cluster.iter().flat_map(|(_, urls)| urls).all(|url| seen.insert(url.as_str())) {
        return Err(BootstrapError::Duplicate(spell(&cluster)));
    }
    if cluster.is_empty() {
        return Err(BootstrapError::Unset);
    }
    Ok(cluster)
}

fn advertised_match_cluster(
    config: &Config,
    own: &[EndpointUrl],
    resolve: Resolve<'_>,
) -> Result<(), BootstrapError> {
    let advertised = &config.initial_advertise_peer_urls;
    let Err(reason) = urls_match(advertised, own, resolve) else { return Ok(()) };
    let missing: Vec<String> = own
        .iter()
        .filter(|url| !advertised.contains(url))
        .map(|url| format!("{}={url}", config.name))
        .collect();
    if !missing.is_empty() {
        let missing = missing.join(",");
        return Err(BootstrapError::NotAdvertised {
            missing,
            advertised: join(advertised),
            reason,
        });
    }
    let expected = spell(&vec![(config.name.clone(), advertised.clone())]);
    let missing: Vec<EndpointUrl> =
        advertised.iter().filter(|url| !own.contains(url)).cloned().collect();
    if !missing.is_empty() {
        return Err(BootstrapError::NotInCluster { missing: join(&missing), expected });
    }
    Err(BootstrapError::Unresolved { advertised: join(advertised), expected, reason })
}

/// Compares two URL lists, first as texts and, where those differ, with names resolved. `localhost`
/// and unix sockets are never resolved, as in etcd.
///
/// # Errors
/// How the lists differ, or why a name could not be resolved.
pub fn urls_match(
    left: &[EndpointUrl],
    right: &[EndpointUrl],
    resolve: Resolve<'_>,
) -> Result<(), String> {
    let mut left = left.to_vec();
    let mut right = right.to_vec();
    left.sort();
    right.sort();
    if left.len() != right.len() {
        return Err(format!("len({}) != len({})", quoted(&left), quoted(&right)));
    }
    if left == right {
        return Ok(());
    }
    let left = resolved(&left, resolve)?;
    let right = resolved(&right, resolve)?;
    match left.iter().zip(&right).find(|((a, _), (b, _))| a != b) {
        None => Ok(()),
        Some(((a, from_a), (b, from_b))) => {
            Err(format!("{a:?}(resolved from {from_a:?}) != {b:?}(resolved from {from_b:?})"))
        }
    }
}

/// Texts with addresses in place of names, sorted, each with the text it came from.
fn resolved(urls: &[EndpointUrl], resolve: Resolve<'_>) -> Result<Vec<(String, String)>, String> {
    let mut texts = Vec::with_capacity(urls.len());
    for url in urls {
        let is_name = !url.scheme().is_unix() && url.host() != "localhost";
        let text = if is_name {
            let address = address_of(url, resolve)?;
            format!("{}://{address}", url.scheme().as_str())
        } else {
            url.as_str().to_owned()
        };
        texts.push((text, url.as_str().to_owned()));
    }
    texts.sort();
    Ok(texts)
}

/// The first IPv4 address, else the first of any kind: Go's preference.
fn address_of(url: &EndpointUrl, resolve: Resolve<'_>) -> Result<SocketAddr, String> {
    let fail = |reason: String| format!("failed to resolve {:?} ({reason})", url.as_str());
    let addresses = resolve(url.host(), url.port()).map_err(|error| fail(error.to_string()))?;
    let preferred = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
    preferred.copied().ok_or_else(|| fail("no address".to_owned()))
}

fn quoted(urls: &[EndpointUrl]) -> String {
    let texts: Vec<String> = urls.iter().map(|url| format!("{:?}", url.as_str())).collect();
    format!("[{}]", texts.join(" "))
}

/// A resolver that asks the system, and again every second until `timeout` has passed since its
/// making. It blocks; names often appear only after a container's start, hence the patience.
pub fn system_resolver(timeout: Duration) -> impl FnMut(&str, u16) -> io::Result<Vec<SocketAddr>> {
    let deadline = Instant::now() + timeout;
    move |host, port| {
        loop {
            match (host, port).to_socket_addrs() {
                Ok(addresses) => return Ok(addresses.collect()),
                Err(error) if Instant::now() + RESOLVE_RETRY_INTERVAL >= deadline => {
                    return Err(error);
                }
                Err(_) => std::thread::sleep(RESOLVE_RETRY_INTERVAL),
            }
        }
    }
}

#[cfg(test)]
mod tests;
