//! What a client is told whose proposal had no outcome in time.
//!
//! Source:     api-v3.md 9.2; etcd `server/etcdserver/v3_server.go` (parseProposeCtxErr).

use std::time::{Duration, Instant};

use types::{EtcdError, NodeId};

use crate::handle::Handle;

/// What is known of the time that a proposal has waited.
#[derive(Clone, Copy, Debug)]
struct Silence {
    began: Instant,
    /// When this member came to know its present leader.
    leader_elected: Option<Instant>,
    election_timeout: Duration,
    /// Whether whoever has to be reached has been all the time.
    connected: bool,
}

impl Silence {
    /// The likeliest reason: the leader before the present one was lost, or the network is.
    fn error(self) -> EtcdError {
        let lost_meanwhile = self.leader_elected.is_some_and(|elected| {
            self.began < elected && self.began + 2 * self.election_timeout > elected
        });
        if lost_meanwhile {
            EtcdError::TimeoutDueToLeaderFail
        } else if self.connected {
            EtcdError::Timeout
        } else {
            EtcdError::TimeoutDueToConnectionLost
        }
    }
}

impl Handle {
    /// The error of a proposal that has waited until its deadline.
    pub(crate) fn timeout_error(&self, deadline: tokio::time::Instant) -> EtcdError {
        let timing = self.options().timing;
        let deadline = deadline.into_std();
        let began = deadline.checked_sub(timing.request_timeout()).unwrap_or(deadline);
        Silence {
            began,
            leader_elected: self.inner().shared.leader_elected(),
            election_timeout: timing.election_timeout(),
            connected: self.connected_since(began),
        }
        .error()
    }

    /// Whether the leader, or on the leader a quorum, has been connected since before `began`.
    fn connected_since(&self, began: Instant) -> bool {
        let leader = self.leader();
        let transport = self.transport();
        let is_connected =
            |id: NodeId| transport.active_since(id).is_some_and(|since| since < began);
        if leader == NodeId(0) {
            return true;
        }
        if leader != self.local() {
            return is_connected(leader);
        }
        let members: Vec<NodeId> =
            self.with_machine(|machine| machine.membership().members.keys().copied().collect());
        let others = members.iter().filter(|id| **id != leader && is_connected(**id)).count();
        others + 1 > members.len() / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_follows_from_leader_and_connections() {
        let now = Instant::now();
        let at = |seconds: u64| now + Duration::from_secs(seconds);
        let error = |began, leader_elected: Option<u64>, connected| {
            let leader_elected = leader_elected.map(at);
            let election_timeout = Duration::from_secs(1);
            Silence { began: at(began), leader_elected, election_timeout, connected }.error()
        };
        for (began, elected, connected, expected) in [
            (10, None, true, EtcdError::Timeout),
            (10, Some(5), true, EtcdError::Timeout),
            (10, Some(5), false, EtcdError::TimeoutDueToConnectionLost),
            (10, Some(11), true, EtcdError::TimeoutDueToLeaderFail),
            (10, Some(11), false, EtcdError::TimeoutDueToLeaderFail),
            // Older than two election time-outs when the leader came.
            (10, Some(12), true, EtcdError::Timeout),
            (10, Some(10), true, EtcdError::Timeout),
        ] {
            assert_eq!(error(began, elected, connected), expected, "{began} {elected:?}");
        }
    }
}
