//! The KV service.

use apply::Response as Applied;
use node::Handle;
use proto::etcdserverpb::kv_server::Kv;
use proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse,
    InternalRaftRequest, PutRequest, PutResponse, RangeRequest, RangeResponse, RangeStreamResponse,
    TxnRequest, TxnResponse,
};
use tonic::codegen::tokio_stream;
use tonic::{Request, Response, Status};

use super::reply;
use super::status::status;

/// KV over one member.
pub(crate) struct KvService {
    handle: Handle,
    max_txn_ops: usize,
}

impl KvService {
    pub(crate) fn new(handle: Handle, max_txn_ops: usize) -> Self {
        Self { handle, max_txn_ops }
    }

    async fn read(&self, request: RangeRequest) -> Result<RangeResponse, Status> {
        if !request.serializable {
            self.handle.linearize().await.map_err(status)?;
        }
        let (found, revision) = self.handle.range(request).await.map_err(status)?;
        let header = reply::header(&self.handle, revision, self.handle.status().term);
        Ok(reply::range(header, found))
    }
}

#[tonic::async_trait]
impl Kv for KvService {
    type RangeStreamStream = tokio_stream::Empty<Result<RangeStreamResponse, Status>>;

    async fn range(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<RangeResponse>, Status> {
        let request = request.into_inner();
        mvcc::check_range(&request).map_err(status)?;
        self.read(request).await.map(Response::new)
    }

    async fn range_stream(
        &self,
        _request: Request<RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        Err(Status::unimplemented("unknown method RangeStream for service etcdserverpb.KV"))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let request = request.into_inner();
        mvcc::check_put(&request).map_err(status)?;
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
