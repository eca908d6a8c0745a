//! The raft thread's inbox: three lanes, served in the order of how much the cluster needs them.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use consensus::Input;
use types::{LogIndex, RequestId, limits};

use crate::mailbox::Mailbox;

/// Messages of peers held before further ones are dropped, as a full stream queue would.
const PEER_MAX: usize = limits::PEER_STREAM_QUEUE_MAX;

#[derive(Debug, Default)]
struct Lanes {
    /// Replies of wal and apply, conf changes, reports. Bounded by what raft has handed out.
    control: VecDeque<Input>,
    peer: VecDeque<Input>,
    client: VecDeque<Input>,
    /// Requests in `client`, of which an input may hold many.
    client_requests: usize,
    stopped: bool,
}

/// The lanes.
#[derive(Debug, Default)]
pub(crate) struct Inbox(Mailbox<Lanes>);

/// A lane was full; the item was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Inbox {
    /// Adds what the member itself reports; never refused.
    pub(crate) fn control(&self, input: Input) {
        self.0.put(|lanes| lanes.control.push_back(input));
    }

    /// Reports that everything up to `index` is applied. Only where raft waits for that, as `urgent`
    /// says, is its thread woken: it has nothing else to do with it.
    pub(crate) fn applied(&self, index: LogIndex, urgent: bool) {
        let add = |lanes: &mut Lanes| match lanes.control.back_mut() {
            Some(Input::Applied(last)) => *last = index,
            _ => lanes.control.push_back(Input::Applied(index)),
        };
        if urgent { self.0.put(add) } else { self.0.leave(add) }
    }

    /// Adds a message of a peer.
    ///
    /// # Errors
    /// [`Full`]: dropped, raft repeats what matters.
    pub(crate) fn peer(&self, input: Input) -> Result<(), Full> {
        self.0.put(|lanes| {
            if lanes.peer.len() >= PEER_MAX {
                return Err(Full);
            }
            lanes.peer.push_back(input);
            Ok(())
        })
    }

    /// Adds a hint that raft can do without; dropped when peers already fill their lane.
    pub(crate) fn report(&self, input: Input) {
        let _ = self.peer(input);
    }

    /// Adds work of a client.
    ///
    /// # Errors
    /// [`Full`]: the client is told `too many requests`.
    pub(crate) fn client(&self, input: Input) -> Result<(), Full> {
        self.0.put(|lanes| {
            if lanes.client_requests >= limits::INBOX_CLIENT_MAX {
                return Err(Full);
            }
            lanes.client_requests += 1;
            lanes.client.push_back(input);
            Ok(())
        })
    }

    /// Adds proposals of clients; returns those that found no room, the latest ones, whose clients
    /// are told `too many requests`.
    pub(crate) fn propose(&self, mut proposals: Vec<(RequestId, Bytes)>) -> Vec<RequestId> {
        let refused = self.0.put(|lanes| {
            let room = limits::INBOX_CLIENT_MAX.saturating_sub(lanes.client_requests);
            let refused = proposals.split_off(room.min(proposals.len()));
            lanes.client_requests += proposals.len();
            lanes.client.extend(portions(proposals).map(Input::Propose));
            refused
        });
        refused.into_iter().map(|(id, _)| id).collect()
    }

    /// Ends [`Inbox::drain`] for good.
    pub(crate) fn stop(&self) {
        self.0.put(|lanes| lanes.stopped = true);
    }

    /// Waits for something to do, at most until `deadline`, and takes it, control lane first and as
    /// much client work as fits in one batch. `None` after [`Inbox::stop`].
    pub(crate) fn drain(&self, deadline: Instant) -> Option<Vec<Input>> {
        self.0.wait(Some(deadline), |lanes, is_late| {
            if lanes.stopped {
                return Some(None);
            }
            let idle = lanes.control.is_empty() && lanes.peer.is_empty() && lanes.client.is_empty();
            (!idle || is_late).then(|| Some(take_batch(lanes)))
        })
    }
}

