//! Counters of a server, from `/metrics`.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Syncs of the log, and commits of the database, which sync it.
const SYNCS: [&str; 2] = [
    "etcd_disk_wal_fsync_duration_seconds_count",
    "etcd_disk_backend_commit_duration_seconds_count",
];

/// Log syncs and database commits of all these servers so far.
///
/// # Errors
/// When one does not answer or does not count them.
pub(super) fn syncs(servers: &[SocketAddr]) -> Result<f64> {
    let mut sum = 0.0;
    for server in servers {
        let reply = e2e::http::get_within(*server, "/metrics", PATIENCE)
            .with_context(|| format!("read metrics of {server}"))?;
        for name in SYNCS {
            let Some(value) = value(&reply.body, name) else {
                bail!("{server} has no metric {name}");
            };
            sum += value;
        }
    }
    Ok(sum)
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
    fn a_metric_by_its_whole_name() {
        let text = "# HELP a_count x\na_counter 5\na_count 1.5e+03\nb_count{c=\"d\"} 2\n";
        assert_eq!(value(text, "a_count"), Some(1500.0));
        assert_eq!(value(text, "b_count"), None);
    }
}
