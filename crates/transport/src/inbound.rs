//! Handing a received message to the node.

use proto::raftpb::{Message, MessageType};

use crate::api::{PeerApi, StepError};
use crate::counters::PeerCounters;

/// A message of a stream: nobody is told whether it was taken.
pub(crate) fn from_stream(api: &dyn PeerApi, counters: &PeerCounters, message: Message) {
    counters.received_messages.add(1);
    if message.message_type == MessageType::Snap {
        // Its database did not come along, so the node could never install it.
        counters.receive_failures.add(1);
        tracing::warn!("dropped a snapshot message that came without its database");
        return;
    }
    match api.raft_message(message) {
        Ok(()) => {}
        Err(StepError::Busy) => counters.dropped_incoming.add(1),
        Err(error) => {
            counters.receive_failures.add(1);
            tracing::debug!(%error, "message of a stream was not processed");
        }
    }
}
