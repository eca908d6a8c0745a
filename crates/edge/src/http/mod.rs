//! The small HTTP endpoints: `/version`, `/health`, `/livez`, `/readyz`, `/metrics`, and 404.
//!
//! Owns:       the routes outside `/v2` and gRPC, Go's rules for paths and forms, shared replies.
//! Uses:       `node::Handle` through `member::Member`; `prometheus`.
//! Never:      bodies of requests; state beside counters.
//! Invariants: every reply carries the CORS headers; HEAD never has a body.
//! Source:     server-config.md 9 and 10; api-v2.md 1.9, 5.2.

mod access;
mod health;
mod metrics;
mod process;

pub(crate) mod form;
pub(crate) mod media_type;
pub(crate) mod member;
pub(crate) mod path;
pub(crate) mod reply;

use std::sync::Arc;

use ::http::request::Parts;
use ::http::{Method, Response, StatusCode, Version, header};
use bytes::Bytes;
use node::Handle;

use crate::grpc::Tally;

use self::member::Member;
use self::reply::Reply;

pub use self::access::Access;
pub use self::metrics::Metrics;

/// What the HTTP endpoints are set up with.
#[derive(Clone)]
pub struct HttpContext {
    /// Whether `/v2` is served.
    pub v2_enabled: bool,
    /// Version told by `/version`, `major.minor.patch`.
    pub server_version: String,
    /// Counters that outlive a request.
    pub metrics: Arc<Metrics>,
    /// Who may ask from where.
    pub access: Access,
    /// Counters of the gRPC edge beside it.
    pub tally: Option<Arc<Tally>>,
}

impl HttpContext {
    /// A context with new counters, for the version that a member runs as.
    #[must_use]
    pub fn new(handle: &Handle, v2_enabled: bool) -> Self {
        Self::with_version(handle.options().server_version.clone(), v2_enabled)
    }

    pub(crate) fn with_version(server_version: String, v2_enabled: bool) -> Self {
        Self {
            v2_enabled,
            server_version,
            metrics: Arc::new(Metrics::new()),
            access: Access::default(),
            tally: None,
        }
    }
}

/// Answers a request that is neither gRPC nor below `/v2`.
pub async fn respond(handle: &Handle, context: &HttpContext, parts: Parts) -> Response<Bytes> {
    let reply = match preflight(&parts) {
        Preflight::Done(reply) => return reply,
        Preflight::Route(path) if path == "/metrics" => metrics(handle, context).await,
        Preflight::Route(path) => answer(handle, context, &parts, &path).await,
    };
    reply::finish(&parts.method, reply)
}

/// What Go's HTTP server refuses before any handler sees it; the connection ends with it.
pub(crate) fn refusal(parts: &Parts) -> Option<Reply> {
    let expect = parts.headers.get(header::EXPECT).map(|value| value.as_bytes());
    if parts.version == Version::HTTP_11 && !parts.headers.contains_key(header::HOST) {
        Some(reply::missing_host())
    } else if expect.is_some_and(|value| !value.eq_ignore_ascii_case(b"100-continue")) {
        Some(reply::closing(reply::empty(StatusCode::EXPECTATION_FAILED)))
    } else {
        None
    }
}

/// What a request comes to before any route is looked at.
pub(crate) enum Preflight {
    /// The decoded, clean path.
    Route(String),
    /// The finished reply.
    Done(Reply),
}

/// Settles what Go's server and etcd's outer handler settle: OPTIONS, malformed and unclean paths.
pub(crate) fn preflight(parts: &Parts) -> Preflight {
    if parts.method == Method::OPTIONS && parts.uri.path() == "*" {
        // About the server as a whole: Go's own answer, not etcd's.
        return Preflight::Done(reply::empty(StatusCode::OK));
    }
    let Some(path) = path::decode(parts.uri.path()) else {
        return Preflight::Done(reply::bad_request());
    };
    if parts.method == Method::OPTIONS {
        return Preflight::Done(reply::finish(&parts.method, reply::empty(StatusCode::OK)));
    }
    if path::clean(&path) == path {
        return Preflight::Route(path);
    }
    let location = path::location(parts.uri.path(), parts.uri.query());
    let moved = reply::moved(&parts.method, &location);
    Preflight::Done(reply::finish(&parts.method, moved))
}

async fn answer(member: &impl Member, context: &HttpContext, parts: &Parts, path: &str) -> Reply {
    let is_get = parts.method == Method::GET;
    match Endpoint::of(path) {
        None => reply::not_found(),
        Some(_) if !is_get => reply::method_not_allowed(Some("GET")),
        Some(Endpoint::Version) => version(member, context),
        Some(Endpoint::Health) => health::health(member, &context.metrics, parts).await,
        Some(Endpoint::Probe(probe)) => probe.answer(member, &context.metrics, parts).await,
    }
}

/// What a path names, `/metrics` apart: that one takes every method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Version,
    Health,
    Probe(health::Probe),
}

impl Endpoint {
    fn of(path: &str) -> Option<Self> {
        match path {
            "/version" => Some(Self::Version),
            "/health" => Some(Self::Health),
            _ => health::Probe::of(path).map(Self::Probe),
        }
    }
}

fn version(member: &impl Member, context: &HttpContext) -> Reply {
    let cluster = member.cluster_version().map(|version| version.to_string());
    reply::json(StatusCode::OK, node::version_json(&context.server_version, cluster))
}

async fn metrics(handle: &Handle, context: &HttpContext) -> Reply {
    let scrape = context.metrics.begin_scrape();
    // Nothing on an edge runtime touches a file, not even one of /proc.
    let process = tokio::task::spawn_blocking(process::Process::read).await.ok().flatten();
    let figures = metrics::Figures::collect(handle, &context.server_version, process);
    let reply = match context.metrics.text(&figures, handle.counters(), context.tally.as_deref()) {
        Ok(text) => reply::with_type(StatusCode::OK, metrics::CONTENT_TYPE, text),
        Err(error) => {
            tracing::warn!(%error, "metrics could not be encoded");
            reply::error(StatusCode::INTERNAL_SERVER_ERROR, "metrics could not be encoded")
        }
    };
    scrape.done(reply.status().as_u16());
    reply
}

#[cfg(test)]
pub(crate) mod tests;
