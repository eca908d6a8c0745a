//! A quiet run logs no warning and no error that is not listed here.

use e2e::{Cluster, Exit, Program};
use serde_json::Value;

use super::Acknowledged;

/// Messages above info that belong to a start, a stop or a restart in which nothing is wrong.
const LISTED: &[&str] = &[];

#[test]
fn a_quiet_run_warns_of_nothing() {
    let mut cluster = Cluster::start("quiet", Program::Ours, 3);
    let mut acknowledged = Acknowledged::default();
    acknowledged.write_some(cluster.member(0).client(), "first", 10);
    acknowledged.assert_all_on(cluster.member(2).client());
    let mut unlisted = Vec::new();
    for member in cluster.members_mut() {
        unlisted.extend(unlisted_lines(&member.log()));
    }
    assert_eq!(unlisted, Vec::<String>::new());
    // At the end the last one cannot reach the others; that is not quiet any more.
    for member in cluster.members_mut() {
        assert_eq!(member.terminate(), Exit::Signal(15));
    }
}

/// Lines above info that are not listed, and lines that are no JSON objects with etcd's keys.
fn unlisted_lines(log: &str) -> Vec<String> {
    let is_fine = |line: &str| {
        let Ok(Value::Object(record)) = serde_json::from_str::<Value>(line) else { return false };
        let text = |key: &str| record.get(key).and_then(Value::as_str).unwrap_or_default();
        let has_keys = ["level", "ts", "caller", "msg"].iter().all(|key| !text(key).is_empty());
        let is_listed = LISTED.iter().any(|listed| text("msg").contains(listed));
        has_keys && (matches!(text("level"), "debug" | "info") || is_listed)
    };
    log.lines().filter(|line| !is_fine(line)).map(str::to_owned).collect()
}
