//! A process as a file (pidfd_open(2)).

use std::sync::Arc;

use base_abi::structs::Stat;
use kernel_vfs::save::{FileState, LoadError, Saved, Saver, Unsavable, decode};
use kernel_vfs::{Events, File, PollTable, Result, WaitQueue};

use crate::anon::anon_stat;

/// A process whose end can be waited for.
pub trait Exit: Send + Sync {
    /// Its number, or `None` once it was reaped.
    fn pid(&self) -> Option<i32>;

    /// Whether it has ended (a zombie has).
    fn exited(&self) -> bool;

    /// Woken when it ends.
    fn queue(&self) -> WaitQueue;
}

/// A process file: readable once the process has ended.
pub struct PidFd {
    process: Arc<dyn Exit>,
    ino: u64,
}

impl PidFd {
    /// Kind of its saved state.
    pub const KIND: &'static str = "pidfd";

    /// The process of a saved state.
    ///
    /// # Errors
    /// [`LoadError::Malformed`].
    pub fn saved_pid(state: &FileState) -> std::result::Result<i32, LoadError> {
        decode(&state.bytes, "a process file")
    }

    /// Refers to a process.
    #[must_use]
    pub fn new(process: Arc<dyn Exit>, ino: u64) -> Arc<PidFd> {
        Arc::new(PidFd { process, ino })
    }

    /// The process it refers to.
    #[must_use]
    pub fn process(&self) -> &Arc<dyn Exit> {
        &self.process
    }
}

impl File for PidFd {
    fn stat(&self) -> Result<Stat> {
        Ok(anon_stat(self.ino))
    }

    fn poll(&self, table: &mut PollTable) -> Events {
        table.add(&self.process.queue());
        let mut ready = Events::empty();
        if self.process.exited() {
            ready |= Events::READABLE;
            // Linux 6.9 on: a reaped process also hangs up.
            ready.set(Events::HUP, self.process.pid().is_none());
        }
        ready
    }

    fn fd_info(&self) -> String {
        let pid = self.process.pid().unwrap_or(-1);
        format!("Pid:\t{pid}\nNSpid:\t{pid}\n")
    }

    fn save(&self, _saver: &mut Saver) -> std::result::Result<Saved, Unsavable> {
        match self.process.pid() {
            Some(pid) => Saved::state(PidFd::KIND, &pid),
            None => Err(Unsavable::new("a descriptor of a process that is gone")),
        }
    }

    fn anonymous_name(&self) -> String {
        String::from("anon_inode:[pidfd]")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::testing::Counter;

    #[derive(Default)]
    struct Child {
        ended: AtomicBool,
        queue: WaitQueue,
    }

    impl Exit for Child {
        fn pid(&self) -> Option<i32> {
            Some(42)
        }

        fn exited(&self) -> bool {
            self.ended.load(Ordering::SeqCst)
        }

        fn queue(&self) -> WaitQueue {
            self.queue.clone()
        }
    }

    #[test]
    fn becomes_readable_at_exit() {
        let child = Arc::new(Child::default());
        let file = PidFd::new(child.clone(), 1);
        let waiter = Counter::new();
        let mut table = PollTable::waiting(waiter.clone(), Events::IN);
        assert_eq!(file.poll(&mut table), Events::empty());
        let _kept = table.into_registrations();
        child.ended.store(true, Ordering::SeqCst);
        child.queue.wake(Events::READABLE);
        assert_eq!(waiter.count(), 1);
        assert_eq!(file.poll(&mut PollTable::look()), Events::READABLE);
        assert!(file.read_at(0, &mut [0; 8]).is_err());
    }
}
