//! The thread that has sandbox processes made.
//!
//! A sandbox asks the host to be killed at its parent's death (prctl(2), PR_SET_PDEATHSIG),
//! and "parent" there means the *thread* that made it, which for the zygote's children is the thread that
//! made the zygote. Worker threads of the async runtime come and go, so this thread makes it, and
//! lives as long as the agent.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child as Process, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use proto_sandbox::{FromZygote, ToZygote, read_message, write_with_descriptors};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::child::Child;

/// How long the zygote may take to divide; when it takes longer, another takes its place.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a sandbox process begins with.
pub(crate) struct ForkRequest {
    /// Its end of the socket to the node.
    pub(crate) socket: OwnedFd,
    pub(crate) stderr: OwnedFd,
    /// Files of a control group that it joins.
    pub(crate) join: Vec<PathBuf>,
}

struct Order {
    request: ForkRequest,
    reply: oneshot::Sender<io::Result<Child>>,
}

/// A handle to the thread; it ends when the last is dropped.
#[derive(Debug)]
pub(crate) struct Spawner {
    orders: mpsc::Sender<Order>,
}

impl Spawner {
    /// Starts the thread; `command` is the program that sandboxes are. Must be called inside a tokio runtime.
    pub(crate) fn start(command: Vec<OsString>) -> io::Result<Self> {
        let (orders, receiver) = mpsc::channel::<Order>();
        let runtime = Handle::current();
        thread::Builder::new()
            .name("spawner".into())
            .spawn(move || {
                let _runtime = runtime.enter();
                let mut zygotes = Zygotes {
                    // Ahead of the first order; if it cannot be made now, the order tells why.
                    zygote: Zygote::start(&command).ok(),
                    command,
                };
                while let Ok(order) = receiver.recv() {
                    // A child that nobody waits for any more is killed as it is dropped.
                    let _ = order.reply.send(zygotes.fork(&order.request));
                }
            })?;
        Ok(Self { orders })
    }

    /// Has a process made.
    pub(crate) async fn spawn(&self, request: ForkRequest) -> io::Result<Child> {
        let gone = || io::Error::other("the spawner has ended");
        let (reply, spawned) = oneshot::channel();
        self.orders
            .send(Order { request, reply })
            .map_err(|_| gone())?;
        spawned.await.map_err(|_| gone())?
    }
}

/// The zygote, and how to make another.
struct Zygotes {
    command: Vec<OsString>,
    zygote: Option<Zygote>,
}

impl Zygotes {
    fn fork(&mut self, request: &ForkRequest) -> io::Result<Child> {
        if let Some(zygote) = &self.zygote {
            match zygote.fork(request) {
                Ok(answer) => return adopt(answer),
                Err(error) => tracing::warn!(%error, "the zygote is of no use; another is made"),
            }
        }
        self.zygote = None;
        let zygote = self.zygote.insert(Zygote::start(&self.command)?);
        adopt(zygote.fork(request)?)
    }
}

fn adopt(answer: FromZygote) -> io::Result<Child> {
    match answer {
        FromZygote::Forked { pid } => Child::adopt(pid),
        FromZygote::Failed { reason } => Err(io::Error::other(reason)),
    }
}

/// A process that divides; ended when dropped.
struct Zygote {
    socket: UnixStream,
    process: Process,
}

impl Zygote {
    /// Starts `command --zygote --fd 0` with one end of a socket pair as its descriptor 0.
    fn start(command: &[OsString]) -> io::Result<Zygote> {
        let (program, arguments) = command
            .split_first()
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let (socket, theirs) = UnixStream::pair()?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let process = Command::new(program)
            .args(arguments)
            .args(["--zygote", "--fd", "0"])
            // Nothing of the node's environment is a sandbox's business.
            .env_clear()
            // A heap for each of a dozen threads that hardly allocate costs every sandbox its pages and mappings (mallopt(3)).
            .env("GLIBC_TUNABLES", "glibc.malloc.arena_max=1")
            .envs(std::env::var_os("RUST_LOG").map(|filter| ("RUST_LOG", filter)))
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            // A terminal's interrupt is for the node.
            .process_group(0)
            .spawn()?;
        Ok(Zygote { socket, process })
    }

    fn fork(&self, request: &ForkRequest) -> io::Result<FromZygote> {
        let order = ToZygote::Fork {
            join: request.join.clone(),
        };
        let descriptors = [request.socket.as_fd(), request.stderr.as_fd()];
        write_with_descriptors(&self.socket, &order, &[], &descriptors)
            .map_err(io::Error::other)?;
        match read_message::<FromZygote>(&mut &self.socket) {
            Ok(Some(message)) => Ok(message.head),
            Ok(None) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
