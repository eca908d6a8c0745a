//! Streams that are opened and never read: they cost their queues and hinder nobody.
//!
//! Invariants: memory stays below a bound that does not depend on what is written; others are served.
//! Source:     types::limits (watch queues), api-v3.md 3.3, api-v2.md 3.5.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use e2e::v3::{Client, Stream};
use e2e::{eventually, http};
use prost::Message as _;
use proto::etcdserverpb::{LeaseKeepAliveRequest, LeaseKeepAliveResponse};

use super::api::{self, KEEP_ALIVE, WATCH};
use super::{Place, assert_no_panic, h2};

/// Watch streams that nobody reads, half of them with all the room that HTTP/2 can give.
const STREAMS: usize = 100;
/// Writes below the watched prefix, and the size of their values: far more than the queues take.
const WRITES: usize = 400;
const VALUE_BYTES: usize = 100_000;
/// Rounds of these writes before anybody watches.
const WARM_UP: usize = 8;
/// Keys that are written, again and again: what is stored stays small.
const KEYS: usize = 8;
/// What the streams may cost besides: the queues of all watch streams; for each stream 2 MiB in
/// HTTP/2's own buffers and on the way there; what the allocator does not give back.
const GROWTH_MAX_BYTES: u64 = (256 + 200 + 64) << 20;
/// What as many writes once more may add, when all queues are full.
const PLATEAU_BYTES: u64 = 64 << 20;
/// How much longer writers may take: each event is put into a frame for each of the streams until
/// they are full.
const SLOWER_MAX: u32 = 5;
const SLOWER_GRACE: Duration = Duration::from_secs(5);

/// Renewals sent on each stream, streams, and what they may cost.
const RENEWALS: usize = 20_000;
const RENEWAL_STREAMS: usize = 5;
const RENEWAL_GROWTH_BYTES: u64 = 32 << 20;

/// v2 streams that nobody reads, and the writes after which they must be gone: 100 events and what
/// the sockets in between take.
const V2_STREAMS: usize = 5;
const V2_WRITES: usize = 300;
/// What they may cost: the history of 300 events, before and after, and the queues.
const V2_GROWTH_BYTES: u64 = 256 << 20;
const PATIENCE: Duration = Duration::from_secs(30);

/// Writes the busy keys; how long that took.
fn write(client: &Client) -> Duration {
    let (begun, value) = (Instant::now(), bytes::Bytes::from(vec![b'v'; VALUE_BYTES]));
    for number in 0..WRITES {
        let key = format!("busy/{}", number % KEYS);
        api::put(client, key, value.clone()).expect("a put");
    }
    begun.elapsed()
}

/// A watch on a connection of its own, from which nothing is ever read.
fn watch_unread(server: SocketAddr, window_is_large: bool) -> TcpStream {
    let mut stream = if window_is_large {
        h2::open(server).expect("connect")
    } else {
        let mut stream = http::connect(server).expect("connect");
        let settings = h2::frame(h2::SETTINGS, 0, 0, &[]);
        stream.write_all(&[h2::PREFACE, &settings].concat()).expect("send");
        stream
    };
    let headers = h2::frame(h2::HEADERS, h2::END_HEADERS, 1, &h2::call_headers(WATCH));
    let create = h2::message(&api::create("busy/", "busy0", 0).encode_to_vec());
    let create = h2::frame(h2::DATA, 0, 1, &create);
    stream.write_all(&[headers, create].concat()).expect("send");
    // The answer to the request is the last thing that is read.
    while h2::read_frame(&mut stream).expect("a frame").0 != h2::DATA {}
    stream
}

#[test]
fn a_hundred_watch_streams_that_nobody_reads() {
    let place = Place::new("unread");
    let etcd = place.single("u").set("unsafe-no-fsync", "true").start();
    let (client, reader) = (Client::new(etcd.client()), Client::new(etcd.client()));
    // The log in memory, the overlay and what the allocator keeps have to be full already.
    for _ in 0..WARM_UP {
        write(&client);
    }
    let alone = write(&client);
    let before = etcd.resident_bytes();
    let held: Vec<TcpStream> =
        (0..STREAMS).map(|number| watch_unread(etcd.client(), number % 2 == 0)).collect();
    let mut good = api::watch(&reader, "busy/", "busy0", 0);
    let reading = std::thread::spawn(move || read(&mut good));
    let beside = write(&client);
    let told = reading.join().expect("the reader was told everything");
    let grown = etcd.resident_bytes().saturating_sub(before);
    println!("alone {alone:?}, beside {STREAMS} unread streams {beside:?}, {grown} bytes more");
    assert_eq!(told.len(), WRITES, "a reader beside them");
    assert!(told.is_sorted_by(|a, b| a + 1 == *b), "{told:?}");
    assert!(grown < GROWTH_MAX_BYTES, "{grown} bytes more");
    assert!(beside < alone * SLOWER_MAX + SLOWER_GRACE, "{beside:?} instead of {alone:?}");
    let full = etcd.resident_bytes();
    write(&client);
    let more = etcd.resident_bytes().saturating_sub(full);
    assert!(more < PLATEAU_BYTES, "{more} bytes more for the same writes once more");
    drop(held);
    write(&client);
    assert_no_panic(&etcd.log());
}

