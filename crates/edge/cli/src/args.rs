//! The arguments of every command.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::layers::Layer;
use crate::{demo, doctor, functions, init, key, run, snapshots};

/// How long events may take at the end of a server: as long as a function may run, and a little more.
const DRAIN: &str = "16m";

/// A self-hosted serverless platform with a Linux kernel of its own around each function.
#[derive(Debug, Parser)]
#[command(name = "rekindle", version, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a program in a sandbox, with this terminal.
    Run(run::RunArgs),
    /// Serve the Lambda API, all in one process.
    Serve(ServeArgs),
    /// Run functions for gateways elsewhere.
    Node(NodeArgs),
    /// Serve the Lambda API with functions on nodes.
    Gateway(GatewayArgs),
    /// Create a function, or update its code and configuration.
    Deploy(functions::DeployArgs),
    /// Call a function.
    Invoke(functions::InvokeArgs),
    /// Show a function's log lines.
    Logs(functions::LogsArgs),
    /// List the functions.
    List(functions::ListArgs),
    /// Delete a function.
    Delete(functions::DeleteArgs),
    /// Make, list and revoke the keys that sign requests to a server.
    Key(key::KeyArgs),
    /// Look at the snapshots that functions start from.
    Snapshot(snapshots::SnapshotArgs),
    /// Write a small function to start from.
    Init(init::InitArgs),
    /// Say what this machine offers.
    Doctor(doctor::DoctorArgs),
    /// Measure this machine and this build: runs `rekindle-bench`, which lies beside this program.
    Bench(BenchArgs),
    /// Deploy two functions to a server of its own and show what their starts consist of.
    Demo(demo::DemoArgs),
    /// One sandbox process; started by the node, not by people.
    #[command(hide = true)]
    Sandbox(SandboxArgs),
}

/// `rekindle serve`.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// The API.
    #[command(flatten)]
    pub api: ApiArgs,
    /// What runs functions.
    #[command(flatten)]
    pub node: NodeOptions,
}

/// Where the API is served, and of what.
#[derive(Args, Clone, Debug)]
pub struct ApiArgs {
    /// Address to listen at. Anything but loopback needs --keys.
    #[arg(long, default_value = "127.0.0.1:9000", env = "REKINDLE_LISTEN")]
    pub listen: SocketAddr,
    /// File with the keys that may sign requests (Signature Version 4), in the form of ~/.aws/credentials and readable
    /// by nobody else; `rekindle key` makes and revokes them while the server runs. Without it requests are not
    /// authenticated.
    #[arg(long, env = "REKINDLE_KEYS")]
    pub keys: Option<PathBuf>,
    /// File with the server's certificate and those that vouch for it (PEM): TLS is spoken then.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// File with the key of that certificate (PEM), readable by nobody else.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Directory for the database and the code of functions; made when missing, and nobody else's.
    #[arg(long, default_value = "rekindle-data", env = "REKINDLE_DATA")]
    pub data: PathBuf,
    /// Which functions start from snapshots.
    #[arg(long, value_enum, default_value_t, env = "REKINDLE_SNAP_START")]
    pub snap_start: SnapStart,
    /// How long requests under way may take to finish at SIGTERM or SIGINT; a second one cuts them off.
    #[arg(long, default_value = DRAIN)]
    pub drain: crate::Span,
}

/// How a node runs functions.
#[derive(Args, Clone, Debug)]
pub struct NodeOptions {
    /// How long an instance that has nothing to do is kept.
    #[arg(long, default_value = "60s")]
    pub keep_idle: crate::Span,
    /// Whether new functions in Python and Node.js begin in a snapshot of their runtime.
    #[arg(long, value_enum, default_value_t, env = "REKINDLE_TEMPLATES")]
    pub templates: TemplateUse,
    /// How functions' instructions are run.
    #[arg(long, value_enum, default_value_t, env = "REKINDLE_PLATFORM")]
    pub platform: crate::PlatformArg,
    /// Most bytes of snapshots on disk; those unused for longest go first.
    #[arg(long, default_value = "16G")]
    pub snapshots: crate::Bytes,
    /// Most instances at once on this machine.
    #[arg(long, default_value_t = 64)]
    pub instances: u32,
    /// Most that the memory limits of all instances may add up to.
    #[arg(long, default_value = "64G")]
    pub memory: crate::Bytes,
    /// What a function of 128 MB weighs when processors are short, in per cent of a process of the host; more memory weighs
    /// more. Until its first answer, for half a second at most, an instance weighs as much as a hundred processes. Needs the
    /// cpu control group.
    #[arg(
        long,
        value_name = "PERCENT",
        default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..=10_000),
        env = "REKINDLE_CPU_WEIGHT"
    )]
    pub cpu_weight: u32,
    /// Do not start where one of these does not hold: what does is said at the start, and by `rekindle doctor`.
    #[arg(long, value_name = "LAYER", value_enum, value_delimiter = ',')]
    pub require: Vec<Layer>,
    /// Start where neither Landlock nor namespaces are in force, and a guest that broke the kernel of its sandbox could reach
    /// the other processes of this user.
    #[arg(long)]
    pub insecure: bool,
}

