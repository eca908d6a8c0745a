//! What a run found, as it is written to `compare.json` and drawn.
//!
//! Owns:       nothing.
//! Invariants: our server is the first contender; a row has one entry per contender, in their order.

use std::collections::BTreeMap;

use serde::Serialize;

use super::figures::Figure;
use super::rows::Row;
use super::stats::{self, Summary};
use super::verdict::Verdict;

/// A run.
#[derive(Debug, Serialize)]
pub(super) struct Results {
    /// What it ran on.
    pub(super) machine: super::machine::Machine,
    /// Options that say how much was measured.
    pub(super) scale: super::options::Scale,
    /// Servers, ours first.
    pub(super) contenders: Vec<Contender>,
    /// Rows in the order in which they were measured.
    pub(super) rows: Vec<RowResult>,
    /// What went wrong besides failed requests.
    pub(super) errors: Vec<String>,
}

/// A server that took part.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Contender {
    /// Short name, such as `etcd 3.4.23`.
    pub(super) label: String,
    /// Where it is.
    pub(super) path: std::path::PathBuf,
    /// What it prints at `--version`.
    pub(super) version: String,
}

/// A row of the table.
#[derive(Clone, Debug, Serialize)]
pub(super) struct RowResult {
    /// Name for `--only`.
    pub(super) name: &'static str,
    /// What was done.
    pub(super) title: String,
    /// The figure that is compared.
    pub(super) measure: Figure,
    /// The bar as text.
    pub(super) bar: Option<String>,
    /// The goal behind it as text.
    pub(super) goal: &'static str,
    /// Our median divided by the better baseline's.
    pub(super) ratio: Option<f64>,
    /// The ratio, or our own figure, that the bar allows.
    pub(super) bar_value: Option<f64>,
    /// Which contender is the better baseline.
    pub(super) better_baseline: Option<usize>,
    /// How it stands.
    pub(super) verdict: Verdict,
    /// Requests that failed, of all contenders and rounds.
    pub(super) failed: u64,
    /// What a reader has to know beside the title.
    pub(super) note: Option<String>,
    /// Figures of each contender.
    pub(super) contenders: Vec<BTreeMap<Figure, Summary>>,
}

/// What one contender gave in one round.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    /// Its figures.
    pub(super) figures: BTreeMap<Figure, f64>,
    /// Requests that failed.
    pub(super) failed: u64,
}

impl Sample {
    /// The main figures, for a line of progress.
    pub(super) fn line(&self) -> String {
        let shown = [Figure::ServerCpuUs, Figure::RequestsPerSecond, Figure::P99Ms, Figure::MaxMs];
        let shown = shown.into_iter().filter_map(|figure| {
            let value = self.figures.get(&figure)?;
            Some(format!("{} {}", figure.show(*value), figure.heading()))
        });
        let failed = (self.failed > 0).then(|| format!("{} FAILED", self.failed));
        shown.chain(failed).collect::<Vec<_>>().join(", ")
    }
}

impl RowResult {
    /// Puts the samples of a row together: one list per contender, ours first.
    pub(super) fn of(row: &Row, title: String, note: Option<String>, all: &[Vec<Sample>]) -> Self {
        let contenders: Vec<_> = all.iter().map(|samples| summaries(samples)).collect();
        let median = |of: &BTreeMap<Figure, Summary>| of.get(&row.measure).map(|s| s.median);
        let ours = contenders.first().and_then(median);
        let theirs: Vec<f64> = contenders.iter().skip(1).filter_map(median).collect();
        // A baseline without the figure would make the position of the others wrong.
        let complete = theirs.len() + 1 == contenders.len();
        let better = stats::best(&theirs).filter(|_| complete);
        let ratio = ours.zip(better).and_then(|(ours, (_, best))| stats::ratio(ours, best));
        let verdict = match (row.bar, ours) {
            (Some(bar), Some(ours)) => bar.judge(ours, ratio),
            _ => Verdict::Unjudged,
        };
        Self {
            name: row.name,
            title,
            measure: row.measure,
            bar: row.bar.map(super::verdict::Bar::text),
            goal: row.goal,
            ratio,
            bar_value: row.bar.map(|bar| match bar {
                super::verdict::Bar::Ratio(value) | super::verdict::Bar::Own(value) => value,
            }),
            better_baseline: better.map(|(place, _)| place + 1),
            verdict,
            failed: all.iter().flatten().map(|sample| sample.failed).sum(),
            note,
            contenders,
        }
    }

    /// Whether the bar is about a ratio, and there is one.
    pub(super) fn is_ratio(&self) -> bool {
        self.ratio.is_some() && self.bar.as_ref().is_none_or(|bar| !bar.starts_with("own"))
    }
}

fn summaries(samples: &[Sample]) -> BTreeMap<Figure, Summary> {
    let mut values: BTreeMap<Figure, Vec<f64>> = BTreeMap::new();
    for (figure, value) in samples.iter().flat_map(|sample| &sample.figures) {
        values.entry(*figure).or_default().push(*value);
    }
    let summaries = values.into_iter();
    summaries.filter_map(|(figure, values)| Some((figure, Summary::of(values)?))).collect()
}

impl Results {
    /// Whether a request failed or something else went wrong.
    pub(super) fn is_faulty(&self) -> bool {
        !self.errors.is_empty() || self.rows.iter().any(|row| row.failed > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows;
    use super::*;

    fn sample(cpu: f64) -> Sample {
        Sample { figures: BTreeMap::from([(Figure::ServerCpuUs, cpu)]), failed: 1 }
    }

    fn put(all: &[Vec<Sample>]) -> RowResult {
        let row = rows::all().into_iter().find(|row| row.name == "put").unwrap();
        RowResult::of(row, "put".to_owned(), None, all)
    }

    #[test]
    fn medians_are_compared_with_the_better_baseline() {
        let ours = vec![sample(10.0), sample(90.0), sample(11.0)];
        let row = put(&[ours, vec![sample(60.0)], vec![sample(44.0)]]);
        assert_eq!(row.ratio, Some(0.25));
        assert_eq!(row.better_baseline, Some(2));
        assert_eq!(row.verdict, Verdict::Holds);
        assert_eq!(row.failed, 5);
        let slower = put(&[vec![sample(30.0)], vec![sample(60.0)]]);
        assert_eq!((slower.ratio, slower.verdict), (Some(0.5), Verdict::Missed));
    }

    #[test]
    fn alone_or_incomplete_it_is_not_judged() {
        assert_eq!(put(&[vec![sample(10.0)]]).verdict, Verdict::Unjudged);
        let incomplete = put(&[vec![sample(10.0)], vec![], vec![sample(44.0)]]);
        assert_eq!((incomplete.ratio, incomplete.verdict), (None, Verdict::Unjudged));
        assert_eq!(put(&[vec![], vec![sample(44.0)]]).verdict, Verdict::Unjudged);
    }
}
