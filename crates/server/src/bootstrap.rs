//! What an empty member learns from its flags and from the others before it founds its log.

use std::collections::BTreeMap;
use std::time::Duration;

use config::bootstrap::{InitialCluster, system_resolver, urls_match, verify};
use config::{ClusterState, Config, EndpointUrl};
use membership::{ClusterVersion, Member};
use node::boot::Founding;
use transport::client::{get_members, get_version};
use types::NodeId;

use crate::error::StartError;

/// How long names of the initial cluster may take to resolve.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long another founding member may take to say that it knows this one.
const ALREADY_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a member of a running cluster may take to list the members.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);
/// The oldest cluster that can be joined.
const OLDEST: ClusterVersion = ClusterVersion { major: 3, minor: 0 };

/// The founding of a log, and the members that the transport starts with.
pub(crate) struct Plan {
    pub(crate) founding: Founding,
    pub(crate) peers: Vec<Member>,
}

/// Prepares the founding of a member without a log.
pub(crate) async fn plan(config: &Config, newest: ClusterVersion) -> Result<Plan, StartError> {
    let for_checks = config.clone();
    let checked = tokio::task::spawn_blocking(move || {
        verify(&for_checks, &mut system_resolver(RESOLVE_TIMEOUT))
    });
    let cluster = checked.await.map_err(|_| StartError::NoClusterInfo)??;
    match config.initial_cluster_state {
        ClusterState::New => found(config, &cluster).await,
        ClusterState::Existing => join(config, &cluster, newest).await,
    }
}

async fn found(config: &Config, cluster: &InitialCluster) -> Result<Plan, StartError> {
    let named: BTreeMap<String, Vec<String>> =
        cluster.iter().map(|(name, urls)| (name.clone(), texts(urls))).collect();
    let (members, cluster_id) =
        membership::bootstrap::initial_members(&named, &config.initial_cluster_token)?;
    let local = members.iter().find(|member| member.name == config.name);
    let local = local.map_or(NodeId(0), |member| member.id);
    let others = members.iter().filter(|member| member.id != local);
    let urls: Vec<String> = others.flat_map(|member| member.peer_urls.clone()).collect();
    if let Ok((_, known)) = get_members(&urls, ALREADY_TIMEOUT).await
        && known.iter().any(|member| member.id == local && !member.client_urls.is_empty())
    {
        return Err(StartError::AlreadyBootstrapped(local));
    }
    let founding = Founding { local, cluster_id, members: members.clone() };
    Ok(Plan { founding, peers: members })
}

async fn join(
    config: &Config,
    cluster: &InitialCluster,
    newest: ClusterVersion,
) -> Result<Plan, StartError> {
    let others = cluster.iter().filter(|(name, _)| *name != config.name);
    let mut urls: Vec<String> = others.flat_map(|(_, urls)| texts(urls)).collect();
    urls.sort();
    let (cluster_id, members) =
        get_members(&urls, JOIN_TIMEOUT).await.map_err(|_| StartError::NoClusterInfo)?;
    let for_match = (cluster.clone(), members.clone(), config.name.clone());
    let matched = tokio::task::spawn_blocking(move || {
        let (cluster, members, name) = for_match;
        match_members(&cluster, &members, &name)
    });
    let local = matched.await.map_err(|_| StartError::NoClusterInfo)??;
    if members.iter().any(|member| member.id == local && !member.client_urls.is_empty()) {
        return Err(StartError::AlreadyBootstrapped(local));
    }
    check_versions(&members, local, newest).await?;
    let founding = Founding { local, cluster_id, members: Vec::new() };
    Ok(Plan { founding, peers: members })
}

/// Pairs each entry of the flags with a member of the cluster by its peer URLs, and finds the ID
/// that the cluster gave to this member.
fn match_members(
    cluster: &InitialCluster,
    members: &[Member],
    name: &str,
) -> Result<NodeId, StartError> {
    let failed = |reason: String| StartError::PeerUrls { found: describe(members), reason };
    if cluster.len() != members.len() {
        return Err(failed("member count is unequal".to_owned()));
    }
    let mut resolve = system_resolver(RESOLVE_TIMEOUT);
    let mut left: Vec<&Member> = members.iter().collect();
    let mut local = None;
    for (entry, urls) in cluster {
        let position = left.iter().position(|member| {
            let theirs: Result<Vec<EndpointUrl>, _> =
                member.peer_urls.iter().map(|url| EndpointUrl::parse(url)).collect();
            theirs.is_ok_and(|theirs| urls_match(&theirs, urls, &mut resolve).is_ok())
        });
        let Some(position) = position else {
            let urls = texts(urls).join(",");
            let reason = format!("PeerURLs: no match found for existing member ({entry}={urls})");
            return Err(failed(reason));
        };
        let member = left.swap_remove(position);
        if entry == name {
            local = Some(member.id);
        }
    }
    local.ok_or_else(|| failed(format!("couldn't find local name \"{name}\"")))
}

/// At least one other member must name a cluster version, and this server must be able to live in
/// every one that is named.
async fn check_versions(
    members: &[Member],
    local: NodeId,
    newest: ClusterVersion,
) -> Result<(), StartError> {
    let mut seen = false;
    for member in members.iter().filter(|member| member.id != local) {
        let Ok(versions) = get_version(&member.peer_urls, JOIN_TIMEOUT).await else { continue };
        let Some(version) = ClusterVersion::parse(&versions.etcdcluster) else { continue };
        if version < OLDEST || version > newest {
            return Err(StartError::Incompatible);
        }
        seen = true;
    }
    if seen { Ok(()) } else { Err(StartError::Incompatible) }
}

fn describe(members: &[Member]) -> String {
    let texts: Vec<String> = members
        .iter()
        .map(|member| format!("{}={}", member.id, member.peer_urls.join(",")))
        .collect();
    format!("{{{}}}", texts.join(" "))
}

fn texts(urls: &[EndpointUrl]) -> Vec<String> {
    urls.iter().map(|url| url.as_str().to_owned()).collect()
}
