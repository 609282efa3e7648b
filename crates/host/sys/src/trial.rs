//! Trying a filter out: one system call in a throw-away child, and how the child ended.

use std::io;

use crate::check;
use crate::filter::{self, Instruction, Scope};

/// How the child of [`call_under`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The call came back and the child left with this code: 0, or [`INSTALL_FAILED`].
    Exited(i32),
    /// A signal killed it; `SIGSYS` (31) is the filter's doing.
    Killed(i32),
}

/// Code with which the child leaves when the filter could not be installed.
pub const INSTALL_FAILED: i32 = 99;

/// Forks, installs `program` in the child, makes the system call `nr` there with
/// `args`, and says how that ended. The child has at most a second.
///
/// # Errors
/// When the host refuses another process.
pub fn call_under(program: &[Instruction], nr: i64, args: [u64; 6]) -> io::Result<Ending> {
    // SAFETY: needed because there is no safe fork. The child calls only async-signal-safe
    // functions (prctl, seccomp, setrlimit, alarm, syscall, _exit) and allocates nothing, which is
    // what fork in a threaded process asks for. Whatever the call does happens in the child's
    // copy of memory and ends with it.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        child(program, nr, args);
    }
    let pid = check(pid.into())? as libc::pid_t;
    let mut status = 0;
    loop {
        // SAFETY: needed because waitpid(2) is a foreign function; it writes one int. `pid` is our own child.
        let result = unsafe { libc::waitpid(pid, &raw mut status, 0) };
        match check(result.into()) {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if libc::WIFSIGNALED(status) {
        Ok(Ending::Killed(libc::WTERMSIG(status)))
    } else {
        Ok(Ending::Exited(libc::WEXITSTATUS(status)))
    }
}

fn child(program: &[Instruction], nr: i64, args: [u64; 6]) -> ! {
    let no_core = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: needed because these are foreign functions; all are async-signal-safe and the only
    // pointer is to a local value. alarm(2) bounds a call that would wait for ever.
    unsafe {
        libc::setrlimit(libc::RLIMIT_CORE, &raw const no_core);
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::signal(libc::SIGALRM, libc::SIG_DFL);
        libc::alarm(1);
    }
    if filter::install(program, Scope::Thread).is_err() {
        // SAFETY: _exit ends the child at once and runs nothing of ours.
        unsafe { libc::_exit(INSTALL_FAILED) }
    }
    let [a, b, c, d, e, f] = args;
    // SAFETY: needed because the point is to make an arbitrary call. The child owns nothing that
    // outlives it, so whatever the call does to its memory ends with the next line.
    unsafe {
        libc::syscall(nr, a, b, c, d, e, f);
        libc::_exit(0)
    }
}
