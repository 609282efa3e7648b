//! Commands about functions: deploy, invoke, list, delete, logs.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use clap::Args;
use http::Method;
use http_body_util::BodyExt;
use serde_json::{Map, Value, json};

use crate::Span;
use crate::client::{Client, ClientError, segment};
use crate::failure::{ExitCode, Failure};
use crate::output::{Format, Table};
use crate::package::package;
use crate::signing::SigningArgs;
use crate::values::EnvVar;

const FUNCTIONS: &str = "/2015-03-31/functions";

/// Who the function pretends to be; nothing checks it, but the API requires one.
const ROLE: &str = "arn:aws:iam::000000000000:role/rekindle";

/// Longest time that a function may stay Pending.
const ACTIVE_WITHIN: Duration = Duration::from_secs(60);

/// Which server, and how to print.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Address of the server.
    #[arg(
        long,
        env = "REKINDLE_ENDPOINT",
        default_value = "http://127.0.0.1:9000"
    )]
    pub endpoint: String,
    /// With which key to sign.
    #[command(flatten)]
    pub signing: SigningArgs,
    /// How to print.
    #[arg(short = 'o', long = "output", value_enum, default_value_t)]
    pub format: Format,
}

impl Common {
    /// A client of that server.
    fn client(&self) -> Result<Client, Failure> {
        let authorities = self.signing.ca_file.as_deref();
        let client = Client::trusting(&self.endpoint, authorities)?;
        Ok(client.signing(self.signing.credentials()?))
    }
}

