//! The process tree: who is whose parent, group and session, and how each ended.
//!
//! All relations stand under one lock (the kernel's `tree`), so that exit, wait
//! and job control see one consistent picture.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{ExitStatus, Pid, Process, Task};
use crate::signal::Signal;

/// Job-control state of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StopState {
    /// Runs.
    #[default]
    Running,
    /// Stopped by the signal; `reported` once a wait has seen it.
    Stopped {
        /// Which signal stopped it.
        signal: Signal,
        /// Whether wait(2) told the parent.
        reported: bool,
    },
    /// Continued and not yet reported (`WCONTINUED`).
    Continued,
}

/// How a process came to its parent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Descent {
    /// The parent made it.
    #[default]
    Born,
    /// The parent took it over when its own ended, and knows nothing of it.
    Adopted,
    /// The same, but a wait(2) has asked for it since.
    Awaited,
}

/// One process's place in the tree.
pub struct Links {
    /// The process.
    pub process: Arc<Process>,
    /// Parent, 0 for the first process.
    pub parent: Pid,
    /// Children, ended ones included until they are waited for.
    pub children: BTreeSet<Pid>,
    /// Process group.
    pub group: Pid,
    /// Session.
    pub session: Pid,
    /// Living threads.
    pub threads: BTreeSet<Pid>,
    /// Set when the last thread is gone: a zombie.
    pub ended: Option<ExitStatus>,
    /// What the parent gets; `None` for a clone(2) without exit signal (`__WCLONE`).
    pub exit_signal: Option<Signal>,
    /// Job control.
    pub stop: StopState,
    /// `PR_SET_CHILD_SUBREAPER`.
    pub subreaper: bool,
    /// How it came to its parent.
    pub descent: Descent,
    /// Whether it has waited for whichever child ends first, as an init does.
    pub collects: bool,
    /// Whether it has called execve (setpgid(2) by the parent is refused then).
    pub execed: bool,
}

/// Every process and every thread of a kernel.
#[derive(Default)]
pub struct Tree {
    processes: BTreeMap<Pid, Links>,
    tasks: BTreeMap<Pid, Arc<Task>>,
    last_pid: Pid,
}

/// The largest number handed out, as `/proc/sys/kernel/pid_max` says.
pub const PID_MAX: Pid = 32768;

impl Tree {
    /// The last number given out.
    #[must_use]
    pub fn last_pid(&self) -> Pid {
        self.last_pid
    }

    /// Puts back a process with all its relations, and the number that was given out last.
    pub fn put_back(&mut self, links: Links, last_pid: Pid) {
        self.last_pid = last_pid.clamp(1, PID_MAX);
        self.processes.insert(links.process.pid(), links);
    }

    /// The next free number; `None` when `limit` tasks live.
    pub fn allocate(&mut self, limit: usize) -> Option<Pid> {
        if !self.has_room(limit) {
            return None;
        }
        for _ in 0..PID_MAX {
            self.last_pid = if self.last_pid + 1 >= PID_MAX {
                2
            } else {
                self.last_pid + 1
            };
            if !self.in_use(self.last_pid) {
                return Some(self.last_pid);
            }
        }
        None
    }

    /// Whether threads, and processes that have ended and were not waited for, are fewer than this. What process 1 was given and
    /// has not collected is no reason to refuse new ones: it goes.
    pub fn has_room(&mut self, limit: usize) -> bool {
        if self.counted() < limit {
            return true;
        }
        let left = self
            .processes
            .iter()
            .filter(|(_, l)| l.parent == 1 && l.descent != Descent::Born && l.ended.is_some());
        let left: Vec<Pid> = left.map(|(pid, _)| *pid).collect();
        for pid in left {
            self.reap(pid);
        }
        self.counted() < limit
    }

    fn counted(&self) -> usize {
        let zombies = self.processes.values().filter(|l| l.ended.is_some());
        self.tasks.len() + zombies.count()
    }

    fn in_use(&self, pid: Pid) -> bool {
        self.tasks.contains_key(&pid)
            || self.processes.contains_key(&pid)
            || self
                .processes
                .values()
                .any(|l| l.group == pid || l.session == pid)
    }

    /// Adds a process without threads under its parent.
    pub fn add_process(&mut self, process: Arc<Process>, parent: Pid, exit_signal: Option<Signal>) {
        let pid = process.pid();
        let (group, session) = self
            .processes
            .get(&parent)
            .map_or((pid, pid), |p| (p.group, p.session));
        if let Some(p) = self.processes.get_mut(&parent) {
            p.children.insert(pid);
        }
        let links = Links {
            process,
            parent,
            children: BTreeSet::new(),
            group,
            session,
            threads: BTreeSet::new(),
            ended: None,
            exit_signal,
            stop: StopState::Running,
            subreaper: false,
            descent: Descent::Born,
            collects: false,
            execed: false,
        };
        self.processes.insert(pid, links);
    }

