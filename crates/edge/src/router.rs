//! Which edge answers a request: gRPC by content type, everything else by path.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ::http::request::Parts;
use ::http::{HeaderMap, Request, Response, Version, header};
use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use node::Handle;

use crate::grpc::{Grpc, Outgoing};
use crate::http::{self, HttpContext};
use crate::v2http;

/// The body of every reply.
pub enum ReplyBody {
    /// Of an HTTP endpoint: whole.
    Whole(Full<Bytes>),
    /// Of a v2 watch: as events come.
    Watch(v2http::WatchBody),
    /// Of a gRPC method.
    Grpc(Outgoing),
}

impl From<v2http::V2Body> for ReplyBody {
    fn from(body: v2http::V2Body) -> Self {
        match body {
            Either::Left(whole) => Self::Whole(whole),
            Either::Right(watch) => Self::Watch(watch),
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
            Self::Watch(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            Self::Grpc(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Watch(body) => body.is_end_stream(),
            Self::Grpc(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Watch(body) => body.size_hint(),
            Self::Grpc(body) => body.size_hint(),
        }
    }
}

/// Answers every request of a client port; cheap to clone.
#[derive(Clone)]
pub struct Router {
    handle: Handle,
    grpc: Arc<Grpc>,
    context: Arc<HttpContext>,
    /// Where the client is, if it has an address.
    remote: Option<SocketAddr>,
}

impl Router {
    /// A router for a member.
    #[must_use]
    pub fn new(handle: Handle, grpc: Grpc, mut context: HttpContext) -> Self {
        context.tally = Some(grpc.tally());
        Self { handle, grpc: Arc::new(grpc), context: Arc::new(context), remote: None }
    }

    /// The same for the connections of one client.
    #[must_use]
    pub fn for_client(&self, remote: Option<SocketAddr>) -> Self {
        Self { remote, ..self.clone() }
    }

    /// Answers one request.
    pub async fn answer(&self, request: Request<Incoming>) -> Response<ReplyBody> {
        if request.version() == Version::HTTP_2 && is_grpc(request.headers()) {
            let reply = self.grpc.answer(request, self.remote).await;
            return reply.map(ReplyBody::Grpc);
        }
        // Boxed: it is larger than a gRPC call, whose future is copied with each request.
        Box::pin(self.answer_plain(request)).await
    }

    async fn answer_plain(&self, request: Request<Incoming>) -> Response<ReplyBody> {
        let (parts, body) = request.into_parts();
        if let Some(refusal) = http::refusal(&parts) {
            return refusal.map(|body| ReplyBody::Whole(Full::new(body)));
        }
        if let Some(refusal) = self.context.access.refusal(&parts) {
            return refusal.map(|body| ReplyBody::Whole(Full::new(body)));
        }
        let origin = parts.headers.get(header::ORIGIN).cloned();
        let mut reply = self.answer_http(parts, body).await;
        self.context.access.restrict(origin.as_ref(), reply.headers_mut());
        reply
    }

    async fn answer_http(&self, parts: Parts, body: Incoming) -> Response<ReplyBody> {
        let path = parts.uri.path();
        if path == "/v2" || path.starts_with("/v2/") {
            let reply = v2http::respond(&self.handle, &self.context, parts, body).await;
            return reply.map(ReplyBody::from);
        }
        drop(body.boxed());
        let reply = http::respond(&self.handle, &self.context, parts).await;
        reply.map(|body| ReplyBody::Whole(Full::new(body)))
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}
