//! The table that is printed.

use std::fmt::Write as _;

use super::figures::Figure;
use super::results::{Results, RowResult};
use super::stats::Summary;
use super::verdict::{Verdict, ratio_text};

/// Columns besides the measure, in order; those that no contender has are left out.
const DETAILS: [Figure; 16] = [
    Figure::ServerCpuUs,
    Figure::RequestsPerSecond,
    Figure::ClientCpuUs,
    Figure::P50Ms,
    Figure::P99Ms,
    Figure::P99OverP50,
    Figure::P999Ms,
    Figure::MaxMs,
    Figure::WrittenBytes,
    Figure::Syncs,
    Figure::RssAnonMib,
    Figure::RssFileMib,
    Figure::RssMib,
    Figure::StartS,
    Figure::GapMs,
    Figure::GapAllMs,
];

/// One row with all contenders, for reading while the run goes on.
pub(super) fn row(row: &RowResult, labels: &[String]) -> String {
    let mut text = format!("{}: {}\n", row.name, row.title);
    if let Some(note) = &row.note {
        let _ = writeln!(text, "  note: {note}");
    }
    let has = |figure: &Figure| row.contenders.iter().any(|of| of.contains_key(figure));
    let others = DETAILS.into_iter().filter(|figure| *figure != row.measure && has(figure));
    let details: Vec<Figure> = others.collect();
    let mut lines = vec![heading(row.measure, &details)];
    for (label, figures) in labels.iter().zip(&row.contenders) {
        let mut cells = vec![label.clone()];
        cells.push(figures.get(&row.measure).map_or_else(none, |s| spread(row.measure, s)));
        let cell = |figure: &Figure| {
            figures.get(figure).map_or_else(none, |summary| figure.show(summary.median))
        };
        cells.extend(details.iter().map(cell));
        lines.push(cells);
    }
    text.push_str(&aligned(&lines, "  "));
    text.push_str(&conclusion(row, labels));
    text
}

/// Every row in one line: the table.
pub(super) fn overview(results: &Results) -> String {
    let labels: Vec<String> = results.contenders.iter().map(|of| of.label.clone()).collect();
    let mut heading = vec!["row".to_owned(), "measure".to_owned()];
    heading.extend(labels.iter().cloned());
    heading.extend(["ratio", "bar", "goal", "verdict"].map(str::to_owned));
    let mut lines = vec![heading];
    for row in &results.rows {
        let mut cells = vec![row.name.to_owned(), row.measure.heading().to_owned()];
        let median = |of: &std::collections::BTreeMap<Figure, Summary>| {
            of.get(&row.measure).map_or_else(none, |summary| row.measure.show(summary.median))
        };
        cells.extend(row.contenders.iter().map(median));
        cells.push(row.ratio.map_or_else(none, ratio_text));
        cells.push(row.bar.clone().unwrap_or_else(none));
        cells.push(row.goal.to_owned());
        let verdict = row.verdict.word();
        cells.push(if row.failed > 0 {
            format!("{verdict}, {} requests FAILED", row.failed)
        } else {
            verdict.to_owned()
        });
        lines.push(cells);
    }
    let mut text = aligned(&lines, "");
    let count = |verdict| results.rows.iter().filter(|row| row.verdict == verdict).count();
    let (holds, missed) = (count(Verdict::Holds), count(Verdict::Missed));
    let _ = writeln!(text, "{holds} bars hold, {missed} are missed");
    for error in &results.errors {
        let _ = writeln!(text, "ERROR: {error}");
    }
    text
}

fn heading(measure: Figure, details: &[Figure]) -> Vec<String> {
    let mut cells = vec![String::new(), format!("{} (min-max)", measure.heading())];
    cells.extend(details.iter().map(|figure| figure.heading().to_owned()));
    cells
}

fn none() -> String {
    "-".to_owned()
}

fn spread(figure: Figure, summary: &Summary) -> String {
    let show = |value| figure.show(value);
    if summary.values.len() == 1 {
        return show(summary.median);
    }
    format!("{} ({}-{})", show(summary.median), show(summary.min), show(summary.max))
}

fn conclusion(row: &RowResult, labels: &[String]) -> String {
    let mut text = String::from("  =>");
    match (row.ratio, row.better_baseline.and_then(|place| labels.get(place))) {
        (Some(ratio), Some(label)) => {
            let _ = write!(text, " {} of {label}", ratio_text(ratio));
        }
        _ => text.push_str(" nothing to compare with"),
    }
    if let Some(bar) = &row.bar {
        let _ = write!(text, "; bar {bar}: {}", row.verdict.word());
    }
    if row.failed > 0 {
        let _ = write!(text, "; {} requests FAILED", row.failed);
    }
    text.push('\n');
    text
}

/// Pads the cells of each column to the same width: the first to the right, others to the left.
fn aligned(lines: &[Vec<String>], indent: &str) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let mut padded = String::from(indent);
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let fill = " ".repeat(width - cell.chars().count());
            let gap = if column == 0 { "" } else { "  " };
            if column == 0 {
                let _ = write!(padded, "{gap}{cell}{fill}");
            } else {
                let _ = write!(padded, "{gap}{fill}{cell}");
            }
        }
        text.push_str(padded.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::results::Sample;
    use super::super::rows;
    use super::*;

    fn example() -> RowResult {
        let put = rows::all().into_iter().find(|row| row.name == "put").unwrap();
        let sample = |cpu, rps| Sample {
            figures: BTreeMap::from([(Figure::ServerCpuUs, cpu), (Figure::RequestsPerSecond, rps)]),
            failed: 0,
        };
        let ours = vec![sample(11.0, 50_000.0), sample(10.0, 51_000.0), sample(12.0, 49_000.0)];
        let theirs = vec![sample(50.0, 12_000.0)];
        RowResult::of(put, "put of 256 B".to_owned(), Some("a note".to_owned()), &[ours, theirs])
    }

    #[test]
    fn a_row_with_its_conclusion() {
        let labels = ["etch".to_owned(), "etcd 3.4.23".to_owned()];
        let expected = "\
put: put of 256 B
  note: a note
               server µs/req (min-max)  req/s
  etch             11.00 (10.00-12.00)  50000
  etcd 3.4.23                    50.00  12000
  => 1/4.55 of etcd 3.4.23; bar <= 1/2.5: holds
";
        assert_eq!(row(&example(), &labels), expected);
    }

    #[test]
    fn failures_are_shouted() {
        let mut failed = example();
        failed.failed = 3;
        assert!(row(&failed, &[]).contains("3 requests FAILED"));
    }
}