/// `rekindle node`.
#[derive(Args, Clone, Debug)]
pub struct NodeArgs {
    /// Directory for code, snapshots and logs; made when missing, and nobody else's.
    #[arg(long, default_value = "rekindle-node", env = "REKINDLE_NODE_DATA")]
    pub data: PathBuf,
    /// Unix socket to listen at: for gateways of the same user on this machine.
    #[arg(
        long,
        value_name = "PATH",
        conflicts_with = "listen",
        required_unless_present = "listen"
    )]
    pub socket: Option<PathBuf>,
    /// Address to listen at: for gateways elsewhere, which need the token. Nothing is encrypted: it belongs in a
    /// network of its own.
    #[arg(long, value_name = "ADDRESS", requires = "token_file")]
    pub listen: Option<SocketAddr>,
    /// File with the token that gateways show, readable by nobody else.
    #[arg(long, value_name = "FILE", env = "REKINDLE_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// Address at which Prometheus finds what this node counts, at /_rekindle/metrics. On anything but loopback it shows
    /// the token of --token-file as its bearer token.
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Option<SocketAddr>,
    /// How long running events may take to finish at SIGTERM or SIGINT; a second one cuts them off.
    #[arg(long, default_value = DRAIN)]
    pub drain: crate::Span,
    /// What runs functions.
    #[command(flatten)]
    pub node: NodeOptions,
}

/// `rekindle gateway`.
#[derive(Args, Clone, Debug)]
pub struct GatewayArgs {
    /// The API.
    #[command(flatten)]
    pub api: ApiArgs,
    /// A node: unix:PATH or http://HOST:PORT. May be given several times.
    #[arg(long, value_name = "ADDRESS", required = true)]
    pub node: Vec<String>,
    /// File with the token of the nodes, readable by nobody else.
    #[arg(long, value_name = "FILE", env = "REKINDLE_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
}

/// Which functions start from snapshots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum SnapStart {
    /// All of them.
    #[default]
    Always,
    /// Published versions with SnapStart, and functions with REKINDLE_SNAPSHOT=on or REKINDLE_FRESH=true.
    Asked,
    /// None.
    Never,
}

/// Whether new functions begin in a snapshot of their runtime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum TemplateUse {
    /// They do, where one fits.
    On,
    /// Each starts from the beginning.
    #[default]
    Off,
}

/// `rekindle bench`: what follows goes to `rekindle-bench` as it is.
#[derive(Args, Clone, Debug)]
#[command(disable_help_flag = true)]
pub struct BenchArgs {
    /// The benchmark and its options; `rekindle bench --help` lists them.
    #[arg(
        value_name = "NAME",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub arguments: Vec<OsString>,
}

/// `rekindle sandbox`.
#[derive(Args, Clone, Debug)]
pub struct SandboxArgs {
    /// Number of the inherited socket to the node.
    #[arg(long, required_unless_present = "probe")]
    pub fd: Option<i32>,
    /// Files of a control group to join first.
    #[arg(long)]
    pub join: Vec<PathBuf>,
    /// Print which layers of the jail are in force, to standard error.
    #[arg(long)]
    pub verbose: bool,
    /// Make sandbox processes on request instead of being one.
    #[arg(long, conflicts_with_all = ["join", "verbose"])]
    pub zygote: bool,
    /// Enter the jail, print its layers as JSON and leave.
    #[arg(long, conflicts_with_all = ["fd", "zygote"])]
    pub probe: bool,
}
