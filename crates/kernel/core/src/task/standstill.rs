//! Where a task stands while nothing runs, as plain data: its registers, and the call that it sleeps in.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kernel_vfs::save::ObjectId;
use kernel_vfs::{Description, Events};
use platform_api::CpuState;
use serde::{Deserialize, Serialize};

use super::{CalledFile, CalledFiles, Pid, Restart};
use crate::futex::FutexWaiter;
use crate::park::Parker;

/// A call that a task sleeps in, to be made again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedCall {
    /// System call number.
    pub nr: u64,
    /// Arguments.
    pub args: [u64; 6],
    /// Address after the instruction.
    pub ip: u64,
    deadline: Option<u64>,
    progress: u64,
    remaining_at: u64,
    note: u64,
    /// A futex wait that was over.
    woken: bool,
    /// Address of the word in whose queue a futex wait that was not over stood.
    pub queued_at: Option<u64>,
    /// Waits for the child of vfork(2) whose number `note` is, and which has not given the memory back.
    pub vfork: bool,
    /// The open files it is about, written down by who saves: some of them have no number any more.
    pub files: Vec<SavedFile>,
}

/// An open file of a call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedFile {
    fd: i32,
    interest: u32,
    /// Its number among all that are saved.
    pub description: ObjectId,
}

impl SavedFile {
    /// From what the call holds; `description` is the number given to it.
    #[must_use]
    pub fn new(file: &CalledFile, description: ObjectId) -> SavedFile {
        SavedFile {
            fd: file.fd,
            interest: file.interest.bits(),
            description,
        }
    }

    /// What the call held.
    #[must_use]
    pub fn called(&self, description: Arc<Description>) -> CalledFile {
        CalledFile {
            fd: self.fd,
            interest: Events::from_bits_retain(self.interest),
            description,
        }
    }
}

impl SavedCall {
    /// From what the loop holds.
    #[must_use]
    pub fn new(nr: u64, args: [u64; 6], ip: u64, restart: &Restart) -> SavedCall {
        SavedCall {
            nr,
            args,
            ip,
            deadline: restart.deadline,
            progress: restart.progress,
            remaining_at: restart.remaining_at,
            note: restart.note,
            queued_at: restart.futex.as_ref().and_then(|f| f.waits_at(args[0])),
            woken: restart.futex.as_ref().is_some_and(|f| f.woken()),
            vfork: restart
                .vfork
                .as_ref()
                .is_some_and(|v| !v.done.load(Ordering::SeqCst)),
            files: Vec::new(),
        }
    }

    /// What the handler finds when it runs again.
    #[must_use]
    pub fn restart(&self, parker: &Arc<Parker>) -> Restart {
        Restart {
            deadline: self.deadline,
            progress: self.progress,
            remaining_at: self.remaining_at,
            note: self.note,
            futex: self.woken.then(|| FutexWaiter::finished(parker)),
            vfork: None,
            files: CalledFiles::default(),
        }
    }

    /// The child whose vfork(2) this is.
    #[must_use]
    pub fn vfork_child(&self) -> Option<Pid> {
        Pid::try_from(self.note).ok().filter(|_| self.vfork)
    }
}

/// Where a task stands while nothing runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Standstill {
    /// Its registers; `None` when the processor could not be read.
    pub cpu: Option<CpuState>,
    /// The call it sleeps in.
    pub call: Option<SavedCall>,
    /// The open files of that call.
    #[serde(skip)]
    pub files: CalledFiles,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::VforkDone;

    #[test]
    fn a_vfork_whose_child_gave_the_memory_back_does_not_wait_again() {
        let done = Arc::new(VforkDone::default());
        let restart = Restart {
            note: 5,
            vfork: Some(Arc::clone(&done)),
            ..Restart::default()
        };
        let child = || SavedCall::new(58, [0; 6], 0, &restart).vfork_child();
        assert_eq!(child(), Some(5));
        done.done.store(true, Ordering::SeqCst);
        assert_eq!(child(), None);
    }
}
