//! What the parts count and measure.
//!
//! A metric is a `static` that states its name, help and labels and holds its values; each crate has its own in a module
//! `metrics` and lists them there. Programs put the lists together, [`exposition`] writes their values for Prometheus and
//! [`page`] their meaning for people.
//!
//! ```
//! use base_telemetry::{Counter, exposition, label};
//!
//! label!(Outcome, "outcome", [Good = "good", Bad = "bad"]);
//!
//! static TRIES: Counter<Outcome, 2> = Counter::new("tries", "Times that it was tried.");
//! TRIES.add(Outcome::Bad, 1);
//! assert!(exposition(&[&TRIES]).contains("tries_total{outcome=\"bad\"} 1\n"));
//! ```
//!
//! Labels are enumerations, never what a client sent: the number of series is known when the program is built, and a count
//! costs one atomic addition, without lock, hash or allocation. That is why this is not a registry of a metrics library,
//! which has the series of a metric in a map behind a lock.
#![forbid(unsafe_code)]

mod histogram;
mod label;
mod number;
mod text;

pub use histogram::{BUCKETS, Histogram};
pub use label::{LabelValue, Labels};
pub use number::{Counter, Gauge};
pub use text::{CONTENT_TYPE, exposition, page};

use std::fmt::Debug;

/// What is said of a metric beside its values.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// Name as Prometheus knows it, with unit and, for counters, `_total`.
    pub name: &'static str,
    /// What Prometheus appends to the name, if something.
    pub suffix: &'static str,
    /// Kind of the metric in Prometheus' words.
    pub kind: Kind,
    /// One sentence.
    pub help: &'static str,
    /// Names of the labels and their values, in order.
    pub labels: &'static [(&'static str, &'static [&'static str])],
}

/// Kinds of metrics, as Prometheus calls them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Grows and shrinks.
    Gauge,
    /// Counts durations by how long they were.
    Histogram,
}

/// A metric, whatever its kind.
pub trait Metric: Debug + Sync {
    /// What it is.
    fn description(&self) -> Description;

    /// Adds its values to an exposition, one line each.
    fn write_values(&self, text: &mut String);
}
