//! `rekindle demo`: two functions, cold and warm, and what their starts consist of.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use serde::Serialize;

use crate::client::Client;
use crate::failure::{ExitCode, Failure};
use crate::functions::{self, Invocation};
use crate::output::{Format, Table};
use crate::server::Server;
use crate::{EnvVar, PlatformArg, Span};

/// How often each function is called warm.
const WARM_CALLS: usize = 20;

/// How often each function is restored.
const RESTORES: usize = 11;

/// Time between two restores: in practice they do not follow each other at once.
const BETWEEN: Duration = Duration::from_millis(50);

/// How often the native start is measured.
const NATIVE_STARTS: usize = 5;

/// Arguments of `rekindle demo`.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// Directory with hello-python and hello-node.
    #[arg(long, default_value = "examples")]
    pub examples: PathBuf,
    /// How functions' instructions are run.
    #[arg(long, value_enum, default_value_t, env = "REKINDLE_PLATFORM")]
    pub platform: PlatformArg,
    /// How to print.
    #[arg(short = 'o', long = "output", value_enum, default_value_t)]
    pub format: Format,
}

struct Example {
    name: &'static str,
    runtime: &'static str,
    handler: &'static str,
    /// The same interpreter started natively with an empty program.
    native: &'static [&'static str],
}

const EXAMPLES: [Example; 2] = [
    Example {
        name: "hello-python",
        runtime: "python3.11",
        handler: "app.handler",
        native: &["/usr/bin/python3", "-c", "pass"],
    },
    Example {
        name: "hello-node",
        runtime: "nodejs20.x",
        handler: "index.handler",
        native: &["/usr/bin/node", "-e", "0"],
    },
];

/// The same function is deployed three times.
#[derive(Clone, Copy)]
enum Kind {
    /// Without a snapshot.
    Plain,
    /// Each call in a clone of its own.
    Fresh,
    /// As usual: from a snapshot when no instance is there.
    Usual,
}

impl Kind {
    fn name(self, example: &Example) -> String {
        match self {
            Kind::Plain => format!("{}-plain", example.name),
            Kind::Fresh => format!("{}-fresh", example.name),
            Kind::Usual => example.name.to_owned(),
        }
    }

    fn remark(self) -> &'static str {
        match self {
            Kind::Plain => ", without a snapshot",
            Kind::Fresh => ", every call in a new clone",
            Kind::Usual => "",
        }
    }
}

/// What was measured of one function, in milliseconds.
#[derive(Clone, Debug, Serialize)]
struct Row {
    function: String,
    answer: String,
    /// The first call of the function without a snapshot.
    cold_round_trip_ms: f64,
    cold_stages_ms: Vec<(String, f64)>,
    /// Calls that each ran in a clone of its own.
    restored_p50_ms: f64,
    restored_stages_ms: Vec<(String, f64)>,
    warm_p50_ms: f64,
    native_start_ms: Option<f64>,
}

/// Runs the demonstration.
///
/// # Errors
/// When any step of it fails.
pub async fn demo(args: &DemoArgs) -> Result<(), Failure> {
    let fail = |error: &dyn std::error::Error| Failure::from_error(ExitCode::Failed, error);
    let started = Instant::now();
    let server = Server::start(Path::new("/proc/self/exe"), args.platform, &[])
        .map_err(|error| fail(&error))?;
    progress(
        args,
        started,
        &format!(
            "serving at http://{}, platform {}",
            server.address(),
            args.platform.name()
        ),
    );
    let client = server.client().await?;
    let mut rows = Vec::new();
    for example in &EXAMPLES {
        for kind in [Kind::Plain, Kind::Fresh, Kind::Usual] {
            let name = kind.name(example);
            progress(args, started, &format!("deploying {name}{}", kind.remark()));
            deploy(args, example, kind, &client).await?;
        }
        progress(args, started, &format!("calling {}", example.name));
        rows.push(measure(example, &client).await?);
    }
    print(args, &rows).map_err(|error| fail(&error))
}

fn progress(args: &DemoArgs, started: Instant, step: &str) {
    if args.format == Format::Text {
        eprintln!("[{:>6.2} s] {step}", started.elapsed().as_secs_f64());
    }
}

async fn deploy(
    args: &DemoArgs,
    example: &Example,
    kind: Kind,
    client: &Client,
) -> Result<(), Failure> {
    let mut env = vec![EnvVar("GREETING".into(), "hello".into())];
    if matches!(kind, Kind::Plain) {
        env.push(EnvVar("REKINDLE_SNAPSHOT".into(), "off".into()));
    }
    functions::upload(
        client,
        &functions::DeployArgs {
            code: args.examples.join(example.name),
            name: Some(kind.name(example)),
            runtime: Some(example.runtime.to_owned()),
            handler: Some(example.handler.to_owned()),
            memory: Some(256),
            timeout: Some(Span(Duration::from_secs(30))),
            env,
            fresh: matches!(kind, Kind::Fresh),
            common: functions::Common {
                endpoint: client.endpoint().to_owned(),
                signing: Default::default(),
                format: args.format,
            },
        },
    )
    .await
    .map(drop)
}

