//! The gRPC edge: services, and the texts that grpc-go itself would send.
//!
//! Owns:       the way of a call: headers, method, gate, messages, method, answer.
//! Uses:       `tonic`'s generated services over `node::Handle`.
//! Never:      decides anything about state.
//! Invariants: a message is never buffered beyond the receive limit; each call is counted once.
//! Source:     api-v3.md 1.1, 7 and 9; design.md 6; grpc-go 1.82.

mod cluster;
mod frames;
mod gate;
mod health;
mod kv;
mod lease;
mod maintenance;
mod methods;
mod outgoing;
mod preamble;
mod range_stream;
mod reply;
mod status;
mod tally;
mod unary;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ::http::{HeaderValue, Request, Response, header};
use bytes::Bytes;
use hyper::body::Incoming;
use node::Handle;
use proto::etcdserverpb::cluster_server::ClusterServer;
use proto::etcdserverpb::kv_server::KvServer;
use proto::etcdserverpb::lease_server::LeaseServer;
use proto::etcdserverpb::maintenance_server::MaintenanceServer;
use proto::etcdserverpb::watch_server::WatchServer;
use tokio::time::{Instant, timeout_at};
use tonic::Status;
use tonic::body::Body;
use tower::ServiceExt;
use types::{grpc_text, limits};

use cluster::ClusterService;
use frames::{Check, Frames};
use kv::KvService;
use lease::LeaseService;
use maintenance::MaintenanceService;
use methods::{Found, METHODS, Shape};
use outgoing::{Account, Slow};
use preamble::Preamble;
use unary::Unary;
use watch::WatchService;

pub use outgoing::Outgoing;
pub use tally::Tally;

pub(crate) use methods::{HEALTH, METHODS as SERVED, Method};
pub(crate) use tally::{BOUNDS_MS, CODES, MethodTally, Times, value};

/// Settings of the gRPC edge.
#[derive(Clone, Debug)]
pub struct GrpcOptions {
    /// `--max-request-bytes`.
    pub max_request_bytes: u64,
    /// `--max-txn-ops`.
    pub max_txn_ops: usize,
    /// `--watch-progress-notify-interval`.
    pub watch_progress_notify_interval: Duration,
    /// `--metrics=extensive`: handling times are kept too.
    pub extensive_metrics: bool,
    /// `--warning-unary-request-duration`.
    pub warning_unary_request_duration: Duration,
    /// Version told by `Status`.
    pub server_version: String,
}

/// All services of a member.
pub struct Grpc {
    handle: Handle,
    kv: Arc<KvService>,
    kv_server: KvServer<KvService>,
    lease: LeaseServer<LeaseService>,
    cluster: ClusterServer<ClusterService>,
    maintenance: MaintenanceServer<MaintenanceService>,
    watch: WatchServer<WatchService>,
    receive_limit: usize,
    slow: Duration,
    tally: Arc<Tally>,
}

impl Grpc {
    /// The services over a member.
    #[must_use]
    pub fn new(handle: &Handle, options: &GrpcOptions) -> Self {
        let limit = options.max_request_bytes.saturating_add(limits::GRPC_OVERHEAD_BYTES);
        let kv = Arc::new(KvService::new(handle.clone(), options));
        let kv_server = KvServer::from_arc(Arc::clone(&kv));
        let lease = LeaseService::new(handle.clone());
        let cluster = ClusterService::new(handle.clone());
        let maintenance = MaintenanceService::new(handle.clone(), options.clone());
        let watch = WatchService::new(handle.clone(), options);
        Self {
            handle: handle.clone(),
            kv,
            kv_server: kv_server.max_decoding_message_size(usize::MAX),
            lease: LeaseServer::new(lease).max_decoding_message_size(usize::MAX),
            cluster: ClusterServer::new(cluster).max_decoding_message_size(usize::MAX),
            maintenance: MaintenanceServer::new(maintenance).max_decoding_message_size(usize::MAX),
            watch: WatchServer::new(watch).max_decoding_message_size(usize::MAX),
            receive_limit: usize::try_from(limit).unwrap_or(usize::MAX),
            slow: options.warning_unary_request_duration,
            tally: Arc::new(Tally::new(options.extensive_metrics)),
        }
    }

