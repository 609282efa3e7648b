//! `post-jit`: whether a clone's first call runs as fast as a call after many.
//!
//! FaaSdom's fact and matrix-mult. The times are the handler's own: from its first line to its last.

use std::fmt;

use bytes::Bytes;
use edge_cli::server::Server;
use edge_cli::{ExitCode, Failure, Table};
use serde::{Deserialize, Serialize};

use crate::args::BenchArgs;
use crate::machine::Machine;
use crate::subject::{
    Answer, Caller, Deployed, Function, Kind, Language, NOT_AT_ALL, Snapshots, Started, deploy,
    settle,
};
use crate::summary::{Summary, quantile, ratio};
use crate::{Progress, Report, failed, wanted};

/// Name for programs, language, workload, size: 10 to 50 ms in plain Python.
const WORKLOADS: [(&str, Language, &str, u64); 4] = [
    ("python_fact", Language::Python, "fact", 90_000_000_000),
    ("python_matrix", Language::Python, "matrix_mult", 100),
    ("node_fact", Language::Node, "fact", 90_000_000_000),
    ("node_matrix", Language::Node, "matrix_mult", 100),
];

/// Calls of one instance without snapshot; the last tenth of them is the steady state.
const CALLS: usize = 100;

#[derive(Serialize)]
pub(crate) struct Figures {
    workloads: Vec<Row>,
}

/// One workload; milliseconds within the handler unless it says otherwise.
#[derive(Serialize)]
struct Row {
    workload: &'static str,
    /// How the function was compiled: without snapshot, in the clone.
    compiled: String,
    compiled_clone: Option<String>,
    clone_first_ms: Option<Summary>,
    without_first_ms: Summary,
    /// Median of the calls 91 to 100 of an instance.
    without_steady_ms: Summary,
    /// Medians over medians.
    clone_first_over_steady: Option<f64>,
    without_first_over_clone_first: Option<f64>,
    /// From request to last byte, starts included.
    clone_round_trip_ms: Option<Summary>,
    without_round_trip_ms: Summary,
    started: Started,
    no_snapshot: Option<String>,
}

/// What the handler answers.
#[derive(Deserialize)]
struct Told {
    ms: f64,
    result: f64,
    compiled: String,
}

/// `rounds` clones of each workload, and a fourth as many instances without snapshot.
pub(crate) async fn run(args: &BenchArgs, progress: &Progress) -> Result<Report<Figures>, Failure> {
    let rounds = args.rounds.unwrap_or(20);
    let start = |idle: &str| {
        crate::serve(args.platform, &["--keep-idle", idle]).map_err(|error| failed(&error))
    };
    let bench = Bench {
        clones: start(NOT_AT_ALL)?,
        lasting: start("1h")?,
        rounds,
    };
    let mut workloads = Vec::new();
    for (name, language, work, size) in WORKLOADS {
        if !wanted(args, name) || progress.is_over() {
            continue;
        }
        progress.say(format_args!("{name}: {rounds} clones"));
        let workload = Workload {
            name,
            language,
            work,
            size,
        };
        workloads.push(bench.measure(&workload).await?);
    }
    Ok(Report {
        bench: "post-jit",
        machine: Machine::here(),
        rounds,
        figures: Figures { workloads },
    })
}

struct Workload {
    name: &'static str,
    language: Language,
    work: &'static str,
    size: u64,
}

