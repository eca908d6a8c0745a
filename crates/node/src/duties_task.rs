//! The asynchronous chores of a member: publishing itself, and what only a leader proposes.

use std::pin::Pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use duties::{Action, Duties, Input, Proposal, Settings};
use membership::Member;
use prost::Message as _;
use proto::etcdserverpb::RequestHeader;
use types::{EtcdError, NodeId, RequestId, Term};

use crate::handle::Handle;

/// How often the leader's timers are looked at.
const TICK: Duration = Duration::from_millis(500);
/// Pause between two portions of v2 nodes that expire, and what it is at least for each node: time for
/// streams to read the events.
const EXPIRE_PAUSE: Duration = Duration::from_millis(5);
const EXPIRE_PAUSE_PER_NODE: Duration = Duration::from_micros(40);
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
    let mut led: Option<Term> = None;
    let origin = std::time::Instant::now();
    let mut ticks = tokio::time::interval(TICK);
    let mut sync: Option<Sync> = None;
    // A new leader decides the version of a fresh cluster at once, before clients come, as in etcd.
    let mut elected = handle.inner().shared.raft.subscribe();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            Ok(()) = elected.changed() => {}
            was_full = ended(&mut sync) => {
                sync = None;
                perform(&handle, &mut duties, Input::V2Synced { was_full }).await;
            }
            _ = handle.stopped() => return,
        }
        let raft = handle.inner().shared.raft.borrow().clone();
        let leads = raft.is_leader.then_some(raft.term);
        if leads != led {
            led = leads;
            // What another term has begun ends without effect.
            sync = None;
            let change = match leads {
                Some(term) => Input::BecameLeader { term },
                None => Input::LostLeadership,
            };
            perform(&handle, &mut duties, change).await;
        }
        let version = handle.with_machine(apply::Machine::cluster_version);
        perform(&handle, &mut duties, Input::ClusterVersion(version)).await;
        let now_ms = u64::try_from(origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        perform(&handle, &mut duties, Input::Tick { now_ms }).await;
        if leads.is_some() && sync.is_none() {
            sync = expire_v2(&handle, &mut duties, now_ms);
        }
    }
}

/// A SYNC on its way, and the pause behind it; tells whether it worked and took a whole portion.
type Sync = Pin<Box<dyn Future<Output = bool> + Send>>;

async fn ended(sync: &mut Option<Sync>) -> bool {
    match sync {
        Some(sync) => sync.await,
        None => std::future::pending().await,
    }
}

/// Lets nodes of the v2 tree expire if that is due: one SYNC at a time, so that many nodes at one
/// time hold up other writes only for moments, and nothing else meanwhile.
fn expire_v2(handle: &Handle, duties: &mut Duties, now_ms: u64) -> Option<Sync> {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(unix.as_nanos()).unwrap_or(i64::MAX);
    let portion = duties.v2_portion();
    let time = handle.with_machine(|machine| machine.v2().sync_time(now, portion));
    let unix_ns = time.unwrap_or(now);
    let clock = Input::V2Clock { now_ms, unix_ns, has_ttl: time.is_some() };
    let nodes = u32::try_from(portion).unwrap_or(u32::MAX);
    let pause = EXPIRE_PAUSE.max(EXPIRE_PAUSE_PER_NODE.saturating_mul(nodes));
    duties.step(clock).into_iter().find_map(|action| {
        let Action::Propose { term, proposal } = action else { return None };
        let handle = handle.clone();
        Some(Box::pin(async move {
            let is_full = propose_duty(&handle, term, proposal).await && unix_ns != now;
            if is_full {
                tokio::time::sleep(pause).await;
            }
            is_full
        }) as Sync)
    })
}

/// Carries out what follows from an input.
async fn perform(handle: &Handle, duties: &mut Duties, input: Input) {
    let mut inputs = vec![input];
    while let Some(input) = inputs.pop() {
        for action in duties.step(input) {
            match action {
                Action::AskVersions => {
                    inputs.push(Input::ClusterVersionsSeen(ask_versions(handle).await));
                }
                Action::Propose { term, proposal } => {
                    propose_duty(handle, term, proposal).await;
                }
            }
        }
    }
}

/// Proposes a duty of the leader of `term`; whether that worked. No other member and no other term
/// proposes it.
async fn propose_duty(handle: &Handle, term: Term, proposal: Proposal) -> bool {
    let make = |id: RequestId| match proposal {
        Proposal::V2(mut request) => {
            request.id = id.0;
            request.encode()
        }
        Proposal::V3(mut request) => {
            request.header = Some(RequestHeader { id: id.0, ..RequestHeader::default() });
            request.encode_to_vec().into()
        }
    };
    match handle.propose_as_leader(term, make).await {
        Ok(()) => true,
        // Another member has taken over.
        Err(EtcdError::NotLeader | EtcdError::Stopped) => false,
        Err(error) => {
            tracing::warn!(%error, "failed to propose a leader's duty");
            false
        }
    }
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

async fn propose(handle: &Handle, proposal: Proposal) -> Result<(), EtcdError> {
    match proposal {
        Proposal::V2(request) => handle.propose_v2(request).await.map(drop),
        Proposal::V3(request) => handle.propose(*request).await.map(drop),
    }
}
