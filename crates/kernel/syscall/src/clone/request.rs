//! What clone(2) and clone3(2) ask for, and whether it makes sense.

use base_abi::Errno;
use base_abi::general::{
    CLONE_ARGS_SIZE_VER0, CLONE_ARGS_SIZE_VER2, CLONE_CHILD_CLEARTID, CLONE_CHILD_SETTID,
    CLONE_CLEAR_SIGHAND, CLONE_DETACHED, CLONE_FILES, CLONE_FS, CLONE_INTO_CGROUP, CLONE_IO,
    CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWTIME,
    CLONE_NEWUSER, CLONE_NEWUTS, CLONE_PARENT, CLONE_PARENT_SETTID, CLONE_PIDFD, CLONE_PTRACE,
    CLONE_SETTLS, CLONE_SIGHAND, CLONE_SYSVSEM, CLONE_THREAD, CLONE_UNTRACED, CLONE_VFORK,
    CLONE_VM,
};
use base_abi::page::PAGE_SIZE;
use kernel_mm::Mm;
use kernel_vfs::UserMemory;

/// The exit signal in the flags of clone(2).
pub(super) const CSIGNAL: u64 = 0xff;
/// Every namespace that can be asked for.
const NAMESPACES: u64 = (CLONE_NEWNS
    | CLONE_NEWCGROUP
    | CLONE_NEWUTS
    | CLONE_NEWIPC
    | CLONE_NEWUSER
    | CLONE_NEWPID
    | CLONE_NEWNET
    | CLONE_NEWTIME) as u64;
/// What clone3(2) knows; `CLONE_DETACHED` and a signal in the flags are of clone(2) alone.
const CLONE3_FLAGS: u64 = NAMESPACES
    | CLONE_CLEAR_SIGHAND
    | CLONE_INTO_CGROUP
    | (CLONE_VM
        | CLONE_FS
        | CLONE_FILES
        | CLONE_SIGHAND
        | CLONE_PIDFD
        | CLONE_PTRACE
        | CLONE_VFORK
        | CLONE_PARENT
        | CLONE_THREAD
        | CLONE_SYSVSEM
        | CLONE_SETTLS
        | CLONE_PARENT_SETTID
        | CLONE_CHILD_CLEARTID
        | CLONE_UNTRACED
        | CLONE_CHILD_SETTID
        | CLONE_IO) as u64;
/// Highest signal number (`_NSIG`).
const LAST_SIGNAL: u64 = 64;

/// What clone(2) and clone3(2) have in common.
#[derive(Clone, Copy, Default)]
pub(super) struct Request {
    pub(super) flags: u64,
    pub(super) exit_signal: u64,
    pub(super) stack: u64,
    pub(super) parent_tid: u64,
    pub(super) child_tid: u64,
    pub(super) tls: u64,
    pub(super) pidfd: u64,
}

impl Request {
    pub(super) fn has(&self, bits: u32) -> bool {
        self.has_wide(u64::from(bits))
    }

    pub(super) fn has_wide(&self, bits: u64) -> bool {
        self.flags & bits == bits
    }

    /// Combinations that no caller may ask for (clone(2), "ERRORS").
    pub(super) fn check(&self) -> Result<(), Errno> {
        let has = |bits| self.has(bits);
        let inconsistent = (has(CLONE_SIGHAND) && !has(CLONE_VM))
            || (has(CLONE_THREAD) && !has(CLONE_SIGHAND))
            || (has(CLONE_SIGHAND) && self.has_wide(CLONE_CLEAR_SIGHAND))
            || (has(CLONE_PIDFD) && (has(CLONE_THREAD) || has(CLONE_DETACHED)))
            || (has(CLONE_FS) && (has(CLONE_NEWNS) || has(CLONE_NEWUSER)))
            || self.has_wide(CLONE_INTO_CGROUP);
        // The descriptor and the number would be written over each other; in clone(2) they have one place.
        let one_place =
            has(CLONE_PIDFD) && has(CLONE_PARENT_SETTID) && self.pidfd == self.parent_tid;
        if inconsistent || one_place {
            return Err(Errno::EINVAL);
        }
        if self.flags & NAMESPACES != 0 {
            return Err(Errno::EPERM);
        }
        Ok(())
    }
}

/// `struct clone_args`: what is beyond its end here must be zero.
pub(super) fn read_arguments(mm: &Mm, at: u64, size: u64) -> Result<Request, Errno> {
    const WORDS: usize = CLONE_ARGS_SIZE_VER2 as usize / 8;
    if size < u64::from(CLONE_ARGS_SIZE_VER0) {
        return Err(Errno::EINVAL);
    }
    if size > PAGE_SIZE {
        return Err(Errno::E2BIG);
    }
    let mut raw = vec![0u8; usize::try_from(size).unwrap_or(0)];
    mm.read_bytes(at, &mut raw)?;
    if raw.iter().skip(WORDS * 8).any(|byte| *byte != 0) {
        return Err(Errno::E2BIG);
    }
    let mut words = [0u64; WORDS];
    for (word, bytes) in words.iter_mut().zip(raw.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    let [
        flags,
        pidfd,
        child_tid,
        parent_tid,
        exit_signal,
        stack,
        stack_size,
        tls,
        set_tid,
        set_tid_size,
        _cgroup,
    ] = words;
    let own_exit = flags & u64::from(CLONE_THREAD | CLONE_PARENT) == 0;
    if flags & !CLONE3_FLAGS != 0
        || exit_signal > LAST_SIGNAL
        || (exit_signal != 0 && !own_exit)
        || (stack == 0) != (stack_size == 0)
        || (set_tid, set_tid_size) != (0, 0)
    {
        return Err(Errno::EINVAL);
    }
    Ok(Request {
        flags,
        pidfd,
        child_tid,
        parent_tid,
        exit_signal,
        stack: stack.wrapping_add(stack_size),
        tls,
    })
}
