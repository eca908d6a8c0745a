//! The Lease service.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use apply::Response as Applied;
use node::{Handle, LeaseTtl};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::lease_server::Lease;
use tonic::codegen::tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};
use types::{EtcdError, LeaseId};

use super::reply;
use super::status::{status, stream_status};

/// Lease over one member.
pub(crate) struct LeaseService {
    handle: Handle,
}

impl LeaseService {
    pub(crate) fn new(handle: Handle) -> Self {
        Self { handle }
    }
}

#[tonic::async_trait]
impl Lease for LeaseService {
    type LeaseKeepAliveStream = Renewals;

    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        self.handle.check_space(apply::lease_cost()).await.map_err(status)?;
        self.handle.check_space(apply::lease_cost()).await.map_err(status)?;
        let done = self.handle.lease_grant(request.into_inner()).await.map_err(status)?;
        match done.response {
            Applied::LeaseGrant { id, ttl } => {
                let header = Some(reply::header(&self.handle, done.revision, done.term));
                let error = String::new();
                Ok(Response::new(pb::LeaseGrantResponse { header, id: id.0, ttl, error }))
            }
            other => Err(reply::mismatch(&other)),
        }
    }

    async fn lease_revoke(
        &self,
        request: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        let id = LeaseId(request.into_inner().id);
        let done = self.handle.lease_revoke(id).await.map_err(status)?;
        match done.response {
            Applied::LeaseRevoke => {
                let header = Some(reply::header(&self.handle, done.revision, done.term));
                Ok(Response::new(pb::LeaseRevokeResponse { header }))
            }
            other => Err(reply::mismatch(&other)),
        }
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Renewals>, Status> {
        let session = Session { handle: self.handle.clone(), requests: request.into_inner() };
        Ok(Response::new(Renewals { step: Some(Box::pin(session.next())) }))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        let request = request.into_inner();
        let found = match self.handle.lease_time_to_live(LeaseId(request.id), request.keys).await {
            Err(EtcdError::LeaseNotFound) => LeaseTtl { ttl_seconds: -1, ..LeaseTtl::default() },
            found => found.map_err(status)?,
        };
        Ok(Response::new(pb::LeaseTimeToLiveResponse {
            header: Some(current_header(&self.handle)),
            id: request.id,
            ttl: found.ttl_seconds,
            granted_ttl: found.granted_ttl_seconds,
            keys: found.keys,
        }))
    }

    async fn lease_leases(
        &self,
        _request: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        let (leases, revision) = self.handle.leases();
        let header = reply::header(&self.handle, revision, self.handle.term());
        let leases = leases.into_iter().map(|id| pb::LeaseStatus { id: id.0 }).collect();
        Ok(Response::new(pb::LeaseLeasesResponse { header: Some(header), leases }))
    }
}

fn current_header(handle: &Handle) -> pb::ResponseHeader {
    let revision = handle.with_machine(|machine| machine.store().current_revision());
    reply::header(handle, revision, handle.term())
}

type Answer = Result<pb::LeaseKeepAliveResponse, Status>;
type Step = Pin<Box<dyn Future<Output = (Session, Option<Answer>)> + Send>>;

/// Answers of one keep-alive stream. Nothing runs ahead of the client: its next request is taken when
/// the transport asks for the next answer, so one that reads nothing holds one answer and what HTTP/2
/// lets it send.
pub(crate) struct Renewals {
    step: Option<Step>,
}

impl Stream for Renewals {
    type Item = Answer;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Answer>> {
        let Some(step) = &mut self.step else { return Poll::Ready(None) };
        let (session, answer) = ready!(step.as_mut().poll(context));
        let goes_on = matches!(answer, Some(Ok(_)));
        self.step = if goes_on { Some(Box::pin(session.next())) } else { None };
        Poll::Ready(answer)
    }
}

struct Session {
    handle: Handle,
    requests: Streaming<pb::LeaseKeepAliveRequest>,
}

impl Session {
    /// The answer to the next request; `None` when the client has sent its last.
    async fn next(mut self) -> (Self, Option<Answer>) {
        let answer = tokio::select! {
            answer = renew_next(&self.handle, &mut self.requests) => answer,
            () = self.handle.streams_closing() => Some(Err(status(EtcdError::Stopped))),
        };
        (self, answer)
    }
}

async fn renew_next(
    handle: &Handle,
    requests: &mut Streaming<pb::LeaseKeepAliveRequest>,
) -> Option<Answer> {
    let request = match requests.message().await {
        Ok(request) => request?,
        Err(error) => return Some(Err(stream_status(error))),
    };
    // Of before the renewal: a client must not see a lease alive at a revision that has revoked it.
    let header = Some(current_header(handle));
    let ttl = match handle.lease_renew(LeaseId(request.id)).await {
        Ok(ttl_seconds) => ttl_seconds,
        Err(EtcdError::LeaseNotFound) => 0,
        Err(error) => return Some(Err(status(error))),
    };
    Some(Ok(pb::LeaseKeepAliveResponse { header, id: request.id, ttl }))
}
