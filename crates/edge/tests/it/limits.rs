//! What is refused for want of room: quota, streams of a connection.

use std::time::Duration;

use bytes::Bytes;
use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::etcdserverpb::request_op::Request as Op;
use proto::etcdserverpb::watch_client::WatchClient;
use proto::etcdserverpb::{
    AlarmRequest, AlarmType, CompactionRequest, DeleteRangeRequest, PutRequest, RangeRequest,
    RequestOp, StatusRequest, TxnRequest,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::member::Setup;

fn put(key: &'static str, size: usize) -> PutRequest {
    PutRequest {
        key: Bytes::from_static(key.as_bytes()),
        value: vec![7; size].into(),
        ..PutRequest::default()
    }
}

fn delete(key: &'static str) -> DeleteRangeRequest {
    DeleteRangeRequest { key: Bytes::from_static(key.as_bytes()), ..DeleteRangeRequest::default() }
}

async fn status(maintenance: &mut MaintenanceClient<Channel>) -> Vec<String> {
    maintenance.status(StatusRequest {}).await.unwrap().into_inner().errors
}

#[tokio::test]
async fn the_quota_refuses_writes_and_nothing_else_until_the_alarm_is_disarmed() {
    let mut setup = Setup::new();
    setup.options.quota_bytes = 2 << 20;
    let member = setup.start().await;
    let channel = member.channel().await;
    let mut kv = KvClient::new(channel.clone());
    let mut maintenance = MaintenanceClient::new(channel);
    kv.put(put("small", 10)).await.unwrap();
    // The size that is asked for is that of the file, so the writes have to get there.
    let error = loop {
        match kv.put(put("big", 1 << 20)).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    let no_space = "etcdserver: mvcc: database space exceeded";
    assert_eq!((error.code(), error.message()), (Code::ResourceExhausted, no_space));
    // Refused before it is proposed: nothing of it is there, and the alarm is raised.
    assert_eq!(kv.put(put("late", 1)).await.unwrap_err().message(), no_space);
    let id = member.node.handle().local().0;
    assert_eq!(status(&mut maintenance).await, [format!("memberID:{id} alarm:NOSPACE ")]);
    let found = kv.range(RangeRequest { key: "late".into(), ..RangeRequest::default() }).await;
    assert_eq!(found.unwrap().into_inner().count, 0);
    let op = |request| RequestOp { request: Some(request) };
    let txn = |ops| TxnRequest { success: ops, ..TxnRequest::default() };
    let writes = txn(vec![op(Op::RequestPut(put("late", 1)))]);
    assert_eq!(kv.txn(writes.clone()).await.unwrap_err().message(), no_space);
    let other = TxnRequest { failure: writes.success, ..TxnRequest::default() };
    assert_eq!(kv.txn(other).await.unwrap_err().message(), no_space);

    // What adds nothing goes on.
    let deletes = txn(vec![op(Op::RequestDeleteRange(delete("small")))]);
    kv.txn(deletes).await.unwrap();
    let revision =
        kv.delete_range(delete("big")).await.unwrap().into_inner().header.unwrap().revision;
    kv.compact(CompactionRequest { revision, physical: true }).await.unwrap();

    // The file has not shrunk, so the next write raises the alarm again.
    let disarm = AlarmRequest {
        action: AlarmAction::Deactivate.into(),
        member_id: id,
        alarm: AlarmType::Nospace.into(),
    };
    let disarmed = maintenance.alarm(disarm).await.unwrap().into_inner().alarms;
    assert_eq!(disarmed.len(), 1);
    assert!(status(&mut maintenance).await.is_empty());
    assert_eq!(kv.put(put("late", 1)).await.unwrap_err().message(), no_space);
    assert_eq!(status(&mut maintenance).await.len(), 1);
    member.node.stop().await;
}

#[tokio::test]
async fn an_alarm_of_another_member_refuses_writes_too() {
    let member = Setup::new().start().await;
    let channel = member.channel().await;
    let mut kv = KvClient::new(channel.clone());
    let mut maintenance = MaintenanceClient::new(channel);
    let alarm = |action: AlarmAction, kind: AlarmType| AlarmRequest {
        action: action.into(),
        member_id: 7,
        alarm: kind.into(),
    };
    maintenance.alarm(alarm(AlarmAction::Activate, AlarmType::Nospace)).await.unwrap();
    assert_eq!(kv.put(put("a", 1)).await.unwrap_err().code(), Code::ResourceExhausted);
    kv.delete_range(delete("a")).await.unwrap();
    maintenance.alarm(alarm(AlarmAction::Deactivate, AlarmType::Nospace)).await.unwrap();
    kv.put(put("a", 1)).await.unwrap();
    maintenance.alarm(alarm(AlarmAction::Activate, AlarmType::Corrupt)).await.unwrap();
    let corrupt = "etcdserver: corrupt cluster";
    let error = kv.put(put("a", 1)).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::DataLoss, corrupt));
    assert_eq!(kv.delete_range(delete("a")).await.unwrap_err().message(), corrupt);
    let compact = CompactionRequest { revision: 2, physical: false };
    assert_eq!(kv.compact(compact).await.unwrap_err().message(), corrupt);
    kv.range(RangeRequest { key: "a".into(), ..RangeRequest::default() }).await.unwrap();
    kv.txn(TxnRequest::default()).await.unwrap();
    member.node.stop().await;
}

#[tokio::test]
async fn streams_beyond_the_limit_of_a_connection_wait() {
    let mut setup = Setup::new();
    setup.limits.streams = 2;
    let member = setup.start().await;
    let mut clients: Vec<_> = Vec::new();
    let channel = member.channel().await;
    let mut kv = KvClient::new(channel.clone());
    kv.put(put("a", 1)).await.unwrap();
    for _ in 0..2 {
        let mut watch = WatchClient::new(channel.clone());
        let (requests, received) = tokio::sync::mpsc::channel(1);
        let answer = watch.watch(ReceiverStream::new(received)).await.unwrap();
        clients.push((requests, answer));
    }
    // The client knows the limit and holds the third call back.
    let range = RangeRequest { key: "a".into(), ..RangeRequest::default() };
    let held = tokio::time::timeout(Duration::from_millis(200), kv.range(range.clone())).await;
    assert!(held.is_err());
    clients.pop();
    kv.range(range).await.unwrap();
    member.node.stop().await;
}

#[tokio::test]
async fn a_client_that_pings_too_often_is_told_and_cut_off() {
    let member = Setup::new().start().await;
    let mut stream = member.connect();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    stream.write_all(&bytes).await.unwrap();
    let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    for _ in 0..4 {
        stream.write_all(&ping).await.unwrap();
    }
    let mut told = Vec::new();
    stream.read_to_end(&mut told).await.unwrap();
    let farewell = b"\0\0\x16\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0btoo_many_pings";
    assert!(told.windows(farewell.len()).any(|window| window == farewell), "{told:?}");
    member.node.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_answer_pings_is_cut_off() {
    let mut setup = Setup::new();
    setup.limits.ping_interval = Duration::from_millis(50);
    setup.limits.ping_timeout = Duration::from_millis(50);
    let member = setup.start().await;
    let mut stream = member.connect();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    stream.write_all(&bytes).await.unwrap();
    let mut told = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut told)).await;
    assert!(ended.is_ok(), "the connection is still open");
    assert!(told.windows(4).any(|window| window == [0, 8, 6, 0]), "no ping in {told:?}");
    member.node.stop().await;
}
