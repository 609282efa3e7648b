//! `uniqueness`: what no two clones may share, and whether their clocks are right.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use edge_cli::server::Server;
use edge_cli::{Failure, Table};
use serde::{Deserialize, Serialize};

use crate::args::BenchArgs;
use crate::machine::Machine;
use crate::subject::{
    Caller, Function, Kind, Language, NOT_AT_ALL, Snapshots, Started, burst, deploy,
};
use crate::summary::rounded;
use crate::{Progress, Report, failed, wanted};

/// Clones that come up at once.
const AT_ONCE: usize = 4;
/// Answers after which it is given up if none of them came from a clone.
const TRIES: usize = 20;
/// How far a clone's wall clock may be from the host's.
const WALL_MS: f64 = 1000.0;

#[derive(Serialize)]
pub(crate) struct Figures {
    functions: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    language: Language,
    /// Instances whose values are counted: clones, or without any restored one others.
    instances: usize,
    started: Started,
    /// Of each kind of value, those that another instance had too.
    duplicates: BTreeMap<String, usize>,
    clocks: Clocks,
    no_snapshot: Option<String>,
}

#[derive(Default, Serialize)]
struct Clocks {
    /// Instances whose wall clock was more than a second off, and the most that one was off.
    wall_wrong: usize,
    wall_most_ms: f64,
    /// Instances whose monotonic clock went backwards between loading and the end of the event.
    monotonic_backwards: usize,
}

/// What the handler answers.
#[derive(Deserialize)]
struct Told {
    values: BTreeMap<String, String>,
    wall_ms: f64,
    /// When the function was loaded, when the event began, when it ended; as text, because they exceed a double.
    monotonic_ns: Vec<String>,
}

pub(crate) async fn run(args: &BenchArgs, progress: &Progress) -> Result<Report<Figures>, Failure> {
    let clones = args.instances.unwrap_or(1000);
    let server = crate::serve(args.platform, &["--keep-idle", NOT_AT_ALL])
        .map_err(|error| failed(&error))?;
    let mut functions = Vec::new();
    for language in Language::ALL {
        if wanted(args, language.name()) && !progress.is_over() {
            progress.say(format_args!("{}: {clones} clones", language.name()));
            functions.push(measure(language, clones as usize, &server, progress).await?);
        }
    }
    Ok(Report {
        bench: "uniqueness",
        machine: Machine::here(),
        rounds: 1,
        figures: Figures { functions },
    })
}

async fn measure(
    language: Language,
    clones: usize,
    server: &Server,
    progress: &Progress,
) -> Result<Row, Failure> {
    let text = match language {
        Language::Python => include_str!("../functions/unique.py"),
        Language::Node => include_str!("../functions/unique.js"),
    };
    let function = Function::new(language, text);
    let function = deploy(server, language.name(), &function, Snapshots::Fresh).await?;
    let mut callers = Caller::some(AT_ONCE.min(clones), server.address(), &function);
    let mut found = Found::default();
    let mut others = Found::default();
    let event = Bytes::from_static(b"{}");
    while found.instances < clones && !progress.is_over() {
        let sent = host_ms();
        let answers = burst(&mut callers, &event).await?;
        let received = host_ms();
        for answer in answers {
            let answer = answer?;
            found.started.count(answer.kind);
            let told: Told = answer.json()?;
            match answer.kind {
                Kind::Restored if found.instances < clones => found.add(told, sent, received),
                Kind::Cold => others.add(told, sent, received),
                // Its values are not the first of an instance.
                Kind::Restored | Kind::Warm => {}
            }
        }
        let asked = found.started.cold + found.started.warm;
        if found.instances == 0 && asked as usize >= TRIES.min(clones) {
            break;
        }
    }
    let started = std::mem::take(&mut found.started);
    let counted = if found.instances > 0 { found } else { others };
    Ok(Row {
        language,
        instances: counted.instances,
        started,
        duplicates: counted.duplicates(),
        clocks: counted.clocks,
        no_snapshot: function.reason,
    })
}

#[derive(Default)]
struct Found {
    instances: usize,
    started: Started,
    values: BTreeMap<String, Vec<String>>,
    clocks: Clocks,
}

impl Found {
    fn add(&mut self, told: Told, sent: f64, received: f64) {
        self.instances += 1;
        for (name, value) in told.values {
            self.values.entry(name).or_default().push(value);
        }
        let off = (sent - told.wall_ms).max(told.wall_ms - received).max(0.0);
        self.clocks.wall_most_ms = rounded(self.clocks.wall_most_ms.max(off));
        self.clocks.wall_wrong += usize::from(off > WALL_MS);
        let times: Vec<u64> = told
            .monotonic_ns
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect();
        let right = times.len() == told.monotonic_ns.len() && times.is_sorted();
        self.clocks.monotonic_backwards += usize::from(!right);
    }

    fn duplicates(&self) -> BTreeMap<String, usize> {
        let count =
            |values: &Vec<String>| values.len() - values.iter().collect::<BTreeSet<_>>().len();
        self.values
            .iter()
            .map(|(name, values)| (name.clone(), count(values)))
            .collect()
    }
}

fn host_ms() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64() * 1e3
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.functions {
            writeln!(
                f,
                "{}: {} instances; {}",
                row.language.name(),
                row.instances,
                row.started
            )?;
            if let Some(reason) = &row.no_snapshot {
                writeln!(f, "there is no snapshot of it: {reason}")?;
            }
            if row.started.restored == 0 {
                writeln!(
                    f,
                    "NO INSTANCE WAS RESTORED: what is below says nothing about clones"
                )?;
            }
            let mut table = Table::new(&["what", "found twice"]);
            for (name, duplicates) in &row.duplicates {
                table.row([name.clone(), duplicates.to_string()]);
            }
            let clocks = &row.clocks;
            let off = format!("{} (most {:.1} ms)", clocks.wall_wrong, clocks.wall_most_ms);
            table.row(["wall clock more than 1 s off".to_owned(), off]);
            let backwards = clocks.monotonic_backwards.to_string();
            table.row(["monotonic clock went backwards".to_owned(), backwards]);
            writeln!(f, "{table}\n")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(value: &str, wall_ms: f64, monotonic: [u64; 3]) -> Told {
        Told {
            values: BTreeMap::from([("uuid4".to_owned(), value.to_owned())]),
            wall_ms,
            monotonic_ns: monotonic.map(|time| time.to_string()).to_vec(),
        }
    }

    #[test]
    fn values_that_repeat_and_clocks_that_are_off_are_counted() {
        let mut found = Found::default();
        found.add(told("a", 5000.0, [1, 2, 3]), 5000.0, 5010.0);
        found.add(told("b", 3900.0, [1, 2, 2]), 5000.0, 5010.0);
        found.add(told("a", 5500.0, [2, 1, 3]), 5000.0, 5010.0);
        assert_eq!(
            found.duplicates(),
            BTreeMap::from([("uuid4".to_owned(), 1)])
        );
        assert_eq!(
            (found.clocks.wall_wrong, found.clocks.wall_most_ms),
            (1, 1100.0)
        );
        assert_eq!(found.clocks.monotonic_backwards, 1);
    }
}
