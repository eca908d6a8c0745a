//! Takes out of an answer what may differ between two clusters.

use e2e::etcdctl::Finished;

/// Text before a number that may differ.
const NUMBERS: &[&str] = &[
    "\"raft_term\":",
    "\"raftTerm\":",
    "\"raftIndex\":",
    "\"raftAppliedIndex\":",
    "\"dbSize\":",
    "\"dbSizeInUse\":",
    "\"RaftTerm\" : ",
    "\"RaftIndex\" : ",
    "\"RaftAppliedIndex\" : ",
    "\"DBSize\" : ",
    "\"modifiedIndex\":",
    "\"createdIndex\":",
    "\"attempt\":",
    "\"ttl\":",
    "\"TTL\" : ",
    "TTL: ",
    "remaining(",
    "Created-Index: ",
    "Modified-Index: ",
    "Index: ",
    "[",
];
/// Text before a quoted text that may differ.
const TEXTS: &[&str] =
    &["\"ts\":", "\"target\":", "\"version\":", "\"took\":", "\"Version\" : ", "\"expiration\":"];

/// Digits of an in-order key, which is an index.
const IN_ORDER_DIGITS: usize = 20;

/// IDs that the cluster picked, which later commands name.
#[derive(Clone, Debug, Default)]
pub(super) struct Picked {
    /// IDs of members, in hexadecimal.
    pub(super) members: Vec<String>,
    /// IDs of leases, in hexadecimal.
    pub(super) leases: Vec<String>,
}

impl Picked {
    /// Takes note of `lease 7587 granted with ...`.
    pub(super) fn learn_lease(&mut self, output: &str) {
        let granted = output.strip_prefix("lease ").and_then(|rest| rest.split_once(" granted"));
        let is_new = |id: &&str| !self.leases.iter().any(|known| known == id);
        self.leases.extend(granted.map(|(id, _)| id).filter(is_new).map(str::to_owned));
    }

    fn hide(&self, mut text: String) -> String {
        for added in &self.members {
            // Texts pad IDs to 16 digits.
            text = text.replace(&format!("{added:>16}"), "<added>").replace(added, "<added>");
        }
        for (number, lease) in self.leases.iter().enumerate() {
            let decimal = i64::from_str_radix(lease, 16).unwrap_or(0).to_string();
            let mark = format!("<lease {number}>");
            text = text.replace(lease, &mark).replace(&decimal, &mark);
        }
        text
    }
}

/// Replaces what may differ by a mark.
pub(super) fn normalise(words: &[String], finished: Finished, picked: &Picked) -> Finished {
    let Finished { exit, stdout, stderr } = finished;
    let clean = |text: String| {
        let mut text = after(text, NUMBERS, |letter| letter.is_ascii_digit());
        text = in_order(&picked.hide(text));
        text = quoted_after(text, TEXTS);
        text = after(text, &["took = ", "\"Took\" : "], |letter| !letter.is_whitespace());
        text = after(text, &["isLeader="], char::is_alphabetic);
        by_command(&words.join(" "), either_deadline(text))
    };
    Finished { exit, stdout: clean(stdout), stderr: clean(stderr) }
}

/// Client and server keep the same deadline, and either may be first to say that it has passed; the
/// server's words depend on what it has noticed by then.
fn either_deadline(text: String) -> String {
    const PASSED: &str = "context deadline exceeded";
    const SERVER_SAYS: &str = "etcdserver: request timed out";
    let mut text = text;
    for cause in
        [", possibly due to connection lost", ", possibly due to previous leader failure", ""]
    {
        text = text.replace(&format!("{SERVER_SAYS}{cause}"), PASSED);
    }
    ["Unknown", "Unavailable", "DeadlineExceeded"].iter().fold(text, |text, code| {
        text.replace(&format!("rpc error: code = {code} desc = {PASSED}"), PASSED)
    })
}

fn by_command(words: &str, text: String) -> String {
    if words.contains("endpoint status") && !words.contains("json") && !words.contains("fields") {
        return columns(&text, &[2, 3, 4, 6, 7, 8]);
    }
    if words.contains("endpoint status") {
        return after(text, &["\"leader\":", "\"Leader\" : "], |letter| letter.is_ascii_digit());
    }
    if words.contains("table endpoint health") {
        return columns(&text, &[2]);
    }
    if words.contains("timetolive") {
        return sorted_keys(&text);
    }
    let is_unordered = words.contains("endpoint health")
        || words.contains("member list")
        // By the time left, which a member that is not the leader does not know.
        || words.contains("lease list")
        || words.starts_with("ls") && !words.contains("--sort");
    if is_unordered {
        return sorted_lines(&text);
    }
    if words.contains("member") {
        return text.lines().map(sorted_cluster).collect::<Vec<_>>().join("\n");
    }
    text
}

/// Replaces what follows each of `keys` as long as it `belongs`.
fn after(text: String, keys: &[&str], belongs: impl Fn(char) -> bool) -> String {
    keys.iter().fold(text, |text, key| {
        let mut parts = text.split(key);
        let mut clean = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let rest = part.trim_start_matches(&belongs);
            clean.push_str(key);
            clean.push_str(if rest.len() < part.len() { "#" } else { "" });
            clean.push_str(rest);
        }
        clean
    })
}

/// Marks names of in-order keys.
fn in_order(text: &str) -> String {
    let parts = text.split('/').map(|part| {
        let digits = part.chars().take_while(char::is_ascii_digit).count();
        if digits == IN_ORDER_DIGITS { format!("#{}", &part[digits..]) } else { part.to_owned() }
    });
    parts.collect::<Vec<_>>().join("/")
}

fn quoted_after(text: String, keys: &[&str]) -> String {
    keys.iter().fold(text, |text, key| {
        let key = format!("{key}\"");
        after(text, &[&key], |letter| letter != '"')
    })
}

/// Marks columns of lines separated by commas or by the bars of a table, whose widths may differ.
fn columns(text: &str, marked: &[usize]) -> String {
    let is_rule = |line: &str| line.starts_with("+-");
    let line = |line: &str| {
        let (separator, first) = if line.starts_with('|') { ('|', 1) } else { (',', 0) };
        let fields = line.split(separator).enumerate().map(|(number, field)| {
            let is_marked = number >= first && marked.contains(&(number - first));
            if is_marked
                && field.chars().any(|letter| letter.is_ascii_digit() || field.contains("e"))
            {
                "#"
            } else {
                field.trim()
            }
        });
        fields.collect::<Vec<_>>().join(&separator.to_string())
    };
    text.lines().filter(|text| !is_rule(text)).map(line).collect::<Vec<_>>().join("\n")
}

fn sorted_lines(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// Keys attached to a lease come in any order.
fn sorted_keys(text: &str) -> String {
    match text.split_once("attached keys([") {
        Some((before, keys)) => {
            let mut keys: Vec<&str> = keys.trim_end().trim_end_matches("])").split(' ').collect();
            keys.sort_unstable();
            format!("{before}attached keys([{}])", keys.join(" "))
        }
        None => text.to_owned(),
    }
}

/// The order of members depends on their IDs, and one of them is new.
fn sorted_cluster(line: &str) -> String {
    match line.split_once("ETCD_INITIAL_CLUSTER=") {
        Some((before, cluster)) => {
            let mut members: Vec<&str> = cluster.trim_matches('"').split(',').collect();
            members.sort_unstable();
            format!("{before}ETCD_INITIAL_CLUSTER={}", members.join(","))
        }
        None => line.to_owned(),
    }
}
