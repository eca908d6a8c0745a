//! The raft thread's inbox: three lanes, served in the order of how much the cluster needs them.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use consensus::Input;
use types::limits;

/// Messages of peers held before further ones are dropped, as a full stream queue would.
const PEER_MAX: usize = limits::PEER_STREAM_QUEUE_MAX;

#[derive(Debug, Default)]
struct Lanes {
    /// Replies of wal and apply, conf changes, reports. Bounded by what raft has handed out.
    control: VecDeque<Input>,
    peer: VecDeque<Input>,
    client: VecDeque<Input>,
    stopped: bool,
}

/// The lanes and their bell.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    lanes: Mutex<Lanes>,
    bell: Condvar,
}

/// A lane was full; the item was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Inbox {
    /// Adds what the member itself reports; never refused.
    pub(crate) fn control(&self, input: Input) {
        let mut lanes = self.lock();
        lanes.control.push_back(input);
        self.ring(&lanes);
    }

    /// Adds a message of a peer.
    ///
    /// # Errors
    /// [`Full`]: dropped, raft repeats what matters.
    pub(crate) fn peer(&self, input: Input) -> Result<(), Full> {
        let mut lanes = self.lock();
        if lanes.peer.len() >= PEER_MAX {
            return Err(Full);
        }
        lanes.peer.push_back(input);
        self.ring(&lanes);
        Ok(())
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
        let mut lanes = self.lock();
        if lanes.client.len() >= limits::INBOX_CLIENT_MAX {
            return Err(Full);
        }
        lanes.client.push_back(input);
        self.ring(&lanes);
        Ok(())
    }

    /// Ends [`Inbox::drain`] for good.
    pub(crate) fn stop(&self) {
        let mut lanes = self.lock();
        lanes.stopped = true;
        self.ring(&lanes);
    }

    /// Waits for something to do, at most until `deadline`, and takes it, control lane first and as
    /// much client work as fits in one batch. `None` after [`Inbox::stop`].
    pub(crate) fn drain(&self, deadline: Instant) -> Option<Vec<Input>> {
        let mut lanes = self.lock();
        loop {
            if lanes.stopped {
                return None;
            }
            let idle = lanes.control.is_empty() && lanes.peer.is_empty() && lanes.client.is_empty();
            let left = deadline.saturating_duration_since(Instant::now());
            if !idle || left == Duration::ZERO {
                return Some(take_batch(&mut lanes));
            }
            lanes = match self.bell.wait_timeout(lanes, left) {
                Ok((lanes, _)) => lanes,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    fn ring(&self, _held: &MutexGuard<'_, Lanes>) {
        self.bell.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take_batch(lanes: &mut Lanes) -> Vec<Input> {
    let mut batch: Vec<Input> = lanes.control.drain(..).collect();
    batch.extend(lanes.peer.drain(..));
    let mut bytes = 0;
    while bytes < limits::INBOX_BATCH_MAX_BYTES
        && let Some(input) = lanes.client.pop_front()
    {
        bytes += client_bytes(&input);
        batch.push(input);
    }
    batch
}

fn client_bytes(input: &Input) -> usize {
    match input {
        Input::Propose(requests) => requests.iter().map(|(_, data)| data.len()).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::RequestId;

    fn now() -> Instant {
        Instant::now()
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
        let data = bytes::Bytes::from(vec![0; limits::INBOX_BATCH_MAX_BYTES]);
        for id in 0..3 {
            inbox.client(Input::Propose(vec![(RequestId(id), data.clone())])).unwrap();
        }
        assert_eq!(inbox.drain(now()).unwrap().len(), 1);
        assert_eq!(inbox.drain(now()).unwrap().len(), 1);
    }
}
