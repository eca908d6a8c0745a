//! The rows of the table: what is done, what is compared, what has to be reached.
//!
//! Owns:       the names for `--only`.
//! Invariants: names are unique; rows with equal work share its samples.
//! Source:     the table of bars in issue 4, and the loads of its part a.

use anyhow::{Result, bail};

use super::figures::Figure;
use super::options::Scale;
use super::verdict::Bar;

/// A row.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Name for `--only`.
    pub(super) name: &'static str,
    /// What is done; `{keys}` and `{large}` stand for numbers of keys.
    pub(super) title: &'static str,
    /// What is compared.
    pub(super) measure: Figure,
    /// What has to be reached.
    pub(super) bar: Option<Bar>,
    /// What the bar is on the way to.
    pub(super) goal: &'static str,
    /// What is done, for the machine.
    pub(super) work: Work,
}

/// What is done for a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// A load of the generator.
    Load(Load),
    /// A clean stop and a start with many keys.
    Start(Amount),
    /// Memory after many keys were loaded.
    Loaded(Amount),
    /// Memory after a restart with many keys and a short log.
    Restarted(Amount),
    /// Reads of a key with many old revisions and of a fresh one.
    OldRevisions,
    /// Puts while many revisions are compacted.
    Compaction,
    /// Puts while a snapshot is saved.
    Snapshot,
    /// Kills of the leader.
    Failover,
}

/// How many keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Amount {
    /// [`Scale::keys`].
    Many,
    /// [`Scale::large_keys`].
    VeryMany,
}

/// What is in the servers before a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Content {
    /// What the generator puts there itself.
    Own,
    /// [`Scale::keys`] keys of 64 B with values of 256 B.
    ManyKeys,
}

/// A load of the generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Load {
    /// Name for `bench load --load`.
    pub(super) load: &'static str,
    /// What it finds.
    pub(super) content: Content,
    /// Members of the cluster.
    pub(super) members: usize,
    /// Connections.
    pub(super) connections: u32,
    /// Requests under way on each.
    pub(super) outstanding: u32,
    /// Keys that it uses; with [`Content::ManyKeys`] those that are there.
    pub(super) keys: u32,
    /// Further options of `bench load`.
    pub(super) extra: &'static [&'static str],
    /// Whether the v2 API has to be switched on.
    pub(super) v2: bool,
}

