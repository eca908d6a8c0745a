//! The v2 API below `/v2`: keys, members, machines.
//!
//! Owns:       Go's reading of a request, the order of its checks, and the words of each reply.
//! Uses:       `node::Handle` through `http::member::Member`; `v2store` for paths and JSON.
//! Never:      state; a decision of the store. Time is read once per reply, for the TTLs in it.
//! Invariants: of a body of any size at most 10 MiB are held, of a form at most the parameters
//!             that have a meaning; no read writes to the log.
//! Source:     api-v2.md 1, 2, 4, 5.1, 5.2, 8.
//!
//! Still refused with 501 by the parameter's name, in `keys`: `wait` and `ttl`.

mod form;
mod keys;
mod members;
mod request;

use ::http::request::Parts;
use ::http::{HeaderMap, HeaderName, HeaderValue, Response};
use bytes::Bytes;
use http_body::Body;
use node::Handle;
use types::ClusterId;

use crate::http::member::Member;
use crate::http::reply::{self, Reply};
use crate::http::{HttpContext, Preflight, preflight};

const CLUSTER_ID: HeaderName = HeaderName::from_static("x-etcd-cluster-id");
const ETCD_INDEX: HeaderName = HeaderName::from_static("x-etcd-index");
const RAFT_INDEX: HeaderName = HeaderName::from_static("x-raft-index");
const RAFT_TERM: HeaderName = HeaderName::from_static("x-raft-term");

/// Answers a request for `/v2` or a path below it.
pub async fn respond<B>(
    handle: &Handle,
    context: &HttpContext,
    parts: Parts,
    body: B,
) -> Response<Bytes>
where
    B: Body<Data = Bytes> + Unpin + Send,
{
    answer(handle, context.v2_enabled, &parts, body).await
}

async fn answer<M, B>(member: &M, is_enabled: bool, parts: &Parts, body: B) -> Reply
where
    M: Member,
    B: Body<Data = Bytes> + Unpin + Send,
{
    let path = match preflight(parts) {
        Preflight::Route(path) => path,
        Preflight::Done(reply) => return reply,
    };
    let reply = match Resource::of(&path).filter(|_| is_enabled) {
        Some(Resource::Keys(key)) => keys::answer(member, parts, key, body).await,
        Some(Resource::Members(name)) => members::members(member, &parts.method, name),
        Some(Resource::Machines) => members::machines(member, &parts.method),
        None => reply::not_found(),
    };
    reply::finish(&parts.method, reply)
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
