//! `rekindle run`: one program in one sandbox, with this terminal.
//!
//! ```text
//! rekindle run ──spawn──▶ rekindle sandbox --fd N ──▶ stubs (the guest)
//!   signals, timeout ──messages──▶      0, 1, 2 are inherited
//! ```

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use clap::Args;
use host_sys::cgroup::GroupState;
use host_sys::signal::Blocked;
use node_sandboxes::{AttachedSandbox, Reporting};
use proto_sandbox::{
    ExitReason, FailureKind, FromSandbox, GuestExit, Program, RootFs, SandboxLimits, StartSpec,
    Stdio, ToSandbox, VERSION, WorkloadSpec, read_message, write_message,
};

use crate::failure::{ExitCode, Failure};
use crate::values::{EnvVar, MountArg, PlatformArg, RootFsArg};
use crate::{Bytes, Span};

/// How long a stopped sandbox may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGTERM, SIGWINCH.
const FORWARDED: [i32; 7] = [1, 2, 3, 10, 12, 15, 28];

/// Arguments of `rekindle run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Layer of the root file system: `host` for the machine's own interpreters, or a directory.
    /// May be given more than once; later ones lie on top.
    #[arg(long, value_name = "host|DIR")]
    pub rootfs: Vec<RootFsArg>,
    /// Directory of the host to show in the sandbox.
    #[arg(long, value_name = "SRC:DST[:ro|cow]")]
    pub mount: Vec<MountArg>,
    /// Environment variable; the sandbox inherits none.
    #[arg(long, short, value_name = "NAME[=VALUE]")]
    pub env: Vec<EnvVar>,
    /// Working directory in the sandbox.
    #[arg(long, default_value = "/")]
    pub workdir: String,
    /// Most memory of the guest and its kernel together.
    #[arg(long, default_value = "512M")]
    pub memory: Bytes,
    /// Most bytes that the guest may write to its file system.
    #[arg(long, default_value = "512M")]
    pub disk: Bytes,
    /// Most processes and threads of the guest.
    #[arg(long, default_value_t = 1024)]
    pub tasks: u32,
    /// End the program after this long, with exit code 124.
    #[arg(long)]
    pub timeout: Option<Span>,
    /// Print each system call of the guest to standard error.
    #[arg(long)]
    pub strace: bool,
    /// How guest instructions are run.
    #[arg(long, value_enum, default_value_t, env = "REKINDLE_PLATFORM")]
    pub platform: PlatformArg,
    /// Say which layers of the jail are in force, and in the end how often the guest was left.
    #[arg(long, short)]
    pub verbose: bool,
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

/// What the waiting loop is told by its helpers.
enum News {
    Message(FromSandbox),
    Closed,
}

/// Runs the program and returns the exit code to end with.
///
/// # Errors
/// When the sandbox could not be built, or the program not be started.
pub fn run(args: &RunArgs) -> Result<u8, Failure> {
    let host = |error: io::Error| Failure::from_error(ExitCode::NoSandbox, &error);
    // Before any thread or child exists: both inherit the mask, the child lifts it.
    let signals = Blocked::new(&FORWARDED).map_err(host)?;
    let spec = start_spec(args);
    let reporting = match args.verbose {
        true => Reporting::Layers,
        false => Reporting::Silent,
    };
    let sandbox = AttachedSandbox::spawn(&spec, reporting).map_err(host)?;
    if args.verbose {
        match sandbox.group_state() {
            GroupState::InForce(detail) => eprintln!("rekindle: control group: {detail}"),
            GroupState::Missing(reason) => eprintln!("rekindle: NO control group: {reason}"),
        }
    }
    sandbox.begin(spec).map_err(host)?;
    let socket = Arc::new(sandbox.socket().map_err(host)?);
    forward_signals(signals, Arc::clone(&socket));
    watch(args, &socket)
}

fn start_spec(args: &RunArgs) -> StartSpec {
    let layers = if args.rootfs.is_empty() {
        vec![RootFsArg::Host]
    } else {
        args.rootfs.clone()
    };
    StartSpec {
        version: VERSION,
        id: format!("run-{}", std::process::id()),
        hostname: "sandbox".to_owned(),
        program: Program {
            argv: args.command.clone(),
            env: environment(&args.env),
            workdir: args.workdir.clone(),
            uid: 0,
            gid: 0,
            stdio: Stdio::Inherit,
        },
        rootfs: RootFs {
            layers: layers.into_iter().map(Into::into).collect(),
            mounts: args.mount.iter().map(|mount| mount.0.clone()).collect(),
            writable_bytes: args.disk.0,
        },
        limits: SandboxLimits {
            memory_bytes: args.memory.0,
            tasks: args.tasks,
            open_files: 4096,
        },
        workload: WorkloadSpec::Program,
        strace: args.strace,
        platform: args.platform.into(),
    }
}

