//! etcd's peer protocol (rafthttp) over HTTP/1.1: streams, pipeline, snapshots, probing.
//!
//! Owns:       the connections to and from other members, their queues and counters.
//! Uses:       `proto::raftpb` for the encoding, `tokio` and `hyper`; the node through [`PeerApi`].
//! Never:      a decision about raft or membership; a file, except through [`SnapshotSink`] and
//!             [`SnapshotBody`] on blocking threads; a wait in [`Transport::send`].
//! Invariants: every queue, body and connection has a named limit (`limits`); a message is either
//!             handed to one channel in order, or dropped and the peer reported unreachable.
//! Source:     peer-protocol.md 1-8.

pub mod api;
pub mod client;
pub mod counters;
pub mod limits;
pub mod message_codec;
pub mod msgapp_codec;
pub mod sink;

mod activity;
mod call_pool;
mod dial;
mod headers;
mod inbound;
mod peer;
mod pipeline;
mod probe;
mod server;
mod snapshot;
mod stream_reader;
mod stream_writer;
mod timed_io;
mod transport;
mod url_picker;

pub use api::{
    BoxFuture, Options, PeerApi, PeerReply, PeerRequest, SnapshotBody, SnapshotSink,
    SnapshotWriter, StepError,
};
pub use call_pool::CallPool;
pub use dial::{BoxedIo, Connector, PeerUrl, PlainConnector};
pub use server::PeerListener;
pub use transport::Transport;