/// Arguments of `rekindle deploy`.
#[derive(Args, Clone, Debug)]
pub struct DeployArgs {
    /// Directory with the code, or a zip archive of it.
    pub code: PathBuf,
    /// Name of the function; the directory's own name without it.
    #[arg(long)]
    pub name: Option<String>,
    /// For example python3.11, nodejs20.x or provided.al2023. Needed for a new function.
    #[arg(long)]
    pub runtime: Option<String>,
    /// For example app.handler.
    #[arg(long)]
    pub handler: Option<String>,
    /// Memory limit in MB.
    #[arg(long)]
    pub memory: Option<u32>,
    /// Longest run time of one event.
    #[arg(long)]
    pub timeout: Option<Span>,
    /// Environment variable of the function.
    #[arg(long, short, value_name = "NAME[=VALUE]")]
    pub env: Vec<EnvVar>,
    /// Give every event an instance of its own, restored for it and ended after its answer.
    #[arg(long)]
    pub fresh: bool,
    /// Server and output.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `rekindle invoke`.
#[derive(Args, Clone, Debug)]
pub struct InvokeArgs {
    /// Name or ARN of the function.
    pub name: String,
    /// The event as JSON; `-` reads it from standard input, `@FILE` from a file.
    #[arg(default_value = "{}")]
    pub event: String,
    /// Print the end of the log to standard error.
    #[arg(long, short)]
    pub log: bool,
    /// Print the time of each stage to standard error.
    #[arg(long)]
    pub timing: bool,
    /// Server and output.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `rekindle logs`.
#[derive(Args, Clone, Debug)]
pub struct LogsArgs {
    /// Name of the function.
    pub name: String,
    /// Go on with new lines as they come.
    #[arg(long, short)]
    pub follow: bool,
    /// Server and output.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `rekindle list`.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// Server and output.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `rekindle delete`.
#[derive(Args, Clone, Debug)]
pub struct DeleteArgs {
    /// Name of the function.
    pub name: String,
    /// Server and output.
    #[command(flatten)]
    pub common: Common,
}

fn io_failure(error: &io::Error) -> Failure {
    Failure::from_error(ExitCode::Failed, error)
}

fn say(common: &Common, value: &Value, text: impl std::fmt::Display) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match common.format {
        Format::Json => writeln!(out, "{value:#}"),
        Format::Text => writeln!(out, "{text}"),
    }
    .map_err(|error| io_failure(&error))
}

/// Creates the function, or updates it when there is one of that name.
///
/// # Errors
/// What the code or the server has against it.
pub async fn deploy(args: &DeployArgs) -> Result<(), Failure> {
    let client = args.common.client()?;
    let started = Instant::now();
    let answer = upload(&client, args).await?;
    let name = answer["FunctionName"].as_str().unwrap_or("?");
    // Why it has no snapshot, or did not even start.
    let but = answer["StateReason"].as_str();
    let but = but.map_or(String::new(), |reason| format!("\n{reason}"));
    let text = format!(
        "{name}: {} bytes of code, {}, ready in {}{but}\nnext: rekindle invoke {name} '{{\"name\": \"you\"}}'",
        answer["CodeSize"],
        answer["Runtime"].as_str().unwrap_or("?"),
        Span(started.elapsed()),
    );
    say(&args.common, &answer, text)
}

/// Creates or updates the function and waits until it is active; answers its configuration.
///
/// # Errors
/// What the code or the server has against it.
pub async fn upload(client: &Client, args: &DeployArgs) -> Result<Value, Failure> {
    let code = package(&args.code).map_err(|error| {
        Failure::from_error(ExitCode::Failed, &error).next("name a directory or a zip archive")
    })?;
    let name = function_name(args)?;
    let answer = put_function(client, args, &name, &code).await?;
    wait_until_active(client, &name, answer).await
}

fn function_name(args: &DeployArgs) -> Result<String, Failure> {
    if let Some(name) = &args.name {
        return Ok(name.clone());
    }
    std::fs::canonicalize(&args.code)
        .ok()
        .and_then(|path| {
            path.file_stem()
                .map(|stem| stem.to_string_lossy().into_owned())
        })
        .ok_or_else(|| Failure::new(ExitCode::Usage, "the function has no name").next("add --name"))
}

/// The variable behind `--fresh`.
const FRESH: &str = "REKINDLE_FRESH";

/// The variables of the function, if they are to change; `now` are those that it has. Those that are
/// given replace them all, as the API does it.
fn variables(args: &DeployArgs, now: Option<&Map<String, Value>>) -> Option<Map<String, Value>> {
    let mut variables = if args.env.is_empty() {
        now.filter(|_| args.fresh).cloned().unwrap_or_default()
    } else {
        let given = args.env.iter();
        given
            .map(|EnvVar(name, value)| (name.clone(), Value::from(value.clone())))
            .collect()
    };
    if args.fresh {
        variables.insert(FRESH.to_owned(), "true".into());
    }
    (!variables.is_empty()).then_some(variables)
}

/// The members of a configuration that were given; `now` is what the function is, if there is one.
fn configuration(args: &DeployArgs, now: Option<&Value>) -> Map<String, Value> {
    let mut body = Map::new();
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(key.to_owned(), value);
        }
    };
    set("Runtime", args.runtime.clone().map(Value::from));
    set("Handler", args.handler.clone().map(Value::from));
    set("MemorySize", args.memory.map(Value::from));
    let seconds = args.timeout.map(|span| span.0.as_secs_f64().ceil() as u64);
    set("Timeout", seconds.map(Value::from));
    let now = now.and_then(|now| now["Configuration"]["Environment"]["Variables"].as_object());
    let variables = variables(args, now).map(|variables| json!({ "Variables": variables }));
    set("Environment", variables);
    body
}

async fn put_function(
    client: &Client,
    args: &DeployArgs,
    name: &str,
    code: &[u8],
) -> Result<Value, Failure> {
    let zip = STANDARD.encode(code);
    let path = format!("{FUNCTIONS}/{}", segment(name));
    let now = match client.request(Method::GET, &path, &[], "").await {
        Ok(answer) => Some(answer.json()?),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(error.into()),
    };
    let mut body = configuration(args, now.as_ref());
    if now.is_some() {
        let update = json!({ "ZipFile": zip }).to_string();
        let mut answer = client
            .request(Method::PUT, &format!("{path}/code"), &[], update)
            .await?
            .json()?;
        if !body.is_empty() {
            let update = Value::Object(body).to_string();
            wait_until_active(client, name, answer).await?;
            answer = client
                .request(Method::PUT, &format!("{path}/configuration"), &[], update)
                .await?
                .json()?;
        }
        return Ok(answer);
    }
    if args.runtime.is_none() {
        return Err(Failure::new(
            ExitCode::Usage,
            format!("{name} is new and needs a runtime"),
        )
        .next("add --runtime python3.11, nodejs20.x or provided.al2023, and --handler"));
    }
    body.insert("FunctionName".into(), name.into());
    body.insert("Role".into(), ROLE.into());
    body.insert("Code".into(), json!({ "ZipFile": zip }));
    let body = Value::Object(body).to_string();
    Ok(client
        .request(Method::POST, FUNCTIONS, &[], body)
        .await?
        .json()?)
}

