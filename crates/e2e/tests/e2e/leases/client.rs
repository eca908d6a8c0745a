//! What the tests ask of one member.

use std::net::SocketAddr;
use std::time::Duration;

use e2e::v3::{Client, Failure, Received, Stream};
use proto::etcdserverpb as pb;

/// One member as a holder of leases sees it.
#[derive(Clone)]
pub(crate) struct Holder {
    client: Client,
}

impl Holder {
    pub(crate) fn new(server: SocketAddr) -> Self {
        Self { client: Client::new(server) }
    }

    /// Grants a lease; ID 0 lets the server choose.
    pub(crate) fn grant(&self, id: i64, ttl: i64) -> Result<pb::LeaseGrantResponse, Failure> {
        self.client.unary("/etcdserverpb.Lease/LeaseGrant", &pb::LeaseGrantRequest { id, ttl })
    }

    pub(crate) fn revoke(&self, id: i64) -> Result<pb::LeaseRevokeResponse, Failure> {
        self.client.unary("/etcdserverpb.Lease/LeaseRevoke", &pb::LeaseRevokeRequest { id })
    }

    pub(crate) fn time_to_live(&self, id: i64) -> Result<pb::LeaseTimeToLiveResponse, Failure> {
        let request = pb::LeaseTimeToLiveRequest { id, keys: true };
        self.client.unary("/etcdserverpb.Lease/LeaseTimeToLive", &request)
    }

    pub(crate) fn leases(&self) -> Result<Vec<i64>, Failure> {
        let listed: pb::LeaseLeasesResponse =
            self.client.unary("/etcdserverpb.Lease/LeaseLeases", &pb::LeaseLeasesRequest {})?;
        Ok(listed.leases.into_iter().map(|lease| lease.id).collect())
    }

    pub(crate) fn put(&self, key: &str, lease: i64) -> Result<pb::PutResponse, Failure> {
        let key = key.to_owned().into();
        let request = pb::PutRequest { key, lease, ..pb::PutRequest::default() };
        self.client.unary("/etcdserverpb.KV/Put", &request)
    }

    /// How many keys begin with `prefix`, as this member alone has them.
    pub(crate) fn count(&self, prefix: &str) -> Result<i64, Failure> {
        let request = pb::RangeRequest {
            key: format!("{prefix}/").into(),
            range_end: format!("{prefix}0").into(),
            count_only: true,
            serializable: true,
            ..pb::RangeRequest::default()
        };
        let reply: pb::RangeResponse = self.client.unary("/etcdserverpb.KV/Range", &request)?;
        Ok(reply.count)
    }

    pub(crate) fn keep_alive(&self, metadata: &[(&str, &str)]) -> KeepAlive {
        KeepAlive { stream: self.client.stream("/etcdserverpb.Lease/LeaseKeepAlive", metadata) }
    }

    /// Renews a lease once; the time to live it got.
    pub(crate) fn renew(&self, id: i64) -> i64 {
        let mut keep_alive = self.keep_alive(&[]);
        keep_alive.send(id);
        keep_alive.answer().ttl
    }
}

/// A stream of renewals.
pub(crate) struct KeepAlive {
    pub(crate) stream: Stream,
}

impl KeepAlive {
    pub(crate) fn send(&self, id: i64) {
        self.stream.send(&pb::LeaseKeepAliveRequest { id });
    }

    #[track_caller]
    pub(crate) fn answer(&mut self) -> pb::LeaseKeepAliveResponse {
        self.stream.next()
    }

    /// How the stream ends; nothing else may come before.
    #[track_caller]
    pub(crate) fn end(&mut self, patience: Duration) -> Result<(), Failure> {
        match self.stream.receive(patience) {
            Received::End(end) => end,
            other => panic!("the end was expected, not {other:?}"),
        }
    }
}
