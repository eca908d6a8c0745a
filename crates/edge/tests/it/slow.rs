//! What is logged of calls that take long.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::{PutRequest, RangeRequest};
use tracing_subscriber::fmt::MakeWriter;

use crate::member::{CLIENT, Setup};
use crate::raw::call;

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn lines(&self) -> Vec<String> {
        let bytes = self.0.lock().unwrap();
        let lines = std::str::from_utf8(&bytes).unwrap().lines();
        lines.filter(|line| line.contains("request stats")).map(str::to_owned).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// All tasks of the edge run on the thread of the test, and so log to its own subscriber.
async fn logged(slow: Duration) -> Vec<String> {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(log.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut setup = Setup::new();
    setup.grpc.warning_unary_request_duration = slow;
    let member = setup.start().await;
    let mut kv = KvClient::new(member.channel().await);
    let put = PutRequest { key: "k".into(), value: vec![7; 1000].into(), ..PutRequest::default() };
    kv.put(put).await.unwrap();
    let range = RangeRequest { key: Bytes::from_static(b"k"), ..RangeRequest::default() };
    kv.range(range).await.unwrap();
    call(&member, "/etcdserverpb.KV/Range", &[], b"\0\0\0\0\0").await;
    // A stream is not warned about, however long it takes.
    call(&member, "/etcdserverpb.Watch/Watch", &[], b"\0\0\0").await;
    member.node.stop().await;
    log.lines()
}

#[tokio::test]
async fn a_slow_call_is_told_with_method_sizes_and_client() {
    let lines = logged(Duration::ZERO).await;
    let put = PutRequest { key: "k".into(), value: vec![7; 1000].into(), ..PutRequest::default() };
    let remote = format!("remote=\"{CLIENT}\"");
    let expected: [&[&str]; 3] = [
        &["/etcdserverpb.KV/Put", &format!("request_size={} ", put.encoded_len()), "code=Ok"],
        &["/etcdserverpb.KV/Range", "request_size=3 ", "code=Ok"],
        &["/etcdserverpb.KV/Range", "request_size=0 ", "response_size=0 ", "code=InvalidArgument"],
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, parts) in lines.iter().zip(expected) {
        for part in parts.iter().copied().chain([remote.as_str(), "WARN", "time_spent="]) {
            assert!(line.contains(part), "no {part} in {line}");
        }
    }
    let size = |line: &str| -> usize {
        let (_, rest) = line.split_once("response_size=").unwrap();
        rest.split(' ').next().unwrap().parse().unwrap()
    };
    assert!(size(&lines[1]) > 1000 && size(&lines[0]) < 100, "{lines:#?}");
}

#[tokio::test]
async fn a_quick_call_is_not_told() {
    assert_eq!(logged(Duration::from_secs(60)).await, Vec::<String>::new());
}
