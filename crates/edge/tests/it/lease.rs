//! The Lease service at the client port: what goes wrong, compared with 3.5.1 where it says the same.

use proto::etcdserverpb::lease_client::LeaseClient;
use proto::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseTimeToLiveRequest,
};
use tonic::Code;
use tonic::codegen::tokio_stream;

use crate::member::{Member, Setup};
use crate::raw::{call, frame, framed};

const KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";

async fn client(member: &Member) -> LeaseClient<tonic::transport::Channel> {
    LeaseClient::new(member.channel().await)
}

/// The answers to renewals of these leases, sent on one stream that is then closed.
async fn renew(member: &Member, ids: &[i64]) -> Result<Vec<LeaseKeepAliveResponse>, tonic::Status> {
    let requests: Vec<_> = ids.iter().map(|id| LeaseKeepAliveRequest { id: *id }).collect();
    let requests = tokio_stream::iter(requests);
    let mut stream = client(member).await.lease_keep_alive(requests).await?.into_inner();
    let mut answers = Vec::new();
    while let Some(answer) = stream.message().await? {
        answers.push(answer);
    }
    Ok(answers)
}

#[tokio::test]
async fn what_a_stream_is_told_about_messages_that_are_none() {
    let member = Setup::new().start().await;
    let wire = "grpc: failed to unmarshal the received message: \
                proto: cannot parse invalid wire-format data";
    let big = "grpc: received message larger than max (2097153 vs. 2097152)";
    for (body, code, text) in [
        (Vec::new(), 0, ""),
        (framed(0, b"\xff\xff\xff"), 13, wire),
        (framed(0, b"\x08"), 13, wire),
        (b"\0\x00\x20\x00\x01abc".to_vec(), 8, big),
    ] {
        let answer = call(&member, KEEP_ALIVE, &[], &body).await;
        assert_eq!(answer.told(), (200, code, text), "{body:?}");
    }
    // What came before is answered.
    let good = frame(&LeaseKeepAliveRequest { id: 7 });
    let answer = call(&member, KEEP_ALIVE, &[], &[good, framed(0, b"\x08")].concat()).await;
    assert_eq!((answer.code, answer.message.as_str()), (13, wire));
    assert!(!answer.body.is_empty());
    member.node.stop().await;
}

#[tokio::test]
async fn answers_come_in_the_order_of_the_requests() {
    let member = Setup::new().start().await;
    let mut leases = client(&member).await;
    for (id, ttl) in [(1, 60), (2, 70)] {
        let granted = leases.lease_grant(LeaseGrantRequest { id, ttl }).await.unwrap();
        assert_eq!(granted.into_inner().ttl, ttl);
    }
    let answers = renew(&member, &[2, 1, 0, 2, i64::MIN]).await.unwrap();
    let told: Vec<(i64, i64)> = answers.iter().map(|answer| (answer.id, answer.ttl)).collect();
    assert_eq!(told, [(2, 70), (1, 60), (0, 0), (2, 70), (i64::MIN, 0)]);
    member.node.stop().await;
}

#[tokio::test]
async fn without_a_leader_there_is_an_answer_in_the_end() {
    let member = Setup::new().start_without_quorum();
    let mut leases = client(&member).await;
    let (renewed, told) = tokio::join!(
        renew(&member, &[1]),
        leases.lease_time_to_live(LeaseTimeToLiveRequest { id: 1, keys: false })
    );
    for error in [renewed.unwrap_err(), told.unwrap_err()] {
        assert_eq!((error.code(), error.message()), (Code::Unavailable, "etcdserver: no leader"));
    }
    member.node.stop().await;
}
