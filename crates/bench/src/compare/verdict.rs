//! Whether a row holds its bar.

use serde::Serialize;

/// What a row has to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bar {
    /// Our median is at most so many times that of the better baseline.
    Ratio(f64),
    /// Our own figure is at most this, whatever others do.
    Own(f64),
}

/// How a row stands against its bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// It holds.
    Holds,
    /// It is missed.
    Missed,
    /// The row has no bar, or nothing to compare with was given.
    Unjudged,
}

impl Bar {
    /// Judges our median and its ratio to the better baseline.
    pub(super) fn judge(self, ours: f64, ratio: Option<f64>) -> Verdict {
        let (seen, bar) = match self {
            Self::Ratio(bar) => (ratio, bar),
            Self::Own(bar) => (Some(ours), bar),
        };
        match seen {
            Some(seen) if seen <= bar => Verdict::Holds,
            Some(_) => Verdict::Missed,
            None => Verdict::Unjudged,
        }
    }

    /// As people read it: `<= 1/2.5`, `<= 45 %`, `own <= 4`.
    pub(super) fn text(self) -> String {
        match self {
            Self::Ratio(bar) => format!("<= {}", ratio_text(bar)),
            Self::Own(bar) => format!("own <= {bar}"),
        }
    }
}

impl Verdict {
    /// One word.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Missed => "MISSED",
            Self::Unjudged => "-",
        }
    }
}

/// A ratio as `1/4.2` below a third or so, else as `0.75` or `1.20`.
pub(super) fn ratio_text(ratio: f64) -> String {
    if ratio > 0.0 && ratio <= 0.42 {
        let text = format!("{:.2}", 1.0 / ratio);
        format!("1/{}", text.trim_end_matches('0').trim_end_matches('.'))
    } else {
        format!("{ratio:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_inclusive_and_need_what_they_compare_with() {
        let cases = [
            (Bar::Ratio(0.4), 7.0, Some(0.4), Verdict::Holds),
            (Bar::Ratio(0.4), 7.0, Some(0.41), Verdict::Missed),
            (Bar::Ratio(0.4), 0.1, None, Verdict::Unjudged),
            (Bar::Own(4.0), 4.0, None, Verdict::Holds),
            (Bar::Own(4.0), 4.1, Some(0.1), Verdict::Missed),
        ];
        for (bar, ours, ratio, verdict) in cases {
            assert_eq!(bar.judge(ours, ratio), verdict, "{bar:?} {ours} {ratio:?}");
        }
    }

    #[test]
    fn ratios_read_as_in_the_issue() {
        let cases = [
            (0.4, "1/2.5"),
            (0.25, "1/4"),
            (0.02, "1/50"),
            (0.237, "1/4.22"),
            (0.45, "0.45"),
            (1.0, "1.00"),
            (1.234, "1.23"),
            (0.0, "0.00"),
        ];
        for (ratio, text) in cases {
            assert_eq!(ratio_text(ratio), text);
        }
        assert_eq!(Bar::Ratio(0.2).text(), "<= 1/5");
        assert_eq!(Bar::Own(4.0).text(), "own <= 4");
    }
}
