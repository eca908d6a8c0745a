//! The Cluster service.

use membership::Member;
use node::Handle;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::cluster_server::Cluster;
use tonic::{Request, Response, Status};
use types::{EtcdError, NodeId};

use super::reply;
use super::status::status;

/// Cluster over one member.
pub(crate) struct ClusterService {
    handle: Handle,
}

impl ClusterService {
    pub(crate) fn new(handle: Handle) -> Self {
        Self { handle }
    }

    /// Cluster replies name no revision.
    fn header(&self) -> Option<pb::ResponseHeader> {
        Some(reply::header(&self.handle, 0, self.handle.term()))
    }
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn member_add(
        &self,
        request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        let request = request.into_inner();
        check_peer_urls(&request.peer_urls)?;
        let added = self.handle.add_member(&request.peer_urls, request.is_learner).await;
        let (member, members) = added.map_err(status)?;
        Ok(Response::new(pb::MemberAddResponse {
            header: self.header(),
            member: Some(message(&member)),
            members: messages(&members),
        }))
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        let id = NodeId(request.into_inner().id);
        let members = self.handle.remove_member(id).await.map_err(status)?;
        Ok(Response::new(pb::MemberRemoveResponse {
            header: self.header(),
            members: messages(&members),
        }))
    }

    async fn member_update(
        &self,
        request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        let request = request.into_inner();
        check_peer_urls(&request.peer_urls)?;
        let updated = self.handle.update_member(NodeId(request.id), &request.peer_urls).await;
        let members = updated.map_err(status)?;
        Ok(Response::new(pb::MemberUpdateResponse {
            header: self.header(),
            members: messages(&members),
        }))
    }

    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        if request.into_inner().linearizable {
            self.handle.linearize().await.map_err(status)?;
        }
        let members = self
            .handle
            .with_machine(|machine| machine.membership().members.values().map(message).collect());
        Ok(Response::new(pb::MemberListResponse { header: self.header(), members }))
    }

    async fn member_promote(
        &self,
        _request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        Err(Status::unimplemented("unknown method MemberPromote for service etcdserverpb.Cluster"))
    }
}

/// A peer URL has a known scheme, a host, a port and no path (server-config.md 6).
fn check_peer_urls(urls: &[String]) -> Result<(), Status> {
    let good = |url: &String| {
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        let authority = rest.map(|rest| rest.strip_suffix('/').unwrap_or(rest));
        authority.is_some_and(|authority| {
            let port = authority.rsplit_once(':');
            !authority.contains('/')
                && port.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        })
    };
    if urls.is_empty() || !urls.iter().all(good) {
        return Err(status(EtcdError::MemberBadURLs));
    }
    Ok(())
}

fn messages(members: &[Member]) -> Vec<pb::Member> {
    members.iter().map(message).collect()
}

fn message(member: &Member) -> pb::Member {
    pb::Member {
        id: member.id.0,
        name: member.name.clone(),
        peer_urls: member.peer_urls.clone(),
        client_urls: member.client_urls.clone(),
        is_learner: member.is_learner,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_urls_are_checked_before_anything_is_proposed() {
        let check = |url: &str| check_peer_urls(&[url.to_owned()]).is_ok();
        assert!(check("http://127.0.0.1:2380"));
        assert!(check("https://[::1]:2380"));
        for bad in
            ["", "127.0.0.1:2380", "http://host", "http://h:1/path", "ftp://h:1", "http://:1"]
        {
            assert!(!check(bad), "{bad}");
        }
        assert!(check_peer_urls(&[]).is_err());
    }
}
