//! A sandbox that starts or is restored is favoured by the host's processors until its first answer, for a while at most.
//!
//! Somebody waits for that answer, and what it takes is known: a few milliseconds of a restore. Afterwards the guest weighs
//! what its function's memory gives it beside the host's own programs. One that never answers is favoured no longer than
//! [`LONGEST`], from the moment that there is something for it to do.
//!
//! Where the host permits no group with a weight, nobody can be raised, but guests can be lowered: they are then
//! [`NICER`] than the server (setpriority(2)), from the same moment on.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use host_sys::cgroup::{CpuWeight, Group};
use proto_sandbox::{FromSandbox, ToSandbox};
use rustix::io::Errno;
use rustix::process::{Pid, getpgid, getpriority_process, setpriority_pgrp};

/// What a server and sandboxes that start weigh: as much as a hundred processes of the host.
pub(crate) const FAVOURED: CpuWeight = CpuWeight::percent(10_000);

/// The longest that a sandbox is favoured.
const LONGEST: Duration = Duration::from_millis(500);

/// How many levels of niceness guests are below the server where there is no weight: about a third of its part.
const NICER: i32 = 5;

/// The control group of a sandbox, and what it weighs once it has answered.
#[derive(Debug)]
pub(crate) struct Favour {
    group: Group,
    afterwards: CpuWeight,
    /// The process, which leads a process group with its stubs in it.
    leader: OnceLock<Pid>,
    over: AtomicBool,
}

/// How far a sandbox process has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing waits for it.
    Made,
    /// It has something to do.
    Starting,
    /// Its first answer was read.
    Answered,
    /// It is favoured no longer.
    Usual,
}

impl Favour {
    /// The group is favoured, and this is what it weighs when that is over.
    pub(crate) fn of(group: Group, afterwards: CpuWeight) -> Arc<Favour> {
        Arc::new(Favour {
            group,
            afterwards,
            leader: OnceLock::new(),
            over: AtomicBool::new(false),
        })
    }

    /// This is the process.
    pub(crate) fn is_for(&self, pid: Option<u32>) {
        let pid = pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        if let Some(pid) = pid {
            let _ = self.leader.set(pid);
        }
    }

    pub(crate) fn group(&self) -> &Group {
        &self.group
    }

    /// Has it end after [`LONGEST`]. Must be called inside a tokio runtime.
    pub(crate) fn limit(self: &Arc<Self>) {
        let favour = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(LONGEST).await;
            if let Some(favour) = favour.upgrade() {
                favour.end();
            }
        });
    }

    /// It is favoured no longer.
    pub(crate) fn end(&self) {
        if self.over.swap(true, Ordering::Relaxed) {
            return;
        }
        let ended = if self.group.has_cpu_weight() {
            self.group.set_cpu_weight(self.afterwards)
        } else {
            self.lower()
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a sandbox stays favoured by the processors");
        }
    }

    /// The process is gone: its number may soon be another's.
    pub(crate) fn gone(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    fn lower(&self) -> io::Result<()> {
        let Some(leader) = self.leader.get() else {
            return Ok(());
        };
        let nice = getpriority_process(None)?.saturating_add(NICER);
        setpriority_pgrp(Some(*leader), nice)?;
        // Stubs lead groups of their own; those that come later inherit it.
        for child in children(*leader)? {
            match getpgid(Some(child)).and_then(|group| setpriority_pgrp(Some(group), nice)) {
                // It ended meanwhile.
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Processes that a process has made (proc_pid_task_tid_children(5)).
fn children(parent: Pid) -> io::Result<Vec<Pid>> {
    let mut found = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{}/task", parent.as_raw_nonzero()))? {
        // A thread that ended meanwhile has handed its children on.
        let children = std::fs::read_to_string(task?.path().join("children")).unwrap_or_default();
        let numbers = children.split_ascii_whitespace();
        found.extend(numbers.filter_map(|number| Pid::from_raw(number.parse().ok()?)));
    }
    Ok(found)
}

/// Whether somebody waits for what comes of this message.
pub(crate) fn begins(message: &ToSandbox) -> bool {
    matches!(
        message,
        ToSandbox::Start(_) | ToSandbox::Restore(_) | ToSandbox::Event(_)
    )
}

/// Whether this is what somebody waited for.
pub(crate) fn answers(message: &FromSandbox) -> bool {
    matches!(
        message,
        FromSandbox::Response { .. }
            | FromSandbox::ResponseHead { .. }
            | FromSandbox::Error { .. }
            | FromSandbox::InitError { .. }
    )
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use host_sys::cgroup::Limits;
    use rustix::process::getpriority_pgrp;

    use super::*;

    /// One process in its own group, with a child that leads another, as a sandbox and its stub.
    #[test]
    fn without_a_weight_the_process_and_its_children_become_nicer() {
        let script = "set -m; sleep 1000 & echo $!; wait";
        let mut process = Command::new("/bin/bash")
            .args(["-c", script])
            .process_group(0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut output = process.stdout.take().unwrap();
        while !said.ends_with('\n') {
            let mut byte = [0];
            output.read_exact(&mut byte).unwrap();
            said.push(char::from(byte[0]));
        }
        let pid = |number: u32| Pid::from_raw(i32::try_from(number).unwrap()).unwrap();
        let (parent, child) = (pid(process.id()), pid(said.trim().parse().unwrap()));
        let limits = Limits {
            memory_bytes: 1 << 30,
            tasks: 64,
            cpu_weight: None,
        };
        let name = format!("rekindle-favour-{}", std::process::id());
        let favour = Favour::of(Group::create(&name, &limits), CpuWeight::percent(100));
        favour.is_for(Some(process.id()));
        favour.end();
        let ours = getpriority_process(None).unwrap();
        let theirs = [parent, child].map(|group| getpriority_pgrp(Some(group)).unwrap());
        rustix::process::kill_process(child, rustix::process::Signal::KILL).unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
        assert_eq!(theirs, [(ours + NICER).min(19); 2]);
    }

    #[test]
    fn an_answer_ends_it_and_other_words_do_not() {
        let ready = FromSandbox::Ready;
        let answer = FromSandbox::Response {
            request_id: "r".into(),
            content_type: None,
            exits: std::collections::BTreeMap::new(),
        };
        assert_eq!((answers(&ready), answers(&answer)), (false, true));
        assert_eq!(
            (begins(&ToSandbox::Stop), begins(&ToSandbox::Stdin)),
            (false, false)
        );
    }
}