/// Cuts proposals into inputs that end with the one that fills a batch.
fn portions(proposals: Vec<(RequestId, Bytes)>) -> impl Iterator<Item = Vec<(RequestId, Bytes)>> {
    let mut rest = proposals;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fill = rest.iter().position(|(_, data)| {
            bytes += data.len();
            bytes >= limits::INBOX_BATCH_MAX_BYTES
        });
        let later = fill.map_or_else(Vec::new, |last| rest.split_off(last + 1));
        let portion = std::mem::replace(&mut rest, later);
        (!portion.is_empty()).then_some(portion)
    })
}

fn take_batch(lanes: &mut Lanes) -> Vec<Input> {
    let mut batch: Vec<Input> = lanes.control.drain(..).collect();
    batch.extend(lanes.peer.drain(..));
    let mut bytes = 0;
    while bytes < limits::INBOX_BATCH_MAX_BYTES
        && let Some(input) = lanes.client.pop_front()
    {
        let (requests, size) = client_load(&input);
        lanes.client_requests -= requests;
        bytes += size;
        batch.push(input);
    }
    batch
}

/// Requests that an input of the client lane counts for, and their bytes.
fn client_load(input: &Input) -> (usize, usize) {
    match input {
        Input::Propose(requests) => {
            (requests.len(), requests.iter().map(|(_, data)| data.len()).sum())
        }
        _ => (1, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Instant {
        Instant::now()
    }

    fn proposals(ids: std::ops::Range<u64>, bytes: usize) -> Vec<(RequestId, Bytes)> {
        let data = Bytes::from(vec![0; bytes]);
        ids.map(|id| (RequestId(id), data.clone())).collect()
    }

    #[test]
    fn control_comes_before_clients_and_full_lanes_refuse() {
        let inbox = Inbox::default();
        for id in 0..limits::INBOX_CLIENT_MAX {
            inbox.client(Input::ReadIndex(vec![RequestId(id as u64)])).unwrap();
        }
        assert_eq!(inbox.client(Input::CancelReads), Err(Full));
        inbox.control(Input::Persisted(7));
        let batch = inbox.drain(now()).unwrap();
        assert!(matches!(batch[0], Input::Persisted(7)));
        assert_eq!(batch.len(), limits::INBOX_CLIENT_MAX + 1);
        inbox.stop();
        assert!(inbox.drain(now()).is_none());
    }

    #[test]
    fn client_work_is_taken_in_bounded_batches() {
        let inbox = Inbox::default();
        assert!(inbox.propose(proposals(0..3, limits::INBOX_BATCH_MAX_BYTES)).is_empty());
        for id in 0..3 {
            let batch = inbox.drain(now()).unwrap();
            let [Input::Propose(requests)] = batch.as_slice() else { panic!("{batch:?}") };
            assert_eq!(requests[0].0, RequestId(id));
            assert_eq!(requests.len(), 1);
        }
        assert!(inbox.drain(now()).unwrap().is_empty());
    }

    #[test]
    fn the_latest_proposals_are_refused_and_room_comes_back() {
        let inbox = Inbox::default();
        let max = limits::INBOX_CLIENT_MAX as u64;
        assert!(inbox.propose(proposals(0..max - 1, 1)).is_empty());
        let refused = inbox.propose(proposals(max..max + 3, 1));
        assert_eq!(refused, [RequestId(max + 1), RequestId(max + 2)]);
        assert_eq!(inbox.client(Input::CancelReads), Err(Full));
        assert_eq!(inbox.drain(now()).unwrap().len(), 2);
        assert!(inbox.propose(proposals(0..max, 1)).is_empty());
    }

    #[test]
    fn applied_is_told_once() {
        let inbox = Inbox::default();
        inbox.applied(LogIndex(5), false);
        inbox.applied(LogIndex(9), false);
        inbox.control(Input::Persisted(1));
        inbox.applied(LogIndex(10), true);
        let batch = inbox.drain(now()).unwrap();
        let [Input::Applied(first), Input::Persisted(1), Input::Applied(second)] = batch.as_slice()
        else {
            panic!("{batch:?}");
        };
        assert_eq!((*first, *second), (LogIndex(9), LogIndex(10)));
    }
}