    /// Adds a thread to its process.
    pub fn add_task(&mut self, task: &Arc<Task>) {
        self.tasks.insert(task.tid(), Arc::clone(task));
        if let Some(links) = self.processes.get_mut(&task.pid()) {
            links.threads.insert(task.tid());
        }
    }

    /// Removes a thread; true if it was the last of its process.
    pub fn remove_task(&mut self, tid: Pid, pid: Pid) -> bool {
        self.tasks.remove(&tid);
        match self.processes.get_mut(&pid) {
            Some(links) => links.threads.remove(&tid) && links.threads.is_empty(),
            None => false,
        }
    }

    /// execve(2) in a thread that is not the leader takes over the process's number.
    pub fn rename_task(&mut self, from: Pid, task: &Arc<Task>) {
        self.tasks.remove(&from);
        self.add_task(task);
        if let Some(links) = self.processes.get_mut(&task.pid()) {
            links.threads.remove(&from);
        }
    }

    /// Takes a zombie out of the tree.
    pub fn reap(&mut self, pid: Pid) -> Option<Links> {
        let links = self.processes.remove(&pid)?;
        if let Some(parent) = self.processes.get_mut(&links.parent) {
            parent.children.remove(&pid);
        }
        Some(links)
    }

    /// Gives the children of an ended process to its nearest living subreaper, or to process 1.
    /// Returns the new parent and the children that are zombies already.
    pub fn reparent_children(&mut self, pid: Pid) -> (Pid, Vec<Pid>) {
        let reaper = self.reaper_of(pid);
        let children = self
            .processes
            .get_mut(&pid)
            .map(|l| std::mem::take(&mut l.children))
            .unwrap_or_default();
        let mut zombies = Vec::new();
        for child in children {
            if let Some(links) = self.processes.get_mut(&child) {
                links.parent = reaper;
                // Who adopts it did not choose its exit signal.
                links.exit_signal = Some(Signal::CHLD);
                links.descent = Descent::Adopted;
                if links.ended.is_some() {
                    zombies.push(child);
                }
            }
            if let Some(parent) = self.processes.get_mut(&reaper) {
                parent.children.insert(child);
            }
        }
        (reaper, zombies)
    }

    fn reaper_of(&self, pid: Pid) -> Pid {
        let mut at = self.processes.get(&pid).map_or(0, |l| l.parent);
        for _ in 0..PID_MAX {
            match self.processes.get(&at) {
                Some(links) if at == 1 || (links.subreaper && links.ended.is_none()) => return at,
                Some(links) => at = links.parent,
                None => break,
            }
        }
        if pid == 1 { 0 } else { 1 }
    }

    /// A process's links.
    #[must_use]
    pub fn links(&self, pid: Pid) -> Option<&Links> {
        self.processes.get(&pid)
    }

    /// A process's links, to change.
    pub fn links_mut(&mut self, pid: Pid) -> Option<&mut Links> {
        self.processes.get_mut(&pid)
    }

    /// A thread.
    #[must_use]
    pub fn task(&self, tid: Pid) -> Option<&Arc<Task>> {
        self.tasks.get(&tid)
    }

    /// All threads.
    pub fn tasks(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.tasks.values()
    }

    /// All processes, zombies included.
    pub fn processes(&self) -> impl Iterator<Item = (Pid, &Links)> {
        self.processes.iter().map(|(pid, links)| (*pid, links))
    }

    /// Living threads of a process.
    #[must_use]
    pub fn threads_of(&self, pid: Pid) -> Vec<Arc<Task>> {
        let Some(links) = self.processes.get(&pid) else {
            return Vec::new();
        };
        links
            .threads
            .iter()
            .filter_map(|t| self.tasks.get(t).cloned())
            .collect()
    }

    /// Processes of a group that still live.
    #[must_use]
    pub fn group_members(&self, group: Pid) -> Vec<Pid> {
        let members = self
            .processes
            .iter()
            .filter(|(_, l)| l.group == group && l.ended.is_none());
        members.map(|(pid, _)| *pid).collect()
    }

    /// How many threads live.
    #[must_use]
    pub fn task_count(&self) -> usize {
        self.tasks.len()
    }
}