/// Revisions of as many events as are written.
fn read(stream: &mut Stream) -> Vec<i64> {
    let mut told = Vec::new();
    while told.len() < WRITES {
        told.extend(api::events(stream).iter().map(|kv| kv.mod_revision));
    }
    told
}

#[test]
fn renewals_whose_answers_nobody_reads() {
    let place = Place::new("unread-renewals");
    let etcd = place.single("u").start();
    let client = Client::new(etcd.client());
    let id = api::grant(&client, 600).expect("a lease");
    let request: bytes::Bytes = LeaseKeepAliveRequest { id }.encode_to_vec().into();
    let before = etcd.resident_bytes();
    let unread: Vec<Stream> = (0..RENEWAL_STREAMS)
        .map(|_| {
            let stream = Client::new(etcd.client()).stream(KEEP_ALIVE, &[]);
            (0..RENEWALS).for_each(|_| stream.send_bytes(request.clone()));
            stream
        })
        .collect();
    let mut renewals = client.stream(KEEP_ALIVE, &[]);
    for _ in 0..RENEWALS / 10 {
        renewals.send_bytes(request.clone());
    }
    for _ in 0..RENEWALS / 10 {
        assert_eq!(renewals.next::<LeaseKeepAliveResponse>().ttl, 600);
    }
    for number in 0..20 {
        api::put(&client, "beside", number.to_string()).expect("a put");
    }
    let grown = etcd.resident_bytes().saturating_sub(before);
    println!("{RENEWAL_STREAMS} streams of {RENEWALS} renewals: {grown} bytes more");
    assert!(grown < RENEWAL_GROWTH_BYTES, "{grown} bytes more");
    drop(unread);
    assert_no_panic(&etcd.log());
}

#[test]
fn v2_streams_that_nobody_reads_are_cut() {
    let place = Place::new("unread-v2");
    let etcd = place.single("u").set("unsafe-no-fsync", "true").start();
    let server = etcd.client();
    let target = "/v2/keys/busy?wait=true&recursive=true&stream=true";
    let head = format!("GET {target} HTTP/1.1\r\nHost: {server}\r\n\r\n");
    let held: Vec<TcpStream> = (0..V2_STREAMS)
        .map(|_| {
            let mut stream = http::connect(server).expect("connect");
            stream.write_all(head.as_bytes()).expect("send");
            stream
        })
        .collect();
    let watchers = || {
        let text = http::get(server, "/metrics").expect("metrics").body;
        let line =
            text.lines().find_map(|line| line.strip_prefix("etcd_debugging_store_watchers "));
        line.and_then(|number| number.parse::<usize>().ok()).expect("a gauge of watchers")
    };
    eventually("the watchers", PATIENCE, || (watchers() == V2_STREAMS).then_some(()));
    let before = etcd.resident_bytes();
    let body = format!("value={}", "v".repeat(VALUE_BYTES));
    for number in 0..V2_WRITES {
        let path = format!("/v2/keys/busy/{}", number % KEYS);
        let reply = http::form(server, "PUT", &path, &body).expect("a reply");
        assert!(matches!(reply.status, 200 | 201), "{reply:?}");
    }
    let grown = etcd.resident_bytes().saturating_sub(before);
    println!("{V2_STREAMS} unread v2 streams, {V2_WRITES} events: {grown} bytes more");
    assert!(grown < V2_GROWTH_BYTES, "{grown} bytes more");
    for mut stream in held {
        let mut bytes = Vec::new();
        // A cut is a proper end of the connection, or none.
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        let events = text.lines().filter(|line| line.starts_with("{\"action\""));
        let told: Vec<u64> = events
            .filter_map(|line| line.split("\"modifiedIndex\":").nth(1)?.split(',').next())
            .filter_map(|index| index.parse().ok())
            .collect();
        let count = told.len();
        assert!((100..V2_WRITES).contains(&count), "{count} events before the cut");
        assert!(told.is_sorted_by(|a, b| a + 1 == *b), "{told:?}");
        assert!(!text.ends_with("\r\n0\r\n\r\n"), "ended as if it were complete");
    }
    eventually("no watchers", PATIENCE, || (watchers() == 0).then_some(()));
    assert_no_panic(&etcd.log());
}
