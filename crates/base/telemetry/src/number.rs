//! Metrics that are one number for each series.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::label::{self, Labels};
use crate::text::line;
use crate::{Description, Kind, Metric};

/// A number that only grows. `SERIES` is the product of how many values its labels have.
#[derive(Debug)]
pub struct Counter<L, const SERIES: usize> {
    name: &'static str,
    help: &'static str,
    values: [AtomicU64; SERIES],
    labels: PhantomData<fn(L)>,
}

impl<L: Labels, const SERIES: usize> Counter<L, SERIES> {
    /// A counter at zero; `_total` is appended to its name, as Prometheus wants it.
    #[must_use]
    pub const fn new(name: &'static str, help: &'static str) -> Self {
        const { assert!(label::count(L::ALL) == SERIES) };
        Self {
            name,
            help,
            values: [const { AtomicU64::new(0) }; SERIES],
            labels: PhantomData,
        }
    }

    /// So many more.
    pub fn add(&self, labels: L, more: u64) {
        if let Some(value) = self.values.get(labels.series()) {
            value.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// How many there were.
    #[must_use]
    pub fn get(&self, labels: L) -> u64 {
        let value = self.values.get(labels.series());
        value.map_or(0, |value| value.load(Ordering::Relaxed))
    }
}

impl<L: Labels, const SERIES: usize> Metric for Counter<L, SERIES> {
    fn description(&self) -> Description {
        Description {
            name: self.name,
            suffix: "_total",
            kind: Kind::Counter,
            help: self.help,
            labels: L::ALL,
        }
    }

    fn write_values(&self, text: &mut String) {
        for (series, value) in self.values.iter().enumerate() {
            let labels = label::spelled(L::ALL, series);
            let value = value.load(Ordering::Relaxed);
            line(text, (self.name, "_total"), &labels, value);
        }
    }
}

/// A number that grows and shrinks. `SERIES` is the product of how many values its labels have.
#[derive(Debug)]
pub struct Gauge<L, const SERIES: usize> {
    name: &'static str,
    help: &'static str,
    values: [AtomicU64; SERIES],
    labels: PhantomData<fn(L)>,
}

impl<L: Labels, const SERIES: usize> Gauge<L, SERIES> {
    /// A gauge at zero.
    #[must_use]
    pub const fn new(name: &'static str, help: &'static str) -> Self {
        const { assert!(label::count(L::ALL) == SERIES) };
        Self {
            name,
            help,
            values: [const { AtomicU64::new(0) }; SERIES],
            labels: PhantomData,
        }
    }

    /// So many more.
    pub fn add(&self, labels: L, more: u64) {
        if let Some(held) = self.values.get(labels.series()) {
            held.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// So many fewer, of those that were added.
    pub fn take(&self, labels: L, fewer: u64) {
        if let Some(held) = self.values.get(labels.series()) {
            held.fetch_sub(fewer, Ordering::Relaxed);
        }
    }

    /// It is so many now.
    pub fn set(&self, labels: L, value: u64) {
        if let Some(held) = self.values.get(labels.series()) {
            held.store(value, Ordering::Relaxed);
        }
    }
}

impl<L: Labels, const SERIES: usize> Metric for Gauge<L, SERIES> {
    fn description(&self) -> Description {
        Description {
            name: self.name,
            suffix: "",
            kind: Kind::Gauge,
            help: self.help,
            labels: L::ALL,
        }
    }

    fn write_values(&self, text: &mut String) {
        for (series, value) in self.values.iter().enumerate() {
            let labels = label::spelled(L::ALL, series);
            line(
                text,
                (self.name, ""),
                &labels,
                value.load(Ordering::Relaxed),
            );
        }
    }
}
