//! `invoke`: what a warm invocation costs over a bare HTTP server.

use std::fmt;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use edge_cli::functions::{Common, DeployArgs, upload};
use edge_cli::{ExitCode, Failure, Format, PlatformArg, Span, Table};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::TcpStream;

use crate::machine::Machine;
use crate::summary::{quantile, rounded};
use crate::{Progress, Report, failed};

/// The event of every call, and what both servers answer.
const EVENT: &[u8] = br#"{"name": "Rekindle"}"#;
pub(crate) const ANSWER: &[u8] = br#"{"greeting": "Hello, Rekindle!"}"#;

const FUNCTION: &str = r#"def handler(event, context):
    return {"greeting": f"Hello, {event['name']}!"}
"#;

const PATH: &str = "/2015-03-31/functions/bench/invocations";

/// How many clients call at once.
const CLIENTS: [usize; 2] = [1, 16];

/// Calls of all clients together in one measured block.
const BLOCK: usize = 96;

#[derive(Serialize)]
pub(crate) struct Figures {
    block: usize,
    clients: Vec<Row>,
}

/// One number of clients, in milliseconds from request to response.
#[derive(Serialize)]
struct Row {
    clients: usize,
    hyper: Latency,
    rekindle: Latency,
    /// p50 over p50.
    p50_over_hyper_ms: f64,
}

#[derive(Serialize)]
struct Latency {
    p50_ms: f64,
    p99_ms: f64,
    calls_per_second: f64,
}

/// Runs `rounds` blocks of calls against each server, in turns.
pub(crate) fn run(
    rounds: u32,
    platform: PlatformArg,
    progress: &Progress,
) -> Result<Report<Figures>, Failure> {
    let clients = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failed(&error))?
        .block_on(compare(rounds, platform, progress))?;
    Ok(Report {
        bench: "invoke",
        machine: Machine::here(),
        rounds,
        figures: Figures {
            block: BLOCK,
            clients,
        },
    })
}

async fn compare(
    rounds: u32,
    platform: PlatformArg,
    progress: &Progress,
) -> Result<Vec<Row>, Failure> {
    let peer = Peer::start().map_err(|error| failed(&error))?;
    let server = crate::serve(platform, &[]).map_err(|error| failed(&error))?;
    let client = server.client().await?;
    progress.say(format_args!("serving at {}", client.endpoint()));
    let directory = tempfile::tempdir().map_err(|error| failed(&error))?;
    std::fs::write(directory.path().join("app.py"), FUNCTION).map_err(|error| failed(&error))?;
    upload(&client, &deployment(directory.path(), client.endpoint())).await?;
    let mut rows = Vec::new();
    for clients in CLIENTS {
        let mut bare = Callers::connect(peer.address, clients).await?;
        let mut ours = Callers::connect(server.address(), clients).await?;
        // Starts the instances that are called warm afterwards.
        progress.say(format_args!("{clients} clients: warming up"));
        bare.block(1).await?;
        ours.block(1).await?;
        progress.say(format_args!(
            "{clients} clients: {rounds} rounds of {BLOCK} calls"
        ));
        for _ in 0..rounds {
            bare.measure().await?;
            ours.measure().await?;
        }
        let (hyper, rekindle) = (bare.latency(), ours.latency());
        rows.push(Row {
            clients,
            p50_over_hyper_ms: rounded(rekindle.p50_ms - hyper.p50_ms),
            hyper,
            rekindle,
        });
    }
    Ok(rows)
}

fn deployment(code: &std::path::Path, endpoint: &str) -> DeployArgs {
    DeployArgs {
        code: code.to_owned(),
        name: Some("bench".to_owned()),
        runtime: Some("python3.11".to_owned()),
        handler: Some("app.handler".to_owned()),
        memory: Some(256),
        timeout: Some(Span(Duration::from_secs(30))),
        env: Vec::new(),
        fresh: false,
        common: Common {
            endpoint: endpoint.to_owned(),
            signing: Default::default(),
            format: Format::Json,
        },
    }
}

/// The bare server; ends with this value.
struct Peer {
    child: Child,
    address: SocketAddr,
}