/// A small environment; the caller's own would carry secrets into the sandbox.
fn environment(given: &[EnvVar]) -> Vec<(String, String)> {
    let mut env = vec![
        (
            "PATH".to_owned(),
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        ),
        ("HOME".to_owned(), "/root".to_owned()),
    ];
    for name in ["TERM", "LANG", "LC_ALL", "TZ"] {
        if let Ok(value) = std::env::var(name) {
            env.push((name.to_owned(), value));
        }
    }
    for EnvVar(name, value) in given {
        env.retain(|(known, _)| known != name);
        env.push((name.clone(), value.clone()));
    }
    env
}

fn forward_signals(signals: Blocked, to: Arc<UnixStream>) {
    std::thread::spawn(move || {
        while let Ok(signal) = signals.wait() {
            // Fails when the sandbox has ended; then the main thread is leaving anyway.
            if write_message(&mut &*to, &ToSandbox::Signal { signal }, &[]).is_err() {
                return;
            }
        }
    });
}

fn read_news(from: Arc<UnixStream>) -> mpsc::Receiver<News> {
    let (tell, news) = mpsc::sync_channel(16);
    std::thread::spawn(move || {
        loop {
            let message = match read_message(&mut &*from) {
                Ok(Some(message)) => News::Message(message.head),
                Ok(None) | Err(_) => News::Closed,
            };
            let last = matches!(message, News::Closed);
            if tell.send(message).is_err() || last {
                return;
            }
        }
    });
    news
}

/// Waits for the end of the program, or ends it.
fn watch(args: &RunArgs, socket: &Arc<UnixStream>) -> Result<u8, Failure> {
    let news = read_news(Arc::clone(socket));
    let mut patience = args.timeout.map(|span| span.0);
    let mut timed_out = false;
    loop {
        let next = match patience {
            Some(limit) if !timed_out => {
                let started = std::time::Instant::now();
                let next = news.recv_timeout(limit);
                patience = Some(limit.saturating_sub(started.elapsed()));
                next
            }
            Some(_) => news.recv_timeout(GRACE),
            None => news.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match next {
            Ok(News::Message(FromSandbox::Exited { status, reason, .. })) if !timed_out => {
                return Ok(exit_code(args, status, reason));
            }
            Ok(News::Message(FromSandbox::Failed { kind, message })) => {
                return Err(failed(kind, message));
            }
            Ok(News::Message(FromSandbox::Exited { .. }) | News::Closed)
            | Err(RecvTimeoutError::Disconnected)
                if timed_out =>
            {
                return Ok(ExitCode::TimedOut as u8);
            }
            Ok(News::Message(_)) => {}
            Err(RecvTimeoutError::Timeout) if timed_out => return Ok(ExitCode::TimedOut as u8),
            Err(RecvTimeoutError::Timeout) => {
                timed_out = true;
                eprintln!("rekindle: the time limit passed, the program was ended");
                // If the socket is gone the next turn says so.
                let _ = write_message(&mut &**socket, &ToSandbox::Stop, &[]);
            }
            Ok(News::Closed) | Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::new(
                    ExitCode::NoSandbox,
                    "the sandbox process ended without saying why",
                )
                .next(
                    "run with --verbose, and `rekindle doctor` to see what this machine offers",
                ));
            }
        }
    }
}

fn exit_code(args: &RunArgs, status: GuestExit, reason: ExitReason) -> u8 {
    if reason == ExitReason::OutOfMemory {
        eprintln!(
            "rekindle: killed: more memory than the limit of {} (raise it with --memory)",
            args.memory
        );
        return 137;
    }
    match status {
        GuestExit::Code(code) => code as u8,
        GuestExit::Signal(signal) => 128u8.saturating_add(signal as u8),
    }
}

fn failed(kind: FailureKind, message: String) -> Failure {
    match kind {
        FailureKind::Program if message.ends_with("not found") => {
            Failure::new(ExitCode::NotFound, message)
                .next("programs are looked up in the sandbox' root file system, see --rootfs")
        }
        FailureKind::Program => Failure::new(ExitCode::NotExecutable, message),
        FailureKind::RootFs => {
            Failure::new(ExitCode::NoSandbox, message).next("check --rootfs and --mount")
        }
        FailureKind::Spec => Failure::new(ExitCode::NoSandbox, message),
        FailureKind::Platform | FailureKind::Host => Failure::new(ExitCode::NoSandbox, message)
            .next("`rekindle doctor` says what this machine offers"),
    }
}