async fn measure(example: &Example, client: &Client) -> Result<Row, Failure> {
    let cold = call(example, Kind::Plain, client).await?;
    let mut restored = Vec::new();
    for _ in 0..RESTORES {
        tokio::time::sleep(BETWEEN).await;
        let call = call(example, Kind::Fresh, client).await?;
        if call.start != "restored" {
            return Err(Failure::new(
                ExitCode::Failed,
                format!(
                    "{} was not restored but started {}; `rekindle snapshot ls` and the log of the server say why",
                    example.name, call.start
                ),
            ));
        }
        restored.push(call);
    }
    restored.sort_by_key(|call| call.round_trip);
    let restored = &restored[RESTORES / 2];
    let mut warm = Vec::new();
    // The first is a restore of its own.
    call(example, Kind::Usual, client).await?;
    for _ in 0..WARM_CALLS {
        warm.push(call(example, Kind::Usual, client).await?.round_trip);
    }
    warm.sort();
    Ok(Row {
        function: example.name.to_owned(),
        answer: String::from_utf8_lossy(&cold.body).into_owned(),
        cold_round_trip_ms: milliseconds(cold.round_trip),
        cold_stages_ms: stages(&cold),
        restored_p50_ms: milliseconds(restored.round_trip),
        restored_stages_ms: stages(restored),
        warm_p50_ms: milliseconds(warm[warm.len() / 2]),
        native_start_ms: native_start(example.native),
    })
}

async fn call(example: &Example, kind: Kind, client: &Client) -> Result<Invocation, Failure> {
    let event = Bytes::from_static(br#"{"name": "Rekindle"}"#);
    let name = kind.name(example);
    checked(example, functions::call(client, &name, event).await?)
}

fn stages(call: &Invocation) -> Vec<(String, f64)> {
    let each = call.stages.iter();
    each.map(|(name, time)| (name.clone(), milliseconds(*time)))
        .collect()
}

fn checked(example: &Example, call: Invocation) -> Result<Invocation, Failure> {
    if call.error.is_empty() {
        return Ok(call);
    }
    Err(Failure::new(
        ExitCode::Function,
        format!(
            "{} failed: {}\n{}",
            example.name,
            String::from_utf8_lossy(&call.body),
            String::from_utf8_lossy(&call.log)
        ),
    ))
}

fn native_start(command: &[&str]) -> Option<f64> {
    let (program, arguments) = command.split_first()?;
    if !Path::new(program).exists() {
        return None;
    }
    let mut times = Vec::new();
    for _ in 0..NATIVE_STARTS {
        let started = Instant::now();
        let status = Command::new(program).args(arguments).status().ok()?;
        if !status.success() {
            return None;
        }
        times.push(started.elapsed());
    }
    times.sort();
    Some(milliseconds(times[times.len() / 2]))
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

fn print(args: &DemoArgs, rows: &[Row]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if args.format == Format::Json {
        serde_json::to_writer_pretty(&mut out, rows)?;
        return writeln!(out);
    }
    let mut head = vec![""];
    head.extend(rows.iter().map(|row| row.function.as_str()));
    let mut table = Table::new(&head);
    let figure = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.2} ms"));
    let mut line = |name: &str, value: &dyn Fn(&Row) -> Option<f64>| {
        let mut cells = vec![name.to_owned()];
        cells.extend(rows.iter().map(|row| figure(value(row))));
        table.row(cells);
    };
    type Stages = fn(&Row) -> &[(String, f64)];
    type Line<'a> = dyn FnMut(&str, &dyn Fn(&Row) -> Option<f64>) + 'a;
    let all = |line: &mut Line<'_>, stages: Stages| {
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in rows.iter().flat_map(stages) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        for name in names {
            let of_stage = |row: &Row| {
                let found = stages(row).iter().find(|(other, _)| other == name);
                found.map(|(_, time)| *time)
            };
            line(&format!("  {}", name.replace('_', " ")), &of_stage);
        }
    };
    all(&mut line, |row| &row.cold_stages_ms);
    line("without snapshot, round trip", &|row| {
        Some(row.cold_round_trip_ms)
    });
    all(&mut line, |row| &row.restored_stages_ms);
    line("restored, round trip p50", &|row| Some(row.restored_p50_ms));
    line("warm, round trip p50", &|row| Some(row.warm_p50_ms));
    line("native interpreter start", &|row| row.native_start_ms);
    for row in rows {
        writeln!(out, "{} answered {}", row.function, row.answer)?;
    }
    writeln!(out, "\n{table}")?;
    out.flush()
}
