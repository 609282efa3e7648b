//! unshare(2): what a thread has together with others becomes its own.

use std::sync::Arc;

use base_abi::Errno;
use base_abi::general::{
    CLONE_FILES, CLONE_FS, CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID,
    CLONE_NEWTIME, CLONE_NEWUSER, CLONE_NEWUTS, CLONE_SIGHAND, CLONE_SYSVSEM, CLONE_THREAD,
    CLONE_VM,
};
use parking_lot::RwLock;

use crate::call::{Args, Sys, SysResult};
use crate::entry::Entry;

pub(crate) const ENTRIES: &[Entry] = &[Entry::partial(
    272,
    "unshare",
    "x",
    unshare,
    "descriptors, directories and semaphore adjustments; namespaces are refused with EPERM",
)];

const NAMESPACES: u32 = CLONE_NEWNS
    | CLONE_NEWCGROUP
    | CLONE_NEWUTS
    | CLONE_NEWIPC
    | CLONE_NEWUSER
    | CLONE_NEWPID
    | CLONE_NEWNET
    | CLONE_NEWTIME;
/// What only a process of one thread may ask for, and has alone then.
const OF_ONE_THREAD: u32 = CLONE_THREAD | CLONE_SIGHAND | CLONE_VM;

fn unshare(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let flags = args.u32(0);
    let known = CLONE_FILES | CLONE_FS | CLONE_SYSVSEM | OF_ONE_THREAD | NAMESPACES;
    if flags & !known != 0 {
        return Err(Errno::EINVAL.into());
    }
    if flags & OF_ONE_THREAD != 0 && shares_with_threads(sys, flags) {
        return Err(Errno::EINVAL.into());
    }
    if flags & NAMESPACES != 0 {
        return Err(Errno::EPERM.into());
    }
    if flags & CLONE_FILES != 0 {
        let files = sys.files();
        // The task's own and this one: nobody shares it, and its record locks stay.
        if Arc::strong_count(&files) > 2 {
            sys.task.replace_files(Arc::new(files.fork()));
        }
    }
    if flags & CLONE_FS != 0 {
        let copy = sys.fs().read().clone();
        sys.task.replace_fs(Arc::new(RwLock::new(copy)));
    }
    Ok(0)
}

/// Whether other threads, or processes on the same signal actions or memory, are in the way.
fn shares_with_threads(sys: &Sys<'_>, flags: u32) -> bool {
    let tree = sys.kernel().tree.lock();
    if tree.threads_of(sys.task.pid()).len() > 1 {
        return true;
    }
    let own_actions = Arc::clone(&sys.process().actions.read());
    let own_memory = sys.mm();
    tree.tasks()
        .filter(|task| task.tid() != sys.task.tid())
        .any(|task| {
            let actions = Arc::ptr_eq(&task.process().actions.read(), &own_actions);
            (flags & (CLONE_SIGHAND | CLONE_VM) != 0 && actions)
                || (flags & CLONE_VM != 0 && Arc::ptr_eq(&task.mm(), &own_memory))
        })
}
