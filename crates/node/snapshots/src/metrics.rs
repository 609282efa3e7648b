//! What stores of this process hold.

use base_telemetry::{Gauge, Metric};

/// What this crate counts.
pub static METRICS: &[&dyn Metric] = &[&BYTES, &READY];

pub(crate) static BYTES: Gauge<(), 1> = Gauge::new(
    "rekindle_snapshot_bytes",
    "Bytes of the files of all snapshots that can be restored from.",
);

pub(crate) static READY: Gauge<(), 1> =
    Gauge::new("rekindle_snapshots", "Snapshots that can be restored from.");
