//! The thread that starts sandbox processes.
//!
//! A sandbox asks the host to be killed at its parent's death (prctl(2), PR_SET_PDEATHSIG),
//! and "parent" there means the *thread* that made it. Worker threads of the async runtime
//! come and go, so this thread makes all of them, and lives as long as the agent.

use std::io;
use std::sync::mpsc;
use std::thread;

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

struct Order {
    command: Command,
    reply: oneshot::Sender<io::Result<Child>>,
}

/// A handle to the thread; it ends when the last is dropped.
#[derive(Debug)]
pub(crate) struct Spawner {
    orders: mpsc::Sender<Order>,
}

impl Spawner {
    /// Starts the thread. Must be called inside a tokio runtime.
    pub(crate) fn start() -> io::Result<Self> {
        let (orders, receiver) = mpsc::channel::<Order>();
        let runtime = Handle::current();
        thread::Builder::new()
            .name("spawner".into())
            .spawn(move || {
                let _runtime = runtime.enter();
                while let Ok(mut order) = receiver.recv() {
                    // A child that nobody waits for any more is killed as it is dropped.
                    let _ = order.reply.send(order.command.spawn());
                }
            })?;
        Ok(Self { orders })
    }

    /// Starts a process.
    pub(crate) async fn spawn(&self, command: Command) -> io::Result<Child> {
        let gone = || io::Error::other("the spawner has ended");
        let (reply, spawned) = oneshot::channel();
        self.orders
            .send(Order { command, reply })
            .map_err(|_| gone())?;
        spawned.await.map_err(|_| gone())?
    }
}
