//! `/proc` itself and its directories of processes (proc_pid(5)).

mod descriptors;
mod files;
mod memory;
mod status;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use base_abi::general::CAP_SYS_PTRACE;
use kernel_core::task::{Process, Task};
use kernel_vfs::{Errno, FileType, Result};

use crate::synthetic::{Directory, Fixed, Node, fixed};
use crate::{Source, View, machine, snapshot, sysctl};

/// A process or thread that is told about.
#[derive(Clone)]
pub(crate) struct Subject {
    view: View,
    process: Arc<Process>,
    /// Zombies have no thread.
    task: Option<Arc<Task>>,
    tid: i32,
}

impl Subject {
    fn source(&self) -> Result<Arc<dyn Source>> {
        self.view.source()
    }

    /// # Errors
    /// `ESRCH` for a zombie.
    fn task(&self) -> Result<&Arc<Task>> {
        self.task.as_ref().ok_or(Errno::ESRCH)
    }

    /// Finds a process, or a thread as its process, by number.
    fn find(view: &View, tid: i32) -> Result<Subject> {
        let source = view.source()?;
        let tree = source.kernel().tree.lock();
        let task = tree.task(tid).cloned();
        let process = match (&task, tree.links(tid)) {
            (Some(task), _) => Arc::clone(task.process()),
            (None, Some(links)) => Arc::clone(&links.process),
            (None, None) => return Err(Errno::ENOENT),
        };
        let task = task.or_else(|| tree.threads_of(tid).into_iter().next());
        Ok(Subject {
            view: view.clone(),
            process,
            task,
            tid,
        })
    }

    /// A node that belongs to the process; to root when others are to learn nothing of it (`PR_SET_DUMPABLE` in prctl(2)).
    fn owned(&self, node: Node) -> Node {
        if self.process.dumpable.load(Ordering::Relaxed) == 1 {
            let creds = self.process.creds();
            node.owned_by(creds.euid, creds.egid)
        } else {
            node.owned_by(0, 0)
        }
    }

    /// The links of `/proc` lead only the process itself and its like to what it has open.
    ///
    /// # Errors
    /// `EACCES`.
    fn check_access(&self) -> Result<()> {
        let Some(caller) = self.source()?.caller() else {
            return Ok(());
        };
        let (own, other) = (caller.process().creds(), self.process.creds());
        let same = own.fsuid == other.uid && own.fsuid == other.suid;
        if same || own.has(CAP_SYS_PTRACE) || caller.pid() == self.process.pid() {
            Ok(())
        } else {
            Err(Errno::EACCES)
        }
    }
}

/// The root of `/proc`.
struct Root {
    view: View,
    fixed: Fixed,
}

pub(crate) fn root(view: &View, boot_id: String) -> Node {
    let (own, thread) = (view.clone(), view.clone());
    let mut entries = machine::entries(view);
    entries.push((
        "self",
        Node::link(move || {
            let caller = own.source()?.caller().ok_or(Errno::ENOENT)?;
            Ok(caller.pid().to_string().into_bytes())
        }),
    ));
    entries.push((
        "thread-self",
        Node::link(move || {
            let caller = thread.source()?.caller().ok_or(Errno::ENOENT)?;
            Ok(format!("{}/task/{}", caller.pid(), caller.tid()).into_bytes())
        }),
    ));
    entries.push(("rekindle", snapshot::directory(view)));
    entries.push(("sys", sysctl::root(view, boot_id)));
    Node::directory(Root {
        view: view.clone(),
        fixed: fixed(entries),
    })
}

fn number(name: &[u8]) -> Option<i32> {
    let text = std::str::from_utf8(name).ok()?;
    let number: i32 = text.parse().ok()?;
    (number > 0 && number.to_string() == text).then_some(number)
}

impl Directory for Root {
    fn lookup(&self, name: &[u8]) -> Result<Node> {
        match number(name) {
            Some(pid) => Subject::find(&self.view, pid).map(|s| directory(s, Kind::Process)),
            None => self.fixed.lookup(name),
        }
    }

    fn list(&self, emit: &mut dyn FnMut(&[u8], FileType)) -> Result<()> {
        self.fixed.list(emit)?;
        let source = self.view.source()?;
        let pids: Vec<i32> = source
            .kernel()
            .tree
            .lock()
            .processes()
            .map(|(pid, _)| pid)
            .collect();
        for pid in pids {
            emit(pid.to_string().as_bytes(), FileType::Directory);
        }
        Ok(())
    }

    fn links(&self) -> u64 {
        let source = self.view.source();
        let processes = source.map_or(0, |s| s.kernel().tree.lock().processes().count());
        self.fixed.links() + processes as u64
    }
}

/// Whether a directory tells about a process or one of its threads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Process,
    Thread,
}

fn directory(subject: Subject, kind: Kind) -> Node {
    let files = fixed(files::entries(&subject, kind));
    let creds = subject.process.creds();
    Node::directory(ProcessDir { subject, files }).owned_by(creds.euid, creds.egid)
}

/// `/proc/<pid>` or `/proc/<pid>/task/<tid>`.
struct ProcessDir {
    subject: Subject,
    files: Fixed,
}

impl Directory for ProcessDir {
    fn lookup(&self, name: &[u8]) -> Result<Node> {
        Ok(self.subject.owned(self.files.lookup(name)?))
    }

    fn list(&self, emit: &mut dyn FnMut(&[u8], FileType)) -> Result<()> {
        self.files.list(emit)
    }

    fn links(&self) -> u64 {
        self.files.links()
    }
}

/// `/proc/<pid>/task`.
struct Threads(Subject);

impl Directory for Threads {
    fn lookup(&self, name: &[u8]) -> Result<Node> {
        let tid = number(name).ok_or(Errno::ENOENT)?;
        let thread = Subject::find(&self.0.view, tid)?;
        if !Arc::ptr_eq(&thread.process, &self.0.process) {
            return Err(Errno::ENOENT);
        }
        Ok(directory(thread, Kind::Thread))
    }

    fn list(&self, emit: &mut dyn FnMut(&[u8], FileType)) -> Result<()> {
        let source = self.0.source()?;
        let threads = {
            let tree = source.kernel().tree.lock();
            let links = tree.links(self.0.process.pid()).ok_or(Errno::ENOENT)?;
            links.threads.clone()
        };
        for tid in threads {
            emit(tid.to_string().as_bytes(), FileType::Directory);
        }
        Ok(())
    }

    fn links(&self) -> u64 {
        let pid = self.0.process.pid();
        let threads = self.0.source().map_or(0, |source| {
            let tree = source.kernel().tree.lock();
            tree.links(pid).map_or(0, |links| links.threads.len())
        });
        2 + threads as u64
    }
}
