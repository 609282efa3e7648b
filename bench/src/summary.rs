//! Many times of the same thing, said in a few numbers.

use std::fmt;

use serde::Serialize;

/// Median and extremes of a series, in the unit of the report's field.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Summary {
    /// Of at least one value; zeros of none.
    pub(crate) fn of(mut values: Vec<f64>) -> Summary {
        values.sort_by(f64::total_cmp);
        Summary {
            median: rounded(quantile(&values, 0.5)),
            min: rounded(values.first().copied().unwrap_or_default()),
            max: rounded(values.last().copied().unwrap_or_default()),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ({:.2}..{:.2})", self.median, self.min, self.max)
    }
}

/// A series of times, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) count: usize,
    pub(crate) p50_ms: f64,
    /// Of fewer than a hundred the longest.
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

impl Spread {
    /// Nothing of no values.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Spread> {
        values.sort_by(f64::total_cmp);
        Some(Spread {
            count: values.len(),
            p50_ms: rounded(quantile(&values, 0.5)),
            p99_ms: rounded(quantile(&values, 0.99)),
            max_ms: rounded(*values.last()?),
        })
    }
}

/// How many times `of` the other is, if there are both.
pub(crate) fn ratio(of: Option<f64>, other: Option<f64>) -> Option<f64> {
    let ratio = of? / other?;
    ratio.is_finite().then(|| rounded(ratio))
}

/// The value below which this share of the sorted values lies.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let at = (last as f64 * share).round() as usize;
    sorted.get(at.min(last)).copied().unwrap_or_default()
}

/// To three places: what is behind them is noise.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_becomes_its_median_and_extremes() {
        let summary = Summary::of(vec![3.0, 1.0, 2.0]);
        assert_eq!((summary.median, summary.min, summary.max), (2.0, 1.0, 3.0));
        assert_eq!(Summary::of(Vec::new()).median, 0.0);
        assert_eq!(Spread::of(Vec::new()), None);
        let spread = Spread::of(vec![3.0, 1.0, 2.0]).unwrap();
        assert_eq!((spread.count, spread.p50_ms, spread.max_ms), (3, 2.0, 3.0));
        assert_eq!(ratio(Some(3.0), Some(2.0)), Some(1.5));
        assert_eq!(
            (ratio(Some(3.0), Some(0.0)), ratio(None, Some(1.0))),
            (None, None)
        );
        let sorted: Vec<f64> = (0..=100).map(f64::from).collect();
        assert_eq!(quantile(&sorted, 0.99), 99.0);
    }
}
