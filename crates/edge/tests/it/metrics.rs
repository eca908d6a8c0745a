//! `/metrics` after one of everything, held against the families that etcd has.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::lease_client::LeaseClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::etcdserverpb::{
    AlarmRequest, AlarmType, CompactionRequest, DeleteRangeRequest, HashKvRequest,
    LeaseGrantRequest, LeaseRevokeRequest, PutRequest, RangeRequest,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::member::{Member, Setup};
use crate::raw;

const FAMILIES: &str = include_str!("testdata/families.txt");
const MISSING: &str = include_str!("testdata/missing.txt");
const WATCH: &str = "/etcdserverpb.Watch/Watch";

/// Lines of a table without its comments.
fn lines(table: &'static str) -> impl Iterator<Item = &'static str> {
    table.lines().filter(|line| !line.starts_with('#'))
}

/// Status and body of a request over HTTP/1.1.
async fn http(member: &Member, method: &str, target: &str) -> (u16, String) {
    let mut stream = member.connect();
    let head = format!("{method} {target} HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    let status = reply.split(' ').nth(1).and_then(|status| status.parse().ok());
    let (_, body) = reply.split_once("\r\n\r\n").unwrap();
    (status.unwrap(), body.to_owned())
}

async fn scrape(member: &Member) -> String {
    let (status, text) = http(member, "GET", "/metrics").await;
    assert_eq!(status, 200);
    text
}

/// Names and types of a scrape.
fn families(text: &str) -> BTreeMap<String, String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let pair = |line: &str| {
        let (name, kind) = line.split_once(' ').unwrap();
        (name.to_owned(), kind.to_owned())
    };
    types.map(pair).collect()
}

/// The value of a row of a scrape, of which name and labels are given as they are written.
fn row<'a>(text: &'a str, row: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(row)?.strip_prefix(' '))
}

fn expect(text: &str, rows: &[(&str, &str)]) {
    for (name, value) in rows {
        assert_eq!(row(text, name), Some(*value), "{name}");
    }
}

fn put(key: &'static str, value: &'static str, lease: i64) -> PutRequest {
    PutRequest { key: key.into(), value: value.into(), lease, ..PutRequest::default() }
}

/// One of everything that v3 has.
async fn use_v3(member: &Member) {
    let mut kv = KvClient::new(member.channel().await);
    let mut lease = LeaseClient::new(member.channel().await);
    let mut maintenance = MaintenanceClient::new(member.channel().await);
    let granted = LeaseGrantRequest { ttl: 100, id: 7 };
    lease.lease_grant(granted).await.unwrap();
    kv.put(put("a", "1", 7)).await.unwrap();
    kv.put(put("b", "22", 7)).await.unwrap();
    kv.put(put("c", "333", 0)).await.unwrap();
    kv.put(put("c", "", 9)).await.unwrap_err();
    let key = Bytes::from_static(b"c");
    kv.range(RangeRequest { key: key.clone(), ..RangeRequest::default() }).await.unwrap();
    kv.delete_range(DeleteRangeRequest { key, ..DeleteRangeRequest::default() }).await.unwrap();
    lease.lease_revoke(LeaseRevokeRequest { id: 7 }).await.unwrap();
    maintenance.hash_kv(HashKvRequest { revision: 0 }).await.unwrap();
    kv.compact(CompactionRequest { revision: 5, physical: true }).await.unwrap();
    let alarm = AlarmRequest { action: 1, member_id: 5, alarm: AlarmType::Corrupt.into() };
    maintenance.alarm(alarm).await.unwrap();
    raw::call(member, WATCH, &[], b"\0\0\0").await;
}

async fn use_v2(member: &Member) {
    for (method, target, status) in [
        ("PUT", "/v2/keys/d/k?value=1", 201),
        ("PUT", "/v2/keys/d/k?value=2&prevValue=1", 200),
        ("POST", "/v2/keys/d?value=3", 201),
        ("POST", "/v2/keys/d/k?value=3", 400),
        ("GET", "/v2/keys/d/k", 200),
        ("GET", "/v2/keys/d?recursive=true", 200),
        ("GET", "/v2/keys/none", 404),
        ("GET", "/v2/keys/d/k?wait=true&waitIndex=1", 200),
        ("DELETE", "/v2/keys/d?recursive=true", 200),
        ("DELETE", "/v2/keys/none", 404),
        ("PUT", "/v2/keys/x?ttl=oops", 400),
        // An alarm is raised.
        ("GET", "/health", 503),
        ("GET", "/livez", 200),
    ] {
        let (found, body) = http(member, method, target).await;
        assert_eq!(found, status, "{method} {target}: {body}");
    }
}

