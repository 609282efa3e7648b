//! Labels with a closed set of values.

use std::fmt::Debug;

/// A label, as an enumeration of its values.
pub trait LabelValue: Copy + Debug {
    /// How the label is called.
    const NAME: &'static str;
    /// All values, in the order of [`LabelValue::index`].
    const VALUES: &'static [&'static str];
    /// Which of [`LabelValue::VALUES`] this is.
    fn index(self) -> usize;
}

/// The labels of one metric: none, one or two.
pub trait Labels: Copy + Debug {
    /// Names and values.
    const ALL: &'static [(&'static str, &'static [&'static str])];
    /// Which series this is: the last label counts fastest.
    fn series(self) -> usize;
}

impl Labels for () {
    const ALL: &'static [(&'static str, &'static [&'static str])] = &[];

    fn series(self) -> usize {
        0
    }
}

impl<A: LabelValue> Labels for A {
    const ALL: &'static [(&'static str, &'static [&'static str])] = &[(A::NAME, A::VALUES)];

    fn series(self) -> usize {
        self.index()
    }
}

impl<A: LabelValue, B: LabelValue> Labels for (A, B) {
    const ALL: &'static [(&'static str, &'static [&'static str])] =
        &[(A::NAME, A::VALUES), (B::NAME, B::VALUES)];

    fn series(self) -> usize {
        self.0.index() * B::VALUES.len() + self.1.index()
    }
}

/// How many series such labels make.
pub(crate) const fn count(labels: &[(&str, &[&str])]) -> usize {
    let mut series = 1;
    let mut at = 0;
    while at < labels.len() {
        series *= labels[at].1.len();
        at += 1;
    }
    series
}

/// `{name="value",…}` of one series; nothing without labels.
pub(crate) fn spelled(labels: &[(&str, &[&str])], series: usize) -> Vec<String> {
    let mut rest = series;
    let mut pairs: Vec<String> = labels
        .iter()
        .rev()
        .map(|(name, values)| {
            let value = values.get(rest % values.len()).copied().unwrap_or_default();
            rest /= values.len();
            format!("{name}=\"{value}\"")
        })
        .collect();
    pairs.reverse();
    pairs
}

/// Declares a label as an enumeration of its values: `label!(Start, "start", [Warm = "warm", Cold = "cold"]);`.
#[macro_export]
macro_rules! label {
    ($type:ident, $name:literal, [$($variant:ident = $value:literal),+ $(,)?]) => {
        #[derive(Clone, Copy, Debug)]
        enum $type { $($variant),+ }

        impl $crate::LabelValue for $type {
            const NAME: &'static str = $name;
            const VALUES: &'static [&'static str] = &[$($value),+];

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}
