//! Named limits: each with its unit, its reason and what happens when it is reached.

/// Default of `--max-request-bytes`: a larger proposal is refused with
/// `etcdserver: request is too large`.
pub const REQUEST_SIZE_MAX_BYTES: u64 = 1_572_864;
/// What the gRPC receive limit adds to `--max-request-bytes`.
pub const GRPC_OVERHEAD_BYTES: u64 = 512 * 1024;
/// Default of `--max-txn-ops`.
pub const TXN_OPS_MAX: u64 = 128;
/// Default of `--quota-backend-bytes` (0 selects it): 2 GiB.
pub const QUOTA_BACKEND_DEFAULT_BYTES: i64 = 2 * 1024 * 1024 * 1024;
/// Committed minus applied entries above which new proposals are refused
/// (`etcdserver: too many requests`).
pub const APPLIED_LAG_MAX: u64 = 5_000;
/// Body of a v2 form request; larger is refused as Go's form parser does.
pub const V2_FORM_MAX_BYTES: usize = 10 * 1024 * 1024;
/// Entries of one raft message, bytes (etcd 3.6 and later).
pub const RAFT_MESSAGE_SIZE_MAX_BYTES: u64 = 1024 * 1024;
/// MsgApp in flight to one peer.
pub const RAFT_INFLIGHT_MAX: usize = 512;
/// Bytes proposed but not committed that a leader holds; beyond it proposals are dropped and the
/// waiter told `too many requests`.
pub const RAFT_UNCOMMITTED_MAX_BYTES: u64 = 512 * 1024 * 1024;
/// Bytes of committed entries that one Ready hands to apply.
pub const RAFT_COMMITTED_PER_READY_MAX_BYTES: u64 = 16 * 1024 * 1024;
/// Messages queued on one peer stream; beyond it they are dropped and the peer reported unreachable.
pub const PEER_STREAM_QUEUE_MAX: usize = 4096;
/// Operations in the overlay that make the flusher commit at once; apply waits above twice that.
pub const OVERLAY_OPS_MAX: usize = 10_000;
/// Bytes in the overlay that make the flusher commit at once; apply waits above twice that.
pub const OVERLAY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Requests held in the raft thread's inbox before client work is refused; a client runtime hands over
/// at once what came to it in one turn, of up to so many streams.
pub const INBOX_CLIENT_MAX: usize = 16_384;
/// Bytes drained from the inbox into one batch.
pub const INBOX_BATCH_MAX_BYTES: usize = 512 * 1024;
/// Entries that apply handles under one write lock.
pub const APPLY_CHUNK_ENTRIES: usize = 64;
/// Raft log bytes in memory above which a raft snapshot is due whatever `--snapshot-count` says.
pub const RAFT_LOG_MEMORY_MAX_BYTES: u64 = 256 * 1024 * 1024;
/// Keys visited per lock hold by a long range.
pub const RANGE_CHUNK_KEYS: usize = 1000;
/// Threads per core of the machine that long reads of a member may keep busy; further ones wait for
/// their turn. More would take the processors from raft, which answers for the leadership.
pub const READ_THREADS_PER_CORE: usize = 2;
/// Watchers of one member; a further one is refused with `etcdserver: too many requests`.
pub const WATCHERS_MAX: usize = 1_000_000;
/// Responses queued on one watch stream; watchers with more to tell fall behind and are served from
/// history once half of them are gone.
pub const WATCH_STREAM_RESPONSES: usize = 1024;
/// Bytes queued on one watch stream, as above. A single response may be larger.
pub const WATCH_STREAM_BYTES: usize = 4 * 1024 * 1024;
/// Bytes queued on all watch streams of a member, as above.
pub const WATCH_QUEUED_BYTES: usize = 256 * 1024 * 1024;
/// Revisions that one catch-up response goes through, as in etcd, and rows that it is read from; it
/// ends with a whole revision.
pub const WATCH_CATCH_UP_REVISIONS: usize = 1000;
/// Bytes of rows after which a catch-up response is not made longer.
pub const WATCH_CATCH_UP_BYTES: usize = 1024 * 1024;
/// The same while the queues of all streams hold more than half of what they may.
pub const WATCH_CATCH_UP_SHORT_BYTES: usize = 64 * 1024;
/// Events looked at for watchers that are behind under one hold of the table, after which others
/// come first.
pub const WATCH_CATCH_UP_EVENTS: usize = 65_536;
/// Responses queued under one hold of the table, after which others come first; those of one
/// revision are not held up.
pub const WATCH_PUBLISH_DELIVERIES: u64 = 4096;
/// Watchers served by one piece of history, as in etcd; the others wait for their turn.
pub const WATCH_CATCH_UP_WATCHERS: usize = 512;
/// Newest revisions kept in memory for watchers that are a little behind; older ones are read from
/// the database.
pub const WATCH_RECENT_REVISIONS: usize = 4096;
/// Bytes of events kept in memory for them.
pub const WATCH_RECENT_BYTES: usize = 16 * 1024 * 1024;
/// Events waiting between apply and the watchers; when there are more, all watchers are served from
/// history instead.
pub const WATCH_PUBLISH_REVISIONS: usize = 8192;
/// Bytes of events waiting between apply and the watchers, as above.
pub const WATCH_PUBLISH_BYTES: usize = 64 * 1024 * 1024;
/// v2 watchers of one member, counted from the request to the end of its connection. One waits in
/// about a kilobyte besides its connection. A further one is answered with code 300, cause
/// `etcdserver: too many requests`.
pub const V2_WATCHERS_MAX: usize = 100_000;
/// Events that wait for one v2 watcher; a stream that falls further behind is cut, so that its
/// client asks again from the index that it has seen.
pub const V2_WATCHER_EVENTS_MAX: usize = 100;
/// Events of one moment (those of an entry, or all that a snapshot passed over, which are 1,000 at
/// most) that find room on top of these, since no client can read between them. A stream for which
/// there are more is cut.
pub const V2_WATCHER_BURST_MAX: usize = 1024;
/// Nodes of the v2 tree that the first SYNC entry lets expire. What has run out besides waits for the
/// next one, which follows after a few milliseconds and takes twice as many.
pub const V2_EXPIRE_MIN: usize = 64;
/// Nodes that one SYNC entry lets expire at most: it is applied under one write lock, and its events
/// are one burst for the watchers.
pub const V2_EXPIRE_MAX: usize = V2_WATCHER_BURST_MAX;
/// Seconds for which a read keeps a compaction from deleting what it still has to visit; after that
/// it ends in `etcdserver: mvcc: required revision has been compacted`.
pub const READ_PROTECTED_MAX_SECONDS: u64 = 60;
/// Reads that may keep a revision open at one time; further long ones are refused with
/// `etcdserver: too many requests`.
pub const READS_PROTECTED_MAX: usize = 10_000;
/// Seconds without a byte after which the body of a v2 request is given up: code 210, cause
/// `i/o timeout`. etcd waits for ever; whoever sends a body by halves would hold up to the largest
/// form for as long.
pub const V2_BODY_IDLE_SECONDS: u64 = 60;