/// Rows of the issue's table, in its order.
static BARS: &[Row] = &[
    bar("put", "put 256 B, 100 x 10, 1 member", 0.4, "1/4", load("put", 100, 10)),
    bar(
        "put-3",
        "put 256 B, 100 x 10, 3 members, CPU of all together",
        0.4,
        "1/4",
        Load { members: 3, ..load("put", 100, 10) },
    ),
    bar("get", "linearizable get of 256 B, 100 x 10", 0.4, "1/3.5", many("get", 100, 10)),
    bar(
        "get-serializable",
        "serializable get of 256 B, 100 x 10",
        0.4,
        "1/3.5",
        many("get-serializable", 100, 10),
    ),
    Row {
        name: "get-old",
        title: "get of a key with {keys} old revisions against a fresh key, CPU of our own \
                (instructions: the micro-benchmarks)",
        measure: Figure::OldOverFresh,
        bar: Some(Bar::Own(1.05)),
        goal: "1.05",
        work: Work::OldRevisions,
    },
    bar(
        "range-10000",
        "range of 10,000 keys x 256 B",
        0.25,
        "1/8",
        Load { extra: &["--limit", "10000"], ..many("range", 4, 1) },
    ),
    bar("count", "count-only over {keys} keys", 0.02, "1/200", many("count-only", 1, 1)),
    bar(
        "page-500",
        "first page of 500 of {keys} keys",
        0.02,
        "1/200",
        Load { extra: &["--limit", "500"], ..many("page", 1, 1) },
    ),
    bar(
        "watch-1000",
        "watch fan-out, 1 key to 1,000 watchers, per delivered event",
        0.4,
        "1/4",
        Load { extra: &["--watchers", "1000"], ..load("watch-one", 100, 1) },
    ),
    Row {
        name: "put-latency",
        title: "one-connection put of 256 B: median latency",
        measure: Figure::P50Ms,
        bar: Some(Bar::Ratio(1.0)),
        goal: "fdatasync + 80 us",
        work: Work::Load(load("put", 1, 1)),
    },
    Row {
        name: "put-tail",
        title: "one-connection put of 256 B: p99 against the own median",
        measure: Figure::P99OverP50,
        bar: Some(Bar::Own(4.0)),
        goal: "own <= 3",
        work: Work::Load(load("put", 1, 1)),
    },
    Row {
        name: "start",
        title: "restart with {keys} keys (64 B + 256 B) to the first linearizable answer, all cores",
        measure: Figure::StartS,
        bar: Some(Bar::Ratio(0.2)),
        goal: "1/20",
        work: Work::Start(Amount::Many),
    },
    Row {
        name: "memory-loaded",
        title: "RSS after {keys} keys (64 B + 256 B) were put and {idle} s of rest",
        measure: Figure::RssMib,
        bar: Some(Bar::Ratio(0.45)),
        goal: "0.35",
        work: Work::Loaded(Amount::Many),
    },
    Row {
        name: "memory-restarted",
        title: "RSS after a restart with {keys} keys on a compacted log and {idle} s of rest",
        measure: Figure::RssMib,
        bar: Some(Bar::Ratio(0.75)),
        goal: "0.50",
        work: Work::Restarted(Amount::Many),
    },
    Row {
        name: "stall-compaction",
        title: "longest write stall while {keys} revisions are compacted, 500 put/s",
        measure: Figure::MaxMs,
        bar: Some(Bar::Ratio(1.0 / 3.0)),
        goal: "p99.9 <= 20 ms",
        work: Work::Compaction,
    },
    Row {
        name: "stall-snapshot",
        title: "longest write stall while a snapshot of {keys} revisions is saved, 500 put/s",
        measure: Figure::MaxMs,
        bar: Some(Bar::Ratio(1.0 / 3.0)),
        goal: "p99.9 <= 20 ms",
        work: Work::Snapshot,
    },
    Row {
        name: "failover",
        title: "kill -9 of the leader of 3, default time-outs: no acknowledged write for",
        measure: Figure::GapMs,
        bar: Some(Bar::Ratio(1.0)),
        goal: "1/2",
        work: Work::Failover,
    },
];

/// The other loads of the generator, without bars.
static LOADS: &[Row] = &[
    plain("put-lease", "put 256 B with a lease, 100 x 10", load("put-lease", 100, 10)),
    plain("txn", "compare-and-put of 256 B, 100 x 10", load("txn", 100, 10)),
    plain("delete", "delete, 100 x 10", load("delete", 100, 10)),
    plain("mixed", "90 % linearizable get, 10 % put, 100 x 10", many("mixed", 100, 10)),
    plain(
        "range-100",
        "range of 100 keys x 256 B",
        Load { extra: &["--limit", "100"], ..many("range", 10, 4) },
    ),
    plain(
        "range-1000",
        "range of 1,000 keys x 256 B",
        Load { extra: &["--limit", "1000"], ..many("range", 10, 1) },
    ),
    plain(
        "keys-only",
        "range of 1,000 keys, keys only",
        Load { extra: &["--limit", "1000"], ..many("keys-only", 10, 1) },
    ),
    plain(
        "watch-many",
        "watch fan-out, 1,000 keys to 1,000 watchers, per delivered event",
        Load { extra: &["--watchers", "1000"], ..load("watch-many", 100, 1) },
    ),
    plain("watch-catch-up", "watchers that start in the past", load("watch-catch-up", 10, 1)),
    plain("keepalive", "lease keepalive, 100 x 10", load("keepalive", 100, 10)),
    plain("v2-set", "v2 set of 256 B, 100 x 1", v2("v2-set")),
    plain("v2-get", "v2 get of 256 B, 100 x 1", v2("v2-get")),
    plain("v2-watch", "v2 watch fan-out, 100 watchers", v2("v2-watch")),
];

/// Rows about very many keys.
static LARGE: &[Row] = &[
    Row {
        name: "start-large",
        title: "restart with {large} keys (64 B + 256 B) to the first linearizable answer",
        measure: Figure::StartS,
        bar: None,
        goal: "",
        work: Work::Start(Amount::VeryMany),
    },
    Row {
        name: "memory-loaded-large",
        title: "RSS after {large} keys (64 B + 256 B) were put and {idle} s of rest",
        measure: Figure::RssMib,
        bar: None,
        goal: "",
        work: Work::Loaded(Amount::VeryMany),
    },
    Row {
        name: "memory-restarted-large",
        title: "RSS after a restart with {large} keys on a compacted log and {idle} s of rest",
        measure: Figure::RssMib,
        bar: None,
        goal: "",
        work: Work::Restarted(Amount::VeryMany),
    },
];

