//! A child process by its descriptor (pidfd_open(2)).

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

/// A child of this process; killed when dropped.
#[derive(Debug)]
pub(crate) struct Child {
    pid: i32,
    /// None once it was waited for.
    descriptor: Option<OwnedFd>,
}

impl Child {
    /// A child that nobody else waits for.
    pub(crate) fn adopt(pid: i32) -> io::Result<Child> {
        let child = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
        let descriptor = pidfd_open(child, PidfdFlags::empty())?;
        Ok(Child {
            pid,
            descriptor: Some(descriptor),
        })
    }

    /// Its number, until it was waited for.
    pub(crate) fn id(&self) -> Option<u32> {
        self.descriptor.as_ref()?;
        u32::try_from(self.pid).ok()
    }

    /// Kills it and waits until it is gone.
    pub(crate) async fn kill(&mut self) -> io::Result<()> {
        let Some(descriptor) = self.descriptor.take() else {
            return Ok(());
        };
        signal(&descriptor)?;
        spawn_blocking(move || wait(&descriptor)).await?
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let Some(descriptor) = self.descriptor.take() else {
            return;
        };
        let _ = signal(&descriptor);
        // Without a runtime the whole process ends, and whoever inherits the child waits for it.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn_blocking(move || wait(&descriptor));
        }
    }
}

fn signal(descriptor: &OwnedFd) -> io::Result<()> {
    match pidfd_send_signal(descriptor, Signal::KILL) {
        // It has ended by itself.
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Blocks until the killed child is gone, which the host sees to.
fn wait(descriptor: &OwnedFd) -> io::Result<()> {
    loop {
        match waitid(WaitId::PidFd(descriptor.as_fd()), WaitIdOptions::EXITED) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
