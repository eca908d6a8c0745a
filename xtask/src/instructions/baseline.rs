//! What the cases took when somebody last looked.
//!
//! Owns:       the text form of the baseline and the tolerances.
//! Uses:       nothing.
//! Never:      counts.
//! Invariants: what `render` writes, `parse` reads.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

/// How much more a case may take: what inlining shifts when code next to it changes.
const TOLERANCE: f64 = 0.03;
/// The same when the baseline was made by another compiler.
const TOLERANCE_OTHER_COMPILER: f64 = 0.15;
const HOST: &str = "host ";
const PREAMBLE: &str = "\
# Instructions per unit of each case of crates/micro, counted by callgrind. Compared by
# `cargo xtask instructions`, written by `cargo xtask instructions --bless`; commit a change of this
# file together with the change of the code that explains it.
";

/// The numbers that are written down.
#[derive(Debug, PartialEq)]
pub(super) struct Baseline {
    host: String,
    counts: BTreeMap<String, f64>,
}

/// How a count compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Same,
    Less,
    More,
    Unknown,
}

/// A verdict and what it rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Judged {
    pub(super) verdict: Verdict,
    pub(super) expected: Option<f64>,
    pub(super) tolerance: f64,
}

impl Baseline {
    pub(super) fn render(host: &str, counts: &[(String, f64)]) -> String {
        let lines = counts.iter().map(|(name, count)| format!("{name:<24} {count:>10.0}\n"));
        format!("{PREAMBLE}{HOST}{host}\n{}", lines.collect::<String>())
    }

    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let host = lines.next().and_then(|line| line.strip_prefix(HOST));
        let host = host.context("baseline does not begin with its host")?.to_owned();
        let count = |line: &str| {
            let (name, count) = line.split_once(' ')?;
            Some((name.to_owned(), count.trim().parse().ok()?))
        };
        let counts = lines.map(|line| count(line).with_context(|| format!("baseline: {line}")));
        Ok(Self { host, counts: counts.collect::<Result<_>>()? })
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.counts.keys()
    }

    /// What a reader has to know about comparing with numbers of elsewhere.
    pub(super) fn difference(&self, host: &str) -> Option<String> {
        (self.host != host).then(|| {
            let percent = self.tolerance(host).map(|tolerance| tolerance * 100.0);
            let tolerance = percent.map_or_else(
                || "another architecture: nothing is compared".to_owned(),
                |percent| format!("up to {percent:.0} % more is let pass"),
            );
            format!("the baseline is of {}, this is {host}: {tolerance}", self.host)
        })
    }

    pub(super) fn judge(&self, host: &str, name: &str, count: f64) -> Judged {
        let tolerance = self.tolerance(host).unwrap_or(f64::INFINITY);
        let expected = self.counts.get(name).copied();
        let verdict = match expected {
            None => Verdict::Unknown,
            Some(expected) if count > expected * (1.0 + tolerance) => Verdict::More,
            Some(expected) if count < expected * (1.0 - tolerance) => Verdict::Less,
            Some(_) => Verdict::Same,
        };
        Judged { verdict, expected, tolerance }
    }

    /// `None` when the numbers of the two hosts have nothing to do with each other.
    fn tolerance(&self, host: &str) -> Option<f64> {
        let architecture = |host: &str| host.split(' ').next().unwrap_or_default().to_owned();
        if self.host == host {
            Some(TOLERANCE)
        } else if architecture(&self.host) == architecture(host) {
            Some(TOLERANCE_OTHER_COMPILER)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "x86_64 rustc 1.95.0";

    fn baseline() -> Baseline {
        let counts = [("get".to_owned(), 1_000.0), ("put/batch".to_owned(), 20_000.0)];
        Baseline::parse(&Baseline::render(HERE, &counts)).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let read = baseline();
        assert_eq!(read.host, HERE);
        assert_eq!(read.names().collect::<Vec<_>>(), ["get", "put/batch"]);
        assert_eq!(read.counts["put/batch"], 20_000.0);
    }

    #[test]
    fn damage_is_an_error() {
        for text in ["", "get 1000", "host a b\nget", "host a b\nget many"] {
            assert!(Baseline::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_count_is_judged_by_the_tolerance_of_its_host() {
        let read = baseline();
        let verdict = |host, count| read.judge(host, "get", count).verdict;
        for (host, count, expected) in [
            (HERE, 1_000.0, Verdict::Same),
            (HERE, 1_029.0, Verdict::Same),
            (HERE, 1_031.0, Verdict::More),
            (HERE, 969.0, Verdict::Less),
            ("x86_64 rustc 1.96.0", 1_100.0, Verdict::Same),
            ("x86_64 rustc 1.96.0", 1_151.0, Verdict::More),
            ("aarch64 rustc 1.95.0", 5_000.0, Verdict::Same),
        ] {
            assert_eq!(verdict(host, count), expected, "{host} {count}");
        }
        assert_eq!(read.judge(HERE, "txn", 1.0).verdict, Verdict::Unknown);
    }

    #[test]
    fn a_difference_of_hosts_is_told() {
        let read = baseline();
        assert_eq!(read.difference(HERE), None);
        assert!(read.difference("x86_64 rustc 1.96.0").unwrap().contains("15 %"));
        assert!(read.difference("aarch64 rustc 1.95.0").unwrap().contains("nothing"));
    }
}
