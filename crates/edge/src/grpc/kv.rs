//! The KV service.

use apply::Response as Applied;
use node::Handle;
use proto::etcdserverpb::kv_server::Kv;
use proto::etcdserverpb::range_request::SortTarget;
use proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse,
    InternalRaftRequest, PutRequest, PutResponse, RangeRequest, RangeResponse, TxnRequest,
    TxnResponse,
};
use tonic::{Request, Response, Status};
use types::EtcdError;

use super::range_stream::{self, RangePieces};
use super::status::status;
use super::{GrpcOptions, reply};

/// KV over one member.
pub(crate) struct KvService {
    handle: Handle,
    max_txn_ops: usize,
    /// Size that pieces of a streamed range are held near to.
    piece_bytes: usize,
}

impl KvService {
    pub(crate) fn new(handle: Handle, options: &GrpcOptions) -> Self {
        let piece_bytes = usize::try_from(options.max_request_bytes).unwrap_or(usize::MAX);
        Self { handle, max_txn_ops: options.max_txn_ops, piece_bytes }
    }

    async fn read(&self, request: RangeRequest) -> Result<RangeResponse, Status> {
        if !request.serializable {
            self.handle.linearize().await.map_err(status)?;
        }
        let (found, revision) = self.handle.range(request).await.map_err(status)?;
        let header = reply::header(&self.handle, revision, self.handle.term());
        Ok(reply::range(header, found))
    }

    /// Without the log, and without a quorum if all its ranges are serializable.
    async fn read_txn(&self, request: &TxnRequest) -> Result<TxnResponse, Status> {
        if !mvcc::is_serializable(request) {
            self.handle.linearize().await.map_err(status)?;
        }
        let done = self.handle.read_txn(request).await.map_err(status)?;
        let header = reply::header(&self.handle, done.revision, self.handle.term());
        Ok(reply::txn(header, done))
    }
}

#[tonic::async_trait]
impl Kv for KvService {
    type RangeStreamStream = RangePieces;

    async fn range(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<RangeResponse>, Status> {
        let request = request.into_inner();
        if !request.serializable && self.handle.is_learner() {
            return Err(status(EtcdError::NotSupportedForLearner));
        }
        mvcc::check_range(&request).map_err(status)?;
        self.read(request).await.map(Response::new)
    }

    async fn range_stream(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<RangePieces>, Status> {
        let mut request = request.into_inner();
        mvcc::check_range(&request).map_err(status)?;
        range_stream::check(&request)?;
        request.sort_target = SortTarget::Key.into();
        if !request.serializable {
            self.handle.linearize().await.map_err(status)?;
        }
        let stream = self.handle.range_stream(&request).map_err(status)?;
        Ok(Response::new(RangePieces::new(self.handle.clone(), stream, self.piece_bytes)))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let request = request.into_inner();
        mvcc::check_put(&request).map_err(status)?;
        self.handle.check_space(apply::put_cost(&request)).await.map_err(status)?;
        let entry = InternalRaftRequest { put: Some(request), ..InternalRaftRequest::default() };
        let done = self.handle.propose(entry).await.map_err(status)?;
        match done.response {
            Applied::Put(put) => {
                let header = reply::header(&self.handle, done.revision, done.term);
                Ok(Response::new(reply::put(header, put)))
            }
            other => Err(reply::mismatch(&other)),
        }
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        let request = request.into_inner();
        mvcc::check_delete(&request).map_err(status)?;
        let entry =
            InternalRaftRequest { delete_range: Some(request), ..InternalRaftRequest::default() };
        let done = self.handle.propose(entry).await.map_err(status)?;
        match done.response {
            Applied::DeleteRange(deleted) => {
                let header = reply::header(&self.handle, done.revision, done.term);
                Ok(Response::new(reply::delete(header, deleted)))
            }
            other => Err(reply::mismatch(&other)),
        }
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        let request = request.into_inner();
        mvcc::check_txn(&request, self.max_txn_ops).map_err(status)?;
        if mvcc::is_read_only(&request) {
            return self.read_txn(&request).await.map(Response::new);
        }
        self.handle.check_space(apply::txn_cost(&request)).await.map_err(status)?;
        let entry = InternalRaftRequest { txn: Some(request), ..InternalRaftRequest::default() };
        let done = self.handle.propose(entry).await.map_err(status)?;
        match done.response {
            Applied::Txn(txn) => {
                let header = reply::header(&self.handle, done.revision, done.term);
                Ok(Response::new(reply::txn(header, txn)))
            }
            other => Err(reply::mismatch(&other)),
        }
    }

    async fn compact(
        &self,
        request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        let request = request.into_inner();
        let (revision, physical) = (request.revision, request.physical);
        let entry =
            InternalRaftRequest { compaction: Some(request), ..InternalRaftRequest::default() };
        let done = self.handle.propose(entry).await.map_err(status)?;
        if physical {
            self.handle.wait_compacted(revision).await.map_err(status)?;
        }
        let header = Some(reply::header(&self.handle, done.revision, done.term));
        Ok(Response::new(CompactionResponse { header }))
    }
}