async fn wait_until_active(
    client: &Client,
    name: &str,
    mut answer: Value,
) -> Result<Value, Failure> {
    let deadline = Instant::now() + ACTIVE_WITHIN;
    loop {
        let state = answer["State"].as_str().unwrap_or("Active");
        let update = answer["LastUpdateStatus"].as_str().unwrap_or("Successful");
        if state == "Failed" || update == "Failed" {
            let reason = answer["StateReason"].as_str().unwrap_or("no reason given");
            return Err(Failure::new(ExitCode::Failed, format!("{name}: {reason}")));
        }
        if state == "Active" && update == "Successful" {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            return Err(Failure::new(
                ExitCode::Failed,
                format!("{name} is still {state} after a minute"),
            )
            .next("look at the server's own log"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        let path = format!("{FUNCTIONS}/{}/configuration", segment(name));
        answer = client.request(Method::GET, &path, &[], "").await?.json()?;
    }
}

/// What came back from a function.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The response, or the error object.
    pub body: Bytes,
    /// `X-Amz-Function-Error`; empty when it succeeded.
    pub error: String,
    /// End of the log, if it was asked for.
    pub log: Vec<u8>,
    /// How the instance came to be: `cold`, `restored` or `warm`.
    pub start: String,
    /// Stages with their times, from `Server-Timing`.
    pub stages: Vec<(String, Duration)>,
    /// From sending the request to having the answer.
    pub round_trip: Duration,
}

/// Calls a function through the API.
///
/// # Errors
/// When the server refuses or cannot be reached; the function's own failures are no errors here.
pub async fn call(client: &Client, name: &str, event: Bytes) -> Result<Invocation, ClientError> {
    let path = format!("{FUNCTIONS}/{}/invocations", segment(name));
    let started = Instant::now();
    let headers = [("x-amz-log-type", "Tail".to_owned())];
    let answer = client.request(Method::POST, &path, &headers, event).await?;
    let round_trip = started.elapsed();
    Ok(Invocation {
        error: answer.header("x-amz-function-error").to_owned(),
        log: STANDARD
            .decode(answer.header("x-amz-log-result"))
            .unwrap_or_default(),
        start: answer.header("x-rekindle-start").to_owned(),
        stages: server_timing(answer.header("server-timing")),
        body: answer.body,
        round_trip,
    })
}

/// Reads `name;dur=milliseconds, …` (W3C Server Timing).
fn server_timing(header: &str) -> Vec<(String, Duration)> {
    header
        .split(',')
        .filter_map(|entry| {
            let (name, parameters) = entry.split_once(';')?;
            let duration = parameters
                .split(';')
                .find_map(|p| p.trim().strip_prefix("dur="))?;
            let milliseconds: f64 = duration.parse().ok()?;
            let time = Duration::try_from_secs_f64(milliseconds / 1e3).ok()?;
            Some((name.trim().to_owned(), time))
        })
        .collect()
}

/// Calls a function and prints its answer. The function's failure is exit code 3.
///
/// # Errors
/// What the server or the function has against it.
pub async fn invoke(args: &InvokeArgs) -> Result<(), Failure> {
    let client = args.common.client()?;
    let invocation = call(&client, &args.name, read_event(&args.event)?).await?;
    if args.log {
        eprint!("{}", String::from_utf8_lossy(&invocation.log));
    }
    if args.timing {
        for (stage, time) in &invocation.stages {
            eprintln!("{stage:<14} {}", Span(*time));
        }
        eprintln!("{:<14} {}", "round trip", Span(invocation.round_trip));
    }
    let mut out = io::stdout().lock();
    out.write_all(&invocation.body)
        .and_then(|()| writeln!(out))
        .map_err(|error| io_failure(&error))?;
    if invocation.error.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        ExitCode::Function,
        format!("the function failed ({})", invocation.error),
    )
    .next(format!("see its log: rekindle invoke --log {}", args.name)))
}

