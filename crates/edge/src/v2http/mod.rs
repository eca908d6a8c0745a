//! The v2 API below `/v2`: keys with their watches, members, machines.
//!
//! Owns:       Go's reading of a request, the order of its checks, and the words of each reply.
//! Uses:       `node::Handle` through `http::member::Member`; `v2store` for paths and JSON.
//! Never:      state; a decision of the store. Time is read once per request, for the expiration that
//!             it asks for, and once per reply, for the TTLs in it.
//! Invariants: of a body of any size at most 10 MiB are held, of a form at most the parameters
//!             that have a meaning; no read writes to the log.
//! Source:     api-v2.md 1 to 4, 5.1, 5.2, 8.

mod form;
mod keys;
mod members;
mod request;
mod watch;

use ::http::Method;
use ::http::request::Parts;
use ::http::{HeaderMap, HeaderName, HeaderValue, Response};
use bytes::Bytes;
use http_body::Body;
use http_body_util::{Either, Full};
use node::Handle;
use types::ClusterId;

use crate::http::member::Member;
use crate::http::reply::{self, Reply};
use crate::http::{HttpContext, Preflight, preflight};

pub use self::watch::{WatchBody, WatchCut};

const CLUSTER_ID: HeaderName = HeaderName::from_static("x-etcd-cluster-id");
const ETCD_INDEX: HeaderName = HeaderName::from_static("x-etcd-index");
const RAFT_INDEX: HeaderName = HeaderName::from_static("x-raft-index");
const RAFT_TERM: HeaderName = HeaderName::from_static("x-raft-term");

/// A whole body, or events as they come.
pub type V2Body = Either<Full<Bytes>, WatchBody>;

/// A reply, whole or not.
enum Answer {
    Whole(Reply),
    Watch(Response<WatchBody>),
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self::Whole(reply)
    }
}

impl Answer {
    fn headers_mut(&mut self) -> &mut HeaderMap {
        match self {
            Self::Whole(reply) => reply.headers_mut(),
            Self::Watch(reply) => reply.headers_mut(),
        }
    }

    /// Adds what every reply carries.
    fn finish(self, method: &Method) -> Self {
        match self {
            Self::Whole(reply) => Self::Whole(reply::finish(method, reply)),
            Self::Watch(mut reply) => {
                reply::add_cors(reply.headers_mut());
                Self::Watch(reply)
            }
        }
    }
}

/// Answers a request for `/v2` or a path below it.
pub async fn respond<B>(
    handle: &Handle,
    context: &HttpContext,
    parts: Parts,
    body: B,
) -> Response<V2Body>
where
    B: Body<Data = Bytes> + Unpin + Send,
{
    match answer(handle, context, &parts, body).await {
        Answer::Whole(reply) => reply.map(|body| Either::Left(Full::new(body))),
        Answer::Watch(reply) => reply.map(Either::Right),
    }
}

async fn answer<M, B>(member: &M, context: &HttpContext, parts: &Parts, body: B) -> Answer
where
    M: Member,
    B: Body<Data = Bytes> + Unpin + Send,
{
    let path = match preflight(parts) {
        Preflight::Route(path) => path,
        Preflight::Done(reply) => return reply.into(),
    };
    let reply = match Resource::of(&path).filter(|_| context.v2_enabled) {
        Some(Resource::Keys(key)) => keys::answer(member, &context.metrics, parts, key, body).await,
        Some(Resource::Members(name)) => members::members(member, &parts.method, name).into(),
        Some(Resource::Machines) => members::machines(member, &parts.method).into(),
        None => reply::not_found().into(),
    };
    reply.finish(&parts.method)
}

/// What a clean path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resource<'a> {
    /// A key with its leading slash; the root without or with one.
    Keys(&'a str),
    /// What is behind `/v2/members/`.
    Members(&'a str),
    Machines,
}

impl<'a> Resource<'a> {
    fn of(path: &'a str) -> Option<Self> {
        let rest = path.strip_prefix("/v2")?;
        let below = |name: &str| {
            let rest = rest.strip_prefix(name)?;
            (rest.is_empty() || rest.starts_with('/')).then_some(rest)
        };
        if let Some(key) = below("/keys") {
            return Some(Self::Keys(key));
        }
        if let Some(name) = below("/members") {
            return Some(Self::Members(name.strip_prefix('/').unwrap_or(name)));
        }
        (rest == "/machines").then_some(Self::Machines)
    }
}

fn set_cluster_id(headers: &mut HeaderMap, id: ClusterId) {
    let value = HeaderValue::try_from(id.to_string()).expect("hex digits are a header value");
    headers.insert(CLUSTER_ID, value);
}

#[cfg(test)]
mod tests;
