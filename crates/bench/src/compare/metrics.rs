//! Counters of a server, from `/metrics`.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Syncs of the log, and commits of the database, which sync it.
const SYNCS: [&str; 2] = [
    "etcd_disk_wal_fsync_duration_seconds_count",
    "etcd_disk_backend_commit_duration_seconds_count",
];

/// Writes below which a quotient says nothing: members write a little by themselves.
const WRITES_MIN: f64 = 100.0;
/// Entries that a member has applied so far.
const APPLIED: &str = "etcd_server_proposals_applied_total";

/// What servers have done so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Counters {
    /// Log syncs and database commits of all servers.
    syncs: f64,
    /// Entries applied by the first: the writes of the cluster.
    applied: f64,
}

impl Counters {
    /// Of all these members of a cluster.
    ///
    /// # Errors
    /// When one does not answer or does not count.
    pub(super) fn read(members: &[SocketAddr]) -> Result<Self> {
        let (mut syncs, mut applied) = (0.0, None);
        for member in members {
            let reply = e2e::http::get_within(*member, "/metrics", PATIENCE)
                .with_context(|| format!("read metrics of {member}"))?;
            let read = |name: &str| {
                let value = value(&reply.body, name);
                value.with_context(|| format!("{member} has no metric {name}"))
            };
            for name in SYNCS {
                syncs += read(name)?;
            }
            if applied.is_none() {
                applied = Some(read(APPLIED)?);
            }
        }
        Ok(Self { syncs, applied: applied.context("a cluster has no member")? })
    }

    /// Syncs of all members per write since `before`; `None` when nothing was written.
    pub(super) fn syncs_per_write(&self, before: &Self) -> Option<f64> {
        let writes = self.applied - before.applied;
        (writes >= WRITES_MIN).then(|| (self.syncs - before.syncs) / writes)
    }
}

/// The value of a metric without labels.
fn value(text: &str, name: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syncs_are_told_per_write() {
        let at = |syncs, applied| Counters { syncs, applied };
        assert_eq!(at(30.0, 300.0).syncs_per_write(&at(10.0, 100.0)), Some(0.1));
        assert_eq!(at(30.0, 103.0).syncs_per_write(&at(10.0, 100.0)), None);
    }

    #[test]
    fn a_metric_by_its_whole_name() {
        let text = "# HELP a_count x\na_counter 5\na_count 1.5e+03\nb_count{c=\"d\"} 2\n";
        assert_eq!(value(text, "a_count"), Some(1500.0));
        assert_eq!(value(text, "b_count"), None);
    }
}
