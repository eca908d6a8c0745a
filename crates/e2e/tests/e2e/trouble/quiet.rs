//! A quiet run logs no warning and no error that is not listed here.

use e2e::{Cluster, Exit, Program};
use serde_json::Value;

use super::Acknowledged;

/// Lines above info that belong to the time before a member is ready, by two texts in them: the
/// members do not begin to listen at the same moment.
const LISTED_AT_START: &[(&str, &str)] = &[
    ("stream is down", "connect to peer: Connection refused"),
    ("peer became inactive", "connect to peer: Connection refused"),
];
/// Ends the start.
const READY: &str = "ready to serve client requests";

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
    let ready = log.lines().position(|line| line.contains(READY)).unwrap_or(usize::MAX);
    let is_listed = |line: &str| {
        LISTED_AT_START
            .iter()
            .any(|(message, reason)| line.contains(message) && line.contains(reason))
    };
    let is_fine = |number: usize, line: &str| is_info(line) || (number < ready && is_listed(line));
    let unlisted = log.lines().enumerate().filter(|(number, line)| !is_fine(*number, line));
    unlisted.map(|(_, line)| line.to_owned()).collect()
}

fn is_info(line: &str) -> bool {
    let Ok(Value::Object(record)) = serde_json::from_str::<Value>(line) else { return false };
    let text = |key: &str| record.get(key).and_then(Value::as_str).unwrap_or_default();
    let has_keys = ["level", "ts", "caller", "msg"].iter().all(|key| !text(key).is_empty());
    has_keys && matches!(text("level"), "debug" | "info")
}