impl Peer {
    fn start() -> io::Result<Peer> {
        let mut child = Command::new("/proc/self/exe")
            .args(["part", "hyper"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        let address = line.trim().parse().map_err(io::Error::other)?;
        Ok(Peer { child, address })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.child.stdin = None;
        let _ = self.child.wait();
    }
}

/// Clients of one server, each with a connection of its own.
struct Callers {
    senders: Vec<SendRequest<Full<Bytes>>>,
    times: Vec<f64>,
    busy: Duration,
}

impl Callers {
    async fn connect(address: SocketAddr, clients: usize) -> Result<Callers, Failure> {
        let mut senders = Vec::new();
        for _ in 0..clients {
            let stream = TcpStream::connect(address)
                .await
                .map_err(|error| failed(&error))?;
            stream.set_nodelay(true).map_err(|error| failed(&error))?;
            let (sender, connection) = handshake(TokioIo::new(stream))
                .await
                .map_err(|error| failed(&error))?;
            tokio::spawn(connection);
            senders.push(sender);
        }
        Ok(Callers {
            senders,
            times: Vec::new(),
            busy: Duration::ZERO,
        })
    }

    /// One block whose times count.
    async fn measure(&mut self) -> Result<(), Failure> {
        let started = Instant::now();
        let times = self.block(BLOCK / self.senders.len()).await?;
        self.busy += started.elapsed();
        self.times.extend(times);
        Ok(())
    }

    /// All clients at once make `calls` calls each, one after the other.
    async fn block(&mut self, calls: usize) -> Result<Vec<f64>, Failure> {
        let tasks: Vec<_> = self
            .senders
            .drain(..)
            .map(|sender| tokio::spawn(some_calls(sender, calls)))
            .collect();
        let mut times = Vec::new();
        for task in tasks {
            let (sender, some) = task.await.map_err(|error| failed(&error))??;
            self.senders.push(sender);
            times.extend(some);
        }
        Ok(times)
    }

    fn latency(&mut self) -> Latency {
        self.times.sort_by(f64::total_cmp);
        Latency {
            p50_ms: rounded(quantile(&self.times, 0.5)),
            p99_ms: rounded(quantile(&self.times, 0.99)),
            calls_per_second: (self.times.len() as f64 / self.busy.as_secs_f64()).round(),
        }
    }
}

type Sender = SendRequest<Full<Bytes>>;

async fn some_calls(mut sender: Sender, calls: usize) -> Result<(Sender, Vec<f64>), Failure> {
    let mut times = Vec::with_capacity(calls);
    for _ in 0..calls {
        let started = Instant::now();
        call(&mut sender).await?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    Ok((sender, times))
}

async fn call(sender: &mut Sender) -> Result<(), Failure> {
    let request = Request::post(PATH)
        .header("host", "localhost")
        .body(Full::new(Bytes::from_static(EVENT)))
        .map_err(|error| failed(&error))?;
    sender.ready().await.map_err(|error| failed(&error))?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| failed(&error))?;
    let status = response.status();
    let body = response.into_body().collect().await;
    let body = body.map_err(|error| failed(&error))?.to_bytes();
    if status == StatusCode::OK && body == ANSWER {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&body);
    Err(Failure::new(
        ExitCode::Function,
        format!("a call was answered {status} {text}"),
    ))
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&[
            "clients",
            "server",
            "p50 ms",
            "p99 ms",
            "calls a second",
            "p50 over hyper",
        ]);
        for row in &self.clients {
            for (name, latency) in [("bare hyper", &row.hyper), ("rekindle", &row.rekindle)] {
                let over = match name {
                    "rekindle" => format!("+{:.2} ms", row.p50_over_hyper_ms),
                    _ => String::new(),
                };
                table.row([
                    row.clients.to_string(),
                    name.to_owned(),
                    format!("{:.2}", latency.p50_ms),
                    format!("{:.2}", latency.p99_ms),
                    format!("{:.0}", latency.calls_per_second),
                    over,
                ]);
            }
        }
        table.fmt(f)
    }
}
