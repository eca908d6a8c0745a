//! Named limits of the peer protocol: each with its unit, its reason and what happens beyond it.

use std::time::Duration;

/// Messages queued on one attached stream; beyond it they are dropped and the peer reported
/// unreachable.
pub const STREAM_QUEUE_MAX: usize = types::limits::PEER_STREAM_QUEUE_MAX;
/// Messages put into one write of a stream (etcd flushes after as many).
pub const STREAM_BATCH_MESSAGES_MAX: usize = 2048;
/// Bytes after which a batch is written even if more messages wait; bounds the write buffer.
pub const STREAM_BATCH_BYTES: usize = 1024 * 1024;
/// Messages queued for one peer's pipeline; beyond it they are dropped and the peer reported
/// unreachable.
pub const PIPELINE_QUEUE_MAX: usize = 64;
/// Concurrent `POST /raft` to one peer.
pub const PIPELINE_WORKERS: usize = 4;
/// Outgoing snapshots in flight over all peers; a further one fails at once.
pub const SNAPSHOTS_OUT_MAX: usize = 16;
/// Incoming snapshots in flight; a further one is answered with 500.
pub const SNAPSHOTS_IN_MAX: usize = 4;
/// One message of a `message` stream, one record of a `msgapp` stream, or the body of `POST /raft`,
/// bytes; beyond it the connection is dropped.
pub const MESSAGE_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Entries in one record of a `msgapp` stream; 1 MiB messages of a Go leader hold far fewer.
pub const RECORD_ENTRIES_MAX: u64 = 1024 * 1024;
/// The message in front of a database, bytes; it holds the v2 tree as JSON, which may be large.
/// Beyond it the request is answered with 400.
pub const SNAPSHOT_MESSAGE_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Piece in which a database is read, sent and written, bytes.
pub const SNAPSHOT_CHUNK_BYTES: usize = 256 * 1024;
/// Pieces of an outgoing database that wait for the socket.
pub const SNAPSHOT_CHUNKS_QUEUED: usize = 2;
/// Body of a request that goes to [`crate::PeerApi::extra`], bytes (etcd 3.7 has the same limit);
/// beyond it 413.
pub const EXTRA_BODY_BYTES_MAX: usize = 64 * 1024;
/// Error text that is read from a peer's answer, bytes; the rest is ignored.
pub const ERROR_BODY_BYTES_MAX: usize = 4096;
/// Answer read by [`crate::client`], bytes; beyond it the call fails.
pub const CLIENT_BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Calls of one [`crate::CallPool`] at one time; further ones wait, within their own time limit.
pub const POOL_CALLS_MAX: usize = 256;
/// Connections that it keeps; what is above is closed after its call.
pub const POOL_KEPT_MAX: usize = 64;
/// Answer to a call that a member forwards, bytes: the keys of a lease may be many (etcd's limit).
/// Beyond it the call fails.
pub const FORWARD_ANSWER_BYTES_MAX: usize = 100 * 1024 * 1024;
/// Connections of the peer listener; at this many the next one is not accepted.
pub const CONNECTIONS_MAX: usize = 2048;
/// Senders known only from their own requests; beyond it a new one is not remembered.
pub const REMOTES_MAX: usize = 64;
/// Peer URLs taken from one member.
pub const PEER_URLS_MAX: usize = 32;

/// Silence after which a stream is given up, and the time for one read or write on the listener.
pub const IO_TIMEOUT: Duration = Duration::from_secs(5);
/// Interval of link heartbeats on an attached stream.
pub const LINK_HEARTBEAT_INTERVAL: Duration = Duration::from_millis(1667);
/// Time after the end of a stream within which a refused dial says that the peer's process has ended;
/// later it says nothing new.
pub const GONE_WITHIN: Duration = Duration::from_secs(1);
/// Least distance of two dials of one stream.
pub const REDIAL_INTERVAL: Duration = Duration::from_millis(100);
/// Distance of two dials after a peer said that this member is removed.
pub const REDIAL_INTERVAL_REMOVED: Duration = Duration::from_secs(5);
/// What the dial timeout has above the election timeout.
pub const DIAL_TIMEOUT_EXTRA: Duration = Duration::from_secs(1);
/// Time for one `POST /raft` from the first byte to the answer.
pub const PIPELINE_POST_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle time after which a kept connection is not used again; shorter than [`IO_TIMEOUT`],
/// after which the other side closes it.
pub const PIPELINE_IDLE_MAX: Duration = Duration::from_secs(3);
/// Time for reading the body of a small request.
pub const REQUEST_READ_TIMEOUT: Duration = Duration::from_secs(300);
/// Time in which an outgoing snapshot must make some progress.
pub const SNAPSHOT_STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for the receiver to make a sent snapshot durable and answer.
pub const SNAPSHOT_ANSWER_TIMEOUT: Duration = Duration::from_secs(300);
/// Interval of round trip probes.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(4);
/// Keep-alive period of peer connections.
pub const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
/// Pause after a failed accept (out of file descriptors).
pub const ACCEPT_RETRY: Duration = Duration::from_millis(50);
