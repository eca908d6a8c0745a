//! Medians, spread and ratios of repeated measurements.

use serde::Serialize;

/// What several rounds gave for one figure of one server.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Summary {
    /// The middle value; the mean of the two middle ones when their number is even.
    pub(super) median: f64,
    /// The smallest.
    pub(super) min: f64,
    /// The largest.
    pub(super) max: f64,
    /// All, in the order in which they were taken.
    pub(super) values: Vec<f64>,
}

impl Summary {
    /// Of these values, unless there are none, or one is no number.
    pub(super) fn of(values: Vec<f64>) -> Option<Self> {
        if values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let upper = sorted.len() / 2;
        let lower = (sorted.len() - 1) / 2;
        Some(Self { median: f64::midpoint(sorted[lower], sorted[upper]), min, max, values })
    }
}

/// Ours divided by theirs; `None` when theirs is zero.
pub(super) fn ratio(ours: f64, theirs: f64) -> Option<f64> {
    let ratio = ours / theirs;
    (theirs > 0.0 && ratio.is_finite()).then_some(ratio)
}

/// Position and value of the smallest: all measures here are better when they are smaller.
pub(super) fn best(values: &[f64]) -> Option<(usize, f64)> {
    values.iter().copied().enumerate().min_by(|(_, one), (_, other)| one.total_cmp(other))
}

/// The number as a float, for figures that people read.
#[expect(clippy::cast_precision_loss, reason = "counts above 2^53 do not occur, and are shown")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        let cases: [(&[f64], f64, f64, f64); 4] = [
            (&[3.0], 3.0, 3.0, 3.0),
            (&[9.0, 1.0], 5.0, 1.0, 9.0),
            (&[9.0, 1.0, 2.0], 2.0, 1.0, 9.0),
            (&[4.0, 1.0, 100.0, 2.0], 3.0, 1.0, 100.0),
        ];
        for (values, median, min, max) in cases {
            let summary = Summary::of(values.to_vec()).unwrap();
            assert_eq!((summary.median, summary.min, summary.max), (median, min, max));
            assert_eq!(summary.values, values);
        }
        assert_eq!(Summary::of(Vec::new()), None);
        assert_eq!(Summary::of(vec![1.0, f64::NAN]), None);
    }

    #[test]
    fn the_better_baseline_is_the_smaller() {
        assert_eq!(best(&[5.0, 4.0, 6.0]), Some((1, 4.0)));
        assert_eq!(best(&[]), None);
        assert_eq!(ratio(1.0, 4.0), Some(0.25));
        assert_eq!(ratio(1.0, 0.0), None);
        assert_eq!(ratio(0.0, 2.0), Some(0.0));
    }
}