    /// What is counted.
    #[must_use]
    pub fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }

    /// Answers one call of the client at `remote`.
    pub async fn answer(
        &self,
        request: Request<Incoming>,
        remote: Option<SocketAddr>,
    ) -> Response<Outgoing> {
        let call = match preamble::read(request.method(), request.headers()) {
            Ok(call) => call,
            Err(refusal) => return bare(refusal.into_response()),
        };
        let place = match methods::find(request.uri().path()) {
            Found::Method(place) => place,
            unknown => {
                let status = Status::unimplemented(text_of(unknown, request.uri().path()));
                return bare(status.into_http());
            }
        };
        self.answer_method(request, call, place, remote).await
    }

    async fn answer_method(
        &self,
        mut request: Request<Incoming>,
        call: Preamble,
        place: usize,
        remote: Option<SocketAddr>,
    ) -> Response<Outgoing> {
        let method = &METHODS[place];
        let mut account = Account::open(Arc::clone(&self.tally), place);
        let passed = match gate::pass(&self.handle, &self.tally, method, request.headers()) {
            Ok(passed) => passed,
            Err(error) => return finish(status::status(error).into_http(), &call, account, None),
        };
        // A time-out too long for the clock is none.
        let deadline = call.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        // Messages leave the check unpacked.
        request.headers_mut().remove("grpc-encoding");
        let tally = Arc::clone(&self.tally);
        let check = Check::new(self.receive_limit, call.encoding, method.shape, tally, place);
        let size = check.size();
        let request = request.map(|body| Frames::new(body, check));
        let answer = {
            // One future for both ways: it is part of what is copied with each request.
            let mut dispatched = std::pin::pin!(self.dispatch(method, request));
            match deadline {
                None => dispatched.as_mut().await,
                Some(at) => timeout_at(at, dispatched.as_mut())
                    .await
                    .unwrap_or_else(|_| Answer::Generic(gate::deadline_exceeded().into_http())),
            }
        };
        let took = account.began.elapsed();
        if method.shape == Shape::Unary && took > self.slow {
            let request_bytes = size.load(Ordering::Relaxed);
            account.warn_at_end(Slow { took, remote, request_bytes });
        }
        match answer {
            Answer::Whole(message) => whole(message, &call, account),
            Answer::Generic(response) => {
                let cut = gate::cut(&self.handle, method, passed, deadline);
                finish(response, &call, account, cut)
            }
        }
    }

    async fn dispatch(&self, method: &Method, request: Request<Frames<Incoming>>) -> Answer {
        match Unary::of(method) {
            Some(unary) => match unary.call(&self.kv, request.into_body()).await {
                Ok(message) => Answer::Whole(message),
                Err(status) => Answer::Generic(status.into_http()),
            },
            // Boxed, because it is large and seldom.
            None => Answer::Generic(Box::pin(self.serve(method, request)).await),
        }
    }

    /// Calls a service in tonic's generic way.
    async fn serve(&self, method: &Method, request: Request<Frames<Incoming>>) -> Response<Body> {
        let reply = match (method.service, method.name) {
            (methods::KV, _) => self.kv_server.clone().oneshot(request).await,
            (methods::LEASE, _) => self.lease.clone().oneshot(request).await,
            (methods::CLUSTER, _) => self.cluster.clone().oneshot(request).await,
            (methods::MAINTENANCE, _) => self.maintenance.clone().oneshot(request).await,
            (methods::WATCH, _) => self.watch.clone().oneshot(request).await,
            (HEALTH, "Watch") => Ok(health::watch(request).await),
            (HEALTH, _) => Ok(health::check(request).await),
            (service, _) => {
                Ok(Status::unimplemented(grpc_text::unknown_service(service)).into_http())
            }
        };
        reply.unwrap_or_else(|never| match never {})
    }
}

fn text_of(unknown: Found<'_>, path: &str) -> String {
    match unknown {
        Found::UnknownMethod { service, method } => grpc_text::unknown_method(service, method),
        Found::UnknownService(service) => grpc_text::unknown_service(service),
        Found::Method(_) | Found::Malformed => grpc_text::malformed_method(path),
    }
}

/// An answer that belongs to no method.
fn bare(mut response: Response<Body>) -> Response<Outgoing> {
    outgoing::spell_as_go(response.headers_mut());
    response.map(Outgoing::bare)
}

/// What a method answers.
enum Answer {
    /// One framed message of a call that went well.
    Whole(Bytes),
    Generic(Response<Body>),
}

fn whole(message: Bytes, call: &Preamble, account: Account) -> Response<Outgoing> {
    let mut response = Response::new(Outgoing::whole(message, account));
    let plain = HeaderValue::from_static("application/grpc");
    let content_type = call.content_type.clone().unwrap_or(plain);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

fn finish(
    response: Response<Body>,
    call: &Preamble,
    account: Account,
    cut: Option<outgoing::Cut>,
) -> Response<Outgoing> {
    let (mut parts, body) = response.into_parts();
    if let Some(content_type) = &call.content_type {
        parts.headers.insert(header::CONTENT_TYPE, content_type.clone());
    }
    let body = Outgoing::new(body, &mut parts.headers, account, cut);
    Response::from_parts(parts, body)
}

/// Error type of request bodies as tonic wants it.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;
/// Data type of request bodies.
pub(crate) type BodyData = Bytes;
