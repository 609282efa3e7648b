//! One sandbox process with the standard input, output and error of this process: `rekindle run`.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::time::Duration;

use host_sys::cgroup::{self, Group, GroupState};
use host_sys::descriptor;
use host_sys::process::{Pid, PidFd};
use proto_sandbox::{StartSpec, ToSandbox, write_message};

use crate::limits;

/// How the control groups are called.
const GROUPS: &str = "rekindle-run";

/// How long a sandbox process may take to end after its last message, before it is killed.
const LAST_BREATH: Duration = Duration::from_secs(1);

/// How long the end waits for the control group to be removed.
const GROUP_GONE_WITHIN: Duration = Duration::from_secs(2);

/// Whether a sandbox process says on standard error which layers of its jail are in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reporting {
    /// It says so.
    Layers,
    /// It says nothing.
    Silent,
}

/// A sandbox process; whatever happens, it does not outlive this value, nor does its control group.
#[derive(Debug)]
pub struct AttachedSandbox {
    child: Child,
    socket: UnixStream,
    /// Dropped after the process has ended.
    group: Option<Group>,
    state: GroupState,
}

impl AttachedSandbox {
    /// Starts `rekindle sandbox` from this very program, in a control group with the limits of `spec`. It waits to be
    /// [told](Self::begin).
    ///
    /// # Errors
    /// When the host refuses the socket or the process.
    pub fn spawn(spec: &StartSpec, reporting: Reporting) -> io::Result<AttachedSandbox> {
        let (socket, theirs) = UnixStream::pair()?;
        descriptor::inherit(theirs.as_fd())?;
        cgroup::sweep(GROUPS);
        let name = format!("{GROUPS}-{}", std::process::id());
        let group = Group::create(&name, &limits::of(spec));
        let mut command = Command::new("/proc/self/exe");
        command.args(["sandbox", "--fd", &theirs.as_raw_fd().to_string()]);
        for procs_file in group.procs_files() {
            command.arg("--join").arg(procs_file);
        }
        if reporting == Reporting::Layers {
            command.arg("--verbose");
        }
        Ok(AttachedSandbox {
            child: command.spawn()?,
            socket,
            state: group.state().clone(),
            group: Some(group),
        })
    }

    /// Whether there is a control group, and over what.
    #[must_use]
    pub fn group_state(&self) -> &GroupState {
        &self.state
    }

    /// The socket on which messages are exchanged.
    ///
    /// # Errors
    /// When the host has no more descriptors.
    pub fn socket(&self) -> io::Result<UnixStream> {
        self.socket.try_clone()
    }

    /// Has the program started.
    ///
    /// # Errors
    /// When the process does not listen.
    pub fn begin(&self, spec: StartSpec) -> io::Result<()> {
        let start = ToSandbox::Start(Box::new(spec));
        write_message(&mut &self.socket, &start, &[]).map_err(io::Error::other)
    }
}

impl Drop for AttachedSandbox {
    fn drop(&mut self) {
        // After its last message it ends by itself; a kill of what has ended does nothing.
        if let Ok(pidfd) = Pid::try_from(self.child.id())
            .map_err(io::Error::other)
            .and_then(PidFd::open)
        {
            let _ = pidfd.wait_ended(LAST_BREATH);
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        self.group = None;
        cgroup::settle(GROUP_GONE_WITHIN);
    }
}
