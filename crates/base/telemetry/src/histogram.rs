//! Durations, counted by how long they were.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::label::{self, Labels};
use crate::text::line;
use crate::{Description, Kind, Metric};

/// Upper ends of the buckets in microseconds, and as Prometheus writes them, in seconds: from what a warm invocation takes to
/// the longest that a function may run.
const ENDS: [(u64, &str); BUCKETS] = [
    (100, "0.0001"),
    (250, "0.00025"),
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (2_500_000, "2.5"),
    (5_000_000, "5"),
    (10_000_000, "10"),
    (30_000_000, "30"),
    (60_000_000, "60"),
    (300_000_000, "300"),
    (900_000_000, "900"),
];

/// How many buckets a histogram has beside the one without an end.
pub const BUCKETS: usize = 20;

#[derive(Debug)]
struct Series {
    /// How many ended in each bucket; those that were longer than all are only in `count`.
    buckets: [AtomicU64; BUCKETS],
    count: AtomicU64,
    sum_us: AtomicU64,
}

/// Durations by length. `SERIES` is the product of how many values its labels have.
#[derive(Debug)]
pub struct Histogram<L, const SERIES: usize> {
    name: &'static str,
    help: &'static str,
    series: [Series; SERIES],
    labels: PhantomData<fn(L)>,
}

impl<L: Labels, const SERIES: usize> Histogram<L, SERIES> {
    /// A histogram without values; its name should end in `_seconds`.
    #[must_use]
    pub const fn new(name: &'static str, help: &'static str) -> Self {
        const { assert!(label::count(L::ALL) == SERIES) };
        Self {
            name,
            help,
            series: [const {
                Series {
                    buckets: [const { AtomicU64::new(0) }; BUCKETS],
                    count: AtomicU64::new(0),
                    sum_us: AtomicU64::new(0),
                }
            }; SERIES],
            labels: PhantomData,
        }
    }

    /// One more of this length.
    pub fn observe(&self, labels: L, took: Duration) {
        let Some(series) = self.series.get(labels.series()) else {
            return;
        };
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = ENDS.iter().position(|(end, _)| us <= *end);
        if let Some(bucket) = bucket.and_then(|at| series.buckets.get(at)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        series.sum_us.fetch_add(us, Ordering::Relaxed);
        series.count.fetch_add(1, Ordering::Relaxed);
    }
}

impl<L: Labels, const SERIES: usize> Metric for Histogram<L, SERIES> {
    fn description(&self) -> Description {
        Description {
            name: self.name,
            suffix: "",
            kind: Kind::Histogram,
            help: self.help,
            labels: L::ALL,
        }
    }

    fn write_values(&self, text: &mut String) {
        for (number, series) in self.series.iter().enumerate() {
            let labels = label::spelled(L::ALL, number);
            let mut below = 0;
            let with_end = |end: &str| {
                let mut labels = labels.clone();
                labels.push(format!("le=\"{end}\""));
                labels
            };
            for (bucket, (_, end)) in series.buckets.iter().zip(ENDS) {
                below += bucket.load(Ordering::Relaxed);
                line(text, (self.name, "_bucket"), &with_end(end), below);
            }
            // Not less than the buckets, which may have grown since.
            let count = series.count.load(Ordering::Relaxed).max(below);
            line(text, (self.name, "_bucket"), &with_end("+Inf"), count);
            let us = series.sum_us.load(Ordering::Relaxed);
            let seconds = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
            line(text, (self.name, "_sum"), &labels, seconds);
            line(text, (self.name, "_count"), &labels, count);
        }
    }
}
