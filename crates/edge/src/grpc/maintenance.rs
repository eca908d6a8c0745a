//! The Maintenance service, as far as it is served.

use apply::Response as Applied;
use node::Handle;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::maintenance_server::Maintenance;
use tonic::codegen::tokio_stream;
use tonic::{Request, Response, Status};
use types::{EtcdError, NodeId};

use super::status::status;
use super::{GrpcOptions, reply};

/// Maintenance of one member.
pub(crate) struct MaintenanceService {
    handle: Handle,
    options: GrpcOptions,
}

impl MaintenanceService {
    pub(crate) fn new(handle: Handle, options: GrpcOptions) -> Self {
        Self { handle, options }
    }
}

/// Answer of the methods that later issues bring; the router does not let requests come this far.
fn unknown<T>(method: &str) -> Result<Response<T>, Status> {
    let text = format!("unknown method {method} for service etcdserverpb.Maintenance");
    Err(Status::unimplemented(text))
}

#[tonic::async_trait]
impl Maintenance for MaintenanceService {
    type SnapshotStream = tokio_stream::Empty<Result<pb::SnapshotResponse, Status>>;

    async fn alarm(
        &self,
        request: Request<pb::AlarmRequest>,
    ) -> Result<Response<pb::AlarmResponse>, Status> {
        let entry = pb::InternalRaftRequest {
            alarm: Some(request.into_inner()),
            ..pb::InternalRaftRequest::default()
        };
        let done = self.handle.propose(entry).await.map_err(status)?;
        match done.response {
            Applied::Alarm(alarms) => {
                let header = Some(reply::header(&self.handle, done.revision, done.term));
                Ok(Response::new(pb::AlarmResponse { header, alarms }))
            }
            other => Err(reply::mismatch(&other)),
        }
    }

    async fn status(
        &self,
        _request: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        let seen = self.handle.status();
        let mut errors = Vec::new();
        if seen.leader == NodeId(0) {
            errors.push(EtcdError::NoLeader.text().to_owned());
        }
        errors.extend(seen.alarms.iter().map(alarm_text));
        Ok(Response::new(pb::StatusResponse {
            header: Some(reply::header(&self.handle, seen.revision, seen.term)),
            version: self.options.server_version.clone(),
            db_size: i64::try_from(seen.db_size).unwrap_or(i64::MAX),
            leader: seen.leader.0,
            raft_index: seen.commit.0,
            raft_term: seen.term.0,
            raft_applied_index: seen.applied.0,
            errors,
            db_size_in_use: i64::try_from(seen.db_size_in_use).unwrap_or(i64::MAX),
            is_learner: seen.is_learner,
            ..pb::StatusResponse::default()
        }))
    }

    async fn hash_kv(
        &self,
        request: Request<pb::HashKvRequest>,
    ) -> Result<Response<pb::HashKvResponse>, Status> {
        let revision = request.into_inner().revision;
        let (hash, current) = self.handle.hash_kv(revision).await.map_err(status)?;
        Ok(Response::new(pb::HashKvResponse {
            header: Some(reply::header(&self.handle, current, self.handle.term())),
            hash: hash.hash,
            compact_revision: hash.compact_revision,
            hash_revision: hash.hash_revision,
        }))
    }

    async fn defragment(
        &self,
        _request: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        unknown("Defragment")
    }

    async fn hash(
        &self,
        _request: Request<pb::HashRequest>,
    ) -> Result<Response<pb::HashResponse>, Status> {
        unknown("Hash")
    }

    async fn snapshot(
        &self,
        _request: Request<pb::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        unknown("Snapshot")
    }

    async fn move_leader(
        &self,
        _request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        unknown("MoveLeader")
    }

    async fn downgrade(
        &self,
        _request: Request<pb::DowngradeRequest>,
    ) -> Result<Response<pb::DowngradeResponse>, Status> {
        unknown("Downgrade")
    }
}

/// As Go prints the message: `memberID:5 alarm:NOSPACE ` with its final space.
fn alarm_text(alarm: &pb::AlarmMember) -> String {
    format!("memberID:{} alarm:{} ", alarm.member_id, alarm.alarm().as_str_name())
}
