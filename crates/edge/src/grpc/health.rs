//! `grpc.health.v1.Health`: the whole server under the empty name, as etcd registers it.
//!
//! Source:     api-v3.md 1.1; the messages are those of the public health protocol.

use std::future::{Ready, ready};
use std::pin::Pin;

use ::http::{Request, Response};
use proto::codec::GoCodec;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::tokio_stream::{self, Stream, StreamExt as _};
use tonic::server::{Grpc, ServerStreamingService, UnaryService};
use types::grpc_text;

use super::BodyError;

/// What is asked about.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// How it is.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct HealthCheckResponse {
    #[prost(enumeration = "ServingStatus", tag = "1")]
    status: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum ServingStatus {
    Unknown = 0,
    Serving = 1,
    NotServing = 2,
    ServiceUnknown = 3,
}

type Codec = GoCodec<HealthCheckResponse, HealthCheckRequest>;

pub(super) async fn check<B>(request: Request<B>) -> Response<Body>
where
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<BodyError> + Send,
{
    Grpc::new(Codec::default()).unary(Check, request).await
}

/// Tells the state and then, as it never changes, nothing more until the stream is ended.
pub(super) async fn watch<B>(request: Request<B>) -> Response<Body>
where
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<BodyError> + Send,
{
    Grpc::new(Codec::default()).server_streaming(Watch, request).await
}

struct Check;

impl UnaryService<HealthCheckRequest> for Check {
    type Response = HealthCheckResponse;
    type Future = Ready<Result<tonic::Response<HealthCheckResponse>, Status>>;

    fn call(&mut self, request: tonic::Request<HealthCheckRequest>) -> Self::Future {
        ready(match status_of(&request.get_ref().service) {
            ServingStatus::Serving => Ok(response(ServingStatus::Serving)),
            _ => Err(Status::not_found(grpc_text::UNKNOWN_SERVICE_HEALTH)),
        })
    }
}

struct Watch;

type States = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

impl ServerStreamingService<HealthCheckRequest> for Watch {
    type Response = HealthCheckResponse;
    type ResponseStream = States;
    type Future = Ready<Result<tonic::Response<States>, Status>>;

    fn call(&mut self, request: tonic::Request<HealthCheckRequest>) -> Self::Future {
        let state = response(status_of(&request.get_ref().service)).into_inner();
        let states: States = Box::pin(tokio_stream::once(Ok(state)).chain(tokio_stream::pending()));
        ready(Ok(tonic::Response::new(states)))
    }
}

fn status_of(service: &str) -> ServingStatus {
    if service.is_empty() { ServingStatus::Serving } else { ServingStatus::ServiceUnknown }
}

fn response(status: ServingStatus) -> tonic::Response<HealthCheckResponse> {
    tonic::Response::new(HealthCheckResponse { status: status.into() })
}
