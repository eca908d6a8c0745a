//! The ratios as a picture: one bar per row on a logarithmic scale, in SVG written by hand.

use std::fmt::Write as _;

use super::results::{Results, RowResult};
use super::verdict::{Verdict, ratio_text};

/// Width of the names, of the plot behind them, and of the texts behind that, in px.
const NAMES_WIDTH: f64 = 170.0;
const PLOT_WIDTH: f64 = 520.0;
const TEXTS_WIDTH: f64 = 230.0;
/// Height of a row and of what is above and below the rows, in px.
const ROW_HEIGHT: f64 = 26.0;
const HEAD_HEIGHT: f64 = 64.0;
const FOOT_HEIGHT: f64 = 44.0;
/// Lines of the scale that may be drawn.
const SCALE: [f64; 11] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0];
/// The largest ratio that is drawn; larger ones end at the edge.
const LARGEST: f64 = 2.0;

/// Draws all rows that have a ratio.
pub(super) fn svg(results: &Results) -> String {
    let rows: Vec<&RowResult> = results.rows.iter().filter(|row| row.is_ratio()).collect();
    let smallest = smallest(&rows);
    let height = HEAD_HEIGHT + ROW_HEIGHT * super::stats::float(rows.len() as u64) + FOOT_HEIGHT;
    let width = NAMES_WIDTH + PLOT_WIDTH + TEXTS_WIDTH;
    let mut svg = String::new();
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">"
    );
    let _ = writeln!(svg, "<rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>");
    heading(&mut svg, results);
    scale(&mut svg, smallest, height);
    let mut top = HEAD_HEIGHT;
    for row in rows {
        bar(&mut svg, row, smallest, top);
        top += ROW_HEIGHT;
    }
    let _ = writeln!(
        svg,
        "<text x=\"8\" y=\"{}\" fill=\"#555\">shorter is better; 1 is the better baseline; the black \
         tick is the bar to reach; {}</text>",
        height - 10.0,
        escaped(&results.machine.cpu),
    );
    svg.push_str("</svg>\n");
    svg
}

/// The left end of the scale: below all that is drawn.
fn smallest(rows: &[&RowResult]) -> f64 {
    let drawn = rows.iter().flat_map(|row| [row.ratio, row.bar_value]).flatten();
    let least = drawn.filter(|value| *value > 0.0).fold(0.5, f64::min);
    SCALE.into_iter().rev().find(|line| *line < least).unwrap_or(SCALE[0])
}

/// Where a ratio is on the scale, in px from the left.
fn place(ratio: f64, smallest: f64) -> f64 {
    let inside = ratio.clamp(smallest, LARGEST);
    let share = (inside / smallest).ln() / (LARGEST / smallest).ln();
    NAMES_WIDTH + PLOT_WIDTH * share
}

fn heading(svg: &mut String, results: &Results) {
    let labels: Vec<&str> = results.contenders.iter().map(|of| of.label.as_str()).collect();
    let title = match labels.as_slice() {
        [ours, theirs @ ..] if !theirs.is_empty() => {
            format!("{ours} / the better of {}", theirs.join(", "))
        }
        _ => "no baseline to compare with".to_owned(),
    };
    let quick = if results.scale.quick { " (quick run)" } else { "" };
    let _ = writeln!(
        svg,
        "<text x=\"8\" y=\"22\" font-size=\"15\" font-weight=\"bold\">{}{quick}</text>",
        escaped(&title)
    );
}

fn scale(svg: &mut String, smallest: f64, height: f64) {
    for line in SCALE.into_iter().filter(|line| *line >= smallest) {
        let x = place(line, smallest);
        let colour = if (line - 1.0).abs() < f64::EPSILON { "#444" } else { "#ddd" };
        let (top, bottom) = (HEAD_HEIGHT - 8.0, height - FOOT_HEIGHT);
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top}\" y2=\"{bottom}\" stroke=\"{colour}\"/>\
             <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#555\">{}</text>",
            top - 4.0,
            if line < 1.0 { format!("1/{:.0}", 1.0 / line) } else { format!("{line:.0}") },
        );
    }
}

fn bar(svg: &mut String, row: &RowResult, smallest: f64, top: f64) {
    let Some(ratio) = row.ratio else { return };
    let (left, right) = (place(smallest, smallest), place(ratio, smallest));
    let colour = match row.verdict {
        Verdict::Holds => "#2a7f62",
        Verdict::Missed => "#c0392b",
        Verdict::Unjudged => "#8a8f98",
    };
    let baseline = top + ROW_HEIGHT * 0.65;
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{baseline}\" text-anchor=\"end\">{}</text>",
        NAMES_WIDTH - 8.0,
        escaped(row.name)
    );
    let _ = writeln!(
        svg,
        "<rect x=\"{left:.1}\" y=\"{}\" width=\"{:.1}\" height=\"{}\" fill=\"{colour}\"/>",
        top + 4.0,
        (right - left).max(1.0),
        ROW_HEIGHT - 8.0
    );
    if let Some(value) = row.bar_value {
        let x = place(value, smallest);
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{}\" y2=\"{}\" stroke=\"black\" \
             stroke-width=\"2.5\"/>",
            top + 1.0,
            top + ROW_HEIGHT - 1.0
        );
    }
    let bar = row.bar.as_ref().map_or_else(String::new, |bar| format!(" (bar {bar})"));
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{baseline}\" fill=\"{colour}\">{}</text>",
        NAMES_WIDTH + PLOT_WIDTH + 8.0,
        escaped(&format!("{}{bar}", ratio_text(ratio)))
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_is_logarithmic_and_closed() {
        let close = |one: f64, other: f64| (one - other).abs() < 1e-9;
        assert!(close(place(0.01, 0.01), NAMES_WIDTH));
        assert!(close(place(2.0, 0.01), NAMES_WIDTH + PLOT_WIDTH));
        assert!(close(place(9.0, 0.01), place(2.0, 0.01)));
        assert!(close(place(0.0, 0.01), NAMES_WIDTH));
        assert!(close(place(0.1, 0.01) - place(0.01, 0.01), place(1.0, 0.01) - place(0.1, 0.01)));
    }

    #[test]
    fn texts_are_escaped() {
        assert_eq!(escaped("a < b & c > d"), "a &lt; b &amp; c &gt; d");
    }

    #[test]
    fn a_picture_has_a_bar_per_ratio() {
        let results = super::super::example::results();
        let svg = svg(&results);
        let judged = results.rows.iter().filter(|row| row.is_ratio()).count();
        assert!(judged > 0);
        // One rectangle is the paper.
        assert_eq!(svg.matches("<rect").count(), judged + 1);
        assert!(svg.contains("&lt;= 1/2.5") && svg.trim_end().ends_with("</svg>"));
    }
}
