//! Job control: sessions, their terminals, and the signals that terminals send (credentials(7), tty_ioctl(4)).

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use base_abi::general::CAP_SYS_ADMIN;
use kernel_core::Kernel;
use kernel_core::signal::{Disposition, Signal, siginfo};
use kernel_core::task::Process;
use kernel_files::pty::{Caller, JobControl, Terminal};
use parking_lot::Mutex;

use crate::current::task;

/// Sessions and their terminals.
pub(crate) struct Jobs {
    /// Whose processes it signals. The kernel holds terminals through its processes' descriptors, hence weak.
    kernel: Weak<Kernel>,
    terminals: Mutex<HashMap<i32, Arc<Terminal>>>,
}

impl Jobs {
    /// No session has a terminal.
    pub(crate) fn new(kernel: &Arc<Kernel>) -> Jobs {
        Jobs {
            kernel: Arc::downgrade(kernel),
            terminals: Mutex::default(),
        }
    }

    fn kernel(&self) -> Option<Arc<Kernel>> {
        self.kernel.upgrade()
    }

    /// A session's leader has ended: its terminal hangs up (`disassociate_ctty`).
    pub(crate) fn leader_ended(&self, session: i32) {
        let terminal = self.terminals.lock().remove(&session);
        if let Some(terminal) = terminal {
            terminal.hang_up();
        }
    }

    /// Whether any session has a terminal.
    pub(crate) fn any_terminal(&self) -> bool {
        !self.terminals.lock().is_empty()
    }

    /// The controlling terminal of a session.
    pub(crate) fn terminal_of(&self, session: i32) -> Option<Arc<Terminal>> {
        self.terminals.lock().get(&session).cloned()
    }

    fn session(&self) -> Option<i32> {
        let (kernel, task) = (self.kernel()?, task()?);
        let tree = kernel.tree.lock();
        tree.links(task.pid()).map(|l| l.session)
    }
}

fn signal_of(number: u32) -> Option<Signal> {
    i32::try_from(number).ok().and_then(Signal::new)
}

impl JobControl for Jobs {
    fn caller(&self) -> Caller {
        let (Some(kernel), Some(task)) = (self.kernel(), task()) else {
            return Caller::default();
        };
        let creds = task.process().creds();
        let tree = kernel.tree.lock();
        let Some(own) = tree.links(task.pid()) else {
            return Caller::default();
        };
        Caller {
            process: task.pid(),
            group: own.group,
            session: own.session,
            orphaned: tree.is_orphaned_group(own.group),
            user: creds.fsuid,
            privileged: creds.has(CAP_SYS_ADMIN),
        }
    }

    fn shuns(&self, signal: u32) -> bool {
        let (Some(task), Some(signal)) = (task(), signal_of(signal)) else {
            return true;
        };
        let ignored = task
            .process()
            .with_actions(|actions| matches!(actions.disposition(signal), Disposition::Ignore));
        ignored || task.mask().contains(signal)
    }

    fn controlling_terminal(&self) -> Option<Arc<Terminal>> {
        self.terminal_of(self.session()?)
    }

    fn set_controlling_terminal(&self, session: i32, terminal: Option<Arc<Terminal>>) {
        let mut terminals = self.terminals.lock();
        let old = match terminal {
            Some(terminal) => terminals.insert(session, terminal),
            None => terminals.remove(&session),
        };
        drop(terminals);
        drop(old);
    }

    fn session_of_group(&self, group: i32) -> Option<i32> {
        let kernel = self.kernel()?;
        let tree = kernel.tree.lock();
        let found = tree.processes().find(|(_, l)| l.group == group);
        found.map(|(_, l)| l.session)
    }

    fn signal_group(&self, group: i32, signal: u32) {
        if let (Some(kernel), Some(signal)) = (self.kernel(), signal_of(signal)) {
            kernel.send_to_group(group, signal, siginfo::kernel());
        }
    }

    fn signal_leader(&self, session: i32, signal: u32) {
        let (Some(kernel), Some(signal)) = (self.kernel(), signal_of(signal)) else {
            return;
        };
        let leader: Option<Arc<Process>> = {
            let tree = kernel.tree.lock();
            tree.links(session).map(|l| Arc::clone(&l.process))
        };
        if let Some(leader) = leader {
            let _ = kernel.send_to_process(&leader, signal, siginfo::kernel());
        }
    }
}
