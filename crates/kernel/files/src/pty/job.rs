//! Job control as terminals see it: who calls, and whom to signal (credentials(7), setpgid(2)).

use std::sync::Arc;

use super::Terminal;

/// `SIGHUP`.
pub(super) const SIGHUP: u32 = 1;
/// `SIGCONT`.
pub(super) const SIGCONT: u32 = 18;
/// `SIGTTIN`.
pub(super) const SIGTTIN: u32 = 21;
/// `SIGTTOU`.
pub(super) const SIGTTOU: u32 = 22;
/// `SIGWINCH`.
pub(super) const SIGWINCH: u32 = 28;

/// The process that makes the current call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Process number.
    pub process: i32,
    /// Process group.
    pub group: i32,
    /// Session.
    pub session: i32,
    /// Whether nobody outside the group but inside the session could continue it.
    pub orphaned: bool,
    /// File system user id: whom a new terminal belongs to.
    pub user: u32,
    /// Whether it has `CAP_SYS_ADMIN`.
    pub privileged: bool,
}

impl Caller {
    /// Whether it leads its session.
    #[must_use]
    pub fn leads_session(&self) -> bool {
        self.process == self.session
    }
}

/// Sessions and groups, implemented by the kernel core.
pub trait JobControl: Send + Sync {
    /// Who makes the current call.
    fn caller(&self) -> Caller;

    /// Whether the caller blocks or ignores a signal.
    fn shuns(&self, signal: u32) -> bool;

    /// The controlling terminal of the caller's session.
    fn controlling_terminal(&self) -> Option<Arc<Terminal>>;

    /// Gives a session its controlling terminal or takes it away.
    fn set_controlling_terminal(&self, session: i32, terminal: Option<Arc<Terminal>>);

    /// The session a process group belongs to, if the group has members.
    fn session_of_group(&self, group: i32) -> Option<i32>;

    /// Signals every process of a group.
    fn signal_group(&self, group: i32, signal: u32);

    /// Signals the leader of a session.
    fn signal_leader(&self, session: i32, signal: u32);
}

/// Nobody to signal, no sessions: for terminals whose other side is all that counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoJobs;

impl JobControl for NoJobs {
    fn caller(&self) -> Caller {
        Caller::default()
    }

    fn shuns(&self, _signal: u32) -> bool {
        true
    }

    fn controlling_terminal(&self) -> Option<Arc<Terminal>> {
        None
    }

    fn set_controlling_terminal(&self, _session: i32, _terminal: Option<Arc<Terminal>>) {}

    fn session_of_group(&self, _group: i32) -> Option<i32> {
        None
    }

    fn signal_group(&self, _group: i32, _signal: u32) {}

    fn signal_leader(&self, _session: i32, _signal: u32) {}
}