const fn load(load: &'static str, connections: u32, outstanding: u32) -> Load {
    let content = Content::Own;
    Load {
        load,
        content,
        members: 1,
        connections,
        outstanding,
        keys: 100_000,
        extra: &[],
        v2: false,
    }
}

const fn many(name: &'static str, connections: u32, outstanding: u32) -> Load {
    Load { content: Content::ManyKeys, ..load(name, connections, outstanding) }
}

const fn v2(name: &'static str) -> Load {
    Load { v2: true, keys: 1000, ..load(name, 100, 1) }
}

const fn bar(
    name: &'static str,
    title: &'static str,
    ratio: f64,
    goal: &'static str,
    load: Load,
) -> Row {
    let (bar, work) = (Some(Bar::Ratio(ratio)), Work::Load(load));
    Row { name, title, measure: Figure::ServerCpuUs, bar, goal, work }
}

const fn plain(name: &'static str, title: &'static str, load: Load) -> Row {
    let (measure, work) = (Figure::ServerCpuUs, Work::Load(load));
    Row { name, title, measure, bar: None, goal: "", work }
}

/// All rows.
pub(super) fn all() -> Vec<&'static Row> {
    [BARS, LOADS, LARGE].into_iter().flatten().collect()
}

/// The rows of these names and groups, each once, in the order of the table; the bars when there is
/// no name.
///
/// # Errors
/// When a name is none.
pub(super) fn select(names: &[String]) -> Result<Vec<&'static Row>> {
    if names.is_empty() {
        return Ok(BARS.iter().collect());
    }
    let mut wanted: Vec<&str> = Vec::new();
    for name in names {
        let rows: &[&[Row]] = match name.as_str() {
            "bars" => &[BARS],
            "loads" => &[LOADS],
            "large" => &[LARGE],
            "all" => &[BARS, LOADS, LARGE],
            name => {
                let Some(row) = all().into_iter().find(|row| row.name == name) else {
                    bail!("no row is named {name:?} (--list prints them)");
                };
                wanted.push(row.name);
                &[]
            }
        };
        wanted.extend(rows.iter().copied().flatten().map(|row| row.name));
    }
    Ok(all().into_iter().filter(|row| wanted.contains(&row.name)).collect())
}

impl Row {
    /// The title with the numbers of this run.
    pub(super) fn title(&self, scale: &Scale) -> String {
        self.title
            .replace("{keys}", &thousands(scale.keys))
            .replace("{large}", &thousands(scale.large_keys))
            .replace("{idle}", &scale.idle_s.to_string())
    }
}

/// `1M`, `100k`, or the number.
fn thousands(count: u64) -> String {
    match count {
        count if count >= 1_000_000 && count % 1_000_000 == 0 => format!("{}M", count / 1_000_000),
        count if count >= 1000 && count % 1000 == 0 => format!("{}k", count / 1000),
        count => count.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_no_groups() {
        let names: BTreeSet<&str> = all().iter().map(|row| row.name).collect();
        assert_eq!(names.len(), all().len());
        assert!(["bars", "loads", "large", "all"].iter().all(|group| !names.contains(group)));
    }

    #[test]
    fn every_bar_of_the_issue_is_there() {
        assert_eq!(BARS.len(), 17);
        assert!(BARS.iter().all(|row| row.bar.is_some() && !row.goal.is_empty()));
    }

    #[test]
    fn selections_keep_the_order_of_the_table() {
        let names = |words: &[&str]| -> Vec<&str> {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            select(&words).unwrap().iter().map(|row| row.name).collect()
        };
        assert_eq!(names(&["get", "put", "get"]), ["put", "get"]);
        assert_eq!(names(&[]).len(), BARS.len());
        assert_eq!(names(&["all"]).len(), all().len());
        assert!(select(&["nothing".to_owned()]).is_err());
    }

    #[test]
    fn numbers_of_keys() {
        assert_eq!([1_000_000, 100_000, 1500].map(thousands), ["1M", "100k", "1500"]);
    }
}
