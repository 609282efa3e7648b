//! What `cold-start` found, for programs and for people.

use std::collections::BTreeMap;
use std::fmt;

use edge_cli::Table;
use serde::Serialize;

use crate::peers::floor::Shape;
use crate::subject::Started;
use crate::summary::{Spread, quantile, rounded};

#[derive(Serialize)]
pub(crate) struct Figures {
    pub(super) workloads: Vec<Workload>,
    /// Workloads that were not measured, and why.
    pub(super) missing: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct Workload {
    pub(super) workload: &'static str,
    #[serde(skip)]
    pub(super) words: &'static str,
    /// What the function says it has imported.
    pub(super) loaded: Option<String>,
    /// What the floor does: what an instance of it had while it answered.
    pub(super) floor: Option<Shape>,
    /// Why there is no snapshot of it, if there is none.
    pub(super) no_snapshot: Option<String>,
    /// Medians of the stages of restored starts alone.
    pub(super) stages_ms: BTreeMap<String, f64>,
    /// How often guest code was left until the answer, by reason: medians of restored starts alone.
    pub(super) exits: BTreeMap<String, f64>,
    pub(super) rows: Vec<Row>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum PageCache {
    Warm,
    Dropped,
}

/// So many starts at once; request to last byte, natively spawn to exit.
#[derive(Serialize)]
pub(super) struct Row {
    pub(super) at_once: usize,
    pub(super) page_cache: PageCache,
    pub(super) restored: Option<Spread>,
    pub(super) without: Option<Spread>,
    pub(super) native: Option<Spread>,
    pub(super) floor: Option<Spread>,
    /// Medians over medians.
    pub(super) without_over_restored: Option<f64>,
    pub(super) native_over_restored: Option<f64>,
    pub(super) restored_over_floor: Option<f64>,
    /// How instances of the function with a snapshot had come to be, and of the one without.
    pub(super) started: Started,
    pub(super) started_without: Started,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) skipped: Option<String>,
}

pub(super) fn medians(series: BTreeMap<String, Vec<f64>>) -> BTreeMap<String, f64> {
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        rounded(quantile(&values, 0.5))
    };
    series
        .into_iter()
        .map(|(name, values)| (name, median(values)))
        .collect()
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for workload in &self.workloads {
            workload.fmt(f)?;
        }
        for missing in &self.missing {
            writeln!(f, "not measured: {missing}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.words)?;
        if let Some(loaded) = &self.loaded {
            write!(f, " ({loaded})")?;
        }
        writeln!(f)?;
        if let Some(reason) = &self.no_snapshot {
            writeln!(f, "there is no snapshot of it: {reason}")?;
        }
        if let Some(floor) = &self.floor {
            let Shape {
                mappings,
                reads,
                writes,
            } = floor;
            writeln!(
                f,
                "floor: fork, {mappings} mappings, {reads} pages read, {writes} written"
            )?;
        }
        let mut table = Table::new(&[
            "at once",
            "page cache",
            "start",
            "count",
            "p50 ms",
            "p99 ms",
            "p50 beside restored",
        ]);
        for row in &self.rows {
            row.lines(&mut table);
        }
        writeln!(f, "{table}")?;
        for row in &self.rows {
            row.notes(f)?;
        }
        for (what, medians) in [
            ("by stage, median ms", &self.stages_ms),
            ("exits until the answer, medians", &self.exits),
        ] {
            let each = medians.iter();
            let text: Vec<String> = each
                .map(|(name, median)| format!("{name} {median}"))
                .collect();
            if !text.is_empty() {
                writeln!(f, "restored alone, {what}: {}", text.join(", "))?;
            }
        }
        writeln!(f)
    }
}

impl Row {
    fn lines(&self, table: &mut Table) {
        let cache = match self.page_cache {
            PageCache::Warm => "warm",
            PageCache::Dropped => "dropped",
        };
        let times = |ratio: Option<f64>| ratio.map_or_else(String::new, |r| format!("{r:.2}x"));
        // The floor is told as what is above it.
        let part = self.restored_over_floor.map(|ratio| 1.0 / ratio);
        for (name, spread, beside) in [
            ("restored", self.restored, String::new()),
            (
                "without snapshot",
                self.without,
                times(self.without_over_restored),
            ),
            (
                "native interpreter",
                self.native,
                times(self.native_over_restored),
            ),
            ("floor", self.floor, times(part)),
        ] {
            let figure = |of: fn(&Spread) -> f64| {
                spread
                    .as_ref()
                    .map_or_else(|| "-".to_owned(), |spread| format!("{:.2}", of(spread)))
            };
            table.row([
                self.at_once.to_string(),
                cache.to_owned(),
                name.to_owned(),
                spread.map_or(0, |spread| spread.count).to_string(),
                figure(|spread| spread.p50_ms),
                figure(|spread| spread.p99_ms),
                beside,
            ]);
        }
    }

    fn notes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at_once = self.at_once;
        if self.restored.is_none() {
            let started = &self.started;
            writeln!(
                f,
                "{at_once} at once: no start was restored, so there is no figure ({started})"
            )?;
        } else if self.started.cold + self.started.warm + self.started.failed > 0 {
            let started = &self.started;
            writeln!(
                f,
                "{at_once} at once: only restored starts are in the figures, of {started}"
            )?;
        }
        if self.started_without.failed > 0 {
            writeln!(
                f,
                "{at_once} at once, without snapshot: {}",
                self.started_without
            )?;
        }
        match &self.skipped {
            Some(skipped) => writeln!(f, "{at_once} at once, not measured {skipped}"),
            None => Ok(()),
        }
    }
}
