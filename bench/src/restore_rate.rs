//! `restore-rate`: how many clones a second come up and answer, sustained.

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use edge_cli::server::Server;
use edge_cli::{Failure, Table};
use serde::Serialize;

use crate::args::BenchArgs;
use crate::machine::Machine;
use crate::subject::{
    Caller, Deployed, Function, Kind, Language, NOT_AT_ALL, Snapshots, Started, deploy, settle,
};
use crate::summary::Summary;
use crate::{Progress, Report, failed, wanted};

const EVENT: &[u8] = br#"{"name": "Rekindle"}"#;
/// Clients for each processor, so that none waits for its client.
const CLIENTS_PER_CPU: usize = 2;
/// Before the counting begins: the queues fill, what was made ahead is used up.
const LEAD_IN: usize = 2;

#[derive(Serialize)]
pub(crate) struct Figures {
    cpus: usize,
    clients: usize,
    functions: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    function: &'static str,
    /// Answers of restored instances a second and processor; one value a round.
    restored_per_second_per_cpu: Option<Summary>,
    /// Answers of instances that were started from the beginning, likewise.
    without_per_second_per_cpu: Summary,
    started: Started,
    no_snapshot: Option<String>,
}

/// Counts for `rounds` seconds.
pub(crate) async fn run(args: &BenchArgs, progress: &Progress) -> Result<Report<Figures>, Failure> {
    let rounds = args.rounds.unwrap_or(20);
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let server = crate::serve(
        args.platform,
        &["--keep-idle", NOT_AT_ALL, "--instances", "200"],
    );
    let server = server.map_err(|error| failed(&error))?;
    let rate = Rate {
        server: &server,
        clients: cpus * CLIENTS_PER_CPU,
        cpus,
        rounds: rounds as usize,
    };
    let mut functions = Vec::new();
    for (language, name, text) in [
        (
            Language::Python,
            "python_hello",
            include_str!("../functions/hello.py"),
        ),
        (
            Language::Node,
            "node_hello",
            include_str!("../functions/hello.js"),
        ),
    ] {
        if !wanted(args, name) || progress.is_over() {
            continue;
        }
        progress.say(format_args!(
            "{name}: {rounds} s with {} clients",
            rate.clients
        ));
        functions.push(rate.measure(name, &Function::new(language, text)).await?);
    }
    Ok(Report {
        bench: "restore-rate",
        machine: Machine::here(),
        rounds,
        figures: Figures {
            cpus,
            clients: rate.clients,
            functions,
        },
    })
}

struct Rate<'a> {
    server: &'a Server,
    clients: usize,
    cpus: usize,
    rounds: usize,
}

impl Rate<'_> {
    async fn measure(&self, name: &'static str, function: &Function) -> Result<Row, Failure> {
        let with = deploy(self.server, name, function, Snapshots::Fresh).await?;
        let without = deploy(
            self.server,
            &format!("{name}-without"),
            function,
            Snapshots::Off,
        )
        .await?;
        settle(self.server).await;
        let (restored, started) = self.count(&with, Kind::Restored).await?;
        settle(self.server).await;
        let (cold, _) = self.count(&without, Kind::Cold).await?;
        Ok(Row {
            function: name,
            restored_per_second_per_cpu: (started.restored > 0).then(|| Summary::of(restored)),
            without_per_second_per_cpu: Summary::of(cold),
            started,
            no_snapshot: with.reason,
        })
    }

    /// Answers of this kind, a second and processor, for each second after the lead-in.
    async fn count(&self, function: &Deployed, kind: Kind) -> Result<(Vec<f64>, Started), Failure> {
        let begun = Instant::now();
        let until = begun + Duration::from_secs((LEAD_IN + self.rounds) as u64);
        let tasks: Vec<_> = Caller::some(self.clients, self.server.address(), function)
            .into_iter()
            .map(|caller| tokio::spawn(keep_calling(caller, until)))
            .collect();
        let mut seconds = vec![0.0; self.rounds];
        let mut started = Started::default();
        for task in tasks {
            for (at, outcome) in task.await.map_err(|error| failed(&error))? {
                let second = (at - begun).as_secs() as usize;
                let Some(second) = second.checked_sub(LEAD_IN) else {
                    continue;
                };
                match outcome {
                    Ok(found) => {
                        started.count(found);
                        if found == kind
                            && let Some(count) = seconds.get_mut(second)
                        {
                            *count += 1.0 / self.cpus as f64;
                        }
                    }
                    Err(error) => started.fail(&error),
                }
            }
        }
        Ok((seconds, started))
    }
}

/// When each answer came and how its instance had come to be. A failure ends it.
async fn keep_calling(mut caller: Caller, until: Instant) -> Vec<(Instant, Result<Kind, Failure>)> {
    let event = Bytes::from_static(EVENT);
    let mut found = Vec::new();
    while Instant::now() < until {
        let outcome = caller.call(&event).await.map(|answer| answer.kind);
        let ends = outcome.is_err();
        found.push((Instant::now(), outcome));
        if ends {
            break;
        }
    }
    found
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&[
            "a second and processor, median (min..max)",
            "restored",
            "without snapshot",
            "answers",
        ]);
        for row in &self.functions {
            let restored = row.restored_per_second_per_cpu;
            table.row([
                row.function.to_owned(),
                restored.map_or_else(|| "none was restored".to_owned(), |rate| rate.to_string()),
                row.without_per_second_per_cpu.to_string(),
                row.started.to_string(),
            ]);
        }
        writeln!(
            f,
            "{} processors, {} clients\n\n{table}",
            self.cpus, self.clients
        )?;
        for row in &self.functions {
            if let Some(reason) = &row.no_snapshot {
                writeln!(f, "{}: there is no snapshot: {reason}", row.function)?;
            }
        }
        Ok(())
    }
}
