//! The task whose call is being served: files that depend on who calls ask here.
//!
//! Each guest thread has a host thread of its own, so that the caller is a property of the thread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};

use base_abi::structs::SigInfo;
use kernel_core::signal::{Disposition, Signal, SignalSet, siginfo};
use kernel_core::task::{Links, Process, Task};
use kernel_files::PendingSignals;
use kernel_files::pty::{Caller, JobControl, Terminal};
use kernel_vfs::WaitQueue;
use parking_lot::Mutex;

use crate::System;

/// `CAP_SYS_ADMIN`.
const SYS_ADMIN: u32 = 21;

thread_local! {
    static TASK: RefCell<Option<Arc<Task>>> = const { RefCell::new(None) };
}

/// Says whose calls this thread serves from now on.
pub(crate) fn enter(task: &Arc<Task>) {
    TASK.set(Some(Arc::clone(task)));
}

/// The thread serves nobody any more.
pub(crate) fn leave() {
    TASK.set(None);
}

/// The task this thread serves.
pub(crate) fn task() -> Option<Arc<Task>> {
    TASK.with_borrow(Clone::clone)
}

/// Pending signals of the caller (signalfd(2)).
pub(crate) struct CallerSignals;

impl PendingSignals for CallerSignals {
    fn pending(&self) -> u64 {
        task().map_or(0, |task| {
            let shared = task.process().signals.lock().pending.set();
            shared.union(task.signals.lock().pending.set()).0
        })
    }

    fn take(&self, set: u64) -> Option<SigInfo> {
        let task = task()?;
        let set = SignalSet(set);
        let own = task.signals.lock().pending.take_in(set);
        let taken = own.or_else(|| task.process().signals.lock().pending.take_in(set));
        taken.map(|(_, info)| info)
    }

    fn queue(&self) -> WaitQueue {
        task().map_or_else(WaitQueue::new, |t| t.process().signal_queue.clone())
    }
}

/// Sessions and their terminals.
#[derive(Default)]
pub(crate) struct Jobs {
    system: OnceLock<Weak<System>>,
    terminals: Mutex<HashMap<i32, Arc<Terminal>>>,
}

impl Jobs {
    /// Learns whose processes it signals; the first call counts.
    pub(crate) fn bind(&self, system: &Arc<System>) {
        let _ = self.system.set(Arc::downgrade(system));
    }

    fn system(&self) -> Option<Arc<System>> {
        self.system.get().and_then(Weak::upgrade)
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
        let (system, task) = (self.system()?, task()?);
        let tree = system.kernel.tree.lock();
        tree.links(task.pid()).map(|l| l.session)
    }
}

fn signal_of(number: u32) -> Option<Signal> {
    i32::try_from(number).ok().and_then(Signal::new)
}

impl JobControl for Jobs {
    fn caller(&self) -> Caller {
        let (Some(system), Some(task)) = (self.system(), task()) else {
            return Caller::default();
        };
        let privileged = task.process().creds().has(SYS_ADMIN);
        let tree = system.kernel.tree.lock();
        let Some(own) = tree.links(task.pid()) else {
            return Caller::default();
        };
        // A group is orphaned when no member has a parent in another group of the session.
        let cared_for = tree.processes().any(|(_, member)| {
            let parent: Option<&Links> = tree.links(member.parent);
            member.group == own.group
                && parent.is_some_and(|p| p.group != own.group && p.session == own.session)
        });
        Caller {
            process: task.pid(),
            group: own.group,
            session: own.session,
            orphaned: !cared_for,
            privileged,
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
        let system = self.system()?;
        let tree = system.kernel.tree.lock();
        let found = tree.processes().find(|(_, l)| l.group == group);
        found.map(|(_, l)| l.session)
    }

    fn signal_group(&self, group: i32, signal: u32) {
        if let (Some(system), Some(signal)) = (self.system(), signal_of(signal)) {
            system
                .kernel
                .send_to_group(group, signal, siginfo::kernel());
        }
    }

    fn signal_leader(&self, session: i32, signal: u32) {
        let (Some(system), Some(signal)) = (self.system(), signal_of(signal)) else {
            return;
        };
        let leader: Option<Arc<Process>> = {
            let tree = system.kernel.tree.lock();
            tree.links(session).map(|l| Arc::clone(&l.process))
        };
        if let Some(leader) = leader {
            let _ = system
                .kernel
                .send_to_process(&leader, signal, siginfo::kernel());
        }
    }
}