/// A scrape of a member that has done everything, and has a peer.
async fn scrape_of_all() -> String {
    let mut setup = Setup::new();
    setup.grpc.extensive_metrics = true;
    let member = setup.start().await;
    use_v3(&member).await;
    use_v2(&member).await;
    let peer_urls = ["http://127.0.0.8:2380".to_owned()];
    member.node.handle().add_member(&peer_urls, true).await.unwrap();
    scrape(&member).await;
    let text = scrape(&member).await;
    member.node.stop().await;
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_family_of_etcd_is_there_or_has_a_reason_not_to_be() {
    let shown = families(&scrape_of_all().await);
    let missing: BTreeSet<&str> = lines(MISSING)
        .map(|line| {
            let (name, reason) = line.split_once(": ").unwrap();
            assert!(reason.len() > 10, "{name} has no reason");
            name
        })
        .collect();
    let mut known = BTreeSet::new();
    for line in lines(FAMILIES) {
        let fields: Vec<&str> = line.splitn(3, ' ').collect();
        let (name, kind) = (fields[0], fields[1]);
        assert!(known.insert(name), "{name} is there twice");
        let is_missing = missing.contains(name);
        let found = shown.get(name).map(String::as_str);
        assert_eq!(found, (!is_missing).then_some(kind), "{name}");
    }
    let known: BTreeSet<String> = known.into_iter().map(str::to_owned).collect();
    let unknown: Vec<&String> = shown.keys().filter(|name| !known.contains(*name)).collect();
    assert!(unknown.is_empty(), "names that etcd does not have: {unknown:?}");
    let stray: Vec<&&str> = missing.iter().filter(|name| !known.contains(**name)).collect();
    assert!(stray.is_empty(), "{stray:?} are excused and not asked for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_done_is_counted() {
    let text = scrape_of_all().await;
    let applied = "etcd_server_apply_duration_seconds_count";
    expect(
        &text,
        &[
            (&format!("{applied}{{op=\"Put\",success=\"true\",version=\"v3\"}}"), "3"),
            (&format!("{applied}{{op=\"Put\",success=\"false\",version=\"v3\"}}"), "1"),
            (&format!("{applied}{{op=\"LeaseRevoke\",success=\"true\",version=\"v3\"}}"), "1"),
            (&format!("{applied}{{op=\"POST\",success=\"false\",version=\"v2\"}}"), "1"),
            (&format!("{applied}{{op=\"DELETE\",success=\"true\",version=\"v2\"}}"), "1"),
            ("etcd_mvcc_put_total", "3"),
            ("etcd_mvcc_delete_total", "3"),
            ("etcd_debugging_mvcc_total_put_size_in_bytes", "9"),
            ("etcd_mvcc_hash_rev_duration_seconds_count", "1"),
            ("etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds_count", "1"),
            ("etcd_debugging_store_reads_total{action=\"get\"}", "2"),
            ("etcd_debugging_store_reads_total{action=\"getRecursive\"}", "1"),
            ("etcd_debugging_store_reads_failed_total{action=\"get\"}", "1"),
            ("etcd_debugging_store_writes_total{action=\"compareAndSwap\"}", "1"),
            ("etcd_debugging_store_writes_total{action=\"delete\"}", "2"),
            ("etcd_debugging_store_writes_failed_total{action=\"delete\"}", "1"),
            ("etcd_debugging_store_watch_requests_total", "1"),
            ("etcd_http_received_total{method=\"GET\"}", "3"),
            ("etcd_http_failed_total{code=\"404\",method=\"GET\"}", "1"),
            ("etcd_http_successful_duration_seconds_count{method=\"PUT\"}", "2"),
            ("etcd_network_server_stream_failures_total{API=\"watch\",Type=\"receive\"}", "1"),
            ("etcd_debugging_server_alarms{alarm_type=\"CORRUPT\",server_id=\"5\"}", "1"),
            ("promhttp_metric_handler_requests_total{code=\"200\"}", "1"),
            ("promhttp_metric_handler_requests_in_flight", "1"),
        ],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_without_a_leader_is_counted() {
    let member = Setup::new().start_without_quorum();
    let (mut reader, mut writer) =
        (KvClient::new(member.channel().await), KvClient::new(member.channel().await));
    let range = RangeRequest { key: Bytes::from_static(b"a"), ..RangeRequest::default() };
    let (read, written) = tokio::join!(reader.range(range), writer.put(put("a", "1", 0)));
    assert!(read.is_err() && written.is_err());
    expect(
        &scrape(&member).await,
        &[
            ("etcd_server_proposals_failed_total", "1"),
            ("etcd_server_slow_read_indexes_total", "1"),
            ("etcd_server_has_leader", "0"),
            ("etcd_server_heartbeat_send_failures_total", "0"),
        ],
    );
    member.node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_slow_is_counted() {
    let mut setup = Setup::new();
    setup.options.warning_apply_duration = Duration::ZERO;
    let member = setup.start().await;
    let before = scrape(&member).await;
    let name = "etcd_server_slow_apply_total";
    let slow = |text: &str| row(text, name).unwrap().parse::<u64>().unwrap();
    let mut kv = KvClient::new(member.channel().await);
    kv.put(put("a", "1", 0)).await.unwrap();
    let after = scrape(&member).await;
    assert!(slow(&after) > slow(&before), "{} and then {}", slow(&before), slow(&after));
    member.node.stop().await;
}
