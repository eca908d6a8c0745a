//! The asynchronous chores of a member: publishing itself, and what only a leader proposes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use duties::{Action, Duties, Input, Proposal, Settings};
use membership::Member;
use types::NodeId;

use crate::handle::Handle;

/// How often the leader's timers are looked at.
const TICK: Duration = Duration::from_millis(500);
/// Pause between two portions of v2 nodes that expire: time for streams to read the events.
const EXPIRE_PAUSE: Duration = Duration::from_millis(5);
/// Pause between two attempts to publish.
const PUBLISH_PAUSE: Duration = Duration::from_millis(100);
/// How long a member may take to tell its version.
const VERSION_TIMEOUT: Duration = Duration::from_secs(2);

/// Publishes this member's name and client URLs through the log, until it worked.
pub(crate) async fn publish(handle: Handle, name: String, client_urls: Vec<String>) {
    loop {
        let (known, version) = handle.with_machine(|machine| {
            let membership = machine.membership();
            (membership.members.get(&handle.local()).cloned(), membership.version)
        });
        if let Some(known) = known {
            let member = Member { name: name.clone(), client_urls: client_urls.clone(), ..known };
            let proposal = duties::publish_attributes(&member, version);
            match propose(&handle, proposal).await {
                Ok(()) => {
                    tracing::info!(local = %handle.local(), name, "published local member");
                    handle.inner().shared.published_self.send_replace(true);
                    return;
                }
                Err(error) => tracing::warn!(%error, "failed to publish local member"),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(PUBLISH_PAUSE) => {}
            _ = handle.stopped() => return,
        }
    }
}

/// Runs the leader's duties until the member stops.
pub(crate) async fn run(handle: Handle, v2_enabled: bool) {
    let mut duties = Duties::new(Settings { v2_enabled });
    let mut leading = false;
    let origin = std::time::Instant::now();
    let mut ticks = tokio::time::interval(TICK);
    // A new leader decides the version of a fresh cluster at once, before clients come, as in etcd.
    let mut elected = handle.inner().shared.raft.subscribe();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            Ok(()) = elected.changed() => {}
            _ = handle.stopped() => return,
        }
        let raft = handle.inner().shared.raft.borrow().clone();
        if raft.is_leader != leading {
            leading = raft.is_leader;
            let change = if leading {
                Input::BecameLeader { term: raft.term }
            } else {
                Input::LostLeadership
            };
            perform(&handle, &mut duties, change).await;
        }
        let version = handle.with_machine(apply::Machine::cluster_version);
        perform(&handle, &mut duties, Input::ClusterVersion(version)).await;
        let now_ms = u64::try_from(origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        perform(&handle, &mut duties, Input::Tick { now_ms }).await;
        if leading {
            expire_v2(&handle, &mut duties, now_ms).await;
        }
    }
}

/// Lets nodes of the v2 tree expire: one SYNC, and soon another one while each was full. Each is
/// applied before the next, so that many nodes at one time hold up other writes only for moments.
async fn expire_v2(handle: &Handle, duties: &mut Duties, now_ms: u64) {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(unix.as_nanos()).unwrap_or(i64::MAX);
    loop {
        let time = handle
            .with_machine(|machine| machine.v2().sync_time(now, types::limits::V2_EXPIRE_MAX));
        let unix_ns = time.unwrap_or(now);
        let clock = Input::V2Clock { now_ms, unix_ns, has_ttl: time.is_some() };
        let proposed = perform(handle, duties, clock).await;
        if unix_ns == now || !proposed {
            return;
        }
        tokio::time::sleep(EXPIRE_PAUSE).await;
        perform(handle, duties, Input::V2Backlog).await;
    }
}

/// Carries out what follows from an input; whether something was proposed and all of it worked.
async fn perform(handle: &Handle, duties: &mut Duties, input: Input) -> bool {
    let mut proposed = Ok(0_usize);
    let mut inputs = vec![input];
    while let Some(input) = inputs.pop() {
        for action in duties.step(input) {
            match action {
                Action::AskVersions => {
                    inputs.push(Input::ClusterVersionsSeen(ask_versions(handle).await));
                }
                Action::Propose(proposal) => match propose(handle, proposal).await {
                    Ok(()) => proposed = proposed.map(|count| count + 1),
                    Err(error) => {
                        tracing::warn!(%error, "failed to propose a leader's duty");
                        proposed = Err(());
                    }
                },
            }
        }
    }
    proposed.is_ok_and(|count| count > 0)
}

async fn ask_versions(handle: &Handle) -> Vec<Option<String>> {
    let members: Vec<(NodeId, Vec<String>)> = handle.with_machine(|machine| {
        let members = machine.membership().members.values();
        members.map(|member| (member.id, member.peer_urls.clone())).collect()
    });
    let mut asked = tokio::task::JoinSet::new();
    let mut versions = Vec::new();
    for (id, urls) in members {
        if id == handle.local() {
            versions.push(Some(handle.options().server_version.clone()));
            continue;
        }
        asked.spawn(async move {
            let answer = transport::client::get_version(&urls, VERSION_TIMEOUT).await;
            answer.ok().map(|versions| versions.etcdserver)
        });
    }
    while let Some(answer) = asked.join_next().await {
        versions.push(answer.ok().flatten());
    }
    versions
}

async fn propose(handle: &Handle, proposal: Proposal) -> Result<(), types::EtcdError> {
    match proposal {
        Proposal::V2(request) => handle.propose_v2(request).await.map(drop),
        Proposal::V3(request) => handle.propose(*request).await.map(drop),
    }
}
