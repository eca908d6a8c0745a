//! A reply as named fields, and what differs between two of them.

use std::collections::BTreeMap;
use std::fmt;

/// What stands for a field that one of two replies has and the other has not.
pub(super) const ABSENT: &str = "<absent>";
/// The field that stands for a whole reply.
const WHOLE: &str = "outcome";
/// Seconds by which a remaining time may differ: both servers cut it to whole seconds.
const TTL_SLACK_SECONDS: i64 = 1;

/// Fields by their path, as `kvs[2].key`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reply {
    fields: BTreeMap<String, String>,
}

impl Reply {
    /// Sets a field.
    pub(super) fn set(&mut self, path: impl Into<String>, value: impl Into<String>) {
        self.fields.insert(path.into(), value.into());
    }

    /// A field.
    pub(super) fn get(&self, path: &str) -> Option<&str> {
        self.fields.get(path).map(String::as_str)
    }

    /// A field that is a number; zero when it is absent, as protobuf has it.
    pub(super) fn number(&self, path: &str) -> i64 {
        self.get(path).and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    /// Takes over all fields of another under a common name.
    pub(super) fn merge(&mut self, prefix: &str, other: Reply) {
        for (path, value) in other.fields {
            self.fields.insert(format!("{prefix}{path}"), value);
        }
    }

    /// All fields in the order of their paths.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(path, value)| (path.as_str(), value.as_str()))
    }

    /// All fields by their path.
    pub(super) fn into_fields(self) -> BTreeMap<String, String> {
        self.fields
    }

    /// The fields in which `ours` is not what it should be.
    ///
    /// A refusal in place of an answer is one difference, apart from what streams received.
    pub(super) fn differences(&self, ours: &Reply) -> Vec<Difference> {
        let mut paths: Vec<&String> = self.fields.keys().chain(ours.fields.keys()).collect();
        paths.sort();
        paths.dedup();
        let is_answer = |reply: &Reply| reply.get("code").map(|code| code == "Ok");
        if is_answer(self) != is_answer(ours) {
            paths.retain(|path| path.starts_with("stream ") || *path == WHOLE);
            let outcome = |reply: &Reply| {
                let text = |field| reply.get(field).unwrap_or_default().to_owned();
                format!("{} {}", text("code"), text("message")).trim().to_owned()
            };
            let whole = Difference { field: WHOLE.into(), go: outcome(self), ours: outcome(ours) };
            return [vec![whole], self.differences_in(ours, &paths)].concat();
        }
        self.differences_in(ours, &paths)
    }

    fn differences_in(&self, ours: &Reply, paths: &[&String]) -> Vec<Difference> {
        let difference = |path: &&String| {
            let of = |reply: &Reply| reply.get(path).unwrap_or(ABSENT).to_owned();
            let (go, ours) = (of(self), of(ours));
            let is_equal = go == ours || is_ttl(path) && are_near(&go, &ours);
            (!is_equal).then(|| Difference { field: (*path).clone(), go, ours })
        };
        paths.iter().filter_map(difference).collect()
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (path, value) in &self.fields {
            writeln!(formatter, "      {path}: {value}")?;
        }
        Ok(())
    }
}

/// One field that is not the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) field: String,
    pub(super) go: String,
    pub(super) ours: String,
}

fn is_ttl(path: &str) -> bool {
    let name = path.rsplit(['.', '|']).next().unwrap_or(path);
    name.eq_ignore_ascii_case("ttl")
}

/// An absent TTL is one that was cut to zero.
fn are_near(one: &str, other: &str) -> bool {
    let number = |text: &str| if text == ABSENT { Some(0) } else { text.parse::<i64>().ok() };
    match (number(one), number(other)) {
        (Some(one), Some(other)) => one.abs_diff(other) <= TTL_SLACK_SECONDS.unsigned_abs(),
        _ => false,
    }
}

/// Bytes as readable text: printable ASCII as it is, all else as `\xff`, long ones cut.
pub(super) fn readable(bytes: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 200;
    let shown = &bytes[..bytes.len().min(SHOWN_BYTES_MAX)];
    let text = shown.escape_ascii().to_string();
    if shown.len() == bytes.len() {
        return text;
    }
    // A digest keeps a change behind the cut visible.
    format!("{text}... ({} bytes, crc {:08x})", bytes.len(), crc32c::crc32c(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_remaining_times_have_slack() {
        let reply = |fields: &[(&str, &str)]| {
            let mut reply = Reply::default();
            for (path, value) in fields {
                reply.set(*path, *value);
            }
            reply
        };
        let go = reply(&[("node.ttl", "9"), ("TTL", "1"), ("version", "9")]);
        assert_eq!(go.differences(&go), []);
        let near = reply(&[("node.ttl", "10"), ("version", "9")]);
        assert_eq!(go.differences(&near), []);
        let far = reply(&[("node.ttl", "11"), ("TTL", "1"), ("version", "10"), ("new", "x")]);
        let fields: Vec<String> =
            go.differences(&far).into_iter().map(|difference| difference.field).collect();
        assert_eq!(fields, ["new", "node.ttl", "version"]);
    }
}