fn read_event(text: &str) -> Result<Bytes, Failure> {
    let bytes = match text {
        "-" => {
            let mut bytes = Vec::new();
            io::stdin()
                .read_to_end(&mut bytes)
                .map_err(|error| io_failure(&error))?;
            bytes
        }
        _ => match text.strip_prefix('@') {
            Some(path) => std::fs::read(path)
                .map_err(|error| Failure::new(ExitCode::Failed, format!("{path}: {error}")))?,
            None => text.as_bytes().to_vec(),
        },
    };
    Ok(Bytes::from(bytes))
}

/// Prints all functions.
///
/// # Errors
/// What the server has against it.
pub async fn list(args: &ListArgs) -> Result<(), Failure> {
    let client = args.common.client()?;
    let mut functions = Vec::new();
    let mut marker = None::<String>;
    loop {
        let query = match &marker {
            Some(marker) => format!("?Marker={}", segment(marker)),
            None => String::new(),
        };
        let path = format!("{FUNCTIONS}/{query}");
        let mut page = client.request(Method::GET, &path, &[], "").await?.json()?;
        if let Some(Value::Array(items)) = page.get_mut("Functions").map(Value::take) {
            functions.extend(items);
        }
        match page["NextMarker"].as_str() {
            Some(next) if !next.is_empty() => marker = Some(next.to_owned()),
            _ => break,
        }
    }
    let mut table = Table::new(&[
        "name", "runtime", "handler", "memory", "timeout", "modified",
    ]);
    for function in &functions {
        let text = |key: &str| function[key].as_str().unwrap_or("-").to_owned();
        table.row([
            text("FunctionName"),
            text("Runtime"),
            text("Handler"),
            format!("{} MB", function["MemorySize"]),
            format!("{} s", function["Timeout"]),
            text("LastModified"),
        ]);
    }
    let text = if functions.is_empty() {
        "no functions yet\nnext: rekindle init python hello".to_owned()
    } else {
        table.to_string()
    };
    say(&args.common, &json!({ "Functions": functions }), text)
}

/// Deletes a function.
///
/// # Errors
/// What the server has against it.
pub async fn delete(args: &DeleteArgs) -> Result<(), Failure> {
    let client = args.common.client()?;
    let path = format!("{FUNCTIONS}/{}", segment(&args.name));
    client.request(Method::DELETE, &path, &[], "").await?;
    say(
        &args.common,
        &json!({ "deleted": args.name }),
        format!("{} is deleted", args.name),
    )
}

/// Prints log lines, one JSON object or one text line each.
///
/// # Errors
/// What the server has against it.
pub async fn logs(args: &LogsArgs) -> Result<(), Failure> {
    let client = args.common.client()?;
    let path = format!(
        "/_rekindle/logs?function={}&follow={}",
        segment(&args.name),
        args.follow
    );
    let response = client.open(Method::GET, &path, &[], Bytes::new()).await?;
    let mut body = response.into_body();
    let mut pending = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::from_error(ExitCode::Unreachable, &error))?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        pending.extend_from_slice(data);
        if let Some(end) = pending.iter().rposition(|&byte| byte == b'\n') {
            let lines: Vec<u8> = pending.drain(..=end).collect();
            print_lines(&lines, args.common.format).map_err(|error| io_failure(&error))?;
        }
    }
    Ok(())
}

fn print_lines(lines: &[u8], format: Format) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in lines.split(|&byte| byte == b'\n').filter(|l| !l.is_empty()) {
        let record = serde_json::from_slice::<proto_node::LogRecord>(line);
        match (format, record) {
            (Format::Text, Ok(record)) => writeln!(out, "{} {}", record.function, record.message)?,
            _ => {
                out.write_all(line)?;
                out.write_all(b"\n")?;
            }
        }
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_timing_reads_what_it_knows_and_skips_the_rest() {
        let stages = server_timing("sandbox;dur=1.5, exec;desc=\"x\";dur=20, odd, bad;dur=x");
        assert_eq!(
            stages,
            [
                ("sandbox".to_owned(), Duration::from_micros(1500)),
                ("exec".to_owned(), Duration::from_millis(20)),
            ]
        );
        assert!(server_timing("").is_empty());
    }

    #[test]
    fn events_come_from_the_argument_or_a_file() {
        assert_eq!(read_event("{}").unwrap(), "{}");
        let error = read_event("@/no/such/file").unwrap_err().to_string();
        assert!(error.contains("/no/such/file"), "{error}");
    }
}