impl Workload {
    fn event(&self) -> String {
        format!(r#"{{"work": "{}", "size": {}}}"#, self.work, self.size)
    }

    fn function(&self) -> Function {
        let text = match self.language {
            Language::Python => include_str!("../functions/jit.py"),
            Language::Node => include_str!("../functions/jit.js"),
        };
        let mut function = Function::new(self.language, text);
        function.memory_mb = 512;
        function
    }
}

struct Bench {
    /// Keeps no instance.
    clones: Server,
    /// Keeps every instance.
    lasting: Server,
    rounds: u32,
}

/// Times of calls: in the handler, and from request to last byte.
#[derive(Default)]
struct Times {
    inside: Vec<f64>,
    round_trip: Vec<f64>,
}

impl Times {
    fn add(&mut self, answer: &Answer, told: &Told) {
        self.inside.push(told.ms);
        self.round_trip.push(answer.ms);
    }
}

impl Bench {
    async fn measure(&self, workload: &Workload) -> Result<Row, Failure> {
        let event = Bytes::from(workload.event());
        let mut function = workload.function();
        let plain = function.clone();
        function.environment = vec![
            ("REKINDLE_WARM_UP", format!("[{}]", workload.event())),
            ("BENCH_OPTIMIZE", workload.event()),
        ];
        let with = deploy(&self.clones, workload.name, &function, Snapshots::Fresh).await?;
        let (mut clone, mut first) = (Times::default(), Times::default());
        let mut steady = Vec::new();
        let mut started = Started::default();
        let (mut compiled, mut compiled_clone) = (String::new(), None);
        let mut result = None;
        for round in 0..self.rounds {
            if round % 4 == 0 {
                let name = format!("{}-{round}", workload.name);
                let without = deploy(&self.lasting, &name, &plain, Snapshots::Off).await?;
                let mut caller = Caller::new(self.lasting.address(), &without);
                let mut last = Vec::new();
                for call in 0..CALLS {
                    let (answer, told) = self.call(&mut caller, &event, &mut result).await?;
                    if call == 0 {
                        first.add(&answer, &told);
                        compiled = told.compiled;
                    } else if call >= CALLS - CALLS / 10 {
                        last.push(told.ms);
                    }
                }
                last.sort_by(f64::total_cmp);
                steady.push(quantile(&last, 0.5));
            }
            settle(&self.clones).await;
            let mut caller = self.caller(&with);
            let (answer, told) = self.call(&mut caller, &event, &mut result).await?;
            started.count(answer.kind);
            if answer.kind == Kind::Restored {
                clone.add(&answer, &told);
                compiled_clone = Some(told.compiled);
            }
        }
        let some = |values: Vec<f64>| (!values.is_empty()).then(|| Summary::of(values));
        let clone_first_ms = some(clone.inside);
        let (without_first_ms, without_steady_ms) =
            (Summary::of(first.inside), Summary::of(steady));
        let clone_median = clone_first_ms.map(|summary| summary.median);
        Ok(Row {
            workload: workload.name,
            compiled,
            compiled_clone,
            clone_first_over_steady: ratio(clone_median, Some(without_steady_ms.median)),
            without_first_over_clone_first: ratio(Some(without_first_ms.median), clone_median),
            clone_first_ms,
            without_first_ms,
            without_steady_ms,
            clone_round_trip_ms: some(clone.round_trip),
            without_round_trip_ms: Summary::of(first.round_trip),
            started,
            no_snapshot: with.reason,
        })
    }

    fn caller(&self, function: &Deployed) -> Caller {
        Caller::new(self.clones.address(), function)
    }

    /// One call, whose result must be the one of all others.
    async fn call(
        &self,
        caller: &mut Caller,
        event: &Bytes,
        result: &mut Option<f64>,
    ) -> Result<(Answer, Told), Failure> {
        let answer = caller.call(event).await?;
        let told: Told = answer.json()?;
        let expected = *result.get_or_insert(told.result);
        if (told.result - expected).abs() > 1e-6 {
            let text = format!(
                "two calls have different results: {expected} and {}",
                told.result
            );
            return Err(Failure::new(ExitCode::Function, text));
        }
        Ok((answer, told))
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&[
            "ms in the handler, median (min..max)",
            "first of a clone",
            "first without",
            "calls 91..100 without",
            "clone over steady",
            "gain of the first",
        ]);
        let times =
            |ratio: Option<f64>| ratio.map_or_else(|| "-".to_owned(), |r| format!("{r:.2}x"));
        for row in &self.workloads {
            let clone = row.clone_first_ms;
            table.row([
                format!(
                    "{} ({})",
                    row.workload,
                    row.compiled_clone.as_ref().unwrap_or(&row.compiled)
                ),
                clone.map_or_else(|| "none was restored".to_owned(), |clone| clone.to_string()),
                row.without_first_ms.to_string(),
                row.without_steady_ms.to_string(),
                times(row.clone_first_over_steady),
                times(row.without_first_over_clone_first),
            ]);
        }
        writeln!(f, "{table}")?;
        let mut table = Table::new(&[
            "ms, request to last byte",
            "clone",
            "without snapshot",
            "started",
        ]);
        for row in &self.workloads {
            let clone = row.clone_round_trip_ms;
            table.row([
                row.workload.to_owned(),
                clone.map_or_else(|| "-".to_owned(), |clone| clone.to_string()),
                row.without_round_trip_ms.to_string(),
                row.started.to_string(),
            ]);
        }
        writeln!(f, "{table}")?;
        for row in &self.workloads {
            if let Some(reason) = &row.no_snapshot {
                writeln!(f, "{}: there is no snapshot: {reason}", row.workload)?;
            }
        }
        Ok(())
    }
}
