//! `/v2/keys`: carries a request out and words its reply.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ::http::request::Parts;
use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use bytes::Bytes;
use http_body::Body;
use membership::ClusterVersion;
use node::V2Watch;
use types::{EtcdError, V2Code, V2Error};
use v2store::{Action, Event, Watch, json};

use super::form::Form;
use super::request::{self, KeysRequest};
use super::watch::WatchBody;
use super::{Answer, ETCD_INDEX, RAFT_INDEX, RAFT_TERM, set_cluster_id};
use crate::http::Metrics;
use crate::http::member::Member;
use crate::http::reply::{self, Reply};
use crate::socket::Line;

const METHODS: &str = "HEAD,GET,PUT,POST,DELETE";
/// Go 3.6 and later stop on v2 writes in the log (design.md 4).
const WRITABLE_MAX: (u16, u16) = (3, 5);

/// Why a request has no event.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    /// Of the request or of the store.
    Keys(V2Error),
    /// Of the cluster: no outcome, or none that is known.
    Cluster(EtcdError),
    /// The cluster has members that stop on v2 writes.
    TooNew(ClusterVersion),
}

impl Failure {
    /// The code under which it is counted: etcd gives one to errors of the store alone.
    fn counted_as(&self) -> u16 {
        match self {
            Self::Keys(error) => error.code.http_status(),
            Self::Cluster(_) | Self::TooNew(_) => 500,
        }
    }
}

impl From<V2Error> for Failure {
    fn from(error: V2Error) -> Self {
        Self::Keys(error)
    }
}

impl From<EtcdError> for Failure {
    fn from(error: EtcdError) -> Self {
        Self::Cluster(error)
    }
}

/// Answers a request for a key (the path behind `/v2/keys`).
pub(super) async fn answer<M, B>(
    member: &M,
    metrics: &Metrics,
    parts: &Parts,
    key: &str,
    body: B,
) -> Answer
where
    M: Member,
    B: Body<Data = Bytes> + Unpin + Send,
{
    let Some(operation) = Operation::of(&parts.method) else {
        return reply::method_not_allowed(Some(METHODS)).into();
    };
    let began = Instant::now();
    let form = Form::read(parts, body).await;
    let parsed = form
        .map_err(|cause| V2Error::new(V2Code::InvalidForm, cause, 0))
        .and_then(|form| request::parse(&parts.method, key, &form, now_unix_ns()));
    let mut reply = match parsed {
        Ok(parsed) => {
            let method = parts.method.as_str();
            if !parsed.request.wait {
                metrics.v2_received(method);
            }
            match execute(member, operation, &parsed).await {
                Ok(Outcome::Event(event)) => {
                    metrics.v2_succeeded(method, began.elapsed());
                    event_reply(member, &event, &parsed).into()
                }
                Ok(Outcome::Watch(watch)) => {
                    let client = parts.extensions.get::<Line>().cloned();
                    Answer::Watch(watch_reply(member, watch, client))
                }
                Err(failure) => {
                    metrics.v2_failed(method, failure.counted_as());
                    failure_reply(failure).into()
                }
            }
        }
        Err(error) => error_reply(&error).into(),
    };
    set_cluster_id(reply.headers_mut(), member.cluster_id());
    reply
}

/// What a request that worked comes to.
enum Outcome {
    Event(Box<Event>),
    Watch(V2Watch),
}

/// What the methods of the keys API are, seen from the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Get,
    Head,
    Write,
}

impl Operation {
    fn of(method: &Method) -> Option<Self> {
        match *method {
            Method::GET => Some(Self::Get),
            Method::HEAD => Some(Self::Head),
            Method::PUT | Method::POST | Method::DELETE => Some(Self::Write),
            _ => None,
        }
    }
}

async fn execute(
    member: &impl Member,
    operation: Operation,
    parsed: &KeysRequest,
) -> Result<Outcome, Failure> {
    let request = &parsed.request;
    let event = match operation {
        Operation::Get if request.quorum => {
            member.linearize().await?;
            read(member, parsed)
        }
        Operation::Get if request.wait => {
            let watch = Watch {
                key: request.path.clone(),
                recursive: request.recursive,
                stream: request.stream,
                since: request.since,
            };
            return Ok(Outcome::Watch(member.v2_watch(watch).await??));
        }
        Operation::Get | Operation::Head => read(member, parsed),
        Operation::Write => write(member, parsed).await,
    };
    event.map(|event| Outcome::Event(Box::new(event)))
}

fn read(member: &impl Member, parsed: &KeysRequest) -> Result<Event, Failure> {
    let request = &parsed.request;
    Ok(member.v2_get(&request.path, request.recursive, request.sorted)?)
}

async fn write(member: &impl Member, parsed: &KeysRequest) -> Result<Event, Failure> {
    if let Some(version) = member.cluster_version()
        && (version.major, version.minor) > WRITABLE_MAX
    {
        return Err(Failure::TooNew(version));
    }
    Ok(member.propose_v2(parsed.request.clone()).await??)
}

fn event_reply(member: &impl Member, event: &Event, parsed: &KeysRequest) -> Reply {
    let status = if event.is_created { StatusCode::CREATED } else { StatusCode::OK };
    let is_store = match event.action {
        Action::Set | Action::Create | Action::Update | Action::CompareAndSwap => true,
        Action::Get | Action::Delete | Action::CompareAndDelete | Action::Expire => false,
    };
    let body = if is_store && parsed.no_value_on_success {
        json::action_body(event)
    } else {
        json::event_body(event, now_unix_ns())
    };
    let mut reply = reply::json(status, body);
    set_position(member, reply.headers_mut(), event.index);
    reply
}

/// The head goes out before there is any event.
fn watch_reply(member: &impl Member, watch: V2Watch, client: Option<Line>) -> Response<WatchBody> {
    let mut reply = Response::new(WatchBody::new(watch.events, client));
    reply::set(reply.headers_mut(), header::CONTENT_TYPE, "application/json");
    set_position(member, reply.headers_mut(), watch.index);
    reply
}

fn set_position(member: &impl Member, headers: &mut HeaderMap, index: u64) {
    let position = member.position();
    set_number(headers, ETCD_INDEX, index);
    set_number(headers, RAFT_INDEX, position.commit.0);
    set_number(headers, RAFT_TERM, position.term.0);
}

fn failure_reply(failure: Failure) -> Reply {
    let internal = |cause: String| error_reply(&V2Error::new(V2Code::RaftInternal, cause, 0));
    match failure {
        Failure::Keys(error) => error_reply(&error),
        Failure::Cluster(error) => internal(error.text().to_owned()),
        Failure::TooNew(version) => internal(format!(
            "v2 writes need a cluster version of at most 3.5.0, this cluster is at {version}"
        )),
    }
}

fn error_reply(error: &V2Error) -> Reply {
    let status = StatusCode::from_u16(error.code.http_status());
    let status = status.expect("the table holds valid statuses");
    let mut reply = reply::json(status, json::error_body(error));
    set_number(reply.headers_mut(), ETCD_INDEX, error.index);
    reply
}

fn set_number(headers: &mut HeaderMap, name: HeaderName, number: u64) {
    headers.insert(name, HeaderValue::from(number));
}

fn now_unix_ns() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}
